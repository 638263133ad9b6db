"""The pixel filter: Blackman-Harris, three pixels wide, over label rays and over what Cycles averaged. numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SUPPORT_PX = 3  # Cycles' default filter width of 1.5 pixels, which it doubles


def filter_weights(grid: int, spread: float = 0.0) -> list[float]:
    """Weights along one axis of the subpixels (or rays) of a pixel and its two neighbours: 3 * grid, sum 1.

    spread: the filter is averaged over this share of a subpixel's side. Rays are points: 0. Subpixels are averages
    themselves: 1 uses most samples for a pixel but blurs twice, 0 blurs least.
    """
    within = (np.arange(64) - 31.5) / 64 * spread
    x = (np.arange(SUPPORT_PX * grid)[:, None] + 0.5 + within) / grid
    t = 2 * np.pi * x / SUPPORT_PX
    w = (0.35875 - 0.48829 * np.cos(t) + 0.14128 * np.cos(2 * t) - 0.01168 * np.cos(3 * t)).mean(axis=1)
    return list((w / w.sum()).tolist())


def filtered(image: npt.NDArray[Any], grid: int, spread: float = 0.0) -> npt.NDArray[Any]:
    """(h*grid, w*grid, ...) subpixels (or rays) to (h, w, ...) pixels, each the filter's weighted sum.

    Edges are padded with their own values.
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
