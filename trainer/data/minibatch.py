"""A minibatch as it is stored: what a reader delivers of some samples, before a system makes anything of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.reader import SampleReader


@dataclass(frozen=True)
class Minibatch:
    """Samples as they are stored; a system turns them into inputs and targets.

    keys: N names. positions: (N,) int64, positions in the reader. images: name -> (N, C, H, W), of the dtypes that
    `trainer.data.reader` lists. vectors: name -> (N, ...), what the reader's functions made of the records.
    """

    keys: list[str]
    positions: Tensor
    images: Mapping[str, Tensor]
    vectors: Mapping[str, Tensor]
    epoch: int

    @classmethod
    def of(cls, reader: SampleReader, positions: Tensor, arrays: Mapping[str, Tensor], epoch: int) -> Minibatch:
        """Samples of a reader. arrays: everything that it delivers, by name, stacked."""
        images = {name: tensor for name, tensor in arrays.items() if name not in reader.vectors}
        vectors = {name: arrays[name] for name in reader.vectors}
        return cls([reader.keys[p] for p in positions.tolist()], positions, images, vectors, epoch)

    def __len__(self) -> int:
        return len(self.keys)

    def only(self, slots: Sequence[int]) -> Minibatch:
        """Some of its samples."""
        if len(slots) == len(self):
            return self
        index = torch.tensor(slots, dtype=torch.int64)
        images, vectors = (
            {name: tensor[index.to(tensor.device)] for name, tensor in part.items()}
            for part in (self.images, self.vectors)
        )
        return Minibatch([self.keys[i] for i in slots], self.positions[index], images, vectors, self.epoch)
