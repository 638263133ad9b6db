"""The pixel filter: Blackman-Harris, three pixels wide, over label rays and over what Cycles averaged. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SUPPORT_PX = 3  # Cycles' default filter width of 1.5 pixels, which it doubles


def filter_weights(grid: int, spread: float = 0.0) -> list[float]:
    """3 * grid weights along one axis, sum 1: for the rays or small pixels of a pixel and of its two neighbours.

    spread: share of a small pixel's side over which the filter is averaged. Rays are points: 0. Small pixels are
    averages themselves: 1 would fit the filter best and share most samples, but blurs twice, 0 blurs least.
    """
    within = (np.arange(64) - 31.5) / 64 * spread
    x = (np.arange(SUPPORT_PX * grid)[:, None] + 0.5 + within) / grid
    t = 2 * np.pi * x / SUPPORT_PX
    w = (0.35875 - 0.48829 * np.cos(t) + 0.14128 * np.cos(2 * t) - 0.01168 * np.cos(3 * t)).mean(axis=1)
    return list((w / w.sum()).tolist())


def filtered(image: npt.NDArray[Any], grid: int, spread: float = 0.0) -> npt.NDArray[Any]:
    """(h*grid, w*grid, ...) rays or small pixels to (h, w, ...) pixels: all that lie under the pixel filter, weighted.

    What lies beyond the edges counts as its nearest neighbour inside.
    """
    weights = filter_weights(grid, spread)
    for _ in range(2):  # rows, then columns, which are the rows of the turned image
        pixels = len(image) // grid
        padded = np.pad(image, [(grid, grid)] + [(0, 0)] * (image.ndim - 1), mode="edge")
        total = np.zeros((pixels, *image.shape[1:]), image.dtype)
        for k, weight in enumerate(weights):
            total += weight * padded[k::grid][:pixels]
        image = total.swapaxes(0, 1)
    return np.ascontiguousarray(image)
