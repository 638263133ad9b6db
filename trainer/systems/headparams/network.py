"""A picture to the parameters of the head in it: the mean image is subtracted, then a network of `trainer.networks`.

The mean image is a buffer, so that it travels with the weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import FormatError, SpecError
from trainer.networks.lite0 import FEATURES, Lite0, norm, published_lite0
from trainer.networks.resnet50 import ResNet50
from trainer.systems.headparams.config import NetworkConfig

SPREAD: Final = 0.226  # of picture values in ImageNet: what checkpoints have been trained with
PATCH: Final = 4  # side of the squares of pixels that `Small` takes as one
LEVELS: Final = 4  # of `Small`
LAST: Final = "fc."  # the layer that a checkpoint's 1,000 classes are read from


class Regressor(nn.Module):
    """(N, 3, H, W) picture values in [0, 1], square, to (N, parameters). `mean`: (3, side, side)."""

    mean: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.full((3, config.input_px, config.input_px), 0.5))
        self.backbone: nn.Module
        if config.kind == "resnet50":
            self.backbone = ResNet50(config.parameters)
        elif config.kind == "lite0":
            self.backbone = Encoded(config.parameters)
        else:
            self.backbone = Small(config.parameters, config.features, config.dropout)

    def forward(self, picture: Tensor) -> Tensor:
        picture = resized(picture, self.config.input_px).to(self.mean.dtype)
        return self.backbone((picture - self.mean) / SPREAD)  # type: ignore[no-any-return]


class Small(nn.Module):
    """Residual blocks on squares of 4 x 4 pixels, at 1/4 to 1/32 of the resolution, and a mean over places.

    A last layer that sees each place by itself learns a few hundred pictures by heart sooner (docs/design/0209).
    """

    def __init__(self, outputs: int, features: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(PATCH), *convolution(3 * PATCH**2, features), nn.ReLU()]
        channels = features
        for level in range(LEVELS):
            layers.append(Block(channels, features * 2**level, 2 if level else 1))
            channels = features * 2**level
        self.levels = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.levels(x).mean((2, 3))))  # type: ignore[no-any-return]


class Encoded(nn.Module):
    """EfficientNet-Lite0 up to its last map but one, from 1/32 of the resolution to the parameters."""

    def __init__(self, outputs: int, features: int = 512) -> None:
        super().__init__()
        self.encoder = Lite0()
        self.head = nn.Sequential(nn.Conv2d(FEATURES[-1], features, 1, bias=False), norm(features), nn.ReLU6())
        self.fc = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.head(self.encoder(x)[-1]).mean((2, 3)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, features: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *convolution(channels, features, stride), nn.ReLU(), *convolution(features, features)
        )
        same = stride == 1 and channels == features
        self.shortcut = nn.Identity() if same else nn.Sequential(*convolution(channels, features, stride, size=1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x) + self.shortcut(x))


def convolution(channels: int, features: int, stride: int = 1, size: int = 3) -> list[nn.Module]:
    """A convolution and its normalisation."""
    return [nn.Conv2d(channels, features, size, stride, size // 2, bias=False), nn.BatchNorm2d(features)]


def resized(picture: Tensor, side: int) -> Tensor:
    """(N, 3, H, H) to (N, 3, side, side)."""
    if picture.dim() != 4 or picture.shape[1] != 3 or picture.shape[2] != picture.shape[3]:
        raise SpecError(f"the network takes square pictures, (N, 3, H, H), not {tuple(picture.shape)}")
    if picture.shape[2] == side:
        return picture
    return F.interpolate(picture, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def make_network(config: NetworkConfig, seed: int) -> Regressor:
    """A new network: He-normal convolutions, and a last layer that answers zero, the naive guess, to everything."""
    network = Regressor(config)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def load_pretrained(backbone: nn.Module, path: Path | None) -> None:
    """All layers but the last from a checkpoint of tensors by name. Runs no code of the file.

    path: None for the weights of EfficientNet-Lite0 that a package holds. Raises FormatError where it is no such file,
    or of another network, AssetError where the package cannot be had.
    """
    found = published_lite0() if path is None else _tensors(path)
    if isinstance(backbone, Encoded):
        backbone.encoder.load_published(found)
        return
    own = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith(LAST)}
    counters = [name for name in own if name.endswith("num_batches_tracked")]  # older checkpoints have none
    for name, tensor in own.items():
        shape = tuple(found[name].shape) if isinstance(found.get(name), Tensor) else None
        if shape != tuple(tensor.shape) and not (shape is None and name in counters):
            there = "lacks it" if shape is None else f"has {shape}"
            raise FormatError(
                f"pretrained: {path} is of another network: {name} is {tuple(tensor.shape)} here, the file {there}"
            )
    backbone.load_state_dict({name: found[name] for name in own if name in found}, strict=False)


def _tensors(path: Path) -> dict[str, Tensor]:
    """A checkpoint's state dict."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, runtime and other errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"pretrained: {path} cannot be read as tensors by name ({reason})") from error
    if not isinstance(found, dict):
        raise FormatError(f"pretrained: {path} holds {type(found).__name__}, not tensors by name")
    return found
