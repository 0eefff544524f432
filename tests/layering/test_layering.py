"""The arrows between our folders are those of the plan, and no others."""

import pathlib
import shutil

import pytest

import layering

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_no_folder_includes_what_the_plan_forbids():
    assert layering.violations(ROOT) == []


def test_every_folder_of_the_plan_exists():
    assert [f for f in layering.RULES if not (ROOT / f).is_dir()] == []


@pytest.mark.parametrize(
    "file, include, reason",
    [
        ("server/kernel/batch_norm.h", "grpcpp/server.h", "may not use"),
        ("server/kernel/batch_norm.h", "absl/status/status.h", "may not use"),
        ("server/kernel/batch_norm.h", "server/session/session.h", "may not include"),
        ("server/session/session.h", "batchnorm/v1/session.pb.h", "may not use"),
        ("server/session/session.h", "server/rpc/server.h", "may not include"),
        ("server/rpc/server.h", "client/client.h", "may not include"),
        ("proto/wire/tensor.h", "server/kernel/tensor_view.h", "may not include"),
        ("client/client.h", "server/session/session.h", "may not include"),
        ("client/cli/main.cc", "grpcpp/grpcpp.h", "may not use"),
    ],
)
def test_a_planted_forbidden_include_is_found(tmp_path, file, include, reason):
    planted = tmp_path / file
    planted.parent.mkdir(parents=True)
    shutil.copy(ROOT / file, planted)
    assert layering.violations(tmp_path) == []
    planted.write_text(planted.read_text() + f"#include <{include}>\n")
    (found,) = layering.violations(tmp_path)
    assert file in found and reason in found and include in found


def test_a_planted_callback_service_is_found(tmp_path):
    planted = tmp_path / "server/rpc/server.h"
    planted.parent.mkdir(parents=True)
    shutil.copy(ROOT / "server/rpc/server.h", planted)
    planted.write_text(planted.read_text() + "struct S : Greeter::CallbackService {};\n")
    (found,) = layering.violations(tmp_path)
    assert "server/rpc/server.h" in found and "callback" in found
