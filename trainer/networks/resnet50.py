"""ResNet-50 (He et al. 2016) with torchvision's names of parameters, so that its checkpoints can be read.

As torchvision has it: the stride of a stage sits in the 3 x 3 convolution of its first block ("v1.5"). No activation
works in place, which explanations by gradients need.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

STAGES: Final = ((64, 3), (128, 4), (256, 6), (512, 3))  # inner channels, blocks
EXPANSION: Final = 4  # outer channels of a block by its inner ones


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution beside a shortcut."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        outer = inner * EXPANSION
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outer, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outer)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
            if stride > 1 or channels != outer
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """(N, 3, H, W) to (N, outputs). `fc` is the last layer, everything before it may come from a checkpoint."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for number, (inner, blocks) in enumerate(STAGES, 1):
            stride = 1 if number == 1 else 2
            stage = [Bottleneck(channels, inner, stride)]
            channels = inner * EXPANSION
            stage += [Bottleneck(channels, inner, 1) for _ in range(blocks - 1)]
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(STAGES) + 1):
            y = getattr(self, f"layer{number}")(y)
        return self.fc(y.mean((2, 3)))  # type: ignore[no-any-return]
