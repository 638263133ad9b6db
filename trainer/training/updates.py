"""Steps of optimisers: backward pass, norm and clipping of gradients, step; and what is to be looked at later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from trainer.data.device import memory_layout
from trainer.data.minibatch import Minibatch
from trainer.training.config import TrainConfig
from trainer.training.optimisers import make_optimiser, set_rates
from trainer.training.schedules import Moment
from trainer.training.state import NonFiniteError, State
from trainer.training.system import Optimiser


@dataclass(frozen=True)
class Models:
    """Modules and optimisers by name: plain, for their state, and as Fabric wraps them, for use."""

    plain: dict[str, nn.Module]
    wrapped: dict[str, Any]
    optimisers: dict[str, torch.optim.Optimizer]
    wrapped_optimisers: dict[str, Any]


def make_models(
    fabric: Fabric, config: TrainConfig, modules: Mapping[str, nn.Module], plans: Mapping[str, Optimiser]
) -> Models:
    """The modules on the device, in the precision and layout of the config, with their optimisers."""
    plain = {
        name: synchronised(module, fabric).to(memory_format=memory_layout(config.device.channels_last))  # type: ignore[call-overload]
        for name, module in modules.items()
    }
    precision = precision_of(fabric)
    optimisers = {
        name: make_optimiser([plain[module] for module in plan.modules], plan, precision)
        for name, plan in plans.items()
    }
    wrapped = {
        name: fabric.setup_module(torch.compile(module) if config.device.compile else module)  # type: ignore[arg-type]
        for name, module in plain.items()
    }
    return Models(plain, wrapped, optimisers, {name: fabric.setup_optimizers(o) for name, o in optimisers.items()})


def synchronised(module: nn.Module, fabric: Fabric) -> nn.Module:
    """Many GPUs normalise by the global minibatch, as one process would. Names and values of the weights stay."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return, no-untyped-call]
    return module


def precision_of(fabric: Fabric) -> str:
    """What is computed in: Fabric's name for it."""
    return str(fabric.strategy.precision.precision)


# ---------------------------------------------------------------- steps


@dataclass(frozen=True)
class Step:
    """What is to be looked at of a step. values: (terms + losses, N) by name; norms: of the gradients, (updates,)."""

    minibatch: Minibatch
    terms: tuple[str, ...]
    losses: tuple[str, ...]
    values: Tensor
    norms: Tensor


class Updates:
    """`trainer.training.system.Update`: steps the optimisers of one training, and keeps losses and norms of a step."""

    def __init__(self, fabric: Fabric, models: Models, plans: Mapping[str, Optimiser]) -> None:
        self.fabric, self.models, self.plans = fabric, models, plans
        self.scaler = scaler_of(fabric.strategy.precision)
        self.rates = {name: (plan.settings.lr[0], plan.settings.beta1[0]) for name, plan in plans.items()}
        self.begin(Moment())

    def begin(self, now: Moment) -> None:
        """A new step of the training."""
        self.now = now
        self.done: list[tuple[str, Tensor, Tensor]] = []

    def __call__(self, loss: Tensor, optimiser: str) -> None:
        plan, plain = self.plans[optimiser], self.models.optimisers[optimiser]
        self.rates[optimiser] = set_rates(plain, plan.settings, self.now)
        self.fabric.backward(loss)
        norm = norm_and_clip(plain, plan.settings.grad_clip, self.scaler)
        self.models.wrapped_optimisers[optimiser].step()
        for each in self.models.wrapped_optimisers.values():  # an adversary's loss leaves gradients in both
            each.zero_grad()
        self.done.append((optimiser, loss.detach(), norm))

    def result(self, minibatch: Minibatch, terms: Mapping[str, Tensor]) -> Step:
        """Of the step that was begun. terms: (N,) by name."""
        count = len(minibatch)
        main = next(iter(self.plans))
        losses = tuple("loss" if name == main else f"loss_{name}" for name, _, _ in self.done)
        rows = [*terms.values(), *(loss.expand(count) for _, loss, _ in self.done)]
        norms = torch.stack([norm for _, _, norm in self.done]) if self.done else torch.zeros(0)
        return Step(minibatch, tuple(terms), losses, torch.stack(rows).detach(), norms)


def collect(unchecked: list[Step], state: State) -> None:
    """Add the terms of past steps to the sums; stop the run if one is not finite, or a gradient, naming the samples.

    unchecked: emptied. A gradient that overflows half precision is no error: its scaler skips the step and scales less.
    """
    scaler = scaler_of(state.precision)
    for step in unchecked:
        minibatch, values = step.minibatch, step.values.double().cpu()
        if not torch.isfinite(values).all():
            bad = (~torch.isfinite(values[: len(step.terms)]).all(0)).nonzero().flatten().tolist()
            raise not_finite("the loss", [minibatch.keys[i] for i in bad] or minibatch.keys, minibatch)
        overflowed = any(not math.isfinite(norm) for norm in step.norms.tolist())
        if overflowed and (scaler is None or gives_up(scaler)):
            raise not_finite("the gradient", minibatch.keys, minibatch)
        for name, row in zip([*step.terms, *step.losses], values, strict=True):
            state.progress.add(name, float(row.sum()), values.shape[1])
    unchecked.clear()


def not_finite(what: str, keys: list[str], minibatch: Minibatch) -> NonFiniteError:
    """The error that names the samples; of a whole minibatch all, since any of them may be the one."""
    return NonFiniteError(
        f"{what} is not finite at samples {', '.join(keys)} of epoch {minibatch.epoch + 1}: look at them with "
        "`gen view`, lower the learning rate, or set grad_clip; the last checkpoint is from before"
    )


# ---------------------------------------------------------------- gradients


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
