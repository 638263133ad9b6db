"""A minibatch on its way to the network, and how a stage changes some of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from trainer.augmentation.draws import Draws


@dataclass(frozen=True)
class Samples:
    """A minibatch on its way to the network.

    input: (N, 3, H, W) float32. uv: (N, 2, H, W) float32, 0 outside the mask. mask, occluded_mask: (N, 1, H, W)
    float32 in [0, 1]; the occluded mask is the face that stays visible. landmarks: (N, 68, 2) pixels or None.
    foreground: (N, 4, H, W), what was rendered without what is behind it, premultiplied R G B and coverage, or None.
    framed: (N, 1, H, W), 1 where a window shows the stored picture, 0 where it looks beyond; None: 1 everywhere.
    """

    input: Tensor
    uv: Tensor
    mask: Tensor
    occluded_mask: Tensor
    landmarks: Tensor | None = None
    foreground: Tensor | None = None
    framed: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.input.shape[2], self.input.shape[3]

    def only(self, which: Tensor) -> Samples:
        """Some of them. which: (K,) int64."""
        chosen = {name: tensor[which] for name, tensor in self.tensors().items()}
        return Samples(**chosen)

    def tensors(self) -> dict[str, Tensor]:
        """Those that are there, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}


def choose(chosen: Tensor, there: Tensor, otherwise: Tensor) -> Tensor:
    """Per sample: `there` where chosen (N,), else `otherwise`."""
    return torch.where(chosen.reshape(-1, *[1] * (there.dim() - 1)), there, otherwise)


def change_some(chosen: Tensor, samples: Samples, draws: Draws, change: Callable[[Samples, Draws], Samples]) -> Samples:
    """`change` on the chosen samples (N,), the others as they are.

    A CPU changes no more than those. A GPU changes all and chooses: to ask it how many are chosen takes longer.
    """
    if chosen.is_cuda:
        changed = change(samples, draws).tensors()
        return replace(samples, **{name: choose(chosen, changed[name], t) for name, t in samples.tensors().items()})
    which = chosen.nonzero().flatten()
    if not len(which):
        return samples
    if len(which) == len(chosen):
        return change(samples, draws)
    part = samples.only(which)
    before, after = part.tensors(), change(part, draws.only(which)).tensors()
    new = {
        name: t.index_copy(0, which, after[name])
        for name, t in samples.tensors().items()
        if after[name] is not before[name]
    }
    return replace(samples, **new)


def change_pictures(
    chosen: Tensor, samples: Samples, draws: Draws, change: Callable[[Tensor, Draws], Tensor]
) -> Samples:
    """`change` on the inputs (N, 3, H, W) of the chosen samples."""
    if chosen.is_cuda:
        return replace(samples, input=choose(chosen, change(samples.input, draws), samples.input))
    which = chosen.nonzero().flatten()
    if not len(which):
        return samples
    return replace(samples, input=samples.input.index_copy(0, which, change(samples.input[which], draws.only(which))))
