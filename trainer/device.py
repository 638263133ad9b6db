"""Devices: names that users give, and small tensors that reach a GPU without making the CPU wait for it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from renderer.errors import MachineError


def device_named(name: str) -> torch.device:
    """The torch device of that name. Raises MachineError if there is none on this machine."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        reason = str(error).splitlines()[0]
        raise MachineError(
            f"device {name!r} cannot be used here ({reason}): give cpu, or cuda where there is"
        ) from error
    return device


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`. From pageable memory a copy to a GPU would wait for all work queued there."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


@functools.lru_cache(maxsize=64)
def constant(values: tuple[object, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor that is needed in every step, copied to `device` once. Not to be written to."""
    return torch.tensor(values, dtype=dtype, device=device)
