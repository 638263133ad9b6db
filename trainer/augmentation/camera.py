"""What lens, sensor and software of a camera do to a picture: blurs, noise, sharpening, small sizes, JPEG."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.augmentation import jpeg as codec
from trainer.augmentation.draws import Draws
from trainer.augmentation.filters import blurred, coarser
from trainer.augmentation.light import log_uniform
from trainer.augmentation.photo_config import Defocus, Jpeg, Motion, Resolution, SensorNoise, Sharpen
from trainer.augmentation.samples import Samples, change_pictures

# ---------------------------------------------------------------- lens: linear light


def defocus(samples: Samples, config: Defocus, draws: Draws, progress: float) -> Samples:
    """Blur by a disc of random radius."""

    def unfocused(pictures: Tensor, own: Draws) -> Tensor:
        radius = own.uniform("radius", 1, 1, low=config.radius_px[0], high=config.radius_px[1])
        y, x = _offsets(config.radius_px[1], pictures.device)
        return _convolved(pictures, (radius + 0.5 - (x**2 + y**2).sqrt()).clamp(0, 1))

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, unfocused)


def motion(samples: Samples, config: Motion, draws: Draws, progress: float) -> Samples:
    """Blur along a line of random length and direction."""

    def moved(pictures: Tensor, own: Draws) -> Tensor:
        half = own.uniform("length", 1, 1, low=config.length_px[0] / 2, high=config.length_px[1] / 2)
        angle = own.uniform("angle", 1, 1, high=math.pi)
        y, x = _offsets(config.length_px[1] / 2, pictures.device)
        along = (x * torch.cos(angle) + y * torch.sin(angle)).abs()
        beside = (y * torch.cos(angle) - x * torch.sin(angle)).abs()
        return _convolved(pictures, (half + 0.5 - along).clamp(0, 1) * (1 - beside).clamp(min=0))

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, moved)


def _offsets(reach_px: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Rows and columns of a kernel that reaches so far, from its middle."""
    radius = math.ceil(reach_px + 0.5)
    steps = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    return steps[:, None], steps[None, :]


def _convolved(pictures: Tensor, kernels: Tensor) -> Tensor:
    """Each picture (N, C, H, W) with its own kernel (N, K, K), made to sum to 1; the border is repeated."""
    n, c, height, width = pictures.shape
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    radius = kernels.shape[2] // 2
    padded = F.pad(pictures, [radius] * 4, mode="replicate").transpose(0, 1)  # channels as samples of one convolution
    result = F.conv2d(padded, kernels[:, None], groups=n)
    return result.transpose(0, 1).reshape(n, c, height, width)


# ---------------------------------------------------------------- sensor: linear light


def sensor_noise(samples: Samples, config: SensorNoise, draws: Draws, progress: float) -> Samples:
    """Noise that grows with the square root of the light, and some in the dark."""

    def noisy(pictures: Tensor, own: Draws) -> Tensor:
        shot = log_uniform(own, "shot", config.shot, 1, 1, 1)
        read = log_uniform(own, "read", config.read, 1, 1, 1)
        spread = (pictures.clamp(0, 1) * shot + read**2).sqrt()
        return own.normal("noise", *pictures.shape[1:]).mul_(spread).add_(pictures)

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, noisy)


# ---------------------------------------------------------------- software: picture values


def sharpen(samples: Samples, config: Sharpen, draws: Draws, progress: float) -> Samples:
    """Add the difference from a blurred copy."""

    def sharper(pictures: Tensor, own: Draws) -> Tensor:
        amount = own.uniform("amount", 1, 1, 1, low=config.amount[0], high=config.amount[1])
        soft = blurred(pictures, own.uniform("sigma", low=config.sigma_px[0], high=config.sigma_px[1]))
        return (pictures + (pictures - soft) * amount).clamp(0, 1)

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, sharper)


def resolution(samples: Samples, config: Resolution, draws: Draws, progress: float) -> Samples:
    """Lose detail by a detour over a smaller picture."""

    def coarse(pictures: Tensor, own: Draws) -> Tensor:
        return coarser(pictures, log_uniform(own, "factor", config.factor), own.happens("blocks", config.blocks_share))

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, coarse)


def jpeg(samples: Samples, config: Jpeg, draws: Draws, progress: float) -> Samples:
    """Compress and decode."""

    def coded(pictures: Tensor, own: Draws) -> Tensor:
        return codec.compressed(pictures, own.uniform("quality", low=config.quality[0], high=config.quality[1]))

    return change_pictures(draws.happens("share", config.share.at(progress)), samples, draws, coded)
