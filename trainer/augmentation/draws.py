"""Random numbers per sample: a pure function of (seed of the sample, topic, counter).

The same sample of the same epoch draws the same numbers on any device, in any minibatch, on any number of processes,
and a resumed run needs no generator state. Integer hash: the "lowbias32" mixer of C. Wellons (public domain), twice.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainer.data.device import send

_MASK = 0xFFFFFFFF


def _signed(value: int) -> int:
    """A 32-bit pattern as the int32 that torch computes with; int32 products wrap around."""
    return ((value & _MASK) ^ 0x80000000) - 0x80000000


def _mix(x: Tensor) -> Tensor:
    """lowbias32 on int32 tensors. Shifts are logical: the sign bits that torch shifts in are masked away."""
    x = ((x >> 16) & 0xFFFF).bitwise_xor_(x)
    x *= 0x7FEB352D
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= _signed(0x846CA68B)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


class Draws:
    """The generator that augmentations take: one stream per sample and topic.

    seeds: (N,) int32 on the device where the numbers are wanted.
    """

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds

    @classmethod
    def for_samples(cls, seed: int, epoch: int, positions: Tensor, device: torch.device) -> Draws:
        """Draws of the samples at `positions` (N,) of the data set in one epoch of a run with `seed`."""
        head = np.random.SeedSequence([seed, epoch]).generate_state(1)[0]
        low, high = positions & _MASK, positions >> 32
        mixed = _mix(low.to(torch.int32) ^ _signed(int(head)))
        return cls(send(_mix(mixed + high.to(torch.int32)), device))

    def __len__(self) -> int:
        return len(self.seeds)

    def only(self, which: Tensor | slice) -> Draws:
        """Those of some of the samples: the numbers that they draw stay the same."""
        return Draws(self.seeds[which])

    def fork(self, topic: str) -> Draws:
        """Independent draws for the same samples, for example one more try."""
        return Draws(_mix(self.seeds ^ _signed(zlib.crc32(topic.encode()))))

    def uniform(self, topic: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(N, *shape) float32 in [low, high)."""
        return self._unit(topic, shape) * (high - low) + low

    def normal(self, topic: str, *shape: int) -> Tensor:
        """(N, *shape) float32, zero mean, unit variance (inverse of the error function)."""
        centred = self._unit(topic, shape).mul_(2).sub_(1 - 2.0**-24)  # in (-1, 1), symmetric
        return centred.erfinv_().mul_(math.sqrt(2))

    def happens(self, topic: str, share: float) -> Tensor:
        """(N,) bool, true for `share` of the samples."""
        return self._unit(topic, ()) < share

    def integers(self, topic: str, stop: int, *shape: int) -> Tensor:
        """(N, *shape) int64 in [0, stop)."""
        return (self._unit(topic, shape) * stop).to(torch.int64).clamp_(max=stop - 1)

    def _unit(self, topic: str, shape: Sequence[int]) -> Tensor:
        """(N, *shape) float32 in [0, 1), steps of 2^-24."""
        key = _mix(self.seeds ^ _signed(zlib.crc32(topic.encode())))
        counter = torch.arange(math.prod(shape), dtype=torch.int32, device=self.seeds.device)
        bits = _mix(_mix(counter * _signed(0x9E3779B9) + key[:, None]).add_(_mix(key)[:, None]))
        unit = (bits >> 8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)
        return unit.reshape(len(self.seeds), *shape)
