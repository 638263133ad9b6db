"""What frontal faces are measured by beside the terms of their losses: functions of tensors, without truth or with it.

Pictures are (N, 3, S, S) values in [0, 1], landmarks (N, 68, 3) shares of the side, both as `frame` lays faces out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

RIGHT_CORNER: Final = 48  # of the subject's mouth
LEFT_CORNER: Final = 54
INNER_LIPS: Final = (62, 66)
EYES: Final = ((0.24, 0.33, 0.27, 0.43), (0.24, 0.33, 0.57, 0.73))  # top, bottom, left, right: both canonical eyes
CHEEKS: Final = ((0.42, 0.54, 0.26, 0.38), (0.42, 0.54, 0.62, 0.74))
PX: Final = 320  # lengths are those of a picture of this side


def psnr(picture: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,)."""
    return -10 * torch.log10((picture - truth).square().mean((1, 2, 3)).clamp(min=1e-10))


def deep_distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Distance of two pictures in the maps of a network, (N,): as LPIPS has it (Zhang et al. 2018), without its
    learnt weights. first, second: maps (N, C, H, W); features of each place are scaled to length 1."""
    found = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2))
        for a, b in zip(first, second, strict=True)
    ]
    return torch.stack(found).mean(0)


def corner_height(landmarks: Tensor) -> Tensor:
    """How much higher the right corner of the mouth is than the left one, pixels, (N,)."""
    return (landmarks[:, LEFT_CORNER, 1] - landmarks[:, RIGHT_CORNER, 1]) * PX


def smile(landmarks: Tensor) -> Tensor:
    """How far the corners of the mouth are above its middle, pixels, (N,)."""
    corners = landmarks[:, [RIGHT_CORNER, LEFT_CORNER], 1].mean(1)
    return (landmarks[:, list(INNER_LIPS), 1].mean(1) - corners) * PX


def patch_colour(picture: Tensor, patches: Sequence[tuple[float, float, float, float]]) -> Tensor:
    """Mean colour of patches that are given in shares of the side, (N, 3)."""
    side = picture.shape[2]
    found = []
    for patch in patches:
        top, bottom, left, right = (round(share * side) for share in patch)
        found.append(picture[:, :, top:bottom, left:right].mean((2, 3)))
    return torch.stack(found).mean(0)


def darker_eyes(picture: Tensor, truth: Tensor) -> Tensor:
    """By how much the eyes and what is around them are darker than in the truth, picture values, (N,)."""
    return (patch_colour(truth, EYES) - patch_colour(picture, EYES)).mean(1)


def skin_error(picture: Tensor, truth: Tensor) -> Tensor:
    """Mean difference of the cheeks' colour from the truth, picture values, (N,): light that leaked into the skin."""
    return (patch_colour(picture, CHEEKS) - patch_colour(truth, CHEEKS)).abs().mean(1)


def spread(views: Tensor) -> float:
    """Standard deviation over the pictures made of one subject, (V, 3, S, S), mean over pixels; V is at least 2."""
    return float(views.std(0).mean())


def verification(same: Tensor, other: Tensor) -> float:
    """Share of pairs that one threshold tells right, where the threshold comes from the other half of the pairs.

    same, other: (P,) similarities of pictures of one person, and of two. Halves are the even and the odd pairs.
    """
    halves = [(same[half::2], other[half::2]) for half in (0, 1)]
    right = []
    for (a, b), (mine, theirs) in zip(halves, reversed(halves), strict=True):
        threshold = best_threshold(mine, theirs)
        right.append(torch.cat([a >= threshold, b < threshold]))
    return float(torch.cat(right).float().mean())


def best_threshold(same: Tensor, other: Tensor) -> float:
    """The similarity from which on two pictures are best taken for one person's."""
    scores, order = torch.cat([same, other]).sort()
    is_same = torch.cat([torch.ones_like(same), torch.zeros_like(other)])[order]
    right = is_same.flip(0).cumsum(0).flip(0) + F.pad((1 - is_same).cumsum(0), (1, 0))[:-1]
    best = int(right.argmax())
    before = scores[best - 1] if best else scores[best]
    return float((scores[best] + before) / 2)
