"""A picture, and the parameters read from it, as one row of a sprite sheet."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from trainer.data.pictures import to_bytes

COLUMNS: Final = ("input", "parameters")
TRUE, ESTIMATED, ZERO = (70, 170, 90), (240, 140, 40), (90, 90, 90)


def views(picture: Tensor, estimate: Tensor, truth: Tensor | None) -> npt.NDArray[np.uint8]:
    """(columns, H, W, 3) in the order of `COLUMNS`. picture: (3, H, W) in [0, 1]. estimate, truth: (P,).

    Parameters stand side by side, 1 at the top and -1 at the bottom: estimates as orange bars, the truth as green ones
    behind them, for a photo without.
    """
    height, width = picture.shape[1:]
    chart = np.full((height, width, 3), 24, np.uint8)
    middle = height // 2
    edges = np.linspace(0, width, len(estimate) + 1).round().astype(int)
    for values, colour, part in ((truth, TRUE, 1.0), (estimate, ESTIMATED, 0.5)):
        if values is None:
            continue
        ends = (middle - values.clamp(-1, 1).cpu().numpy() * (middle - 1)).round().astype(int)
        for left, right, end in zip(edges[:-1], edges[1:], ends, strict=True):
            low, high = min(middle, end), max(middle, end)
            chart[low : high + 1, left : max(left + 1, left + round((right - left) * part))] = colour
    chart[middle] = ZERO
    return np.stack([to_bytes(picture[None].cpu()), chart])
