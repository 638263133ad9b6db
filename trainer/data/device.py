"""Devices: names that users give, their arithmetic, and small tensors that reach a GPU without making the CPU wait."""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor

from renderer.errors import MachineError
from renderer.processor import this_processor

EMULATED_BF16_COSTS: Final = 13  # float32's speed over bf16's where it is emulated (docs/benchmarks.md)


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


def chosen_precision(wanted: str, accelerator: str) -> str:
    """Fabric's precision for `device.precision`. accelerator: "cpu" or "cuda".

    "auto" is bf16-mixed where the device computes bfloat16 in hardware, and 32-true elsewhere.
    """
    if wanted == "auto":
        return "bf16-mixed" if computes_bf16(accelerator) else "32-true"
    return wanted


def computes_bf16(accelerator: str) -> bool:
    """Whether the device has bfloat16 arithmetic rather than an emulation of it."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return this_processor().computes_bf16


def precision_warning(wanted: str, accelerator: str) -> str:
    """What an explicit choice costs on this machine; empty where it costs nothing."""
    takes_bf16 = wanted.startswith("bf16") or (wanted == "16-mixed" and accelerator == "cpu")  # Fabric's stand-in
    if not takes_bf16 or computes_bf16(accelerator):
        return ""
    device = this_processor().describe() if accelerator == "cpu" else torch.cuda.get_device_name()
    return (
        f"device.precision is {wanted!r}, but {device} has no bfloat16 arithmetic: emulated, training takes about "
        f"{EMULATED_BF16_COSTS} times as long as in float32; set it to 'auto' or '32-true'"
    )


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`. From pageable memory a copy to a GPU would wait for all work queued there."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)


def memory_layout(channels_last: bool) -> torch.memory_format:
    """Of weights and of what goes into networks."""
    return torch.channels_last if channels_last else torch.contiguous_format


def laid_out(images: Tensor, channels_last: bool) -> Tensor:
    """Images (N, C, H, W) in that layout."""
    return images.contiguous(memory_format=memory_layout(channels_last))


@functools.lru_cache(maxsize=64)
def constant(values: tuple[object, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor that is needed in every step, copied to `device` once. Not to be written to."""
    return torch.tensor(values, dtype=dtype, device=device)
