"""numpy arrays to and from batchnorm.v1.Tensor.

numpy has no bfloat16: such values are held as float32 arrays whose lower 16
bits are zero.
"""

import numpy as np

from batchnorm.v1 import tensor_pb2

DTYPES = ("f16", "bf16", "f32", "f64")

# The numpy type that holds a dtype's values.
HELD_AS = {"f16": np.float16, "bf16": np.float32, "f32": np.float32,
           "f64": np.float64}

_CODES = {"f16": tensor_pb2.DTYPE_F16, "bf16": tensor_pb2.DTYPE_BF16,
          "f32": tensor_pb2.DTYPE_F32, "f64": tensor_pb2.DTYPE_F64}
_NAMES = {code: name for name, code in _CODES.items()}


def representable(array, dtype):
    """The array's values, brought to ones that the dtype has."""
    held = np.array(array, HELD_AS[dtype], order="C")
    if dtype == "bf16":
        held.view(np.uint32)[...] &= np.uint32(0xFFFF0000)
    return held


def pack(array, dtype):
    """A Tensor of exactly these values."""
    held = np.array(array, HELD_AS[dtype], order="C")
    if dtype == "bf16":
        bits = held.view(np.uint32)
        assert not np.any(bits & 0xFFFF), "values beyond bfloat16"
        held = (bits >> 16).astype(np.uint16)
    little = held.astype(held.dtype.newbyteorder("<"), copy=False)
    return tensor_pb2.Tensor(dtype=_CODES[dtype], shape=np.shape(array),
                             data=little.tobytes())


def unpack(tensor):
    """The tensor's values in the type that holds its dtype."""
    dtype = _NAMES[tensor.dtype]
    if dtype == "bf16":
        bits = np.frombuffer(tensor.data, "<u2").astype(np.uint32) << 16
        flat = bits.view(np.float32)
    else:
        little = np.dtype(HELD_AS[dtype]).newbyteorder("<")
        flat = np.frombuffer(tensor.data, little).astype(HELD_AS[dtype])
    return flat.reshape(tuple(tensor.shape))


def dtype_of(tensor):
    return _NAMES[tensor.dtype]
