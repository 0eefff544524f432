"""Tensor files made by hand, for what NumPy cannot write.

bfloat16 and safetensors have no library in Debian, so their bytes are laid out
here as their formats say.
"""

import json
import struct

import numpy as np


def to_bf16(values):
    """The upper halves of float32, rounded to nearest, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return rounded.astype("<u2").reshape(np.shape(values))


def from_bf16(bits):
    return (np.asarray(bits, np.uint32) << 16).view(np.float32)


def safetensors(tensors, metadata=None):
    """Bytes of a file; `tensors` maps names to (dtype name, array)."""
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, (dtype, array) in tensors.items():
        content = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(np.shape(array)),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


NUMPY_TYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}


def read_safetensors(content):
    """Name -> (dtype name, array); bf16 as its 16-bit patterns."""
    (size,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + size])
    data = content[8 + size :]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], NUMPY_TYPES[entry["dtype"]])
        tensors[name] = (entry["dtype"], array.reshape(entry["shape"]))
    return tensors
