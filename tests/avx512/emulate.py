#!/usr/bin/env python3
"""Runs kernel_test on emulated processors that have AVX-512, several at once.

    emulate.py KERNEL_TEST FETCHED FOLDER [--filter FILTER] [--processors N]

FETCHED is the folder that `fetch` filled. Prints what the tests print, and
leaves their reports in FOLDER as avx512-0.xml and on. Exit code: 0 all passed,
1 some failed, or a machine did not get so far.
"""

import argparse
import contextlib
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tty

HERE = pathlib.Path(__file__).resolve().parent
DEADLINE_SECONDS = 3600
MOST_MACHINES = 8  # of half a GiB; each needs tests to run
ISOLINUX = "/usr/lib/ISOLINUX/isolinux.bin"
ISOLINUX_CORE = "/usr/lib/syslinux/modules/bios/ldlinux.c32"

# The emulator says that compacted states (XSAVEC) are as long as others, at
# which Linux gives AVX up; and it does not count cycles (APERF).
KERNEL_OPTIONS = ("console=ttyS0 quiet panic=-1 mitigations=off "
                  "clearcpuid=aperfmperf,xsavec,xsaves")

# An emulator with a debugger, which waits to be told to go on.
DEBUGGER_COMMANDS = "continue\nquit\n"

CONFIGURATION = """\
megs: 512
cpu: model=corei7_skylake_x, count=1, ips=100000000
romimage: file={share}/BIOS-bochs-latest
vgaromimage: file={share}/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path={disc}, status=inserted
boot: cdrom
com1: enabled=1, mode=term, dev={line}
log: {log}
display_library: term
clock: sync=none
"""


class Emulator:
    """Bochs in a root of files that were only unpacked."""

    def __init__(self, root):
        libraries = root / "usr/lib/x86_64-linux-gnu"
        self.share = root / "usr/share/bochs"
        self.command = [root / "usr/lib64/ld-linux-x86-64.so.2",
                        "--library-path", libraries, root / "usr/bin/bochs-bin"]
        self.environment = {**os.environ, "TERM": "xterm",
                            "BXSHARE": str(self.share),
                            "LTDL_LIBRARY_PATH": str(libraries / "bochs/plugins")}


def libraries(binary):
    """The shared libraries that a program loads, its loader among them."""
    found = subprocess.run(["ldd", binary], check=True, capture_output=True,
                           text=True).stdout
    return re.findall(r"(/\S+) \(0x", found)


def make_initrd(kernel_test, initrd):
    """A file system in memory: the program, what it loads, and a shell."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for folder in ("bin", "dev", "lib64", "proc"):
            (root / folder).mkdir()
        shutil.copy("/bin/busybox", root / "bin")
        shutil.copy(HERE / "init", root)
        for applet in ("cat", "mount", "poweroff", "sleep"):
            (root / "bin" / applet).symlink_to("busybox")
        for library in libraries(kernel_test):
            shutil.copy(library, root / "lib64")
        subprocess.run(["strip", "-o", root / "kernel_test", kernel_test],
                       check=True)
        files = "\n".join(str(path.relative_to(root))
                          for path in [root, *sorted(root.rglob("*"))])
        with initrd.open("wb") as archive:
            subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=root,
                           input=files.encode(), stdout=archive, check=True)


def make_disc(kernel, initrd, variables, disc):
    """A disc that boots: GTEST_* are its init's variables."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        shutil.copy(kernel, root / "vmlinuz")
        shutil.copy(initrd, root / "initrd")
        shutil.copy(ISOLINUX, root)
        shutil.copy(ISOLINUX_CORE, root)
        settings = " ".join(f"{key}={value}" for key, value in variables.items())
        (root / "isolinux.cfg").write_text(
            "default tests\nprompt 0\nlabel tests\n  kernel vmlinuz\n"
            f"  append initrd=initrd {KERNEL_OPTIONS} {settings}\n")
        subprocess.run(
            ["xorriso", "-as", "mkisofs", "-quiet", "-o", disc,
             "-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot",
             "-boot-load-size", "4", "-boot-info-table", root],
            check=True, stderr=subprocess.DEVNULL)


class Machine:
    """An emulated machine that boots a disc."""

    def __init__(self, name, emulator, folder, disc):
        self._name = name
        self._text = ""
        serial, line = pty.openpty()
        tty.setraw(line)
        configuration = folder / f"{name}.bochsrc"
        configuration.write_text(CONFIGURATION.format(
            share=emulator.share, disc=disc, line=os.ttyname(line),
            log=folder / f"{name}.log"))
        commands = folder / f"{name}.commands"
        commands.write_text(DEBUGGER_COMMANDS)
        self._process = subprocess.Popen(
            [*emulator.command, "-q", "-f", configuration, "-rc", commands],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, env=emulator.environment)
        self._line = line
        threading.Thread(target=self._drain_screen, daemon=True).start()
        self._reader = threading.Thread(target=self._read, args=[serial])
        self._reader.start()

    def _drain_screen(self):
        """Reads what is to be seen, which the emulator writes to a terminal of
        its own, and waits until somebody does."""
        for message in self._process.stderr:
            if found := re.search(r'connected to screen "(\S+)"', message):
                screen = os.open(found[1], os.O_RDWR | os.O_NOCTTY)
                tty.setraw(screen)
                with contextlib.suppress(OSError):  # its other end is closed
                    while os.read(screen, 1 << 16):
                        pass

    def _read(self, serial):
        pending = b""
        while data := os.read(serial, 1 << 12):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._take(line.decode(errors="replace").rstrip("\r"))
            if pending == b"\0":
                return

    def _take(self, line):
        if not self._text and not line.startswith("--- exit code"):
            print(f"{self._name}: {line}", flush=True)
        else:
            self._text += line + "\n"

    def result(self):
        """The tests' exit code and report (XML); None of what did not come."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(DEADLINE_SECONDS)
        self.stop()
        self._reader.join()
        found = re.match(r"--- exit code (\d+)\n(<\?xml.*)--- end of report\n",
                         self._text, re.DOTALL)
        return (int(found[1]), found[2]) if found else (None, None)

    def stop(self):
        self._process.kill()
        self._process.wait()
        os.write(self._line, b"\0")  # behind all that was sent


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernel_test")
    parser.add_argument("fetched", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--filter", default="*AVX3*")
    parser.add_argument("--processors", type=int,
                        default=min(os.cpu_count(), MOST_MACHINES))
    options = parser.parse_args()
    fetched = options.fetched.resolve()
    if not (fetched / "vmlinuz").exists():
        parser.error(f"{options.fetched} has no vmlinuz: run "
                     f"`tests/avx512/fetch {options.fetched}` first")
    options.folder.mkdir(parents=True, exist_ok=True)
    emulator = Emulator(fetched / "bochs")
    passed = True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_initrd(options.kernel_test, folder / "initrd")
        machines = []
        try:
            for i in range(options.processors):
                disc = folder / f"{i}.iso"
                make_disc(fetched / "vmlinuz", folder / "initrd",
                          {"GTEST_COLOR": "no", "GTEST_FILTER": options.filter,
                           "GTEST_TOTAL_SHARDS": options.processors,
                           "GTEST_SHARD_INDEX": i}, disc)
                machines.append(Machine(f"avx512-{i}", emulator, folder, disc))
            for i, machine in enumerate(machines):
                exit_code, report = machine.result()
                if report:
                    (options.folder / f"avx512-{i}.xml").write_text(report)
                passed = passed and exit_code == 0
        finally:
            for machine in machines:
                machine.stop()
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
