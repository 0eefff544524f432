"""Every flavour of tensor file, in and out.

A file is read right if `bn eval` gives the same bits for it as for the plain
little-endian, C-ordered file of the same numbers.
"""

import numpy as np
import pytest

import reference
from tensor_bytes import from_bf16, read_safetensors, safetensors, to_bf16

X, GAMMA, BETA, DY = reference.batch((4, 3, 5))


@pytest.fixture
def expected(bn):
    bn.save("plain.npy", X)
    bn.ok("eval", "--x", "plain.npy", "-o", "expected.npy")
    return bn.load("expected.npy")


def evaluate(bn, name, *flags):
    bn.ok("eval", "--x", name, "-o", "y.npy", *flags)
    return bn.load("y.npy")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_npy_of_every_version_order_and_endianness(
    bn, expected, version, order, endian
):
    array = np.asarray(X.astype(endian + "f4"), order=order)
    with open(bn.path("x.npy"), "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    y = evaluate(bn, "x.npy")
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", ["f2", "f4", "f8"])
@pytest.mark.parametrize("endian", ["<", ">"])
def test_npy_of_every_type_keeps_its_type(bn, name, endian):
    x = X.astype(endian + name)
    y = evaluate(bn, bn.save("x.npy", x))
    assert y.dtype == np.dtype("<" + name)
    truth = reference.Layer(x).y.astype(name)
    np.testing.assert_allclose(
        y.astype("f8"), truth.astype("f8"), rtol=2 * np.finfo(name).eps, atol=0
    )


@pytest.mark.parametrize("shape", [(12, 5), (1, 60), (5, 12, 1), (3, 2, 2, 5)])
def test_fortran_order_of_every_rank(bn, shape):
    x = X.reshape(shape)
    flags = ("--axis", "0")
    plain = evaluate(bn, bn.save("c.npy", x), *flags)
    fortran = evaluate(bn, bn.save("f.npy", np.asfortranarray(x)), *flags)
    assert fortran.shape == shape
    np.testing.assert_array_equal(fortran, plain)


def test_a_transposed_array_is_read_in_its_own_shape(bn):
    transposed = np.asfortranarray(X.reshape(12, 5)).T
    plain = evaluate(bn, bn.save("c.npy", np.ascontiguousarray(transposed)))
    np.testing.assert_array_equal(
        evaluate(bn, bn.save("t.npy", transposed)), plain
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_stored_and_compressed(bn, expected, save):
    save(bn.path("x.npz"), x=X, labels=np.arange(4), gamma=np.ones(3))
    np.testing.assert_array_equal(evaluate(bn, "x.npz:x"), expected)
    np.testing.assert_array_equal(evaluate(bn, "x.npz"), expected)


def test_npz_written_as_zip64(bn, expected):
    # NumPy gives every member the extra field of zip64, whatever its size.
    content = bn.path(bn.savez("x.npz", x=X)).read_bytes()
    assert b"\x01\x00\x10\x00" in content
    np.testing.assert_array_equal(evaluate(bn, "x.npz"), expected)


@pytest.mark.parametrize("dtype", ["F16", "F32", "F64"])
def test_safetensors_keeps_the_type(bn, dtype):
    name = {"F16": "f2", "F32": "f4", "F64": "f8"}[dtype]
    x = X.astype(name)
    bn.path("x.safetensors").write_bytes(
        safetensors(
            {"labels": ("I64", np.arange(3)), "x": (dtype, x)},
            metadata={"format": "np"},
        )
    )
    y = evaluate(bn, "x.safetensors:x")
    np.testing.assert_array_equal(y, evaluate(bn, bn.save("x.npy", x)))


def test_bfloat16_goes_through_safetensors(bn):
    bits = to_bf16(X)
    bn.path("x.safetensors").write_bytes(safetensors({"x": ("BF16", bits)}))
    bn.ok("eval", "--x", "x.safetensors", "-o", "y.safetensors")
    results = read_safetensors(bn.path("y.safetensors").read_bytes())
    dtype, y = results["y"]
    assert dtype == "BF16"
    truth = reference.Layer(from_bf16(bits)).y
    np.testing.assert_array_equal(y, to_bf16(truth.astype("f4")))
    assert results["mean"][0] == "F64"


def test_bfloat16_saved_by_numpy_needs_its_name(bn):
    bits = to_bf16(X)
    bn.save("x.npy", bits.view("V2"))
    refused = bn("eval", "--x", "x.npy", "-o", "y.safetensors")
    assert refused.code == 2
    assert refused.complaint == {
        "error": "x.npy: type 'V2' is unnamed 2-byte data",
        "why": "NumPy drops the name of ml_dtypes.bfloat16",
        "hint": "add --dtype bf16, or save as .safetensors",
    }
    bn.ok("eval", "--x", "x.npy", "--dtype", "bf16", "-o", "y.safetensors")
    dtype, y = read_safetensors(bn.path("y.safetensors").read_bytes())["y"]
    truth = reference.Layer(from_bf16(bits)).y
    assert dtype == "BF16"
    np.testing.assert_array_equal(y, to_bf16(truth.astype("f4")))


@pytest.mark.parametrize("name", ["y.npy", "y.npz"])
def test_bfloat16_is_not_written_where_its_name_would_be_lost(bn, name):
    content = safetensors({"x": ("BF16", to_bf16(X))})
    bn.path("x.safetensors").write_bytes(content)
    refused = bn("eval", "--x", "x.safetensors", "-o", name)
    assert refused.code == 2
    assert "bf16 cannot be written as npy" in refused.complaint["error"]
    assert not bn.path(name).exists()


def test_csv_holds_doubles_unless_said_otherwise(bn):
    x = X.reshape(12, 5).astype("f8")
    np.savetxt(bn.path("x.csv"), x, delimiter=",", header="a,b,c,d,e")
    y = evaluate(bn, "x.csv")
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, evaluate(bn, bn.save("x.npy", x)))


def test_csv_of_a_named_type(bn):
    x = X.reshape(12, 5)
    np.savetxt(bn.path("x.csv"), x, delimiter=",", fmt="%.9g")
    y = evaluate(bn, "x.csv", "--dtype", "f32")
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, evaluate(bn, bn.save("x.npy", x)))


def test_csv_output_reads_back_to_the_last_bit(bn):
    x = X.reshape(12, 5)
    y = evaluate(bn, bn.save("x.npy", x))
    bn.ok("eval", "--x", "x.npy", "-o", "y.csv")
    np.testing.assert_array_equal(
        np.loadtxt(bn.path("y.csv"), delimiter=",", dtype="f4"), y
    )


def test_archives_hold_all_results(bn):
    bn.savez("in.npz", x=X, weight=GAMMA, bias=BETA, grad_output=DY)
    bn.ok("eval", "--inputs", "in.npz", "-o", "out.npz")
    bn.ok("eval", "--inputs", "in.npz", "-o", "out.safetensors")
    npz = dict(bn.load("out.npz"))
    other = read_safetensors(bn.path("out.safetensors").read_bytes())
    assert list(npz) == [
        "y", "mean", "var", "inv_std", "dx", "dgamma", "dbeta",
    ]  # fmt: skip
    assert set(npz) == set(other)
    for name, array in npz.items():
        np.testing.assert_array_equal(array, other[name][1], name)


def test_a_file_is_replaced_and_nothing_else_appears(bn):
    bn.save("x.npy", X)
    bn.path("y.npy").write_bytes(b"old")
    bn.ok("eval", "--x", "x.npy", "-o", "y.npy")
    assert bn.load("y.npy").shape == X.shape
    assert sorted(p.name for p in bn.folder.iterdir()) == ["x.npy", "y.npy"]


def test_a_failed_call_leaves_the_old_file_and_no_other(bn):
    bn.save("x.npy", X)
    bn.path("y.npy").write_bytes(b"old")
    refused = bn("eval", "--x", "x.npy", "--eps", "-1", "-o", "y.npy")
    assert refused.code == 64 + 3
    assert bn.path("y.npy").read_bytes() == b"old"
    assert sorted(p.name for p in bn.folder.iterdir()) == ["x.npy", "y.npy"]


def test_empty_batches_are_files_too(bn):
    bn.save("x.npy", np.zeros((0, 3, 5), "f4"))
    assert evaluate(bn, "x.npy").shape == (0, 3, 5)
