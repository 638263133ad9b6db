"""Windows of pictures, as the face finder cuts them: one resampling of everything by a homography.

Coordinates: a window spans [-1, 1] across and down; sources are in pixels from the top left corner. Labels are averaged
over the face alone: UV is the mean of the UVs of the face pixels around, and a pixel is face where more than half is.
Beyond the border the picture is reflected, and so are labels: a face in a mirror, whose U turns about the midline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.format.sample_format import CENTRE_U
from trainer.augmentation.draws import Draws
from trainer.augmentation.faces import face_boxes
from trainer.augmentation.light import log_uniform
from trainer.augmentation.photo_config import Window
from trainer.augmentation.samples import Samples, choose
from trainer.data.device import constant

SHARP: Final = 1.5  # source pixels per pixel up to which bilinear look-ups do not alias
LEVELS: Final = 4  # of the pyramid that wide windows are read from: up to 12 source pixels per pixel


def window(samples: Samples, config: Window, draws: Draws, progress: float) -> Samples:
    """A window of each; samples that are not drawn are shown whole."""
    size = (config.side_px, config.side_px) if config.side_px else samples.size
    chosen = draws.happens("share", config.share.at(progress))
    drawn = _homographies(samples, config, draws, progress, size)
    return resampled(samples, choose(chosen, drawn, _whole(samples)), size)


def whole(samples: Samples, side_px: int) -> Samples:
    """Everything at another size: what evaluations see where `Window.side_px` is set."""
    if not side_px or samples.size == (side_px, side_px):
        return samples
    return resampled(samples, _whole(samples), (side_px, side_px))


def _whole(samples: Samples) -> Tensor:
    """The window that shows everything, (N, 3, 3)."""
    height, width = samples.size
    rows = ((width / 2, 0.0, width / 2), (0.0, height / 2, height / 2), (0.0, 0.0, 1.0))
    return constant(rows, torch.float32, samples.input.device).expand(len(samples.input), 3, 3)


def _homographies(samples: Samples, config: Window, draws: Draws, progress: float, size: tuple[int, int]) -> Tensor:
    """From windows of that size (H, W) to source pixels, (N, 3, 3). Their smaller side is what the knobs speak of."""
    boxes = face_boxes(samples.mask, draws.fork("face"))
    wide = draws.happens("wide", config.wide_share.at(progress))
    near_half = boxes.side / 2 * log_uniform(draws, "faces", config.faces)
    wide_half = boxes.side / 2 * log_uniform(draws, "wide faces", config.wide_faces)
    half = torch.where(wide, wide_half, near_half)
    anywhere = (wide_half - boxes.side / 2).clamp(min=0)
    reach = torch.where(wide, anywhere, 2 * config.shift * near_half)
    centre = boxes.centre + draws.uniform("shift", 2, low=-1, high=1) * reach[:, None]
    beside = draws.happens("beside", config.beside_share.at(progress))
    half = torch.where(beside, boxes.side / 2 * log_uniform(draws, "beside faces", config.beside_faces), half)
    source = constant((samples.size[1], samples.size[0]), torch.float32, centre.device)
    centre = torch.where(beside[:, None], draws.uniform("beside", 2) * source, centre)
    limit = torch.where(draws.happens("any turn", config.any_turn_share), 180.0, config.turn_deg)
    turn = draws.uniform("turn", low=-1, high=1) * limit * (math.pi / 180)
    stretch = torch.exp(draws.uniform("aspect", low=-0.5, high=0.5) * config.aspect)
    a, b = half * stretch * (size[1] / min(size)), half / stretch * (size[0] / min(size))
    linear = torch.stack([a * torch.cos(turn), -b * torch.sin(turn), a * torch.sin(turn), b * torch.cos(turn)], 1)
    # the middle of the window stays where it is, one side comes nearer
    tilt = draws.uniform("perspective", 2, low=-1, high=1) * config.perspective / math.sqrt(2)
    numerator = linear.reshape(-1, 2, 2) + centre[:, :, None] * tilt[:, None, :]
    top = torch.cat([numerator, centre[:, :, None]], 2)
    return torch.cat([top, torch.cat([tilt, torch.ones_like(tilt[:, :1])], 1)[:, None]], 1)


def resampled(samples: Samples, homographies: Tensor, size: tuple[int, int]) -> Samples:
    """Everything seen through windows. homographies: (N, 3, 3), window to source pixels. size: (H, W) of the result."""
    source = constant((samples.size[1], samples.size[0]), torch.float32, homographies.device)
    places = _places(homographies, size) / source  # the source is [0, 1] wide and high
    turns = places.floor()  # 0 inside, odd where the source is seen in a mirror
    odd = turns / 2
    odd -= odd.floor()
    place = places - turns
    level = _levels(homographies, size)
    images = (samples.input, samples.uv, samples.mask, samples.occluded_mask)  # UV is 0 off the face: sums count faces
    planes = _look_up(images, torch.where(odd > 0, 1 - place, place), level)
    face = (planes[:, 5:6] > 0.5).float()
    uv = planes[:, 3:5] * (face / planes[:, 5:6].clamp(min=0.5))
    mirrored = (odd[..., 0] != odd[..., 1])[:, None] & (face > 0)
    uv = torch.cat([torch.where(mirrored, 2 * CENTRE_U - uv[:, :1], uv[:, :1]), uv[:, 1:]], 1)
    result = Samples(planes[:, :3], uv, face, face * (planes[:, 6:7] > 0.5))
    if samples.landmarks is not None:
        result = replace(result, landmarks=moved(samples.landmarks, homographies, size))
    if samples.foreground is not None:  # what leaves the picture goes on beyond its border: a body, hair
        foreground = _look_up((samples.foreground,), places.clamp(0, 1), level)
        framed = (turns == 0).all(3)[:, None].float()
        result = replace(result, foreground=foreground, framed=framed)
    return result


def seen_through(images: Tensor, homographies: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) through windows, (N, C, *size); beyond the border its pixels are repeated."""
    source = constant((images.shape[3], images.shape[2]), torch.float32, homographies.device)
    places = _places(homographies, size) / source
    return _look_up((images,), places.clamp(0, 1), _levels(homographies, size))


def _places(homographies: Tensor, size: tuple[int, int]) -> Tensor:
    """Source pixel of each pixel, (N, H, W, 2)."""
    y, x = (torch.arange(n, device=homographies.device, dtype=torch.float32) * 2 + 1 for n in size)
    across, down = torch.meshgrid(x / size[1] - 1, y / size[0] - 1, indexing="xy")
    points = torch.stack([across, down, torch.ones_like(across)], -1).reshape(1, -1, 3)
    mapped = points @ homographies.transpose(1, 2)
    return (mapped[..., :2] / mapped[..., 2:]).reshape(-1, *size, 2)


def _levels(homographies: Tensor, size: tuple[int, int]) -> Tensor:
    """Level of the pyramid whose pixels are about as large as those of the window in its middle, (N,) int64."""
    area = torch.linalg.det(homographies).abs()  # of the middle: the last row is (tilt, 1), and cancels
    per_pixel = (area * 4 / (size[0] * size[1])).sqrt()
    return (torch.log2(per_pixel / SHARP).floor() + 1).clamp(0, LEVELS - 1).to(torch.int64)


def _look_up(images: Sequence[Tensor], places: Tensor, level: Tensor) -> Tensor:
    """Bilinear values of images (N, C, H, W) at places (N, H', W', 2) in [0, 1], each sample's from its pyramid level.

    The channels of all images come one after the other.
    """
    source = constant((images[0].shape[3], images[0].shape[2]), torch.float32, places.device)
    channels = sum(image.shape[1] for image in images)
    result = places.new_zeros(len(places), channels, *places.shape[1:3])
    for number in range(LEVELS):
        chosen = level == number
        which = slice(None) if chosen.is_cuda else chosen.nonzero().flatten()
        part = torch.cat([image[which] for image in images], 1)
        if not len(part):
            continue
        step = 2**number
        if number:
            part = F.avg_pool2d(part, step, ceil_mode=True)
        pooled = constant((part.shape[3] * step, part.shape[2] * step), torch.float32, places.device)  # whole squares
        grid = places[which] * (2 * source / pooled) - 1
        seen = F.grid_sample(part, grid, mode="bilinear", padding_mode="border", align_corners=False)
        if chosen.is_cuda:
            result = choose(chosen, seen, result)
        else:
            result[which] = seen
    return result


def moved(points: Tensor, homographies: Tensor, size: tuple[int, int]) -> Tensor:
    """Source pixels (N, K, 2) in pixels of the windows."""
    ones = torch.ones_like(points[..., :1])
    back: Tensor = torch.cat([points, ones], 2) @ torch.linalg.inv(homographies).transpose(1, 2)
    half = constant((size[1] / 2, size[0] / 2), torch.float32, points.device)
    return (back[..., :2] / back[..., 2:] + 1) * half
