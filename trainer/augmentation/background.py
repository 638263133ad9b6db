"""What is behind the rendered foreground, exchanged through its coverage."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from trainer.augmentation.draws import Draws
from trainer.augmentation.filters import blurred
from trainer.augmentation.light import LUMINANCE, weighted
from trainer.augmentation.photo_config import Background
from trainer.augmentation.pictures import PictureBank
from trainer.augmentation.samples import Samples, change_some, choose

MOSTLY: Final = 0.6  # windows that show less of the picture than that always get one: else they show mirrors in mirrors
USUAL_LIGHT: Final = 0.2  # mean of a background behind nothing


def background(samples: Samples, config: Background, draws: Draws, pictures: PictureBank, progress: float) -> Samples:
    """input = foreground + (1 - coverage) x picture, in linear light; what a window made up around loses its labels."""
    chosen = draws.happens("share", config.share.at(progress))
    if samples.framed is not None:
        chosen = chosen | (samples.framed.mean((1, 2, 3)) < MOSTLY)
    result = change_some(chosen, samples, draws, lambda part, own: _exchanged(part, config, own, pictures))
    return replace(result, foreground=None, framed=None)


def _exchanged(part: Samples, config: Background, draws: Draws, pictures: PictureBank) -> Samples:
    assert part.foreground is not None
    there = (~draws.happens("empty", config.empty_share)).float()[:, None, None, None]
    front, coverage = (part.foreground * there).tensor_split([3], 1)
    coverage = coverage.clamp(0, 1)
    picture = pictures.crops(draws.fork("picture"), config.zoom, part.size)
    picture = _out_of_focus(picture, config, draws)
    stops = draws.uniform("stops", 1, 1, 1, low=config.stops[0], high=config.stops[1])
    picture = picture * (2 * _light(front, coverage) * torch.exp2(stops))
    keep = there if part.framed is None else there * part.framed
    landmarks = part.landmarks
    if landmarks is not None:
        landmarks = torch.where(there[:, :, 0] > 0, landmarks, math.nan)
    return replace(
        part,
        input=(front + (1 - coverage) * picture).clamp(min=0),
        uv=part.uv * keep,
        mask=part.mask * keep,
        occluded_mask=part.occluded_mask * keep,
        landmarks=landmarks,
    )


def _out_of_focus(picture: Tensor, config: Background, draws: Draws) -> Tensor:
    """Some of them blurred."""
    sigma = draws.uniform("blur", low=config.blur_px[0], high=config.blur_px[1])
    soft = draws.happens("soft", config.blur_share)
    if soft.is_cuda:
        return choose(soft, blurred(picture, sigma), picture)
    which = soft.nonzero().flatten()
    return picture.index_copy(0, which, blurred(picture[which], sigma[which]))


def _light(front: Tensor, coverage: Tensor) -> Tensor:
    """Mean luminance of what covers, (N, 1, 1, 1)."""
    covered = coverage.mean((1, 2, 3), keepdim=True)
    mean = weighted(front, LUMINANCE).mean((1, 2, 3), keepdim=True) / covered.clamp(min=1e-3)
    return torch.where(covered > 1e-2, mean, USUAL_LIGHT)
