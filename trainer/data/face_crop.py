"""Square crops around faces, as encoders of identity want them: the face in the middle, 0.625 of the side."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

FACE_SHARE: Final = 0.625  # larger side of the face's box in sides of the crop
MOST_FINE: Final = 8  # points along the side of a pixel of a crop


def face_boxes(masks: Tensor) -> Tensor:
    """Left, top, right, bottom in pixels of each mask's pixels above one half, (N, 4) float32.

    masks: (N, H, W) or (N, 1, H, W), also bool. Where a mask is empty, the whole picture is the box.
    """
    inside = masks.reshape(len(masks), *masks.shape[-2:]).float() > 0.5
    height, width = inside.shape[1:]

    def span(some: Tensor, length: int) -> tuple[Tensor, Tensor]:
        place = torch.arange(length, device=some.device)
        first = torch.where(some, place, length).amin(1)
        last = torch.where(some, place + 1, 0).amax(1)
        empty = ~some.any(1)
        return first.masked_fill(empty, 0), last.masked_fill(empty, length)

    (left, right), (top, bottom) = span(inside.any(1), width), span(inside.any(2), height)
    return torch.stack([left, top, right, bottom], 1).float()


def loose_crops(
    images: Tensor, boxes: Tensor, size: int, share: float = FACE_SHARE, fine: int | None = None
) -> Tensor:  # fmt: skip
    """(N, C, size, size) around boxes; gradients reach the images, and the border is repeated outside of them.

    images: (N, C, H, W). boxes: (N, 4) as `face_boxes` gives them. share: larger side of a box in sides of its crop.
    Where the picture shrinks, a pixel is the mean of several points: fine x fine, by default as many as the largest box
    of the minibatch needs; a number given makes each crop independent of the others.
    """
    height, width = images.shape[-2:]
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1) / share
    fine = fine or min(MOST_FINE, math.ceil(float(side.max()) / (1.5 * size)))
    steps = (torch.arange(size * fine, device=images.device) + 0.5) / (size * fine) - 0.5
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    columns = (centre[:, :1] + side[:, None] * steps) * 2 / width - 1
    rows = (centre[:, 1:] + side[:, None] * steps) * 2 / height - 1
    points = size * fine
    grid = torch.stack([columns[:, None].expand(-1, points, -1), rows[:, :, None].expand(-1, -1, points)], -1)
    crops = F.grid_sample(images, grid.to(images.dtype), "bilinear", "border", align_corners=False)
    return F.avg_pool2d(crops, fine) if fine > 1 else crops
