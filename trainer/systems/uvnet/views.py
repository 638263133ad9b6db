"""A sample and what UV-net sees in it, as one row of a sprite sheet."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.augmentation.stages import Samples

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
    tiles["uv predicted"] = _uv_colours(shown)
    tiles["mask predicted"] = prediction[2:3].expand(3, -1, -1)
    tiles["occluded mask predicted"] = prediction[3:4].expand(3, -1, -1)
    if target is not None:
        uv, mask = target.uv[0].cpu(), target.mask[0].cpu()
        tiles["uv target"] = _uv_colours(uv)
        tiles["uv error x10"] = _uv_colours((prediction[:2] - uv).abs() * mask * 10)
        tiles["mask target"] = mask.expand(3, -1, -1)
        tiles["occluded mask target"] = target.occluded_mask[0].cpu().expand(3, -1, -1)
    stack = torch.stack([tiles[name] for name in COLUMNS]).clamp(0, 1)
    return (stack * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _uv_colours(uv: Tensor) -> Tensor:
    """(2, H, W) to a picture: U red, V green."""
    return torch.cat([uv, torch.zeros_like(uv[:1])])
