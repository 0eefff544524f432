"""Sessions in files: out of a server, into another name, and from PyTorch."""

import itertools
import json
import struct

import numpy as np
import pytest

import reference

X, GAMMA, BETA, DY = reference.batch((8, 3, 5))
names = ("snapshots/session-%d" % i for i in itertools.count())


@pytest.fixture
def session(bn):
    """A session of 3 channels, cumulative and with axes of its own, after two
    steps."""
    name = next(names)
    bn.ok("session", "create", name, "--channels", 3, "--cumulative", "--eps",
          "1e-3", "--degenerate", "ieee", "--window", 5)
    bn.save("x.npy", X)
    for _ in range(2):
        bn.ok("forward", "x.npy", "--session", name, "-o", "y.npz")
    return name


def show(bn, name):
    shown = bn.ok("session", "show", name, "--format", "json").json
    return {key: shown[key] for key in
            ("config", "last_step", "running_statistics")}


def write_safetensors(path, tensors):
    """What safetensors.torch.save_file writes: {name: (dtype, array)}."""
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def state_dict(prefix, channels, dtype="F32", kind="f4"):
    values = np.arange(1, channels + 1)
    return {f"{prefix}weight": (dtype, np.ones(channels, kind)),
            f"{prefix}bias": (dtype, np.zeros(channels, kind)),
            f"{prefix}running_mean": (dtype, (values / 8).astype(kind)),
            f"{prefix}running_var": (dtype, (values / 4).astype(kind)),
            f"{prefix}num_batches_tracked": ("I64", np.array(17))}


@pytest.mark.parametrize("file", ["s.safetensors", "s.npz"])
def test_a_session_goes_through_a_file_unchanged(bn, session, file):
    bn.ok("session", "export", session, file)
    copy = next(names)
    bn.ok("session", "import", copy, file)
    assert show(bn, copy) == show(bn, session)
    # Both go on alike.
    for name in (session, copy):
        bn.ok("forward", "x.npy", "--session", name, "--step", 3, "-o", "y.npz")
    assert show(bn, copy) == show(bn, session)


def test_numpy_reads_pytorchs_names(bn, session):
    bn.ok("session", "export", session, "s.npz")
    arrays = dict(bn.load("s.npz"))
    running = show(bn, session)["running_statistics"]
    assert arrays["running_mean"].tolist() == running["mean"]
    assert arrays["running_var"].tolist() == running["var"]
    assert arrays["num_batches_tracked"] == 2
    assert arrays["num_batches_tracked"].shape == ()


def test_torch_loads_an_export_into_its_layer(bn, session):
    torch = pytest.importorskip("torch")
    bn.ok("session", "export", session, "s.npz")
    layer = torch.nn.BatchNorm1d(3, affine=False).double()
    layer.load_state_dict({name: torch.from_numpy(np.array(array))
                           for name, array in bn.load("s.npz").items()
                           if name != "batchnormd"})
    running = show(bn, session)["running_statistics"]
    assert layer.running_var.tolist() == running["var"]


def test_an_export_goes_through_a_pipe(bn, session):
    data = bn.ok("session", "export", session, "-").data
    copy = next(names)
    bn.ok("session", "import", copy, "-", stdin=data)
    assert show(bn, copy) == show(bn, session)


def test_a_state_dict_of_pytorch_becomes_a_session(bn):
    write_safetensors(bn.folder / "torch.safetensors", state_dict("bn1.", 4))
    name = next(names)
    bn.ok("session", "import", name, "torch.safetensors", "--preset", "torch",
          "--step", 17)
    session = show(bn, name)
    assert session["last_step"] == 17
    assert session["config"]["channels"] == 4
    assert session["running_statistics"] == {
        "mean": [0.125, 0.25, 0.375, 0.5], "var": [0.25, 0.5, 0.75, 1.0],
        "batch_count": 17}


@pytest.mark.parametrize("dtype, kind", [("F16", "f2"), ("F64", "f8")])
def test_a_state_dict_may_have_any_dtype(bn, dtype, kind):
    write_safetensors(bn.folder / "t.safetensors",
                      state_dict("", 2, dtype, kind))
    name = next(names)
    bn.ok("session", "import", name, "t.safetensors")
    assert show(bn, name)["running_statistics"]["var"] == [0.25, 0.5]


def test_of_several_layers_one_is_named(bn):
    layers = {**state_dict("bn1.", 2), **state_dict("layer1.0.bn1.", 3)}
    write_safetensors(bn.folder / "net.safetensors", layers)
    name = next(names)
    refused = bn("session", "import", name, "net.safetensors")
    assert refused.code == 2
    assert "layer1.0.bn1." in refused.complaint["why"]
    assert "--prefix" in refused.complaint["hint"]
    for prefix in ("layer1.0.bn1", "layer1.0.bn1."):
        name = next(names)
        bn.ok("session", "import", name, "net.safetensors", "--prefix", prefix)
        assert show(bn, name)["config"]["channels"] == 3
    refused = bn("session", "import", name, "net.safetensors", "--prefix", "bn")
    assert refused.code == 2


def test_an_existing_session_is_set_only_when_asked(bn, session):
    bn.ok("session", "export", session, "s.npz")
    before = show(bn, session)
    bn.ok("forward", "x.npy", "--session", session, "-o", "y.npz")
    refused = bn("session", "import", session, "s.npz")
    assert refused.code == 64 + 6
    assert "--replace" in refused.complaint["hint"]
    bn.ok("session", "import", session, "s.npz", "--replace")
    assert show(bn, session) == before


def test_a_file_that_was_changed_is_refused(bn, session):
    bn.ok("session", "export", session, "s.safetensors")
    path = bn.folder / "s.safetensors"
    data = bytearray(path.read_bytes())
    data[-12] ^= 1  # in the variances
    path.write_bytes(data)
    refused = bn("session", "import", next(names), "s.safetensors")
    assert refused.code == 64 + 3
    assert "snapshot" in refused.complaint["error"]
    assert "export it again" in refused.complaint["hint"]


@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
def test_a_file_that_lacks_something_is_refused(bn, missing):
    tensors = state_dict("", 2)
    del tensors[missing]
    write_safetensors(bn.folder / "t.safetensors", tensors)
    refused = bn("session", "import", next(names), "t.safetensors")
    assert refused.code == 2
    assert missing in refused.complaint["error"]


def test_statistics_of_two_sizes_are_refused(bn):
    tensors = state_dict("", 2)
    tensors["running_var"] = ("F32", np.ones(3, "f4"))
    write_safetensors(bn.folder / "t.safetensors", tensors)
    refused = bn("session", "import", next(names), "t.safetensors")
    assert refused.code == 2
    assert "2 means and 3 variances" in refused.complaint["error"]


def test_a_file_of_a_newer_version_is_refused(bn, session):
    bn.ok("session", "export", session, "s.safetensors")
    path = bn.folder / "s.safetensors"
    path.write_bytes(path.read_bytes().replace(
        b'"batchnormd.format":"1"', b'"batchnormd.format":"2"'))
    refused = bn("session", "import", next(names), "s.safetensors")
    assert refused.code == 2
    assert "newer" in refused.complaint["hint"]


def test_other_formats_cannot_hold_a_session(bn, session):
    refused = bn("session", "export", session, "s.csv")
    assert refused.code == 2
    assert ".safetensors" in refused.complaint["hint"]


def test_a_writer_fences_the_former(bn, session):
    first = bn.ok("session", "acquire", session, "--format", "json").json
    assert first["last_step"] == 2
    words = ("forward", "x.npy", "--session", session, "-o", "y.npz",
             "--writer-token", first["writer_token"])
    bn.ok(*words)
    second = bn.ok("session", "acquire", session, "--format", "json").json
    fenced = bn(*words)
    assert fenced.code == 64 + 9
    assert "FENCED" in fenced.complaint["error"]
    assert "acquired" in fenced.complaint["hint"]
    bn.ok("forward", "x.npy", "--session", session, "-o", "y.npz",
          BN_WRITER_TOKEN=second["writer_token"])


def test_a_session_behind_its_checkpoint_is_not_acquired(bn, session):
    lost = bn("session", "acquire", session, "--at-least-step", 3)
    assert lost.code == 64 + 15
    assert "STEPS_LOST" in lost.complaint["error"]
