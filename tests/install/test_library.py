"""The installed library: found by CMake and by pkg-config, from outside."""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import ROOT, start_server

BUILD = pathlib.Path(os.environ.get("BN_BUILD_DIR", ROOT / "build/release"))
CONSUMER = pathlib.Path(__file__).parent / "consumer"


def run(*command, **how):
    done = subprocess.run([str(word) for word in command], capture_output=True,
                          text=True, timeout=600, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """Where the library is installed, and nothing of the source."""
    folder = tmp_path_factory.mktemp("prefix")
    for component in ("dev", "server", "tools"):
        run("cmake", "--install", BUILD, "--prefix", folder, "--component", component)
    return folder


def test_cmake_finds_batchnorm_client(prefix, server, tmp_path):
    source = shutil.copytree(CONSUMER, tmp_path / "source")
    run("cmake", "-S", source, "-B", tmp_path / "build",
        f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Debug")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build/consumer", server.address).split() == ["-1", "1", "-1", "1"]


def test_pkg_config_says_how_to_link(prefix, server, tmp_path):
    [folder] = {path.parent for path in prefix.rglob("batchnormd-client.pc")}
    text = (folder / "batchnormd-client.pc").read_text().splitlines()
    relocated = [f"prefix={prefix}" if line.startswith("prefix=") else line for line in text]
    (tmp_path / "batchnormd-client.pc").write_text("\n".join(relocated) + "\n")
    flags = run("pkg-config", "--cflags", "--libs", "batchnormd-client",
                env={**os.environ, "PKG_CONFIG_PATH": str(tmp_path)}).split()
    run("g++", CONSUMER / "consumer.cc", "-o", tmp_path / "consumer", *flags)
    assert run(tmp_path / "consumer", server.address).split() == ["-1", "1", "-1", "1"]


def test_installed_headers_need_nothing_of_the_source(prefix, tmp_path):
    include = prefix / "include" / "batchnormd"
    headers = sorted((include / "client").glob("*.h"))
    assert len(headers) > 8
    source = tmp_path / "all.cc"
    source.write_text("".join(f'#include "client/{h.name}"\n' for h in headers))
    run("g++", "-std=c++20", "-fsyntax-only", f"-I{include}", source, cwd=tmp_path)


def test_installed_programs_are_the_built_ones(prefix, tmp_path):
    for program in ("batchnormd", "bn"):
        assert "0." in run(prefix / "bin" / program, "--version")
    unit = next(prefix.rglob("batchnormd.service")).read_text()
    assert "ExecStart=" in unit and "@" not in unit.split("SystemCallFilter")[0]


@pytest.mark.parametrize("program, typed, offered", [
    ("bn", ["bn", "he"], "health"),
    ("bn", ["bn", "session", "cre"], "create"),
    ("bn", ["bn", "eval", "--out"], "--out"),
    ("batchnormd", ["batchnormd", "--kept"], "--kept-input-bytes"),
])
def test_bash_completes_commands_and_flags(prefix, program, typed, offered):
    script = next(prefix.rglob(f"bash-completion/completions/{program}"))
    words = " ".join(typed)
    said = run("bash", "-c", f"source {script}; COMP_WORDS=({words}); "
               f"COMP_CWORD={len(typed) - 1}; _{program}; echo ${{COMPREPLY[@]}}",
               env={**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}"})
    assert any(word.startswith(offered) for word in said.split())
