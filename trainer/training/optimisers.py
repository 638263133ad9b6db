"""Optimisers by name: Adam as the thesis has it, SGD, and Muon, which learns more per sample (docs/design/0206).

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes all singular values of a weight matrix's
step alike, so that rare directions are learnt as fast as common ones. torch.optim.Muon takes matrices only, and views
of kernels would neither follow them to a GPU nor pass through Fabric's scaling of gradients: hence this one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainer.training.config import OptimiserConfig
from trainer.training.schedules import Moment, learning_rate, momentum
from trainer.training.system import Optimiser

MOMENTUM: Final = 0.95
STEPS: Final = 4
COEFFICIENTS: Final = (3.4445, -4.775, 2.0315)  # of the quintic iteration, from Jordan et al.
RMS: Final = 0.2  # of a step of rate 1, which is about Adam's (Liu et al. 2025, arXiv 2502.16982)


class Muon(torch.optim.Adam):
    """Muon for `kernels`, Adam for `others`. Kernels are (out, in, k, k) and step as matrices (out, in k k).

    dtype: of the iteration on a GPU; bfloat16 is precise enough there. On a CPU it runs on Gram matrices, in float32:
    that is as fast as the iteration in bfloat16 where there is hardware for it, and twice as fast where there is none.
    """

    def __init__(
        self,
        kernels: list[nn.Parameter],
        others: list[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        dtype: torch.dtype,
    ) -> None:
        groups = [{"params": others, "muon": False}, {"params": kernels, "muon": True}]
        super().__init__(groups, lr=lr, betas=betas, foreach=True)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both; it uses the kernels' gradients up. A closure is evaluated first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                for kernel in group["params"]:
                    if kernel.grad is not None:
                        self._step_kernel(kernel, kernel.grad, group["lr"])
                        kernel.grad = None  # Adam below takes what is left
        super().step()
        return loss

    def _step_kernel(self, kernel: nn.Parameter, gradient: Tensor, lr: float) -> None:
        state = self.state[kernel]
        if not state:  # "step" is there because Adam expects it in every state that it loads
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(gradient)}
        state["step"] += 1
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        layout = layout_of(kernel)
        weights = as_matrix(kernel, layout)
        direction = as_matrix(gradient.lerp_(momentum, MOMENTUM).contiguous(memory_format=layout), layout)  # Nesterov's
        rate = -lr * RMS * max(weights.shape) ** 0.5
        if kernel.is_cuda:
            weights.add_(orthogonal(direction.to(self.dtype)), alpha=rate)
        elif weights.shape[0] <= weights.shape[1]:
            weights.addmm_(root_of_inverse(direction @ direction.T), direction, alpha=rate)
        else:
            weights.addmm_(direction, root_of_inverse(direction.T @ direction), alpha=rate)


def layout_of(kernel: Tensor) -> torch.memory_format:
    """How a kernel lies in memory."""
    by_channels = kernel.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if by_channels else torch.contiguous_format


def as_matrix(kernel: Tensor, layout: torch.memory_format) -> Tensor:
    """A view of a kernel as (out, in k k), its columns in the order of memory: a step is the same in any order."""
    if layout == torch.channels_last:
        kernel = kernel.permute(0, 2, 3, 1)
    return kernel.view(len(kernel), -1)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest (semi-)orthogonal matrix, by Newton-Schulz.

    Singular values come out at 0.68 to 1.21 where they were at least a thirtieth of the largest one; smaller ones stay
    smaller.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonal(matrix.T).T
    a, b, c = COEFFICIENTS
    x: Tensor = matrix / (matrix.norm() + 1e-12)
    for _ in range(STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def root_of_inverse(gram: Tensor) -> Tensor:
    """P for which P @ matrix is `orthogonal(matrix)`; gram: matrix @ matrix.T, (m, m).

    An iteration multiplies the matrix by a polynomial q of its Gram matrix, which becomes q gram q. So the matrix
    itself, nine times as wide as high and more, is needed only before and after. In float32: errors of lower precision
    make eigenvalues of the Gram matrix negative, and those grow twelvefold in each iteration.
    """
    a, b, c = COEFFICIENTS
    norm = gram.trace() + 1e-24
    gram, product = gram / norm, None
    for step in range(STEPS):
        q = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        q.diagonal().add_(a)
        product = q if product is None else q @ product
        if step < STEPS - 1:
            gram = q @ (gram @ q)
    assert product is not None
    return product / norm.sqrt()


def make_optimiser(modules: Sequence[nn.Module], plan: Optimiser, precision: str) -> torch.optim.Optimizer:
    """The optimiser of some modules. precision: Fabric's; Muon iterates in bfloat16 where training is not 32-bit."""
    settings = plan.settings
    betas, decay = (settings.beta1[0], settings.beta2), settings.weight_decay
    named = [(name, p) for module in modules for name, p in module.named_parameters()]
    every = [p for _, p in named]
    if settings.optimiser == "adam":
        return torch.optim.Adam(every, lr=settings.lr[0], betas=betas, weight_decay=decay, fused=True)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(every, lr=settings.lr[0], momentum=betas[0], weight_decay=decay, fused=True)
    by_muon = [p.dim() == 4 and not name.startswith(plan.by_adam) for name, p in named]
    return Muon(
        [p for p, muon in zip(every, by_muon, strict=True) if muon],
        [p for p, muon in zip(every, by_muon, strict=True) if not muon],
        settings.lr[0],
        betas,
        torch.float32 if precision == "32-true" else torch.bfloat16,
    )


def set_rates(optimiser: torch.optim.Optimizer, settings: OptimiserConfig, now: Moment) -> tuple[float, float]:
    """Learning rate and momentum of the step that comes next; returns them."""
    rate, beta1 = learning_rate(settings, now), momentum(settings, now)
    for group in optimiser.param_groups:
        group["lr"] = rate
        if settings.optimiser == "sgd":
            group["momentum"] = beta1
        else:
            group["betas"] = (beta1, settings.beta2)
    return rate, beta1
