"""clang-format and clang-tidy (16 or newer) have nothing to say.

Needs compile_commands.json of BN_BUILD_DIR (build/release by default).
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(
    os.environ.get("BN_BUILD_DIR", ROOT / "build/release")).resolve()
FOLDERS = ("proto/wire", "server", "client", "tests")
SCRATCH = BUILD / "clang-tidy"
GROUP = 12  # files read as one, at most


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


def configuration(file):
    """The .clang-tidy in force for a file."""
    return next(folder / ".clang-tidy" for folder in file.parents
                if (folder / ".clang-tidy").exists())


def surroundings():
    """What a finding depends on beside the files themselves."""
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    own = sorted({configuration(file) for file in compiled()})
    own.append(BUILD / "compile_commands.json")
    return tool("clang-tidy") + digest(*own, *protos, *sources(".h"))


def commands():
    """How each file of ours is compiled, itself and its object left out."""
    made = json.loads((BUILD / "compile_commands.json").read_text())
    return {
        pathlib.Path(entry["file"]): entry["command"].partition(" -o ")[0]
        for entry in made
    }


def groups():
    """Files that are read as one. Nearly all of clang-tidy's time goes into the
    headers, which a group has in common."""
    flags = commands()
    alike = {}
    for file in compiled():
        # What includes itself, once for each target, cannot share a unit.
        alone = file if "foreach_target" in file.read_text() else None
        alike.setdefault((file.parent, flags[file], alone), []).append(file)
    for files in alike.values():
        for first in range(0, len(files), GROUP):
            yield files[first : first + GROUP]


def clang_tidy(files):
    """What it says of files in one translation unit, or nothing."""
    name = hashlib.sha256("".join(map(str, files)).encode()).hexdigest()[:16]
    folder = SCRATCH / name
    folder.mkdir(parents=True, exist_ok=True)
    unit = folder / "unit.cc"
    unit.write_text("".join(
        f'#include "{file}"  // NOLINT(bugprone-suspicious-include)\n'
        for file in files))
    (folder / "compile_commands.json").write_text(json.dumps([{
        "directory": str(BUILD), "file": str(unit),
        "command": f"{commands()[files[0]]} -c {unit}"}]))
    result = subprocess.run(
        [tool("clang-tidy"), "--quiet", "-p", folder,
         f"--config-file={configuration(files[0])}",
         "--header-filter=/(server|client|proto/wire|tests)/.*[.](h|cc)$",
         # The sanitizers' headers may not be installed for clang.
         "--extra-arg=-fno-sanitize=all",
         # GCC's warnings are the build's business; clang knows them differently.
         "--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-everything",
         unit],
        capture_output=True, text=True, cwd=ROOT)
    # What it has no command for it passes over, and says so, and returns 0.
    passed_over = "Compile command not found" in result.stderr
    said = result.stdout + result.stderr
    return said if result.returncode or passed_over else ""


def clashing(files, said):
    """Those that do not compile after the ones before them, as both have a name
    in an anonymous namespace."""
    at_fault = set(re.findall(r"^(/[^:]+):.*\[clang-diagnostic-error\]$", said, re.M))
    found = [file for file in files[1:] if str(file) in at_fault]
    # Else in a header, on behalf of any of them.
    return found if found or not at_fault else files[len(files) // 2 :]


def tidy(files, around):
    """The findings in files that are read as one, or in smaller groups."""
    # What was clean, in surroundings that have not changed, still is.
    clean = SCRATCH / hashlib.sha256(
        (around + "".join(map(str, files)) + digest(*files)).encode()
    ).hexdigest()
    if clean.exists():
        return ""
    said = clang_tidy(files)
    clash = clashing(files, said) if len(files) > 1 else []
    if clash:
        rest = [file for file in files if file not in clash]
        said = tidy(rest, around) + tidy(clash, around)
    if not said:
        clean.touch()
    return said


def left_out(file):
    """kernel_benchmark is left out where tests/benchmarks/packages are missing;
    tests/install builds its consumer against what is installed."""
    benchmarks = ROOT / "tests/benchmarks"
    if file.parent == ROOT / "tests/install/consumer":
        return True
    return (file.parent == benchmarks
            and benchmarks / "kernel_benchmark.cc" not in compiled())


def test_every_source_file_is_compiled_and_hence_checked():
    ours = set(compiled())
    assert [f for f in sources(".cc") if f not in ours and not left_out(f)] == []


def test_no_bug_performance_or_concurrency_finding():
    around = surroundings()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda files: tidy(files, around), list(groups()))
        reports = [text for text in found if text]
    assert not reports, "\n".join(reports)
