"""The Debian packages in a clean Debian: installed, used, removed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for chroot")
# What every installation of packages changes.
BOOKKEEPING = re.compile(
    r"^/(proc|sys|dev|tmp|run|debs)(/|$)|^/var/(lib/(dpkg|apt|systemd|pam)|cache|log)(/|$)"
    r"|^/etc/(ld\.so\.cache|passwd-|group-|shadow-|gshadow-|\.pwd\.lock)$|__pycache__")


def run(*command, **how):
    done = subprocess.run([str(word) for word in command], capture_output=True,
                          text=True, timeout=1800, **how)
    assert done.returncode == 0, (command, done.stdout[-3000:] + done.stderr[-3000:])
    return done.stdout


class CleanDebian:
    """A minimal Debian 12 in a folder."""

    def __init__(self, root):
        self.root = root

    def run(self, *command):
        return run("chroot", self.root, *command,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                        "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})

    def start(self, *command, log, **environment):
        return subprocess.Popen(
            ["chroot", str(self.root), *command], stdout=log, stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment}, start_new_session=True)

    def files(self):
        found = run("find", self.root, "-xdev", "-printf", "/%P\n").splitlines()
        return {path for path in found if not BOOKKEEPING.search(path)}


@pytest.fixture(scope="module")
def debs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("debs")
    run(ROOT / "deploy/install-packages", ROOT / "deploy/package-tools")
    run(ROOT / "deploy/make-debs", folder)
    return folder


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    root = tmp_path_factory.mktemp("debian") / "root"
    mirror = run("apt-get", "indextargets", "--format", "$(SITE)",
                 "Created-By: Packages").split()[0]
    run("mmdebstrap", "--quiet", "--variant=minbase", "bookworm", root, mirror)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    run("mount", "-t", "proc", "proc", root / "proc")
    try:
        yield CleanDebian(root)
    finally:
        run("umount", root / "proc")
        shutil.rmtree(root)


@contextlib.contextmanager
def serving(debian, tmp_path):
    """The server by its unit's command line, with what systemd would give it; on
    any free port, since this machine's ports are shared."""
    unit = (debian.root / "usr/lib/systemd/system/batchnormd.service").read_text()
    command = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE).group(1).split()
    for folder in ("run/batchnormd", "var/lib/batchnormd"):
        (debian.root / folder).mkdir(exist_ok=True)
    with open(tmp_path / "log", "wb") as log:
        server = debian.start(*command, log=log, STATE_DIRECTORY="/var/lib/batchnormd",
                              BN_LISTEN="localhost:0,unix:/run/batchnormd/bn.sock")
    try:
        deadline = time.monotonic() + 30
        while not (debian.root / "run/batchnormd/bn.sock").exists():
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0, (tmp_path / "log").read_text()


def test_packages_are_installed_used_and_removed_without_a_trace(debs, debian, tmp_path):
    before = debian.files()
    packages = sorted(debs.glob("*.deb"))
    assert len(packages) == 3
    (debian.root / "debs").mkdir()
    for package in packages:
        shutil.copy(package, debian.root / "debs")
    debian.run("apt-get", "update", "-qq")
    used = [f"/debs/{p.name}" for p in packages if "-dev" not in p.name]
    debian.run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *used)
    with serving(debian, tmp_path):
        said = debian.run("/usr/bin/bn", "demo", "--no-next", "--server",
                          "unix:/run/batchnormd/bn.sock", "--format", "json")
        assert float(re.search(r'"held_out_accuracy": *([0-9.]+)', said).group(1)) > 0.9
    names = [run("dpkg-deb", "-f", p, "Package").strip() for p in packages if "-dev" not in p.name]
    debian.run("apt-get", "purge", "-y", "-qq", *names)
    debian.run("apt-get", "autoremove", "--purge", "-y", "-qq")
    shutil.rmtree(debian.root / "debs")
    assert sorted(debian.files() - before) == []


def test_packages_hold_what_they_should(debs):
    files = {p.name.split("_")[0]: run("dpkg-deb", "-c", p) for p in debs.glob("*.deb")}
    for path in ("/usr/bin/batchnormd", "/usr/lib/systemd/system/batchnormd.service",
                 "/etc/batchnormd/batchnormd.toml", "/usr/share/man/man1/batchnormd.1",
                 "/usr/share/bash-completion/completions/batchnormd"):
        assert path in files["batchnormd"]
    for path in ("/usr/bin/bn", "/usr/share/man/man1/bn.1",
                 "/usr/share/bash-completion/completions/bn"):
        assert path in files["batchnormd-tools"]
    for path in ("batchnormd-config.cmake", "batchnormd-client.pc", "libbatchnorm_client.a",
                 "client/client.h", "batchnorm/v1/session.proto"):
        assert path in files["libbatchnorm-client-dev"]


def test_man_pages_name_every_flag(debs, tmp_path):
    for package, program in (("batchnormd", "batchnormd"), ("batchnormd-tools", "bn")):
        [deb] = debs.glob(f"{package}_*.deb")
        folder = tmp_path / package
        run("dpkg-deb", "-x", deb, folder)
        [page] = folder.glob(f"usr/share/man/man1/{program}.1*")
        text = run("zcat", "-f", page).replace("\\-", "-")
        for flag in re.findall(r"^ +(--[a-z-]+)", run(folder / "usr/bin" / program, "--help"),
                               re.MULTILINE):
            assert flag in text, flag
