"""JPEG compression of a minibatch, each sample at its own quality: baseline JPEG without the coding of its numbers.

Steps and tables are those of ITU-T T.81 (annexes A and K) and JFIF; qualities and the enlarging of chroma are those of
libjpeg. On one thread of a CPU Kornia's codec takes more than three times as long.
"""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.device import constant

BLOCK: Final = 8
LUMA: Final = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA: Final = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
_TO_YCC: Final = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB: Final = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
_DCT: Final = tuple(
    tuple(
        math.sqrt((1 if k == 0 else 2) / BLOCK) * math.cos(math.pi * k * (2 * i + 1) / (2 * BLOCK))
        for i in range(BLOCK)
    )
    for k in range(BLOCK)
)


def compressed(pictures: Tensor, quality: Tensor) -> Tensor:
    """What a decoder makes of them, in [0, 1]. pictures: (N, 3, H, W) in [0, 1]. quality: (N,) in [1, 100]."""
    height, width = pictures.shape[2:]
    margin = (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK))
    levels = F.pad((pictures.clamp(0, 1) * 255).round(), margin, mode="replicate")
    luma, chroma = _mix(levels, _TO_YCC).round_().tensor_split([1], 1)
    luma = _quantised(luma - 128, _table(LUMA, quality))
    chroma = _quantised(F.avg_pool2d(chroma, 2).round_(), _table(CHROMA, quality))
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    levels = _mix(torch.cat([luma + 128, chroma], 1), _TO_RGB)[:, :, :height, :width]
    return levels.round_().clamp_(0, 255).div_(255)


def _table(standard: tuple[int, ...], quality: Tensor) -> Tensor:
    """Steps of quantisation, (N, 1, 1, 8, 1, 8) so that they fit blocks."""
    quality = quality.round().clamp(1, 100)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    table = constant(standard, percent.dtype, percent.device).reshape(BLOCK, BLOCK)
    steps = ((table * percent[:, None, None] + 50) / 100).floor().clamp(1, 255)
    return steps[:, None, None, :, None, :]


def _quantised(planes: Tensor, steps: Tensor) -> Tensor:
    """Blocks of 8 x 8 to their cosine coefficients, rounded to whole steps, and back."""
    n, c, height, width = planes.shape
    dct = constant(_DCT, planes.dtype, planes.device)
    blocks = planes.reshape(n, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    coefficients = torch.einsum("ki,ncyixj,lj->ncykxl", dct, blocks, dct)
    coefficients = (coefficients / steps).round() * steps
    back = torch.einsum("ki,ncykxl,lj->ncyixj", dct, coefficients, dct)
    return back.reshape(n, c, height, width).round_().clamp_(-128, 127)  # as encoders and decoders keep them


def _mix(planes: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """Another set of three channels, (N, 3, H, W)."""
    weights = constant(matrix, planes.dtype, planes.device)
    return torch.einsum("oc,nchw->nohw", weights, planes)
