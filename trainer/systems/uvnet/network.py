"""UV-net (Ronkainen 2017, section 3.6): a U-net from an image to U, V, mask and occluded mask.

Going down, each level has two convolutions and halves the resolution; going up, each has a transpose convolution with
stride 2, cropped to the size of the skip connection, and two convolutions. The skip of a level is the level's own
input, so that the highest one is the image itself; it is concatenated after the level's convolutions. At full
resolution three convolutions follow. ReLU throughout, none at the end.

With `patch_size` p the levels work on squares of p x p pixels as one pixel of p^2 times the channels: on a CPU the
highest levels, of few channels and many pixels, take most time. There the skip is concatenated before the level's two
convolutions, as in Ronneberger et al. 2015. A sub-pixel convolution (Shi et al. 2016) leads back to squares of
`fine_patch` pixels, where the image is concatenated before the last three convolutions: without them outlines have
steps of p pixels. They are not normalised, which would cost as much as they do.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import SpecError
from trainer.systems.uvnet.config import NetworkConfig
from trainer.systems.uvnet.padding import repeat_border

INPUTS: Final = 3  # R, G, B
OUTPUTS: Final = 4  # U, V, mask, occluded mask


def feature_counts(config: NetworkConfig) -> tuple[list[int], list[int]]:
    """Features per level on the way down and on the way up, rounded as Python does (half to even)."""
    down = [round(config.initial_features * config.feature_multiplier**level) for level in range(config.levels)]
    return down, [round(features * config.up_factor) for features in down]


class Level(nn.Module):
    """One level of the U, with whatever lies below it inside."""

    def __init__(self, config: NetworkConfig, level: int, channels: int) -> None:
        super().__init__()
        down, up = feature_counts(config)
        size, features, raised = config.filter_sizes[level], down[level], up[level]
        stride = 2 if config.down == "stride" else 1
        self.pool = config.down == "pool"
        self.skip_first = config.patch_size > 1
        self.features = raised + (0 if self.skip_first else channels)  # of the level's output
        self.down = nn.Sequential(
            *convolution(channels, features, size, config.batch_norm),
            *convolution(features, features, size, config.batch_norm, dilation=config.dilation, stride=stride),
        )
        self.inner = Level(config, level + 1, features) if level + 1 < config.levels else None
        below = features if self.inner is None else self.inner.features
        self.raise_ = nn.ConvTranspose2d(below, raised, max(size, 2), stride=2)
        self.up = nn.Sequential(
            *convolution(raised + (channels if self.skip_first else 0), raised, size, config.batch_norm),
            *convolution(raised, raised, size, config.batch_norm, dilation=config.dilation),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, `features`, H, W); H and W even."""
        y = self.down(x)
        if self.pool:
            y = F.max_pool2d(y, 2)
        if self.inner is not None:
            y = self.inner(y)
        y = F.relu(centre_crop(self.raise_(y), x.shape[2], x.shape[3]))
        if self.skip_first:
            return self.up(torch.cat([y, x], 1))  # type: ignore[no-any-return]
        return torch.cat([self.up(y), x], 1)


class UVNet(nn.Module):
    """Image to U, V, mask, occluded mask. Any image size: padded to what the network halves, and cropped back."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        size, pixels = config.filter_sizes[0], config.fine_patch**2
        self.levels = Level(config, 0, INPUTS * config.patch_size**2)
        if config.patch_size > 1:
            features, norm = config.fine_features, False
            self.spread = nn.Conv2d(self.levels.features, features * config.patch_size**2 // pixels, 1)
            joined = features + INPUTS * pixels
        else:
            features, norm = feature_counts(config)[1][0], config.batch_norm
            joined = self.levels.features
        self.fine = nn.Sequential(
            *convolution(joined, features, size, norm), *convolution(features, features, size, norm)
        )
        self.last = nn.Conv2d(features, OUTPUTS * pixels, config.filter_sizes[-1], padding="same")

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W) picture values in [0, 1] to (N, 4, H, W). Raises SpecError on another shape."""
        if image.dim() != 4 or image.shape[1] != INPUTS:
            raise SpecError(f"the network takes (N, {INPUTS}, H, W), not {tuple(image.shape)}")
        image = image.to(self.last.weight.dtype)
        height, width = image.shape[2], image.shape[3]
        multiple = self.config.multiple
        if torch.compiler.is_exporting() or height % multiple or width % multiple:
            image = repeat_border(image, height + -height % multiple, width + -width % multiple)
        return self.unpadded(image)[:, :, :height, :width]

    def unpadded(self, image: Tensor) -> Tensor:
        """`forward` for sides that are multiples of `config.multiple`."""
        patch, fine = self.config.patch_size, self.config.fine_patch
        if patch == 1:
            return self.last(self.fine(self.levels(image)))  # type: ignore[no-any-return]
        y = F.relu(F.pixel_shuffle(self.spread(self.levels(F.pixel_unshuffle(image, patch))), patch // fine))
        return F.pixel_shuffle(self.last(self.fine(torch.cat([y, F.pixel_unshuffle(image, fine)], 1))), fine)


def convolution(
    channels: int, features: int, size: int, batch_norm: bool, *, dilation: int = 1, stride: int = 1
) -> list[nn.Module]:
    """Convolution of unchanged (or halved) size, normalisation if asked for, ReLU."""
    padding = dilation * (size - 1) // 2
    layers: list[nn.Module] = [nn.Conv2d(channels, features, size, stride, padding, dilation)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(features))
    return [*layers, nn.ReLU()]


def centre_crop(x: Tensor, height: int, width: int) -> Tensor:
    """The middle (H, W) of a larger map."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def make_network(config: NetworkConfig, seed: int) -> UVNet:
    """A new network: Glorot-uniform weights, zero biases, from `seed` alone."""
    network = UVNet(config)
    glorot(network, seed)
    return network


def glorot(network: nn.Module, seed: int) -> None:
    """Give all convolutions Glorot-uniform weights and zero biases, from `seed` alone."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
