"""A face in a picture: the square window around it, and its UV map and masks in the picture's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.uvmaps.textures import box_of


@dataclass(frozen=True)
class Window:
    """A square of the picture, which may reach over its border. Pixels; x, y: top left corner."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Face:
    """One face. uv (1, 2, s, s), mask and visible (1, 1, s, s) cover its window, in the picture's pixels."""

    window: Window
    uv: Tensor
    mask: Tensor
    visible: Tensor
    score: float  # mean of the mask where it is above one half, times the face score of networks that give one

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the mask in the picture's pixels."""
        top, bottom, left, right = box_of((self.mask > 0.5).float(), 0)
        return self.window.x + left, self.window.y + top, self.window.x + right, self.window.y + bottom


def cut(picture: Tensor, window: Window) -> Tensor:
    """The window's content, (1, 3, side, side); the border is repeated where it reaches over it."""
    height, width = picture.shape[2:]
    if min(window.x, window.y) >= 0 and window.y + window.side <= height and window.x + window.side <= width:
        return picture[:, :, window.y : window.y + window.side, window.x : window.x + window.side]
    rows = torch.arange(window.y, window.y + window.side).clamp(0, height - 1)
    columns = torch.arange(window.x, window.x + window.side).clamp(0, width - 1)
    return picture[:, :, rows][:, :, :, columns]


def put_back(picture: Tensor, part: Tensor, window: Window) -> None:
    """Write a window's content into the picture, without what reaches over the border."""
    height, width = picture.shape[2:]
    top, left = max(window.y, 0), max(window.x, 0)
    bottom, right = min(window.y + window.side, height), min(window.x + window.side, width)
    if top < bottom and left < right:
        inside = part[:, :, top - window.y : bottom - window.y, left - window.x : right - window.x]
        picture[:, :, top:bottom, left:right] = inside
