"""The kernel's vector code compiles for ARM too: NEON and every SVE that
Highway knows. (It is run on x86 only: fast_sums_test.cc and others.)"""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNEL = ROOT / "server/kernel"
SOURCES = [
    path for path in sorted(KERNEL.glob("*.cc")) if "foreach_target" in path.read_text()
]
COMPILER = [
    "aarch64-linux-gnu-g++", "-std=c++20", "-fsyntax-only", "-ffp-contract=off",
    "-march=armv8-a+crypto", "-DHWY_SHARED_DEFINE", f"-I{ROOT}",
    # Highway is all headers here; C++'s own come first, from the compiler.
    "-idirafter", "/usr/include",
]  # fmt: skip


def test_there_is_vector_code():
    assert {path.stem for path in SOURCES} >= {"fast_sums", "fast_apply"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_vector_code_compiles_for_arm(source):
    result = subprocess.run([*COMPILER, source], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-4000:]


def test_sve_is_among_what_is_compiled():
    command = [*COMPILER, "-E", KERNEL / "fast_sums.cc"]
    command.remove("-fsyntax-only")
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "N_SVE2" in text and "N_NEON" in text
