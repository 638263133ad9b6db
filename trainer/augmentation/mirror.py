"""Mirror images: UV maps mirrored, and what a UV-net sees in mirrored pictures.

Two uses: the mean of both answers is more accurate, and where they disagree there is probably no face.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from renderer.format.sample_format import CENTRE_U

GUESS_UV_ERROR: Final = 0.16  # mean UV error of the best constant answer
Network = Callable[[Tensor], Tensor]


def mirrored_maps(maps: Tensor, centre_u: float = CENTRE_U) -> Tensor:
    """Mirrored maps (N, C, H, W) whose first channel is U: columns are reversed, and U is mirrored about `centre_u`."""
    flipped = maps.flip(3)
    return torch.cat([2 * centre_u - flipped[:, :1], flipped[:, 1:]], 1)


def seen_in_mirror(network: Network, pictures: Tensor) -> Tensor:
    """What the network sees in the mirrored pictures, mirrored back so that it lies over the pictures. (N, 4, H, W)."""
    return mirrored_maps(network(pictures.flip(3)))


class Averaged:
    """A network whose output is the mean over a picture and its mirror image; half as fast."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 4, H, W)."""
        return (self.network(pictures) + seen_in_mirror(self.network, pictures)) / 2


def agreement(output: Tensor, back: Tensor) -> Tensor:
    """How alike a network sees pictures and their mirror images, (N,): 1 is the same, 0 no better than chance.

    output: of the network, (N, 4, H, W). back: of `seen_in_mirror`. The IoU of the two masks, lowered where the UVs
    differ. Near 1 for faces, since they are symmetric; low for other things in which the network sees a face.
    """
    a, b = output[:, 2:3] > 0.5, back[:, 2:3] > 0.5
    both = a & b
    difference = (output[:, :2] - back[:, :2]).abs().mean(1, keepdim=True)
    uv = (difference * both).sum((1, 2, 3)) / both.sum((1, 2, 3)).clamp(min=1)
    return both.sum((1, 2, 3)) / (a | b).sum((1, 2, 3)).clamp(min=1) * (1 - uv / GUESS_UV_ERROR).clamp(min=0)
