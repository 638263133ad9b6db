"""A sample and what UV-net sees in it, as one row of a sprite sheet."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.augmentation.samples import Samples
from trainer.data.pictures import to_bytes
from trainer.uvmaps.grid import uv_colours

COLUMNS: Final = (
    "input",
    "uv predicted",
    "uv target",
    "uv error x10",
    "mask predicted",
    "mask target",
    "occluded mask predicted",
    "occluded mask target",
)
"""Views of a sample in a sprite sheet, from left to right."""


def views(picture: Tensor, prediction: Tensor, target: Samples | None) -> npt.NDArray[np.uint8]:
    """One row of a sprite sheet: (columns, H, W, 3) in the order of `COLUMNS`. Without a target its views are black.

    picture: (3, H, W) in [0, 1]. prediction: (4, H, W). target: a single sample, or None for a photo.
    """
    prediction = prediction.float().cpu()
    shown = prediction[:2] * (prediction[2:3] > 0.5)
    black = torch.zeros(3, *picture.shape[1:])
    tiles = {name: black for name in COLUMNS}
    tiles["input"] = picture.cpu()
    tiles["uv predicted"] = uv_colours(shown[None])[0]
    tiles["mask predicted"] = prediction[2:3].expand(3, -1, -1)
    tiles["occluded mask predicted"] = prediction[3:4].expand(3, -1, -1)
    if target is not None:
        uv, mask = target.uv[0].cpu(), target.mask[0].cpu()
        tiles["uv target"] = uv_colours(uv[None])[0]
        tiles["uv error x10"] = uv_colours(((prediction[:2] - uv).abs() * mask * 10)[None])[0]
        tiles["mask target"] = mask.expand(3, -1, -1)
        tiles["occluded mask target"] = target.occluded_mask[0].cpu().expand(3, -1, -1)
    return np.stack([to_bytes(tiles[name][None]) for name in COLUMNS])
