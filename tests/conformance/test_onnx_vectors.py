"""ONNX's published batch-norm vectors, as Debian's libonnx-testdata ships them.

The expected outputs were computed by numpy in f32: every operation of
s * (x - mean) / sqrt(var + eps) + bias rounded to 24 bits, some eight in a
row. So they are trusted within 16 units of 2^-24 of the magnitudes that are
added up, and the running variance proves that ONNX's is the population one
(the unbiased one differs by 1/39 here, 10,000 times the tolerance).
"""

import pathlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import two_routes
from batchnorm.v1 import normalization_pb2 as norm
from bounds import assert_within

NODES = pathlib.Path("/usr/share/libonnx-testdata/data/node")
EXPECTED = ["test_batchnorm_epsilon", "test_batchnorm_epsilon_training_mode",
            "test_batchnorm_example", "test_batchnorm_example_training_mode"]
TRAINING = [name for name in EXPECTED if name.endswith("training_mode")]

ONNX_ROUNDING = 16 * 2.0**-24


class Vector:
    """One published vector: the node's attributes, inputs and outputs."""

    def __init__(self, name):
        directory = NODES / name
        node = onnx.load(str(directory / "model.onnx")).graph.node[0]
        attributes = {a.name: onnx.helper.get_attribute_value(a)
                      for a in node.attribute}
        self.eps = attributes.get("epsilon", 1e-5)
        self.momentum = attributes.get("momentum", 0.9)
        self.training = bool(attributes.get("training_mode", 0))
        data = directory / "test_data_set_0"
        self.x, self.gamma, self.beta, self.mean, self.var = (
            _read(data / f"input_{i}.pb") for i in range(len(node.input)))
        self.outputs = [_read(data / f"output_{i}.pb")
                        for i in range(len(node.output))]

    def normalization(self):
        return norm.Normalization(eps=self.eps, running_ddof=0,
                                  new_weight=1 - self.momentum)

    def batch(self):
        return two_routes.Batch(self.x, "f32", self.gamma, self.beta,
                                parameter_dtype="f32")

    def y_magnitude(self, mean, var):
        mean, var = _per_channel(mean), _per_channel(var)
        x_hat = (np.abs(self.x) + np.abs(mean)) / np.sqrt(var + self.eps)
        return (np.abs(_per_channel(self.gamma)) * x_hat
                + np.abs(_per_channel(self.beta)))

    def assert_y(self, y, mean, var):
        assert y.dtype == np.float32
        assert_within(y, self.outputs[0],
                      ONNX_ROUNDING * self.y_magnitude(mean, var), "y")


def _read(path):
    tensor = onnx.TensorProto.FromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def _per_channel(vector):
    return np.asarray(vector, np.float64).reshape(1, -1, 1, 1)


def test_the_four_published_vectors_are_all_there(report):
    found = sorted(d.name for d in NODES.glob("test_batchnorm_*"))
    assert found == EXPECTED
    report(f"ONNX batch-norm vectors: {len(found)} found, all compared "
           f"through Evaluate, {len(TRAINING)} also through a session")


@pytest.mark.parametrize("name", EXPECTED)
def test_evaluate_reproduces_the_published_outputs(service, name):
    vector = Vector(name)
    mode = norm.MODE_TRAIN if vector.training else norm.MODE_INFERENCE
    before = two_routes.Running(vector.mean, vector.var, 0)
    result, response = two_routes.evaluate(
        service, mode, vector.batch(), vector.normalization(), before)
    vector.assert_y(result.y, result.statistics.mean, result.statistics.var)
    if vector.training:
        after = two_routes.running_of(response.running_statistics)
        _assert_running(vector, after.mean, after.var)


@pytest.mark.parametrize("name", TRAINING)
def test_a_session_reproduces_the_published_outputs(service, name):
    """A session starts at mean 0 and var 1, the vectors start elsewhere; what
    is left of the start after one batch is momentum times it."""
    vector = Vector(name)
    layer = two_routes.SessionLayer(service, 3, vector.normalization())
    result = layer.train(vector.batch())
    vector.assert_y(result.y, result.statistics.mean, result.statistics.var)
    after = layer.running()
    layer.close()
    start = np.asarray(vector.mean, np.float64)
    _assert_running(vector, after.mean + vector.momentum * start,
                    after.var + vector.momentum * (vector.var - 1.0))


def _assert_running(vector, mean, var):
    magnitude = np.abs(vector.mean) + np.abs(vector.x).max(axis=(0, 2, 3))
    assert_within(mean, vector.outputs[1], ONNX_ROUNDING * magnitude,
                  "running mean")
    assert_within(var, vector.outputs[2],
                  ONNX_ROUNDING * vector.outputs[2], "running var")
