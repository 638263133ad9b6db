"""Weights as TensorFlow.js stores them: one file of bytes, and a list of names, shapes and number formats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from renderer.errors import FormatError

BYTES: Final[dict[str, np.dtype[Any]]] = {
    **{"float32": np.dtype("<f4"), "float16": np.dtype("<f2"), "int32": np.dtype("<i4")},
    **{"uint8": np.dtype("u1"), "uint16": np.dtype("<u2")},
}


def read_tfjs(manifest: Sequence[Mapping[str, Any]], data: bytes) -> dict[str, Tensor]:
    """Tensors by name, in the order and axes of the file; float32, but for integers.

    manifest: groups of `weights`. A tensor with `quantization` is stored shorter: as half floats, or as
    integers with value = stored * scale + min.
    Raises FormatError where list and bytes do not fit.
    """
    tensors, place = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        packed = entry.get("quantization")
        kind = BYTES.get(packed["dtype"] if packed else entry["dtype"])
        if kind is None:
            raise FormatError(f"{entry['name']} is stored as {packed or entry['dtype']}, which is not read here")
        count = math.prod(entry["shape"])
        if place + count * kind.itemsize > len(data):
            raise FormatError(f"the weights end before {entry['name']}: the file is cut short")
        values = np.frombuffer(data, kind, count, place).reshape(entry["shape"])
        place += count * kind.itemsize
        if packed:
            values = values.astype(np.float32) * np.float32(packed.get("scale", 1)) + np.float32(packed.get("min", 0))
        tensors[entry["name"]] = torch.from_numpy(np.array(values))
    if place != len(data):
        raise FormatError(f"the weights have {len(data)} bytes, their list names {place}")
    return tensors


def filters(stored: Tensor) -> Tensor:
    """Filters of a convolution, (h, w, in, out), as torch has them, (out, in, h, w)."""
    return stored.permute(3, 2, 0, 1).contiguous()


def depthwise(stored: Tensor) -> Tensor:
    """Filters of a convolution of each feature by itself, (h, w, features, 1), as torch has them."""
    return stored.permute(2, 3, 0, 1).contiguous()
