"""A batchnormd that is killed, stopped, started again, and given bad disks."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import grpc

START_SECONDS = 30

CHANNEL_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
]


def dial(address):
    return grpc.insecure_channel(address, options=CHANNEL_OPTIONS)


def beside_a_library(environment):
    """ASAN_OPTIONS with which a sanitized server accepts LD_PRELOAD: it would
    refuse to start where its own library is not the first."""
    options = environment.get("ASAN_OPTIONS", "").split(":")
    return ":".join([*filter(None, options), "verify_asan_link_order=0"])


class FaultyServer:
    """One server after the other on one data directory and one address.

    `faults` is what BN_FAULT plans for the next start (tests/fault/plan.h);
    `disk` are the variables of disk.c for every start; `prefix` is the command
    that runs the server in surroundings of its own, if any.
    """

    def __init__(self, bin_dir, folder, *flags, disk=None, library=None,
                 prefix=()):
        self.program = bin_dir / "batchnormd_faulty"
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.socket = self.folder / "socket"
        self.address = f"unix:{self.socket}"
        self.flags = flags
        self.disk = disk or {}
        self.library = library
        self.prefix = prefix
        self.process = None
        self.kills = 0

    def environment(self, faults):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BN_")}
        if self.library:
            kept.update(self.disk, LD_PRELOAD=str(self.library),
                        ASAN_OPTIONS=beside_a_library(kept))
        return {**kept, "BN_FAULT": faults}

    def start(self, faults=""):
        self.spawn(faults)
        self.await_ready()
        return self

    def spawn(self, faults=""):
        """Starts it without waiting: a plan may kill it at once."""
        ready = self.folder / "ready"
        ready.unlink(missing_ok=True)
        command = [*self.prefix, self.program, "--listen", self.address,
                   "--port-file", ready, "--data-dir", self.data,
                   "--drain-seconds", "0", *self.flags]
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, env=self.environment(faults))
        log.close()

    def await_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while not (self.folder / "ready").exists():
            code = self.process.poll()
            assert code is None, f"ended with {code}:\n{self.log()}"
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.002)

    def writes(self):
        """What differs once another step is stored."""
        return (self.data / "sessions.db-wal").stat().st_mtime_ns

    def log(self):
        return (self.folder / "log").read_text(errors="replace")

    def kill(self):
        """As a crash: nothing is flushed, nobody is told."""
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def await_death(self, seconds=30):
        """Until a planned fault has killed it."""
        code = self.process.wait(seconds)
        self.kills += 1
        assert code == -signal.SIGKILL, f"ended with {code}:\n{self.log()}"

    def cut_power(self):
        """Kills it, and leaves of the files what was on the disk."""
        self.kill()
        durable = pathlib.Path(self.disk["BN_DISK_DURABLE"])
        for file in self.data.glob("sessions.db*"):
            file.unlink()
        for file in durable.iterdir():
            shutil.copy(file, self.data / file.name)

    def stop(self):
        """As it should end; returns the exit code."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
