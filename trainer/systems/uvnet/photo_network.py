"""The network for photographs: an encoder that has seen ImageNet, and a light decoder.

The decoder works up to half the resolution, where convolutions of few channels are cheap; its maps are then enlarged
bilinearly. Beside UV and masks it says whether the picture shows a face at all, from the encoder's smallest map:
nothing else in a U-net sees the whole picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import SpecError
from trainer.networks.lite0 import DEVIATION, FEATURES, MEAN, Lite0
from trainer.systems.uvnet.config import NetworkConfig
from trainer.systems.uvnet.padding import repeat_border

OUTPUTS: Final = ("U", "V", "mask", "occluded mask", "face score")


class PhotoNet(nn.Module):
    """Picture to U, V, mask, visible mask, face score (N, 5, H, W); the score is the same at every pixel.

    Masks and score are in [0, 1]. Any size of picture: padded to multiples of 32, and cropped back.
    """

    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config, self.frozen = config, list[nn.Module]()
        self.register_buffer("pixel_mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_deviation", torch.tensor(DEVIATION).reshape(1, 3, 1, 1), persistent=False)
        self.encoder = Lite0()
        self.decoder, channels = nn.ModuleList(), FEATURES[-1]
        for skip, features in zip(FEATURES[-2::-1], config.decoder_features, strict=True):
            self.decoder.append(convolution(channels + skip, features))
            channels = features
        self.fine = convolution(channels, channels)
        self.last = nn.Conv2d(channels, 4, 3, padding=1)
        self.face = nn.Linear(FEATURES[-1], 1)

    def freeze(self, stages: int) -> None:
        """Keep the stem and the first stages of the encoder as they are, statistics of their normalisation included.

        They learnt from photographs; renderings would teach them to look for what rendering does to edges and noise.
        """
        if stages:
            self.frozen = [self.encoder.stem, *self.encoder.stages[:stages]]
            for module in self.frozen:
                module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but for what is frozen."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, picture: Tensor) -> Tensor:
        """(N, 3, H, W) picture values in [0, 1] to (N, 5, H, W). Raises SpecError on another shape."""
        if picture.dim() != 4 or picture.shape[1] != 3:
            raise SpecError(f"the network takes (N, 3, H, W), not {tuple(picture.shape)}")
        height, width = picture.shape[2:]
        multiple = self.config.multiple
        if torch.compiler.is_exporting() or height % multiple or width % multiple:
            picture = repeat_border(picture, height + -height % multiple, width + -width % multiple)
        return self.unpadded(picture)[:, :, :height, :width]

    def unpadded(self, picture: Tensor) -> Tensor:
        """`forward` for sides that are multiples of `config.multiple`."""
        maps = self.encoder((picture - self.pixel_mean) / self.pixel_deviation)
        face = self.face(maps[-1].mean((2, 3)))
        y = maps[-1]
        for level, skip in zip(self.decoder, maps[-2::-1], strict=True):
            y = level(torch.cat([F.interpolate(y, scale_factor=2.0, mode="nearest"), skip], 1))
        y = self.last(self.fine(y)).float()  # a sigmoid in bfloat16 would have 1 too early
        y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        scores = face.float()[:, :, None, None].expand(-1, -1, y.shape[2], y.shape[3])
        return torch.cat([y[:, :2], torch.sigmoid(torch.cat([y[:, 2:], scores], 1))], 1)


def convolution(channels: int, features: int) -> nn.Sequential:
    """3 x 3, normalised, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, features, 3, padding=1, bias=False), nn.BatchNorm2d(features), nn.ReLU())


def make_photo_network(config: NetworkConfig, seed: int, published: Mapping[str, Tensor] | None = None) -> PhotoNet:
    """A new network, from `seed` alone but for the encoder. published: a state dict of the whole EfficientNet-Lite0."""
    network, generator = PhotoNet(config), torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    nn.init.normal_(network.last.weight, std=0.01, generator=generator)
    nn.init.normal_(network.face.weight, std=0.01, generator=generator)
    for bias in (network.last.bias, network.face.bias):
        assert bias is not None
        nn.init.zeros_(bias)
    with torch.no_grad():
        network.last.bias[:2] = 0.5  # type: ignore[index]  # UVs lie around the middle of the texture
    if published is not None:
        network.encoder.load_published(published)
    return network
