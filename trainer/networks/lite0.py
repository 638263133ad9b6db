"""EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation and with ReLU6) as an encoder.

Modules are made in the order in which the published weights list their tensors, so that these are loaded one after the
other. The last block, the convolution after it and the classifier are left out: they know the classes of ImageNet, and
are a half of the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from renderer.errors import AssetError, FormatError

STEM: Final = 32
STAGES: Final = (  # blocks, kernel, stride, features, growth inside a block
    (1, 3, 1, 16, 1),
    (2, 3, 2, 24, 6),
    (2, 5, 2, 40, 6),
    (3, 3, 2, 80, 6),
    (3, 5, 1, 112, 6),
    (4, 5, 2, 192, 6),
)
FEATURES: Final = (16, 24, 40, 112, 192)
"""Of the maps that `Lite0` returns, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the resolution."""
MEAN: Final = (0.485, 0.456, 0.406)  # of ImageNet's R, G, B in [0, 1]
DEVIATION: Final = (0.229, 0.224, 0.225)


class Depthwise(nn.Conv2d):
    """A convolution of each feature by itself, in float32 also where the others are computed in bfloat16.

    oneDNN has no fast kernels for its gradients in bfloat16: they would take three quarters of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), as `Conv2d`."""
        kind = x.device.type
        if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
            return super().forward(x)
        with torch.autocast(kind, enabled=False):
            return super().forward(x.float())


class Block(nn.Module):
    """Inverted residual: 1 x 1 to more features, a convolution of each by itself, 1 x 1 back."""

    def __init__(self, channels: int, features: int, size: int, stride: int, growth: int) -> None:
        super().__init__()
        inner = channels * growth
        layers: list[nn.Module] = []
        if growth > 1:
            layers += [nn.Conv2d(channels, inner, 1, bias=False), norm(inner), nn.ReLU6()]
        layers += [
            Depthwise(inner, inner, size, stride, size // 2, groups=inner, bias=False),
            norm(inner),
            nn.ReLU6(),
            nn.Conv2d(inner, features, 1, bias=False),
            norm(features),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == features

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, features, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Lite0(nn.Module):
    """Picture values, scaled to ImageNet's mean and deviation, to maps of `FEATURES`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, STEM, 3, 2, 1, bias=False), norm(STEM), nn.ReLU6())
        self.stages, channels = nn.ModuleList(), STEM
        for count, size, stride, features, growth in STAGES:
            blocks = [Block(channels, features, size, stride, growth)]
            blocks += [Block(features, features, size, 1, growth) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks))
            channels = features

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W), sides multiples of 32, to five maps, the largest first."""
        maps = [self.stem(x)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return [a for a, b in pairwise(maps[1:]) if a.shape[2] != b.shape[2]] + [maps[-1]]

    def load_published(self, published: Mapping[str, Tensor]) -> None:
        """Take the weights over from a state dict of the whole network. Raises FormatError where it is another one."""
        mine = self.state_dict()
        taken = dict(zip(mine, published.values(), strict=False))
        if wrong := [name for name, tensor in mine.items() if name not in taken or taken[name].shape != tensor.shape]:
            raise FormatError(f"these are no weights of EfficientNet-Lite0: {wrong[0]} does not fit")
        self.load_state_dict(taken)


def norm(features: int) -> nn.BatchNorm2d:
    """Batch normalisation with the constants that the weights were trained with."""
    return nn.BatchNorm2d(features, eps=1e-3, momentum=0.01)


def published_lite0() -> dict[str, Tensor]:
    """The published weights of EfficientNet-Lite0. Raises AssetError where they cannot be had."""
    try:
        from blend_assets.backbones import LITE0, published_weights
    except ImportError as error:
        raise AssetError("blend_assets is not on this machine: set pretrained to false, or start") from error
    weights: dict[str, Tensor] = torch.load(published_weights(LITE0), weights_only=True)
    return weights
