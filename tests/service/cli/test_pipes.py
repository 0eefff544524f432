"""Standard input and output."""

import io
import os
import subprocess

import numpy as np

import reference

X, GAMMA, BETA, DY = reference.batch((6, 4))


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_npy_goes_in_and_out(bn):
    outcome = bn.ok("eval", "--x", "-", "-o", "-", stdin=npy(X))
    y = np.load(io.BytesIO(outcome.data))
    bn.save("x.npy", X)
    bn.ok("eval", "--x", "x.npy", "-o", "y.npy")
    np.testing.assert_array_equal(y, bn.load("y.npy"))
    assert outcome.err == ""


def test_csv_goes_in_and_out_on_request(bn):
    outcome = bn.ok(
        "eval", "--x", "-", "--input-format", "csv",
        "--outputs", "mean", "-o", "-", "--output-format", "csv",
        stdin=b"a,b\n1,10\n3,30\n",
    )  # fmt: skip
    assert outcome.out == "2\n20\n"


def test_commands_make_a_pipeline(bn):
    bn.ok("session", "create", "pipeline", "--channels", "4")
    forward = bn.ok(
        "forward", "-", "--session", "pipeline", "-o", "-", stdin=npy(X)
    )
    bn.save("x.npy", X)
    compared = bn.ok("compare", "y=-", "--x", "x.npy", stdin=forward.data)
    assert "verdict: pass" in compared.out


def test_standard_input_is_read_once(bn_alone):
    refused = bn_alone("eval", "--x", "-", "--dy", "-", stdin=npy(X))
    assert refused.code == 2
    assert refused.complaint["error"] == "standard input is named twice"


def test_garbage_on_standard_input_is_named(bn_alone):
    refused = bn_alone("eval", "--x", "-", stdin=b"hello")
    assert refused.code == 2
    assert refused.complaint["error"] == "-: not a npy file"


def test_a_device_is_written_directly(bn):
    bn.save("x.npy", X)
    link = bn.path("y.npy")
    link.symlink_to(os.devnull)
    bn.ok("eval", "--x", "x.npy", "-o", link)
    assert link.is_symlink()


def test_a_full_device_is_an_error(bn):
    bn.save("x.npy", X)
    link = bn.path("y.npy")
    link.symlink_to("/dev/full")
    refused = bn("eval", "--x", "x.npy", "-o", link)
    assert refused.code == 2
    assert refused.complaint["why"] == "No space left on device"


def test_a_pipe_that_is_fed_slowly_is_read_to_its_end(bn):
    content = npy(X)
    process = subprocess.Popen(
        bn.command("eval", "--x", "-", "-o", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=bn.environment(),
        cwd=bn.folder,
    )
    for part in (content[:5], content[5:130], content[130:]):
        process.stdin.write(part)
        process.stdin.flush()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert np.load(io.BytesIO(out)).shape == X.shape
