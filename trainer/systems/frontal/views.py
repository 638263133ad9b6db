"""A sample, and what is made of it, as one row of a sprite sheet."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.data.pictures import to_bytes
from trainer.systems.frontal.network import Made

COLUMNS: Final = ("input", "output", "mask", "composite", "truth")


def views(picture: Tensor, made: Made, truth: Tensor | None) -> npt.NDArray[np.uint8]:
    """(columns, S, S, 3) in the order of `COLUMNS`. picture, truth: (3, S, S) in [0, 1]; a photo has no truth."""
    last = torch.zeros_like(picture) if truth is None else truth
    tiles = (picture, made.face[0], made.mask[0].expand(3, -1, -1), made.picture[0], last)
    return np.stack([to_bytes(tile.float().cpu()[None]) for tile in tiles])
