"""`first-calls`, as the README quotes it: buf curl against a real server."""

import base64
import json
import os
import pathlib
import shutil
import struct
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parent / "first-calls"
FORMATS = {"DTYPE_F32": "f", "DTYPE_F64": "d"}
EPS = 1e-5


def buf():
    found = os.environ.get("BUF") or shutil.which("buf")
    assert found, "expected the program buf by BUF or on PATH; found none"
    return found


def numbers(tensor):
    data = base64.b64decode(tensor["data"])
    size = len(data) // struct.calcsize(FORMATS[tensor["dtype"]])
    return list(struct.unpack(f"<{size}{FORMATS[tensor['dtype']]}", data))


def read_replies(text):
    """The JSON documents that follow each other in the text."""
    decoder, replies = json.JSONDecoder(), []
    while text.strip():
        reply, end = decoder.raw_decode(text.strip())
        replies.append(reply)
        text = text.strip()[end:]
    return replies


def test_the_readme_quotes_these_calls():
    calls = SCRIPT.read_text().split("BatchNormService\n\n", 1)[1].split("\n")
    quoted = "\n".join(f"    {line}" if line else "" for line in calls)
    assert quoted in (SCRIPT.parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def output(server):
    done = subprocess.run([str(SCRIPT), server.address], timeout=120,
                          env={**os.environ, "BUF": buf()},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def replies(output):
    names = ("health", "create", "forward", "backward", "delete")
    found = read_replies(output[output.index("{"):])
    assert len(found) == len(names)
    return dict(zip(names, found))


def test_reflection_lists_every_method(output):
    listed = output[:output.index("{")].split()
    ours = {name.split("/")[1] for name in listed
            if name.startswith("batchnorm.v1.BatchNormService/")}
    assert ours == {"CreateSession", "GetSession", "ListSessions",
                    "UpdateSession", "AcquireSession", "ExportSession",
                    "ImportSession", "DeleteSession", "Forward", "Backward",
                    "Sync", "Join", "Evaluate"}
    assert "grpc.health.v1.Health/Check" in listed


def test_health_says_serving(replies):
    assert replies["health"] == {"status": "SERVING"}


def test_create_shows_the_defaults(replies):
    config = replies["create"]["session"]["config"]
    assert config["channels"] == "1"
    assert config["normalization"]["eps"] == EPS


# x = 1, 2, 3, 4: mean 2.5, var 1.25. The textbook's sums, by hand.
X = [1.0, 2.0, 3.0, 4.0]
DY = [1.0, 0.0, 0.0, 0.0]
INV_STD = (1.25 + EPS) ** -0.5
X_HAT = [(x - 2.5) * INV_STD for x in X]


def test_forward_normalizes(replies):
    forward = replies["forward"]
    assert forward["step"] == "1"
    assert forward["statistics"]["count"] == "4"
    assert numbers(forward["statistics"]["mean"]) == [2.5]
    assert numbers(forward["statistics"]["var"]) == [1.25]
    assert numbers(forward["statistics"]["invStd"]) == pytest.approx(
        [INV_STD], rel=1e-15)
    assert numbers(forward["y"]) == pytest.approx(X_HAT, rel=1e-7)


def test_backward_gives_the_gradients(replies):
    backward = replies["backward"]
    dgamma = X_HAT[0]
    dx = [INV_STD * (dy - 1 / 4 - x_hat * dgamma / 4)
          for dy, x_hat in zip(DY, X_HAT)]
    assert numbers(backward["dbeta"]) == [1.0]
    assert numbers(backward["dgamma"]) == pytest.approx([dgamma], rel=1e-15)
    assert numbers(backward["dx"]) == pytest.approx(dx, rel=1e-6)


def test_delete_answers_with_nothing(replies):
    assert replies["delete"] == {}


def test_an_error_names_its_code_and_reason(server):
    done = subprocess.run(
        [buf(), "curl", "--protocol", "grpc", "--http2-prior-knowledge",
         "-d", '{"name": "nobody"}',
         f"http://{server.address}/batchnorm.v1.BatchNormService/GetSession"],
        timeout=60, capture_output=True, text=True)
    assert done.returncode != 0
    error = json.loads(done.stderr)
    assert error["code"] == "not_found"
    details = {d["type"]: base64.b64decode(d["value"] + "==")
               for d in error["details"]}
    assert b"SESSION_NOT_FOUND" in details["google.rpc.ErrorInfo"]
