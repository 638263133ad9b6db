"""Separable filters as matrices: one for each sample, so that widths may differ within a minibatch."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

FAR: Final = -12.5  # exponent at five standard deviations: the tiniest of numbers take ten times as long


def separable(pictures: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """pictures: (N, C, H, W). rows: (N, H', H) and columns: (N, W', W) mix its rows and columns. (N, C, H', W')."""
    n, c, height, width = pictures.shape
    across = (pictures.reshape(n, c * height, width) @ columns.transpose(1, 2)).reshape(n, c, height, columns.shape[1])
    return rows[:, None] @ across


def blurred(pictures: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur; the border is not darkened. pictures: (N, C, H, W). sigma: (N,) pixels."""
    rows, columns = (_gaussian(sigma, length) for length in pictures.shape[2:])
    return separable(pictures, rows, columns)


def _gaussian(sigma: Tensor, length: int) -> Tensor:
    """(N, length, length), each row of sum 1."""
    place = torch.arange(length, device=sigma.device, dtype=sigma.dtype)
    slope = -0.5 / sigma.clamp(min=1e-3)[:, None, None] ** 2
    exponent = (place[:, None] - place) ** 2 * slope
    weight = torch.exp(exponent.clamp(min=FAR)).masked_fill_(exponent < FAR, 0.0)
    return weight / weight.sum(2, keepdim=True)


def coarser(pictures: Tensor, factor: Tensor, blocks: Tensor) -> Tensor:
    """Made `factor` (N,) >= 1 times smaller and as large as before again, linearly, or in `blocks` (N,) bool."""
    rows, columns = (_coarse(factor, blocks, length) for length in pictures.shape[2:])
    return separable(pictures, rows, columns)


def _coarse(factor: Tensor, blocks: Tensor, length: int) -> Tensor:
    """(N, length, length): down to round(length / factor) places by a tent as wide as needed, and up again."""
    device, dtype = factor.device, factor.dtype
    few = (length / factor).round().clamp(min=1)[:, None, None]  # places left
    place = torch.arange(length, device=device, dtype=dtype) + 0.5
    small = torch.arange(length, device=device, dtype=dtype) + 0.5  # those beyond `few` get no weight
    step = length / few
    down = (1 - (small[:, None] * step - place).abs() / step).clamp(min=0)
    down = down / down.sum(2, keepdim=True).clamp(min=1e-6)
    at = place[:, None] / step  # (N, length, 1): where each place lies among the few
    at = torch.minimum(torch.maximum(at, torch.full_like(at, 0.5)), few - 0.5)
    up = (1 - (at - small).abs()).clamp(min=0)
    nearest = ((at - small).abs() < 0.5).to(dtype)
    up = torch.where(blocks[:, None, None], nearest, up) * (small < few)
    up = up / up.sum(2, keepdim=True).clamp(min=1e-6)
    return up @ down
