"""The contract keeps its form and its promises.

baseline.binpb is the contract as it was last released. After a release:

    cd proto && buf build -o ../tests/proto/baseline.binpb
"""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import planned_changes
from planned_changes import PROTO, README, SERVICE_FILE

BASELINE = pathlib.Path(__file__).parent / "baseline.binpb"
SERVER = PROTO.parent / "server"


def buf(module, *arguments):
    program = os.environ.get("BUF") or shutil.which("buf")
    assert program, "expected the program buf by BUF or on PATH; found none"
    return subprocess.run([program, *arguments], cwd=module, text=True,
                          capture_output=True, timeout=120)


def breaking(module):
    return buf(module, "breaking", "--against", str(BASELINE))


def replace(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1, f"expected {old!r} once in {path.name}"
    path.write_text(text.replace(old, new))


@pytest.fixture
def module(tmp_path):
    return planned_changes.copy_contract(tmp_path)


def test_the_contract_passes_lint():
    result = buf(PROTO, "lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_lint_notices_a_bad_name(module):
    replace(module / SERVICE_FILE, "uint64 expected_step = 3;",
            "uint64 ExpectedStep = 3;")
    assert "ExpectedStep" in buf(module, "lint").stdout


def test_the_contract_breaks_no_promise():
    result = breaking(PROTO)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("file, old, new, complaint", [
    (SERVICE_FILE, "  uint64 expected_step = 3;\n", "", "expected_step"),
    (SERVICE_FILE, "uint64 at_least_step = 3;", "int64 at_least_step = 3;",
     "type"),
    (SERVICE_FILE, "OUTPUT_DX = 4;", "OUTPUT_GRADIENT = 4;", "OUTPUT_DX"),
    (SERVICE_FILE, "rpc Evaluate(EvaluateRequest) returns (EvaluateResponse);",
     "", "Evaluate"),
    ("batchnorm/v1/tensor.proto", "bytes data = 15;", "bytes data = 3;",
     "data"),
], ids=["removed field", "other type", "renamed value", "removed method",
        "other number"])
def test_a_planted_break_turns_it_red(module, file, old, new, complaint):
    replace(module / file, old, new)
    result = breaking(module)
    assert result.returncode != 0
    assert complaint in result.stdout


def test_what_the_readme_plans_is_legal_and_breaks_nothing(module):
    assert planned_changes.apply_readme(module, README.read_text()) == 2
    lint = buf(module, "lint")
    assert lint.returncode == 0, lint.stdout + lint.stderr
    result = breaking(module)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_plan_that_takes_a_used_number_turns_it_red(module):
    planned_changes.apply_readme(
        module, "```proto\nmessage ForwardRequest {\n  bytes key = 5;\n}\n```\n")
    assert buf(module, "build").returncode != 0


def reasons_of_readme():
    return set(re.findall(r"^\| `([A-Z_]+)` \|", README.read_text(),
                          re.MULTILINE))


def enum_values():
    text = "".join(p.read_text() for p in PROTO.glob("batchnorm/v1/*.proto"))
    return re.findall(r"^  ([A-Z0-9_]+) = \d+;", text, re.MULTILINE)


def reasons_of_server():
    """Every string of the server's sources that has the form of a reason."""
    text = "".join(p.read_text() for p in SERVER.glob("*/*.cc"))
    found = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', text))
    found |= set(re.findall(r'reason = "([A-Z]+)"', text))
    values = enum_values()
    return {r for r in found if not any(v.endswith(r) for v in values)}


def test_the_readme_lists_exactly_the_servers_reasons():
    assert reasons_of_readme() == reasons_of_server()


def test_every_reason_in_the_services_comments_is_in_the_readme():
    text = (PROTO / SERVICE_FILE).read_text()
    comments = " ".join(re.findall(r"//(.*)", text))
    # Reasons follow their code; some codes list several.
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+|FENCED)`", comments))
    assert named and named <= reasons_of_readme()
