"""The terms of the loss by name, one value per sample. Pictures are (N, 3, S, S) in [0, 1]. Source: Wang 2019."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.systems.frontal import geometry
from trainer.systems.frontal.config import LossConfig
from trainer.systems.frontal.spline import warp

REAL, FALSE = 1.0, -1.0  # what the discriminator is to say
THESIS_PX: Final = 320  # lengths of landmarks are counted in pixels of such a picture
WINDOW_PX, SIGMA_PX = 11, 1.5  # of SSIM, as Wang et al. 2004 have them
C1, C2 = 0.01**2, 0.03**2


def texture(face: Tensor, mask: Tensor, made: Tensor, picture: Tensor, given: Tensor, matrix: Tensor) -> Tensor:
    """L1 between face and input under the mask, both warped to canonical places, (N,).

    made, given: (N, 14, 2) landmarks of face and input. A mean over the mask, not over the picture: else a mask that
    closes would be the best one.
    """
    warped = warp(torch.cat([face, mask], 1), made, matrix)
    there, weight = warped[:, :3], warped[:, 3:]
    difference = (there - warp(picture, given, matrix)).abs().mean(1, keepdim=True)
    return (difference * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) + 1e-6)


def landmark_terms(made: Tensor, shape: Tensor) -> dict[str, Tensor]:
    """geometry, symmetry, tilt, expression of landmarks (N, 68, 3) in shares of the side; shape: the input's."""
    return {
        "geometry": geometry.geometry(made, shape),
        "symmetry": geometry.asymmetry(made) * THESIS_PX,
        "tilt": geometry.tilt(made) * THESIS_PX,
        "expression": geometry.lip_gap(made) * THESIS_PX,
    }


def identity(made: Tensor, given: Tensor) -> Tensor:
    """1 - cosine similarity of features (N, F), (N,)."""
    return 1 - F.cosine_similarity(made, given, dim=1)


def mask_terms(mask: Tensor, power: float) -> dict[str, Tensor]:
    """How much of the picture the mask shows, and how ragged it is. mask: (N, 1, S, S)."""
    across, down = mask.diff(dim=3).abs(), mask.diff(dim=2).abs()
    return {
        "mask_area": mask.pow(power).mean((1, 2, 3)),
        "mask_variation": (across.sum((1, 2, 3)) + down.sum((1, 2, 3))) / mask[0].numel(),
    }


def says(answers: Tensor, wanted: float) -> Tensor:
    """Squared distance of the discriminator's answers (N, 1, s, s) to what is wanted, (N,)."""
    return (answers.float() - wanted).square().mean((1, 2, 3))


def ssim(first: Tensor, second: Tensor) -> Tensor:
    """Structural similarity, (N,): mean over channels and over places whose Gaussian window lies in the picture."""
    line = torch.arange(WINDOW_PX, dtype=first.dtype, device=first.device) - WINDOW_PX // 2
    kernel = torch.softmax(-line.square() / (2 * SIGMA_PX**2), 0)

    def blurred(x: Tensor) -> Tensor:
        x = F.conv2d(x, kernel.view(1, 1, -1, 1).expand(x.shape[1], 1, -1, 1), groups=x.shape[1])
        return F.conv2d(x, kernel.view(1, 1, 1, -1).expand(x.shape[1], 1, 1, -1), groups=x.shape[1])

    products = torch.cat([first, second, first * first, second * second, first * second], 1)
    a, b, aa, bb, ab = blurred(products).chunk(5, 1)
    shine = (2 * a * b + C1) / (a * a + b * b + C1)
    structure = (2 * (ab - a * b) + C2) / (aa - a * a + bb - b * b + C2)
    found: Tensor = (shine * structure).mean((1, 2, 3))
    return found


def supervised_terms(picture: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """l1 and ssim of what is made, to the companion."""
    return {"l1": (picture - truth).abs().mean((1, 2, 3)), "ssim": 1 - ssim(picture, truth)}


def weighted(terms: dict[str, Tensor], config: LossConfig) -> Tensor:
    """The loss, (N,)."""
    weights = config.used
    return torch.stack([weights[name] * values for name, values in terms.items() if name in weights]).sum(0)
