"""Occluders cut from HDR environments (Ronkainen 2017, section 3.5), and the bank of environments they are cut from.

Two independent random crops: the first gives the shape (one random channel, soft threshold, random rotation, tried
again until the covered share is in range), the second gives the colour. The target is the face that stays visible:
occluded mask = mask x (1 - opacity).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.errors import AssetError, FormatError
from renderer.format import exr
from trainer.augmentation.config import Occlusion
from trainer.augmentation.draws import Draws


@dataclass(frozen=True)
class EnvironmentBank:
    """Environments stacked to one picture, so that one look-up serves a whole minibatch.

    atlas: (3, count * height, 2 * height) float32, linear radiance.
    """

    atlas: Tensor
    count: int
    height: int

    def crops(
        self,
        which: Tensor,
        centre: Tensor,
        side: Tensor,
        angle: Tensor,
        size: tuple[int, int],
        channel: Tensor | None = None,
    ) -> Tensor:
        """Square windows of environments, bilinear.

        which: (N,) int64. centre: (N, 2) in [0, 1), across and down. side: (N,) share of the height. angle: (N,) rad.
        size: (H, W). Wraps around horizontally as an environment does, stays inside vertically. channel: (N,) int64,
        the one wanted of each. Returns (N, 3, H, W), or (N, 1, H, W) of those channels.
        """
        device = which.device
        y = (torch.arange(size[0], device=device, dtype=torch.float32) + 0.5) / size[0] - 0.5
        x = (torch.arange(size[1], device=device, dtype=torch.float32) + 0.5) / size[1] - 0.5
        cos, sin = (torch.cos(angle) * side)[:, None, None], (torch.sin(angle) * side)[:, None, None]
        across = x[None, None, :] * cos - y[None, :, None] * sin
        down = x[None, None, :] * sin + y[None, :, None] * cos
        reach = 0.5 * side * (cos[:, 0, 0].abs() + sin[:, 0, 0].abs()) / side.clamp(min=1e-6)
        reach = reach.clamp(max=0.49)
        row = reach + centre[:, 1] * (1 - 2 * reach)
        u = across.div_(2).add_(centre[:, 0, None, None]).remainder_(1.0)  # environments are twice as wide as high
        v = down.add_(row[:, None, None]).clamp_(0, 1)
        atlas, count = self.atlas[None], self.count
        if channel is not None:  # the planes of the atlas, one below the other
            atlas, which, count = self.atlas.reshape(1, 1, -1, self.atlas.shape[2]), which + channel * count, 3 * count
        inner = 1.0 / self.height  # half a pixel above and below keeps neighbours in the stack out
        v.mul_(1 - inner).add_((which + inner / 2)[:, None, None]).div_(count)
        grid = torch.stack([u, v], -1).mul_(2).sub_(1)
        atlas = atlas.expand(len(which), -1, -1, -1)  # threads share the work by samples
        return F.grid_sample(atlas, grid, padding_mode="border", align_corners=False)

    def to(self, device: torch.device) -> EnvironmentBank:
        return EnvironmentBank(self.atlas.to(device), self.count, self.height)


def load_environments(folder: Path, height: int) -> EnvironmentBank:
    """Read every EXR file of a folder, scaled to `height` x 2 `height`. Raises AssetError if there is none."""
    paths = sorted(folder.glob("*.exr")) if folder.is_dir() else []
    if not paths:
        raise AssetError(
            f"no EXR environments in {folder}: set augment.environments to a folder that has some, run `make assets`, "
            "or switch augment.occlusion.enabled and augment.no_face.enabled off"
        )
    pictures = []
    for path in paths:
        channels = exr.read_channels(path)
        if lacking := {"R", "G", "B"} - set(channels):
            raise FormatError(f"{path} lacks channels {sorted(lacking)}")
        image = torch.from_numpy(np.stack([channels[c] for c in "RGB"]).astype(np.float32))
        image = torch.nan_to_num(image).clamp(min=0)
        pictures.append(F.interpolate(image[None], (height, 2 * height), mode="area")[0])
    return EnvironmentBank(torch.cat(pictures, 1).contiguous(), len(pictures), height)


def random_crops(bank: EnvironmentBank, draws: Draws, sides: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """One random crop per sample, (N, 3, H, W), scaled to a mean of 1/2 so that dark rooms and sunlight look alike."""
    crop = _crops(bank, draws, sides, size)
    return crop * (0.5 / crop.mean((1, 2, 3), keepdim=True).clamp(min=1e-6))


def _crops(
    bank: EnvironmentBank,
    draws: Draws,
    sides: tuple[float, float],
    size: tuple[int, int],
    channel: Tensor | None = None,
) -> Tensor:
    """As bright as they are."""
    return bank.crops(
        draws.integers("environment", bank.count),
        draws.uniform("centre", 2),
        torch.exp(draws.uniform("side", low=math.log(sides[0]), high=math.log(sides[1]))),
        draws.uniform("angle", high=2 * math.pi),
        size,
        channel,
    )


def opacities(bank: EnvironmentBank, config: Occlusion, draws: Draws, size: tuple[int, int]) -> Tensor:
    """Opacity of one occluder per sample, (N, 1, H, W) in [0, 1]; 0 where no crop tried gave a cover in range."""
    large = (size[0] * config.oversample, size[1] * config.oversample)
    result = torch.zeros(len(draws), 1, *size, device=draws.seeds.device)
    found = torch.zeros(len(draws), dtype=torch.bool, device=draws.seeds.device)
    for attempt in range(config.tries):
        # on a GPU, to ask which samples are left would take longer than to try all again
        left = slice(None) if found.is_cuda else (~found).nonzero().flatten()
        trial = draws.only(left).fork(f"try {attempt}")
        opacity = F.avg_pool2d(_shape(bank, config, trial, large), config.oversample)
        cover = opacity.mean((1, 2, 3))
        good = (cover >= config.cover[0]) & (cover <= config.cover[1]) & ~found[left]
        result[left] = torch.where(good[:, None, None, None], opacity, result[left])
        found[left] = found[left] | good
        if not found.is_cuda and bool(found.all()):
            break
    return result


def _shape(bank: EnvironmentBank, config: Occlusion, draws: Draws, size: tuple[int, int]) -> Tensor:
    """One channel of a crop, thresholded softly at a random level, whatever its brightness. (N, 1, H, W)."""
    gray = _crops(bank, draws, config.crop, size, draws.integers("channel", 3)).flatten(1)
    some = gray[:, :: max(1, gray.shape[1] // 4096)]
    ordered = some.sort(1).values
    level = draws.uniform("level", 1, low=1 - config.cover[1], high=1 - config.cover[0])
    threshold = ordered.gather(1, (level * (ordered.shape[1] - 1)).long())
    contrast = (ordered[:, -1:] - ordered[:, :1]).clamp(min=1e-6)
    softness = draws.uniform("softness", 1, low=config.softness[0], high=config.softness[1])
    softness = torch.where(draws.happens("binary", config.binary_share)[:, None], torch.zeros_like(softness), softness)
    opacity = (gray - threshold).div_(contrast * softness.clamp(min=1e-4)).add_(0.5).clamp_(0, 1)
    return opacity.reshape(-1, 1, *size)
