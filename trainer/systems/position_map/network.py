"""Pictures of a face to a position map: the networks, and the second view that one of them makes of the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, Self

import torch
from torch import Tensor, nn

from renderer.errors import SpecError
from trainer.positions.second_view import second_view
from trainer.systems.position_map.config import NetworkConfig, PositionMapConfig
from trainer.systems.position_map.lite0 import Encoded
from trainer.training.checkpoint import check_architecture, read_weights, weights_file
from trainer.uvmaps.head_pose import pack_head

ENCODER: Final = (32, 96, 144, 192, 576)  # features after each halving of kind full
NARROW: Final = 512  # features at its narrowest place
DECODER: Final = (
    (512, 1),
    (256, 2), (256, 1), (256, 1),
    (128, 2), (128, 1), (128, 1),
    (64, 2), (64, 1), (64, 1),
    (32, 2), (32, 1),
    (16, 2), (16, 1),
    (3, 1), (3, 1), (3, 1),
)  # fmt: skip
"""Features and stride of the seventeen transposed convolutions of kind full."""
PATCH: Final = 4  # side of the squares of pixels, and of texels, that kind small takes as one
LEVELS: Final = 4  # of kind small, at 1/4 to 1/32 of the resolution


class PositionNet(nn.Module):
    """(N, 3 or 6, S, S) picture values in [0, 1] to (N, 3, S, S) maps in pixels of the first picture.

    Six channels are a picture and a second view. A network for made views has the network of one view that makes them
    in it, as `first`, and takes a picture alone, too. `mean`: (3, S, S) the mean map of the training samples in units
    of the side; layers learn how far a map is from it.
    """

    mean: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(3, config.side_px, config.side_px))
        self.layers = LAYERS[config.kind](config)
        self.first = PositionNet(one_view(config)).requires_grad_(False) if config.views == "made" else None

    def forward(self, pictures: Tensor, wanted: Literal["maps", "mean", "pictures"] = "maps") -> Tensor:
        """wanted: maps; the mean map in place of each; or what goes in, (N, 3 or 6, S, S), a made view included."""
        side, channels = self.config.side_px, self.config.channels
        if pictures.shape[1] == 3 and self.first is not None:
            pictures = self.with_second(pictures)
        if pictures.shape[1:] != (channels, side, side):
            shape = tuple(pictures.shape)
            raise SpecError(f"the network takes pictures (N, {channels}, {side}, {side}), not {shape}")
        if wanted == "pictures":
            return pictures
        if wanted == "mean":
            return (self.mean * side).expand(pictures.shape[0], -1, -1, -1)
        return (self.layers(pictures - 0.5).float() + self.mean) * side  # type: ignore[no-any-return]

    @torch.no_grad()
    def with_second(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) with the view made of each, (N, 6, S, S), by a network that has a first one."""
        assert self.first is not None
        made = second_view(pictures.float(), self.first(pictures), pack_head()).picture
        return torch.cat([pictures, made.to(pictures)], 1)

    def train(self, mode: bool = True) -> Self:
        """The network of one view keeps the statistics of its own training."""
        super().train(mode)
        if self.first is not None:
            self.first.eval()
        return self


# ---------------------------------------------------------------- kind full


def full(config: NetworkConfig) -> nn.Sequential:
    """Table 4.1 of Kwon 2021; where it leaves room: docs/design/0211."""
    layers: list[nn.Module] = [*convolution(config.channels, ENCODER[0], stride=2)]
    layers += [InvertedResidual(a, b, config.expansion) for a, b in pairwise(ENCODER)]
    layers += convolution(ENCODER[-1], NARROW)
    channels = NARROW
    for number, (features, stride) in enumerate(DECODER):
        linear = number >= len(DECODER) - 3
        layers += [Transposed(channels, features, stride, bias=linear)]
        layers += [] if linear else [nn.BatchNorm2d(features), nn.ReLU()]
        channels = features
    return nn.Sequential(*layers)


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018) that halves the resolution: wide inside, and so without a shortcut."""

    def __init__(self, channels: int, features: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.inner = nn.Sequential(
            *convolution(channels, wide, size=1),
            *convolution(wide, wide, stride=2, groups=wide),
            nn.Conv2d(wide, features, 1, bias=False),
            nn.BatchNorm2d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


class Transposed(nn.Module):
    """A 4 x 4 transposed convolution that doubles the size (stride 2), or keeps it: what is too much is cut off."""

    def __init__(self, channels: int, features: int, stride: int, bias: bool) -> None:
        super().__init__()
        self.inner = nn.ConvTranspose2d(channels, features, 4, stride, padding=1, bias=bias)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        made = self.inner(x)
        return made if self.stride == 2 else made[:, :, :-1, :-1]  # type: ignore[no-any-return]


# ---------------------------------------------------------------- kind small


def small(config: NetworkConfig) -> nn.Sequential:
    """Convolutions on squares of pixels down to 1/32, transposed ones up to 1/4, then bilinear: maps are smooth."""
    widths = [config.features * 2**level for level in range(LEVELS)]
    layers: list[nn.Module] = [nn.PixelUnshuffle(PATCH), *convolution(config.channels * PATCH**2, widths[0])]
    layers += convolution(widths[0], widths[0])
    for a, b in pairwise(widths):
        layers += [*convolution(a, b, stride=2), *convolution(b, b)]
    for a, b in pairwise(reversed(widths)):
        layers += [Transposed(a, b, 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    layers += [nn.Conv2d(widths[0], 3, 3, padding=1)]
    layers += [nn.Upsample(scale_factor=PATCH, mode="bilinear", align_corners=False)]
    return nn.Sequential(*layers)


# ---------------------------------------------------------------- both


def convolution(channels: int, features: int, size: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution, its normalisation and activation."""
    return [
        nn.Conv2d(channels, features, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(features),
        nn.ReLU6(),
    ]


def make_network(config: NetworkConfig, seed: int) -> PositionNet:
    """A new network: He-normal layers, and a last one that answers the mean map to everything."""
    network = PositionNet(config)
    generator = torch.Generator().manual_seed(seed)
    for one in (network, network.first):
        if one is not None:
            start(one.layers, generator)
    return network


LAYERS: Final[Mapping[str, Callable[[NetworkConfig], nn.Module]]] = {"full": full, "small": small, "lite0": Encoded}


def start(layers: nn.Module, generator: torch.Generator) -> None:
    """First weights of the layers of one network."""
    found = [m for m in layers.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    for module in found:
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu", generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    nn.init.zeros_(found[-1].weight)


def first_weights(config: PositionMapConfig) -> dict[str, Tensor]:
    """Weights of the network of one view that second views are made by.

    Raises SpecError where none is named, FormatError or DatasetError where the file holds no such weights.
    """
    if not config.first:
        raise SpecError(
            "network.views is 'made', but first is empty: name the run of a network of one view, whose maps the second"
            " view is made by"
        )
    path = weights_file(Path(config.first))
    tensors, architecture, header = read_weights(path)
    check_architecture(
        header["system"], architecture, replace(config, network=one_view(config.network), first=""), path
    )
    return tensors


def one_view(config: NetworkConfig) -> NetworkConfig:
    """The same network for a picture alone."""
    return replace(config, views="one")
