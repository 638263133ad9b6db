"""Adam as the thesis has it, and Muon, which learns more from as many samples.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes all singular values of a weight matrix's
step alike, so that rare directions are learnt as fast as common ones. torch.optim.Muon takes matrices only, and views
of kernels would neither follow them to a GPU nor pass through Fabric's scaling of gradients: hence this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from trainer.config import ScheduleConfig

MOMENTUM: Final = 0.95
STEPS: Final = 4
COEFFICIENTS: Final = (3.4445, -4.775, 2.0315)  # of the quintic iteration, from Jordan et al.
RMS: Final = 0.2  # of a step of rate 1, which is about Adam's (Liu et al. 2025, arXiv 2502.16982)


class Muon(torch.optim.Adam):
    """Muon for `kernels`, Adam for `others`. Kernels are (out, in, k, k) and step as matrices (out, in k k).

    dtype: of the iteration; bfloat16 is precise enough where the hardware has it.
    """

    def __init__(
        self,
        kernels: list[nn.Parameter],
        others: list[nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        dtype: torch.dtype,
    ) -> None:
        super().__init__([{"params": others, "muon": False}, {"params": kernels, "muon": True}], lr=lr, betas=betas)
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both. A closure is evaluated first."""
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
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's
        step = orthogonal(matrix.to(self.dtype)).to(kernel.dtype).view(gradient.shape)
        kernel.add_(step, alpha=-lr * RMS * max(matrix.shape) ** 0.5)


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


def make_optimiser(network: nn.Module, schedule: ScheduleConfig, precision: str) -> torch.optim.Optimizer:
    """The optimiser of the config. precision: Fabric's; Muon iterates in bfloat16 wherever training is not 32-bit."""
    betas = (schedule.beta1[0], schedule.beta2)
    if schedule.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=schedule.lr[0], betas=betas, fused=True)
    named = list(network.named_parameters())
    kernels = {name for name, p in named if p.dim() == 4 and not name.startswith("last.")}
    return Muon(
        [p for name, p in named if name in kernels],
        [p for name, p in named if name not in kernels],
        schedule.lr[0],
        betas,
        torch.float32 if precision == "32-true" else torch.bfloat16,
    )
