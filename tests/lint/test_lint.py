"""clang-format and clang-tidy (16 or newer) have nothing to say.

Needs compile_commands.json of BN_BUILD_DIR (build/release by default).
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BN_BUILD_DIR", ROOT / "build/release"))
FOLDERS = ("proto/wire", "server", "client", "tests")


def tool(name):
    """The newest installed version of a clang tool, 16 at least."""
    for version in (*range(25, 15, -1),):
        found = shutil.which(f"{name}-{version}")
        if found:
            return found
    pytest.fail(f"{name} 16 or newer is not installed (tests/packages)")


def sources(*suffixes):
    files = []
    for folder in FOLDERS:
        for suffix in suffixes:
            files += sorted((ROOT / folder).rglob(f"*{suffix}"))
    return files


def test_every_file_is_formatted():
    command = [tool("clang-format"), "--dry-run", "-Werror", *sources(".h", ".cc")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def compiled():
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    ours = {pathlib.Path(c["file"]) for c in commands}
    return [f for f in sources(".cc") if f in ours]


def digest(*files):
    total = hashlib.sha256()
    for file in files:
        total.update(pathlib.Path(file).read_bytes())
    return total.hexdigest()


def surroundings():
    """What a finding depends on beside the file itself."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    own = [ROOT / ".clang-tidy", BUILD / "compile_commands.json"]
    return tool("clang-tidy") + digest(*own, *protos, *sources(".h"))


def tidy(file, around):
    # A file that was clean, in surroundings that have not changed, still is.
    clean = BUILD / "clang-tidy" / hashlib.sha256(
        (around + str(file) + digest(file)).encode()
    ).hexdigest()
    if clean.exists():
        return ""
    command = [tool("clang-tidy"), "--quiet", "-p", str(BUILD), str(file)]
    # GCC's warnings are the build's business; clang knows them differently.
    command += ["--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-everything"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        return result.stdout + result.stderr
    clean.parent.mkdir(exist_ok=True)
    clean.touch()
    return ""


def left_out(file):
    """kernel_benchmark is left out where tests/benchmarks/packages are missing."""
    benchmarks = ROOT / "tests/benchmarks"
    return (file.parent == benchmarks
            and benchmarks / "kernel_benchmark.cc" not in compiled())


def test_every_source_file_is_compiled_and_hence_checked():
    ours = set(compiled())
    assert [f for f in sources(".cc") if f not in ours and not left_out(f)] == []


def test_no_bug_performance_or_concurrency_finding():
    around = surroundings()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda file: tidy(file, around), compiled())
        reports = [text for text in found if text]
    assert not reports, "\n".join(reports)
