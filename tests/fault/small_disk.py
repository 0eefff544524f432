"""A disk without room: a small file system that only the server sees, or, where
nothing may be mounted, a limit on the size of the server's files.

The first gives SQLite what a full disk gives (ENOSPC, also for `-shm`, which it
maps), the second writes that are cut short (EFBIG), after which the server ends.
"""

import contextlib
import errno
import pathlib
import resource
import subprocess

MOUNT = 'mount -t tmpfs -o mode=700,size="$1" tmpfs "$2" && echo mounted && exec sleep 900'


class SmallFileSystem:
    """Mounted on `folder` in a mount namespace that a sleeping process keeps,
    so that it lasts from one server to the next and no longer than the test."""

    def __init__(self, folder, size="64m"):
        folder.mkdir(exist_ok=True)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private",
             "sh", "-c", MOUNT, "sh", size, str(folder)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.is_mounted = self.holder.stdout.readline() == b"mounted\n"
        # --root too, as the mount namespace of a test in a chroot has another.
        self.prefix = ["nsenter", f"--target={self.holder.pid}",
                       "--mount", "--root", "--wd", "--"]
        inside = pathlib.Path(f"/proc/{self.holder.pid}/root")
        self.filler = inside / folder.relative_to("/") / "filler"

    def fill(self, _):
        with open(self.filler, "wb", buffering=0) as filler:
            for size in (1 << 20, 1 << 12):
                write_all_that_fits(filler, bytes(size))

    def free(self, _):
        self.filler.unlink()

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


def write_all_that_fits(file, block):
    try:
        while file.write(block) > 0:
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


class FileSizeLimit:
    """The log of SQLite cannot grow."""

    # Or the signal, not the write, would be what fails.
    prefix = ["env", "--ignore-signal=XFSZ"]

    def fill(self, server):
        log = server.data / "sessions.db-wal"
        limit_files(server, log.stat().st_size)

    def free(self, server):
        limit_files(server, resource.RLIM_INFINITY)

    def close(self):
        pass


def limit_files(server, size):
    """Of a server that may have ended: then there is nothing to limit."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE,
                         (size, resource.RLIM_INFINITY))


def small_file_system(folder):
    """The real thing where mounting is allowed, else what comes nearest."""
    disk = SmallFileSystem(folder)
    if disk.is_mounted:
        return disk
    disk.close()
    return FileSizeLimit()
