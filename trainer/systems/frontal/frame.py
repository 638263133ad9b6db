"""Where a face stands in pictures: the crop of an input, the part of a companion, and canonical places of landmarks.

All three have one layout: the box of the 68 landmarks takes `FACE_SHARE` of the side, as in the crops of Wang 2019.
Points are shares of the side of the picture that they are in, x to the right, y down; pixel (row, column) has its
centre at (column + 0.5, row + 0.5) pixels.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.data.face_crop import FACE_SHARE, loose_crops

COMPANION_WINDOW: Final = (0.1, 0.2, 0.9, 1.0)  # left, top, right, bottom of companions: their average face fills it so
WARPED: Final = (8, 33, 36, 39, 42, 45, 48, 51, 54, 57, 60, 62, 64, 66)
"""Landmarks that the texture loss brings to one place: chin, nose, corners of the eyes, mouth."""
CANONICAL: Final = (
    (0.5000, 0.8253), (0.5000, 0.5278), (0.2890, 0.2808), (0.4137, 0.2867), (0.5863, 0.2867), (0.7110, 0.2808),
    (0.3699, 0.6097), (0.5000, 0.5828), (0.6301, 0.6097), (0.5000, 0.6689), (0.3854, 0.6116), (0.5000, 0.6169),
    (0.6146, 0.6116), (0.5000, 0.6223),
)  # fmt: skip
"""Their places: those of the average head at rest in the part of a companion that `companion_part` shows."""
_FINER: Final = 2  # crops are sampled so many times finer and averaged: a window may be larger than the crop


def boxes_of(landmarks: Tensor) -> Tensor:
    """Left, top, right, bottom of the landmarks (N, 68, 2 or 3), (N, 4), in their own unit."""
    return torch.cat([landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)], 1)


def windows_about(boxes: Tensor) -> Tensor:
    """The square about each box that shows it as large as it is to be, (N, 4)."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / (2 * FACE_SHARE)
    return torch.cat([middle - half, middle + half], 1)


def crop(pictures: Tensor, windows: Tensor, side_px: int) -> Tensor:
    """The square windows (N, 4), in pixels, of pictures (N, C, H, W) as (N, C, side, side); see `loose_crops`."""
    return loose_crops(pictures, windows, side_px, share=1.0, fine=_FINER)


def in_window(points: Tensor, windows: Tensor) -> Tensor:
    """Points (N, K, 2), or (N, K, 3) with depth in the same unit, as shares of the side of their windows (N, 4)."""
    side = (windows[:, 2] - windows[:, 0])[:, None, None]
    origin = F.pad(windows[:, :2], (0, points.shape[2] - 2))
    return (points - origin[:, None]) / side


def companion_part(neutral: Tensor, side_px: int) -> Tensor:
    """What is compared with: the part of a companion (N, 3, H, W) that shows faces as crops do, (N, 3, side, side)."""
    height, width = neutral.shape[2:]
    window = neutral.new_tensor(COMPANION_WINDOW) * neutral.new_tensor([width, height, width, height])
    return crop(neutral, window.expand(len(neutral), 4), side_px)


def on_white(neutral: Tensor) -> Tensor:
    """A companion (N, 3, H, W), linear, whose plain backdrop, of the colour of its top corner, is turned white.

    The network's faces stand on white, too.
    """
    corner = neutral[:, :, :1, :1]
    behind = ((neutral - corner).abs() <= 1e-3 * corner.abs()).all(1, keepdim=True)
    return torch.where(behind, torch.ones_like(neutral), neutral)
