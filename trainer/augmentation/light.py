"""Light and colour: uneven light, vignettes, white balance; tone curves, saturation and gray pictures after `tone`."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.augmentation.draws import Draws
from trainer.augmentation.photo_config import Gray, Saturation, Shade, ToneCurve, Vignette, WhiteBalance
from trainer.augmentation.samples import Samples, change_pictures
from trainer.data.device import constant

LUMINANCE: Final = (0.2126, 0.7152, 0.0722)  # of linear R, G, B (ITU-R BT.709)
LUMA: Final = (0.299, 0.587, 0.114)  # of picture values (ITU-R BT.601)
WAVES: Final = 4  # that make a pattern of light
PATTERN_PX: Final = 24  # it has no finer detail than that: drawn small, enlarged, then cut to light and shadow


def weighted(pictures: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """One channel out of three. (N, 3, H, W) to (N, 1, H, W)."""
    return (pictures * constant(weights, pictures.dtype, pictures.device)[:, None, None]).sum(1, keepdim=True)


def log_uniform(draws: Draws, topic: str, span: tuple[float, float], *shape: int) -> Tensor:
    """(N, *shape) in the span, its ends above 0."""
    return torch.exp(draws.uniform(topic, *shape, low=math.log(span[0]), high=math.log(span[1])))


def shade(samples: Samples, config: Shade, draws: Draws, progress: float) -> Samples:
    """Darken a part of the picture."""

    def shaded(pictures: Tensor, own: Draws) -> Tensor:
        shadow = _pattern(own, config, (pictures.shape[2], pictures.shape[3]))
        stops = own.uniform("stops", 1, low=config.stops[0], high=config.stops[1]) + config.tint * own.normal("tint", 3)
        return pictures * torch.exp2(-stops[:, :, None, None] * shadow)

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, shaded)


def _pattern(draws: Draws, config: Shade, size: tuple[int, int]) -> Tensor:
    """How much in shadow, (N, 1, H, W) in [0, 1]: a sum of plane waves, cut at zero."""
    angle = draws.uniform("angle", WAVES, high=2 * math.pi)
    frequency = 2 * math.pi / log_uniform(draws, "wave", config.wave, WAVES)
    place = torch.linspace(0, 1, PATTERN_PX, device=angle.device)
    across, down = ((f * frequency)[:, :, None] * place for f in (torch.cos(angle), torch.sin(angle)))
    phase = draws.uniform("phase", WAVES, high=2 * math.pi)[:, :, None, None]
    field = torch.cos(across[:, :, None, :] + down[:, :, :, None] + phase).mean(1, keepdim=True) * 2
    field = F.interpolate(field, size=size, mode="bicubic", align_corners=True)
    softness = log_uniform(draws, "softness", config.softness)[:, None, None, None]
    step = (field / softness + 0.5).clamp(0, 1)
    return step * step * (3 - 2 * step)


def vignette(samples: Samples, config: Vignette, draws: Draws, progress: float) -> Samples:
    """Darken towards the corners by cos^4 of the angle from the lens's axis."""

    def darkened(pictures: Tensor, own: Draws) -> Tensor:
        height, width = pictures.shape[2:]
        x, y = (torch.linspace(-1, 1, n, device=pictures.device) for n in (width, height))
        radius2 = (x[None, :] ** 2 + y[:, None] ** 2) / 2  # 1 in the corners
        stops = own.uniform("stops", 1, 1, 1, low=config.stops[0], high=config.stops[1])
        return pictures / (1 + (torch.exp2(stops / 2) - 1) * radius2) ** 2  # (1 + tan^2)^-2 = cos^4

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, darkened)


def white_balance(samples: Samples, config: WhiteBalance, draws: Draws, progress: float) -> Samples:
    """Gains of the channels; the luminance of white stays."""

    def balanced(pictures: Tensor, own: Draws) -> Tensor:
        warm = own.uniform("warm", low=-config.warm, high=config.warm)
        green = own.uniform("green", low=-config.green, high=config.green)
        gains = torch.exp2(torch.stack([warm / 2 - green / 2, green / 2, -warm / 2 - green / 2], 1))[:, :, None, None]
        return pictures * (gains / weighted(gains, LUMINANCE))

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, balanced)


def tone_curve(samples: Samples, config: ToneCurve, draws: Draws, progress: float) -> Samples:
    """Bend picture values: y = x + sum a_k sin(pi k x) / (pi k), which rises wherever sum |a_k| < 1."""

    def bent(pictures: Tensor, own: Draws) -> Tensor:
        both = own.uniform("bend", 1, 2, low=-0.5, high=0.5) * config.bend
        each = own.uniform("colours", 3, 2, low=-0.5, high=0.5) * config.colours
        first, second = (both + each)[:, :, :, None, None].unbind(2)
        curve = pictures.clamp(0, 1)
        angle = math.pi * curve
        # sin 2a = 2 sin a cos a
        curve = curve + torch.sin(angle) * (first + second * torch.cos(angle)) / math.pi
        black = own.uniform("haze", 1, 1, 1, high=config.haze)
        return black + (1 - black) * curve

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, bent)


def saturation(samples: Samples, config: Saturation, draws: Draws, progress: float) -> Samples:
    """Scale the distance of colours from gray."""

    def changed(pictures: Tensor, own: Draws) -> Tensor:
        gray = weighted(pictures, LUMA)
        factor = own.uniform("factor", 1, 1, 1, low=config.factor[0], high=config.factor[1])
        return gray + (pictures - gray) * factor

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, changed)


def gray(samples: Samples, config: Gray, draws: Draws, progress: float) -> Samples:
    """Take the colour away."""
    chosen = draws.happens("share", config.share.at(progress))
    return change_pictures(chosen, samples, draws, lambda p, _: weighted(p, LUMA).expand(-1, 3, -1, -1))
