"""What a network sees in the mirror images of pictures: to average with, and to tell faces from what resembles one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from renderer.format.sample_format import CENTRE_U

GUESS_UV_ERROR: Final = 0.16  # mean UV error of the answer that is the same everywhere
Network = Callable[[Tensor], Tensor]


def turned(maps: Tensor, centre_u: float = CENTRE_U) -> Tensor:
    """Maps (N, C, H, W) whose first channel is U as the mirror images have them: U turns about the face's midline."""
    flipped = maps.flip(3)
    return torch.cat([2 * centre_u - flipped[:, :1], flipped[:, 1:]], 1)


def seen_in_mirror(network: Network, pictures: Tensor) -> Tensor:
    """The answer to the mirror images, turned back, so that it compares with that to the pictures. (N, 4, H, W)."""
    return turned(network(pictures.flip(3)))


class Averaged:
    """A network that answers with the mean of what it sees in a picture and in its mirror image; half as fast."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 4, H, W)."""
        return (self.network(pictures) + seen_in_mirror(self.network, pictures)) / 2


def agreement(output: Tensor, back: Tensor) -> Tensor:
    """How alike a network sees pictures and their mirror images, (N,): 1 = the same, 0 = as good as a guess.

    output: (N, 4, H, W). back: the same of `seen_in_mirror`. IoU of the masks, less for UVs that differ; faces are
    symmetric, so it is near 1 for those that the network knows, and low for what only reminds it of one.
    """
    a, b = output[:, 2:3] > 0.5, back[:, 2:3] > 0.5
    both = a & b
    difference = (output[:, :2] - back[:, :2]).abs().mean(1, keepdim=True)
    uv = (difference * both).sum((1, 2, 3)) / both.sum((1, 2, 3)).clamp(min=1)
    return both.sum((1, 2, 3)) / (a | b).sum((1, 2, 3)).clamp(min=1) * (1 - uv / GUESS_UV_ERROR).clamp(min=0)
