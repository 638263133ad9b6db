"""Squares around faces, as the face finder cuts them from photos: pictures in them, and maps that follow.

A window is a similarity from [-1, 1] across and down to pixels of the picture, as (N, 3, 3) homographies of
`trainer.augmentation.window`; what lies beyond the picture repeats its border, as `trainer.uvmaps.faces.cut` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.format.sample_format import CENTRE_U
from trainer.augmentation.draws import Draws
from trainer.augmentation.light import log_uniform
from trainer.augmentation.window import moved, seen_through
from trainer.data.pictures import picture_values
from trainer.data.reader import Array
from trainer.positions.records import record_positions
from trainer.positions.texels import texels
from trainer.systems.position_map.config import AugmentConfig, WindowConfig
from trainer.uvmaps.head_pose import pack_head

FACES: Final = 1.4  # side of a window in units of the larger side of the face's box, in tests and for photos
STILL: Final = WindowConfig((FACES, FACES), 0.0, 0.0)
_BOX_PX: Final = 64  # side of the maps that boxes are measured on


def second_box(record: Mapping[str, Any]) -> Array:
    """(4,) left, top, right, bottom in pixels of the face in the second camera's picture, a function for `Needs`."""
    positions = record_positions(record, _BOX_PX, view=2)
    found = boxes(torch.from_numpy(positions)[None], torch.from_numpy(texels(pack_head(), _BOX_PX).face))
    return np.asarray(found[0].numpy(), np.float32)


def boxes(maps: Tensor, face: Tensor) -> Tensor:
    """(N, 4) left, top, right, bottom of the face texels (S, S) of maps (N, 3, S, S)."""
    across_down = maps[:, :2, face]
    return torch.cat([across_down.amin(2), across_down.amax(2)], 1)


def windows(box: Tensor, config: WindowConfig, draws: Draws) -> Tensor:
    """(N, 3, 3) homographies of windows around boxes (N, 4)."""
    side = (box[:, 2:] - box[:, :2]).amax(1)
    half = side / 2 * log_uniform(draws, "faces", config.faces)
    middle = (box[:, :2] + box[:, 2:]) / 2 + draws.uniform("shift", 2, low=-1, high=1) * (config.shift * side)[:, None]
    turn = draws.uniform("turn", low=-1, high=1) * math.radians(config.turn_deg)
    cos, sin, zero = half * torch.cos(turn), half * torch.sin(turn), torch.zeros_like(half)
    rows = [cos, -sin, middle[:, 0], sin, cos, middle[:, 1], zero, zero, zero + 1]
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def cut(images: Tensor, found: Tensor, side_px: int) -> Tensor:
    """Stored radiance (N, 3, H, W) as the picture values of a photo in windows, (N, 3, side_px, side_px)."""
    return picture_values(seen_through(images.float(), found, (side_px, side_px)))


def follow(maps: Tensor, found: Tensor) -> Tensor:
    """Maps (N, 3, S, S) in pixels of the picture to pixels of windows that are as large as the maps."""
    side = maps.shape[3]
    flat = moved(maps[:, :2].flatten(2).transpose(1, 2), found, (side, side))
    half = torch.linalg.vector_norm(found[:, :2, 0], dim=1)
    depth = maps[:, 2:].flatten(2) * (side / 2 / half)[:, None, None]
    return torch.cat([flat.transpose(1, 2), depth], 1).reshape(maps.shape)


# ---------------------------------------------------------------- augmentation


def mirrored(maps: Tensor) -> Tensor:
    """Maps (N, 3, S, S) of the mirrored picture: U turns about the chart's middle, x about the picture's."""
    side = maps.shape[3]
    line = (torch.arange(side, device=maps.device) + 0.5) / side * 2 - 1
    across, down = torch.meshgrid(2 * (2 * CENTRE_U - 1) - line, line, indexing="xy")
    grid = torch.stack([across, down], -1).expand(len(maps), -1, -1, -1)
    there = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.cat([side - there[:, :1], there[:, 1:]], 1)


def changed(pictures: Tensor, maps: Tensor, config: AugmentConfig, draws: Draws) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3 or 6, S, S) and their maps, changed as in training. Views of one sample are changed alike."""
    flip = draws.happens("mirror", config.mirror_share)[:, None, None, None]
    pictures = torch.where(flip, pictures.flip(3), pictures)
    maps = torch.where(flip, mirrored(maps), maps)
    factors = draws.uniform("channels", 3, low=config.channels[0], high=config.channels[1])
    factors = factors.repeat(1, pictures.shape[1] // 3)[:, :, None, None]
    share = draws.uniform("dropout", high=config.dropout)[:, None, None, None]
    kept = draws.uniform("pixels", pictures.shape[1] // 3, *pictures.shape[2:]) >= share
    return (pictures * factors).clamp(0, 1) * kept.repeat_interleave(3, 1), maps


def still(config: AugmentConfig) -> AugmentConfig:
    """What tests see: the window of the face finder, and nothing changed."""
    return replace(config, window=STILL, mirror_share=0.0, channels=(1.0, 1.0), dropout=0.0)
