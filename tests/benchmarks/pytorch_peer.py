"""PyTorch as a peer of kernel_benchmark, which starts this and asks it.

Says {"version", "vectors"} and then answers one line of JSON with another:

    {"sizes": [N, C, ...], "layout": "nchw", "direction": "forward",
     "threads": 1, "calls": 10}
    {"seconds": 0.00123}

seconds is the mean time of a call of torch.native_batch_norm in training mode,
or of its gradient, after some calls that are not timed; the
microsecond or two that Python takes to make a call is in it, as it is for
PyTorch's users.
"""

import ctypes
import gc
import json
import pathlib
import sys
import time
import warnings

warnings.filterwarnings("ignore")  # NumPy is not installed, nor needed

import torch  # noqa: E402

EPS = 1e-5
MOMENTUM = 0.1
HARD_PAUSE = 2
# As pairing.cc, which says why.
WARM_UP_SECONDS = 0.001
LONGEST_WARM_UP_SECONDS = 0.01
WARM_UP_CALLS = 10


def end_of_openmp_pool():
    """Ends idle OpenMP threads, which would spin on cores that others need."""
    library = pathlib.Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    return ctypes.CDLL(str(library)).omp_pause_resource_all


def in_layout(tensor, layout):
    if layout != "nhwc":
        return tensor
    if tensor.dim() == 3:  # channels_last begins with two spatial axes
        tensor = tensor.unsqueeze(2)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return tensor.contiguous(memory_format=formats[tensor.dim()])


class Layer:
    """The tensors of one problem, and the two calls on them."""

    def __init__(self, sizes, layout):
        torch.manual_seed(1)
        self.x = in_layout(torch.randn(sizes), layout)
        self.dy = in_layout(torch.randn(sizes), layout)
        self.gamma = torch.rand(sizes[1]) + 0.5
        self.beta = torch.rand(sizes[1]) - 0.5
        _, self.mean, self.inv_std = self.forward()

    def forward(self):
        return torch.native_batch_norm(
            self.x, self.gamma, self.beta, None, None, True, MOMENTUM, EPS
        )

    def backward(self):
        return torch.ops.aten.native_batch_norm_backward.default(
            self.dy, self.x, self.gamma, None, None, self.mean, self.inv_std,
            True, EPS, [True, True, True],
        )  # fmt: skip


def warm_up(call):
    start = time.perf_counter()
    elapsed, calls = 0, 0
    while elapsed < WARM_UP_SECONDS or (
        calls < WARM_UP_CALLS and elapsed < LONGEST_WARM_UP_SECONDS
    ):
        call()
        calls += 1
        elapsed = time.perf_counter() - start


def sample(call, calls):
    warm_up(call)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


@torch.no_grad()
def main():
    pause = end_of_openmp_pool()
    gc.disable()
    vectors = torch.backends.cpu.get_cpu_capability()
    print(json.dumps({"version": torch.__version__, "vectors": vectors}), flush=True)
    problem, layer = None, None
    for line in sys.stdin:
        asked = json.loads(line)
        torch.set_num_threads(asked["threads"])
        if problem != (asked["sizes"], asked["layout"]):
            problem, layer = (asked["sizes"], asked["layout"]), None
            layer = Layer(*problem)
        seconds = sample(getattr(layer, asked["direction"]), asked["calls"])
        if asked["threads"] > 1:
            pause(HARD_PAUSE)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
