"""Norms of gradients: clipped where asked for, and known to be finite before anything trained by them is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def norm_and_clip(optimiser: torch.optim.Optimizer, max_norm: float, scaler: torch.amp.GradScaler | None) -> Tensor:
    """The norm of all gradients before clipping, a scalar; they are scaled down to `max_norm` if that is above 0.

    scaler: of half precision; unscaled first where there is something to clip, else the norm is that of the scaled
    gradients. Nothing is raised where the norm is not finite, and the CPU does not wait for a GPU: a scaler skips such
    a step, and without one the caller must look.
    """
    if max_norm and scaler is not None:
        scaler.unscale_(optimiser)
    parameters = [p for group in optimiser.param_groups for p in group["params"] if p.grad is not None]
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if max_norm:
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def gives_up(scaler: torch.amp.GradScaler) -> bool:
    """Has it gone on halving its scale without finding finite gradients? Overflow ends long before a scale of 1."""
    return scaler.get_scale() < 1


def scaler_of(precision: Any) -> torch.amp.GradScaler | None:
    """The scaler of Fabric's precision plugin, which only "16-mixed" has."""
    scaler: torch.amp.GradScaler | None = getattr(precision, "scaler", None)
    return scaler
