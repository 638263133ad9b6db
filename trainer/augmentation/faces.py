"""Where a face is in the mask of each sample: windows and occluders are placed by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from trainer.augmentation.draws import Draws

NO_FACE: Final = 0.45  # larger side of the made-up face where there is none, in smaller sides of the picture


@dataclass(frozen=True)
class FaceBoxes:
    """One face of each sample, in pixels. centre: (N, 2) x, y. side: (N,), the larger one. found: (N,) bool.

    Where there is no face, a box at random takes its place, so that empty pictures are treated as the others are.
    """

    centre: Tensor
    side: Tensor
    found: Tensor


def face_boxes(mask: Tensor, draws: Draws) -> FaceBoxes:
    """The box of a face, at random if there are several side by side. mask: (N, 1, H, W)."""
    face = (mask[:, 0] > 0.5).float()
    left, right = _run(face.sum(1), draws.uniform("column", 1))
    column = torch.arange(face.shape[2], device=mask.device)
    inside = (column >= left[:, None]) & (column < right[:, None])
    rows = (face * inside[:, None]).sum(2)
    top, bottom = _run(rows, draws.uniform("row", 1))
    found = rows.sum(1) > 0
    height, width = face.shape[1:]
    size = torch.tensor([width, height], device=mask.device, dtype=torch.float32)
    centre = torch.stack([left + right, top + bottom], 1).float() / 2
    side = torch.maximum(right - left, bottom - top).float()
    return FaceBoxes(
        torch.where(found[:, None], centre, draws.uniform("nowhere", 2) * size),
        torch.where(found, side, NO_FACE * min(height, width)),
        found,
    )


def _run(counts: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """First place, and the one after the last, of a row of places that are not 0. counts: (N, L). level: (N, 1).

    Which row: the one where a share `level` of all that is counted has been passed.
    """
    length = counts.shape[1]
    passed = counts.cumsum(1)
    at = (passed <= level * passed[:, -1:]).sum(1, keepdim=True).clamp(max=length - 1)
    place = torch.arange(length, device=counts.device)
    empty = counts == 0
    first = torch.where(empty & (place <= at), place + 1, 0).amax(1)
    after = torch.where(empty & (place >= at), place, length).amin(1)
    return first, after
