"""What 68 landmarks say about a face: shape, symmetry, tilt, an open mouth. Differentiable; one value per face.

Landmarks are (N, 68, 3): x to the right, y down, z towards the viewer, all in one unit; the results of all but
`geometry` have it, too. Numbers are iBUG's. Source: Wang 2019, after Cole et al. 2017.
"""

from __future__ import annotations

from typing import Final, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

LIPS: Final = ((61, 67), (62, 66), (63, 65))  # inner lips, upper and lower
MIDDLE: Final = (8, 27, 28, 29, 30, 33, 51, 57, 62, 66)  # landmarks on the plane of symmetry
MIRRORED: Final = (
    *((a, 16 - a) for a in range(8)), *((a, 43 - a) for a in range(17, 22)), (31, 35), (32, 34),
    (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
    (48, 54), (49, 53), (50, 52), (58, 56), (59, 55), (60, 64), (61, 63), (67, 65),
)  # fmt: skip
"""Pairs of landmarks that a mirror exchanges: the viewer's left one first."""


class Landmarks(Protocol):
    """A network that reads landmarks off pictures of faces, differentiably."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) picture values in [0, 1], square, to (N, 68, 3) shares of the side; mean depth 0."""


def geometry(made: Tensor, given: Tensor) -> Tensor:
    """1 - cosine similarity of the two matrices of L1 distances between landmarks, (N,): equal shapes of any size: 0.

    The formula printed in the thesis is the similarity itself; as a loss that would drive faces apart.
    """
    first, second = (torch.cdist(points, points, p=1).flatten(1) for points in (made, given))
    return 1 - F.cosine_similarity(first, second, dim=1)


def asymmetry(landmarks: Tensor) -> Tensor:
    """How far mirrored landmarks are from equal distances to the middle of the face: mean difference in x, (N,)."""
    middle = landmarks[:, MIDDLE, 0].mean(1, keepdim=True)
    left, right = _pairs(landmarks)
    return ((middle - left[..., 0]) - (right[..., 0] - middle)).abs().mean(1)


def tilt(landmarks: Tensor) -> Tensor:
    """How much higher the landmarks of one side are than those of the other: mean difference in y, (N,)."""
    left, right = _pairs(landmarks)
    return (left[..., 1] - right[..., 1]).abs().mean(1)


def lip_gap(landmarks: Tensor) -> Tensor:
    """Mean distance in the picture between upper and lower inner lip, (N,); a closed mouth: 0."""
    upper, lower = (landmarks[:, [pair[side] for pair in LIPS], :2] for side in (0, 1))
    return ((upper - lower).square().sum(2) + 1e-12).sqrt().mean(1)  # the root has no gradient at 0


def _pairs(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    left, right = (landmarks[:, [pair[side] for pair in MIRRORED]] for side in (0, 1))
    return left, right
