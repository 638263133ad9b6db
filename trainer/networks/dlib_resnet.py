"""dlib's face recognition network (Davis E. King, public domain): a ResNet with 29 convolutions and 5.6 M parameters.

The weights are those of npm `@vladmandic/face-api`, stored in 8 bits with a scale and a minimum for each tensor. LFW
99.38 % by dlib's own words; trained on VGG-Face, FaceScrub and pictures gathered from the web.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import FormatError
from trainer.networks.tfjs import filters

INPUT_PX: Final = 150
FEATURES: Final = 256  # after the mean over places
EMBEDDING: Final = 128
SAME_PERSON: Final = 0.6  # two embeddings that are nearer than this are of one person, by dlib's README
MEAN: Final = (122.782 / 255, 117.001 / 255, 104.298 / 255)  # subtracted from R, G, B in [0, 1]
STAGES: Final = (  # name, features, halves the size?
    *((f"conv32_{n}", 32, False) for n in (1, 2, 3)),
    ("conv64_down", 64, True),
    *((f"conv64_{n}", 64, False) for n in (1, 2, 3)),
    ("conv128_down", 128, True),
    *((f"conv128_{n}", 128, False) for n in (1, 2)),
    ("conv256_down", 256, True),
    *((f"conv256_{n}", 256, False) for n in (1, 2)),
    ("conv256_down_out", 256, True),
)


class Scaled(nn.Module):
    """A convolution, and a factor and an offset for each feature: what batch normalisation has become."""

    def __init__(self, channels: int, features: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, features, size, stride, 0 if stride > 1 else size // 2)
        self.weights = nn.Parameter(torch.ones(features))
        self.biases = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x) * self.weights[:, None, None] + self.biases[:, None, None]
        return y


class Block(nn.Module):
    """Two convolutions beside a shortcut; where the size is halved, the shortcut is a mean over 2 x 2 places."""

    def __init__(self, channels: int, features: int, halves: bool) -> None:
        super().__init__()
        self.conv1 = Scaled(channels, features, 3, 2 if halves else 1)
        self.conv2 = Scaled(features, features, 3, 1)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(torch.relu(self.conv1(x)))
        if self.halves:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return torch.relu(x + y)


class DlibResNet(nn.Module):
    """(N, 3, 150, 150) picture values in [0, 1] to (N, 256) features; `fc` makes embeddings (N, 128) of them."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.stem = Scaled(3, 32, 7, 2)
        blocks, channels = [], 32
        for _, features, halves in STAGES:
            blocks.append(Block(channels, features, halves))
            channels = features
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(FEATURES, EMBEDDING, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.stem(x - self.mean)), 3, 2)
        features: Tensor = self.blocks(x).mean((2, 3))
        return features

    def load_published(self, published: Mapping[str, Tensor]) -> None:
        """Take over the weights of the package. Raises FormatError where they are of another network."""
        modules = {"conv32_down": "stem"}
        for number, (name, _, _) in enumerate(STAGES):
            modules |= {f"{name}/conv{n}": f"blocks.{number}.conv{n}" for n in (1, 2)}
        try:
            taken = {"fc.weight": published["fc"].T}
            for theirs, mine in modules.items():
                taken[f"{mine}.conv.weight"] = filters(published[f"{theirs}/conv/filters"])
                taken[f"{mine}.conv.bias"] = published[f"{theirs}/conv/bias"]
                taken |= {f"{mine}.{kind}": published[f"{theirs}/scale/{kind}"] for kind in ("weights", "biases")}
            self.load_state_dict(taken)
        except (KeyError, RuntimeError) as error:
            raise FormatError(f"these are no weights of dlib's face recognition network: {error}") from error
