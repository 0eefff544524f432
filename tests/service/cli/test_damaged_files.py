"""What is wrong with a file is said in words, with exit code 2, before any
server is called."""

import io
import struct

import numpy as np
import pytest

from tensor_bytes import safetensors


def npy(array, **changes):
    """The bytes of numpy.save."""
    buffer = io.BytesIO()
    np.save(buffer, array, **changes)
    return buffer.getvalue()


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def flipped(content, position):
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


X = np.arange(12, dtype="f4").reshape(3, 4)
NPY = npy(X)
NPZ = npz(x=X)
SAFE = safetensors({"x": ("F32", X)})

DAMAGED = {
    "empty npy": ("x.npy", b"", "not a npy file"),
    "text as npy": ("x.npy", b"1,2,3\n", "not a npy file"),
    "npz as npy": ("x.npy", NPZ, "not a npy file"),
    "npy cut in its header": ("x.npy", NPY[:40], "the npy header ends too early"),
    "npy cut in its data": ("x.npy", NPY[:-1], "47 bytes of elements, expected 48"),
    "npy with a tail": ("x.npy", NPY + b"!", "49 bytes of elements, expected 48"),
    "npy of the future": ("x.npy", NPY[:6] + b"\x09\x00" + NPY[8:], "npy version 9.0"),
    "npy without a shape": ("x.npy", NPY.replace(b"'shape'", b"'shard'"), "unknown key 'shard'"),
    "npy with a negative size": ("x.npy", NPY.replace(b"(3, 4)", b"(-3,4)"), "'shape' is not a tuple"),
    "npy with a huge shape": ("x.npy", NPY.replace(b"(3, 4), }" + b" " * 17, b"(9999999999, 9999999999,)}"), "too large to be real"),
    "int32": ("x.npy", npy(X.astype("i4")), "elements of type '<i4'"),
    "bool": ("x.npy", npy(X > 1), "elements of type '|b1'"),
    "complex": ("x.npy", npy(X.astype("c8")), "elements of type '<c8'"),
    "long double": ("x.npy", npy(X.astype(np.longdouble)), "elements of type '<f16'"),
    "text": ("x.npy", npy(X.astype("U")), "elements of type '<U32'"),
    "objects": ("x.npy", npy(X.astype("O"), allow_pickle=True), "elements of type '|O'"),
    "records": ("x.npy", npy(np.zeros(2, [("a", "f4")])), "a structured array"),
    "empty npz": ("x.npz", b"", "not a npz archive"),
    "npy as npz": ("x.npz", NPY, "not a npz archive"),
    "npz cut in half": ("x.npz", NPZ[: len(NPZ) // 2], "a damaged npz archive"),
    "npz with a flipped byte": ("x.npz", flipped(NPZ, 200), "a damaged npz archive"),
    "npz of integers": ("x.npz", npz(x=X.astype("i8")), "member 'x': elements of type '<i8'"),
    "npz without members": ("x.npz", npz(), "which member is meant?"),
    "empty safetensors": ("x.safetensors", b"", "0 bytes cannot hold a header"),
    "safetensors cut in its header": ("x.safetensors", SAFE[:20], "in a file with 12 left"),
    "safetensors cut in its data": ("x.safetensors", SAFE[:-1], "tensors end at 48, the file has 47"),
    "safetensors with a tail": ("x.safetensors", SAFE + b"!", "tensors end at 48, the file has 49"),
    "safetensors with a huge header": ("x.safetensors", struct.pack("<Q", 2**63) + b"{}", "at most 100000000 are legal"),
    "safetensors without JSON": ("x.safetensors", struct.pack("<Q", 4) + b"nope", "the JSON is broken"),
    "safetensors of integers": ("x.safetensors", safetensors({"x": ("I64", X.astype("i8"))}), "elements of type 'I64'"),
    "safetensors of a wrong shape": ("x.safetensors", SAFE.replace(b"[3, 4]", b"[3, 5]"), "48 bytes, which are not shape [3,5] of F32"),
    "empty csv": ("x.csv", b"", "no numbers"),
    "words as csv": ("x.csv", b"1,2\n3,four\n", "line 2, column 2: 'four' is not a number"),
    "ragged csv": ("x.csv", b"1,2\n3\n", "line 2 has 1 cells, expected 2"),
    "unknown suffix": ("x.dat", NPY, "the suffix names no known format"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(bn_alone, case):
    name, content, message = DAMAGED[case]
    bn_alone.path(name).write_bytes(content)
    refused = bn_alone("eval", "--x", name)
    assert refused.code == 2, refused.err
    assert refused.out == ""
    assert refused.complaint["error"].startswith(name + ": ")
    assert message in refused.complaint["error"]
    assert set(refused.complaint) <= {"error", "why", "hint"}
    assert refused.complaint["hint"]


def test_a_safetensors_name_may_not_stand_twice(bn_alone):
    twice = b'{"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"x":{}}'
    content = struct.pack("<Q", len(twice)) + twice
    bn_alone.path("x.safetensors").write_bytes(content)
    refused = bn_alone("eval", "--x", "x.safetensors")
    assert refused.code == 2
    assert "key 'x' stands twice" in refused.complaint["error"]


def test_integers_come_with_a_way_out(bn_alone):
    bn_alone.save("x.npy", X.astype("i4"))
    refused = bn_alone("eval", "--x", "x.npy")
    assert refused.complaint["hint"] == (
        "convert before saving: a.astype(numpy.float32)"
    )


def test_a_missing_file_is_named(bn_alone):
    refused = bn_alone("eval", "--x", "none.npy")
    assert refused.code == 2
    assert refused.complaint == {
        "error": "none.npy: cannot be opened",
        "why": "No such file or directory",
        "hint": "check the path; - is standard input",
    }


def test_a_missing_member_is_named_with_those_there_are(bn_alone):
    bn_alone.savez("in.npz", left=X, right=X)
    refused = bn_alone("eval", "--x", "in.npz:middle")
    assert refused.code == 2
    assert refused.complaint["error"] == "in.npz: no member 'middle'"
    assert refused.complaint["why"] == "it has left, right"


def test_integers_in_an_archive_disturb_nobody_who_does_not_want_them(bn):
    bn.savez("in.npz", x=X, labels=np.arange(3), weight=np.ones(4, "f4"))
    bn.ok("eval", "--inputs", "in.npz")


def test_a_destination_that_cannot_be_written_costs_no_call(bn_alone):
    bn_alone.save("x.npy", X)
    refused = bn_alone("eval", "--x", "x.npy", "-o", "none/y.npy")
    assert refused.code == 2
    assert refused.complaint["error"] == "none/y.npy: cannot be written"


def test_several_results_need_an_archive(bn_alone):
    bn_alone.save("x.npy", X)
    refused = bn_alone("eval", "--x", "x.npy", "--outputs", "y,mean", "-o", "-")
    assert refused.code == 2
    assert refused.complaint["error"] == "-: 2 results, and room for one"
