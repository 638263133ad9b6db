"""Frames as networks see them: gray, varied in training, and for the baseline brought to one place by landmarks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.errors import FormatError
from trainer.augmentation.draws import Draws
from trainer.data.minibatch import Minibatch
from trainer.data.pictures import picture_values
from trainer.data.reader import Array
from trainer.systems.capture.config import AugmentConfig

GRAY: Final = (0.299, 0.587, 0.114)  # of R, G, B picture values: BT.601, as video has it
CORNERS: Final = ((36, 39), (42, 45))  # of the eyes, among the 68 landmarks
EYES: Final = ((0.34, 0.4), (0.66, 0.4))  # where the baseline wants them, as shares of width and height
VIEWS: Final = ("input", "view2")


def gray_frames(batch: Minibatch, views: int) -> Tensor:
    """(N, views, H, W) picture values in [0, 1], in 256 levels, of linear light as it is stored."""
    return as_gray(picture_values(torch.stack([batch.images[name] for name in VIEWS[:views]], 1)))


def reduced(gray: Tensor, width: int) -> Tensor:
    """Frames (..., H, W) averaged over squares of pixels, so that `width` columns are left."""
    side = gray.shape[-1] // width
    return F.avg_pool2d(gray.flatten(0, -3)[:, None], side).reshape(*gray.shape[:-2], gray.shape[-2] // side, width)


def as_gray(pictures: Tensor) -> Tensor:
    """(..., 3, H, W) to (..., H, W)."""
    return (pictures * pictures.new_tensor(GRAY)[:, None, None]).sum(-3)


def eye_corners(record: Mapping[str, Any]) -> Array:
    """(2, 2) float32: the middle between the corners of each eye, column and row in pixels. Raises FormatError."""
    marks = record.get("landmarks_px") or []
    if not marks:
        raise FormatError(
            f"sample {record.get('key')!r} has no landmarks, by which network.kind connected brings faces to one place:"
            " use kind convolutional"
        )
    points = np.asarray(marks[0], np.float32)
    return np.stack([points[list(pair)].mean(0) for pair in CORNERS])


def stabilised(frames: Tensor, eyes: Tensor) -> Tensor:
    """Frames (N, 1, H, W) turned, scaled and shifted so that the eyes (N, 2, 2), in pixels, come to lie at `EYES`."""
    height, width = frames.shape[-2:]
    wanted = eyes.new_tensor(EYES) * eyes.new_tensor([width, height])
    there, here = wanted[1] - wanted[0], eyes[:, 1] - eyes[:, 0]
    length = (there**2).sum()
    cosine = (here * there).sum(1) / length  # the similarity from wanted places to those of the frame
    sine = (here[:, 1] * there[0] - here[:, 0] * there[1]) / length
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    shift = eyes.mean(1) - (turn @ wanted.mean(0)[:, None])[..., 0]
    return _sampled(frames, turn, shift)


def varied(frames: Tensor, config: AugmentConfig, draws: Draws, strength: float) -> Tensor:
    """Frames (N, views, H, W) moved, turned, zoomed, brighter or darker. strength: from 0, nothing, to 1."""
    n, views, height, width = frames.shape

    def drawn(topic: str, limit: float, *shape: int) -> Tensor:
        return draws.uniform(topic, views, *shape, low=-limit * strength, high=limit * strength).flatten(0, 1)

    angle = drawn("turn", math.radians(config.turn_deg))
    scale = torch.exp(drawn("zoom", math.log(config.zoom)))
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    turn = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    middle = frames.new_tensor([width / 2, height / 2])
    shift = middle + drawn("shift", config.shift, 2) * 2 * middle - (turn @ middle[:, None])[..., 0]
    moved = _sampled(frames.flatten(0, 1)[:, None], turn, shift)
    mean = moved.mean((1, 2, 3), keepdim=True)
    contrast = torch.exp(drawn("contrast", math.log(config.contrast)))[:, None, None, None]
    light = drawn("brightness", config.brightness)[:, None, None, None]
    return ((moved - mean) * contrast + mean + light).clamp(0, 1).reshape(n, views, height, width)


def _sampled(frames: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """What a frame (N, 1, H, W) has at turn @ p + shift, for every pixel p (x, y); beyond its border that border."""
    height, width = frames.shape[-2:]
    half = frames.new_tensor([width / 2, height / 2])
    linear = turn * half[None, None, :] / half[None, :, None]
    offset = (shift + (turn @ half[:, None])[..., 0]) / half - 1
    grid = F.affine_grid(torch.cat([linear, offset[..., None]], 2), list(frames.shape), align_corners=False)
    return F.grid_sample(frames, grid, padding_mode="border", align_corners=False)
