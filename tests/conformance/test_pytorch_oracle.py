"""PyTorch as a live oracle, over the whole cross product of its layers.

Truth is PyTorch in f64 on the same values (those of f16, bf16 and f32 are
exact in f64), in every case; results are held to the service's own promise
plus what PyTorch's f64 sums may err by (bounds.py). A second set of cases
compares with PyTorch in the dtype itself, to show that the two can be mixed.
"""

import dataclasses
import itertools
import zlib

import numpy as np
import pytest
import torch
from torch import nn

import two_routes
from bounds import ORACLE, assert_within, promised
from wire_tensors import DTYPES, representable

LAYERS = {"1d-NxC": (nn.BatchNorm1d, (7, 3)),
          "1d-NxCxL": (nn.BatchNorm1d, (5, 3, 6)),
          "2d": (nn.BatchNorm2d, (4, 3, 5, 2)),
          "3d": (nn.BatchNorm3d, (3, 3, 2, 4, 3))}
MODES = ("train", "inference")
AFFINE = (True, False)
MOMENTA = (0.3, None)  # None: the plain average of all batches
DIRECTIONS = ("forward", "backward")

CHANNELS = 3
STEPS = 3
EPS = 2e-3  # no framework's default: it cannot be right by accident

AXES = {"layers": LAYERS, "modes": MODES, "affine": AFFINE, "momenta": MOMENTA,
        "dtypes": DTYPES, "directions": DIRECTIONS, "routes": two_routes.ROUTES}
PRODUCT = 4 * 2 * 2 * 2 * 4 * 2 * 2


@dataclasses.dataclass(frozen=True)
class Case:
    layer: str
    mode: str
    affine: bool
    momentum: float
    dtype: str
    direction: str
    route: str

    def __str__(self):
        return "-".join([
            self.layer, self.mode, "affine" if self.affine else "plain",
            "cumulative" if self.momentum is None else "weighted",
            self.dtype, self.direction, self.route])


CASES = [Case(*values) for values in itertools.product(*AXES.values())]
_passed = set()


# ---- inputs ----------------------------------------------------------------

def random_batches(case_id, shape, dtype, affine):
    """STEPS training batches and one to infer, the same for an id always."""
    random = np.random.default_rng(zlib.crc32(case_id.encode()))
    return [random_batch(random, shape, dtype, affine)
            for _ in range(STEPS + 1)]


def random_batch(random, shape, dtype, affine):
    spread = per_channel(np.array([1.0, 0.25, 3.0]), len(shape))
    offset = per_channel(np.array([0.0, -2.0, 5.0]), len(shape))
    parameters = "f64" if dtype == "f64" else "f32"
    return two_routes.Batch(
        x=representable(random.normal(size=shape) * spread + offset, dtype),
        dtype=dtype,
        dy=representable(random.normal(size=shape), dtype),
        gamma=representable(random.normal(size=3), parameters)
        if affine else None,
        beta=representable(random.normal(size=3), parameters)
        if affine else None,
        parameter_dtype=parameters)


def per_channel(vector, rank):
    return np.reshape(vector, (1, -1) + (1,) * (rank - 2))


# ---- the oracle ------------------------------------------------------------

def torch_layer(kind, momentum, affine, dtype):
    return LAYERS[kind][0](CHANNELS, eps=EPS, momentum=momentum, affine=affine,
                           dtype=dtype)


def torch_step(layer, batch, dtype=torch.float64):
    """The layer's y and gradients for one batch, as PyTorch's autograd."""
    if batch.gamma is not None:
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(batch.gamma))
            layer.bias.copy_(torch.from_numpy(batch.beta))
    x = torch.from_numpy(batch.x).to(dtype).requires_grad_()
    dy = torch.from_numpy(batch.dy).to(dtype)
    layer.zero_grad()
    y = layer(x)
    y.backward(dy)
    dgamma, dbeta = parameter_gradients(layer, y, dy)
    return two_routes.Result(
        y=as_numpy(y), dx=as_numpy(x.grad), dgamma=as_numpy(dgamma),
        dbeta=as_numpy(dbeta))


def parameter_gradients(layer, y, dy):
    """PyTorch's; without affine parameters y is x_hat and has the sums."""
    if layer.affine:
        return layer.weight.grad, layer.bias.grad
    axes = [axis for axis in range(y.dim()) if axis != 1]
    y, dy = y.double(), dy.double()
    return (dy * y).sum(axes), dy.sum(axes)


def as_numpy(tensor):
    return tensor.detach().double().numpy()


# ---- magnitudes: what a result's rounding errors are relative to -----------

class Magnitudes:
    def __init__(self, batch, mean, var):
        rank = batch.x.ndim
        x = batch.x.astype(np.float64)
        dy = batch.dy.astype(np.float64)
        self.axes = tuple(a for a in range(rank) if a != 1)
        mean, inv_std = (per_channel(v, rank)
                         for v in (mean, 1 / np.sqrt(var + EPS)))
        gamma, beta = (
            per_channel(np.ones(3) * (default if v is None else v), rank)
            for v, default in ((batch.gamma, 1.0), (batch.beta, 0.0)))
        self.scale = np.abs(gamma) * inv_std
        self.x_hat = (x - mean) * inv_std
        self.dy = dy
        self.y_terms = np.abs(gamma * self.x_hat)
        self.y_natural = (self.scale * (np.abs(x) + np.abs(mean))
                          + np.abs(beta))

    def dx_terms(self, train):
        """|gamma| inv_std T of the promise."""
        if not train:
            return self.scale * np.abs(self.dy)
        product = np.mean(self.dy * self.x_hat, self.axes, keepdims=True)
        centred = self.dy - np.mean(self.dy, self.axes, keepdims=True)
        return self.scale * (np.abs(centred) + np.abs(self.x_hat * product))

    def dx_natural(self):
        dy, x_hat = np.abs(self.dy), np.abs(self.x_hat)
        return self.scale * (
            dy + np.mean(dy, self.axes, keepdims=True)
            + x_hat * np.mean(dy * x_hat, self.axes, keepdims=True))

    def dgamma_natural(self):
        return np.sum(np.abs(self.dy * self.x_hat), self.axes)

    def dbeta_natural(self):
        return np.sum(np.abs(self.dy), self.axes)


def batch_magnitudes(batch):
    x = batch.x.astype(np.float64)
    axes = tuple(a for a in range(x.ndim) if a != 1)
    return Magnitudes(batch, x.mean(axes), x.var(axes))


def assert_forward(batch, ours, truth, size):
    bound = promised(truth.y, size.y_terms, batch.dtype, 5)
    assert_within(ours.y, truth.y, bound + ORACLE * size.y_natural, "y")


def assert_backward(batch, ours, truth, size, train):
    bound = promised(truth.dx, size.dx_terms(train), batch.dtype, 8)
    assert_within(ours.dx, truth.dx, bound + ORACLE * size.dx_natural(), "dx")
    assert_within(ours.dgamma, truth.dgamma, ORACLE * size.dgamma_natural(),
                  "dgamma")
    assert_within(ours.dbeta, truth.dbeta, ORACLE * size.dbeta_natural(),
                  "dbeta")


def assert_running(ours, layer, batches, rounding=ORACLE):
    """Both buffers and the count, after the batches."""
    axes = tuple(a for a in range(batches[0].x.ndim) if a != 1)
    largest = np.max([np.abs(b.x).max(axes) for b in batches], axis=0)
    largest = largest.astype(np.float64)
    assert_within(ours.mean, layer.running_mean.double(), rounding * largest,
                  "running mean")
    assert_within(ours.var, layer.running_var.double(),
                  rounding * (1 + largest**2), "running var")
    assert ours.batch_count == int(layer.num_batches_tracked)


# ---- the cross product -----------------------------------------------------

def averaging(momentum):
    return {"cumulative": True} if momentum is None else {
        "new_weight": momentum}


def check(case, batch, ours, truth, size):
    if case.direction == "forward":
        assert_forward(batch, ours, truth, size)
    else:
        assert_backward(batch, ours, truth, size, case.mode == "train")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_pytorch_in_f64(open_on, case):
    *steps, last = random_batches(str(case), LAYERS[case.layer][1], case.dtype,
                                  case.affine)
    oracle = torch_layer(case.layer, case.momentum, case.affine, torch.float64)
    layer = open_on(case.route, CHANNELS, eps=EPS, **averaging(case.momentum))
    for number, batch in enumerate(steps, start=1):
        truth, ours = torch_step(oracle, batch), layer.train(batch)
        if case.mode == "train":
            check(case, batch, ours, truth, batch_magnitudes(batch))
        assert_running(layer.running(), oracle, steps[:number])
    if case.mode == "inference":
        oracle.eval()
        size = Magnitudes(last, oracle.running_mean.numpy(),
                          oracle.running_var.numpy())
        check(case, last, layer.inference(last), torch_step(oracle, last), size)
    _passed.add(case)


def test_the_cross_product_is_complete(request, report):
    """Every combination ran and passed, counted apart from how CASES is
    made."""
    options = request.config.option
    if options.keyword or any("::" in arg for arg in request.config.args):
        pytest.skip("only a part of the cross product was selected")
    report("PyTorch {}: {} of {} cases of the cross product agree with its f64 "
           "({})".format(torch.__version__, len(_passed), PRODUCT,
                         " x ".join(f"{len(v)} {k}" for k, v in AXES.items())))
    assert len(_passed) == PRODUCT


# ---- PyTorch in the dtype itself -------------------------------------------

TORCH_DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16,
                "f32": torch.float32}


def has_kernel(dtype):
    try:
        nn.BatchNorm1d(1)(torch.zeros(2, 1, dtype=TORCH_DTYPES[dtype]))
    except RuntimeError:
        return False
    return True


# PyTorch 1.13 has no f16 batch norm on the CPU; later versions do.
NATIVE = [dtype for dtype in TORCH_DTYPES if has_kernel(dtype)]

# PyTorch computes all three in f32, its parameters and buffers too: 32 units
# of 2^-24 of the magnitudes it adds up. y and dx are then rounded to their
# dtype, theirs as well as ours, half an ulp each: 2^-p together, for a
# significand of p bits.
F32_ROUNDING = 32 * 2.0**-24
BOTH_ROUNDINGS = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24}


def test_pytorchs_own_dtypes_are_compared_too(report):
    assert {"bf16", "f32"} <= set(NATIVE)
    missing = sorted(set(TORCH_DTYPES) - set(NATIVE))
    report(f"PyTorch in its own arithmetic: {', '.join(NATIVE)} compared"
           + (f"; it has no CPU kernel for {', '.join(missing)}"
              if missing else ""))


@pytest.mark.parametrize("route", two_routes.ROUTES)
@pytest.mark.parametrize("affine", AFFINE, ids=["affine", "plain"])
@pytest.mark.parametrize("dtype", NATIVE)
@pytest.mark.parametrize("kind", LAYERS)
def test_can_take_the_place_of_pytorch_in_its_own_dtype(
        open_on, kind, dtype, affine, route):
    name = f"native-{kind}-{dtype}-{affine}-{route}"
    *steps, last = random_batches(name, LAYERS[kind][1], dtype, affine)
    theirs = torch_layer(kind, 0.3, affine, torch.float32)
    ours = open_on(route, CHANNELS, eps=EPS, new_weight=0.3)
    for batch in steps:
        assert_interchangeable(
            ours.train(batch), torch_step(theirs, batch, TORCH_DTYPES[dtype]),
            batch_magnitudes(batch), dtype)
    assert_running(ours.running(), theirs, steps, F32_ROUNDING)
    theirs.eval()
    assert_interchangeable(
        ours.inference(last), torch_step(theirs, last, TORCH_DTYPES[dtype]),
        Magnitudes(last, ours.running().mean, ours.running().var), dtype)


def assert_interchangeable(ours, theirs, size, dtype):
    rounding = F32_ROUNDING + BOTH_ROUNDINGS[dtype]
    assert_within(ours.y, theirs.y, rounding * size.y_natural, "y")
    assert_within(ours.dx, theirs.dx, rounding * size.dx_natural(), "dx")
    assert_within(ours.dgamma, theirs.dgamma,
                  rounding * size.dgamma_natural(), "dgamma")
    assert_within(ours.dbeta, theirs.dbeta, rounding * size.dbeta_natural(),
                  "dbeta")
