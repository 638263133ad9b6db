"""What changes in the course of a training, and how it goes into checkpoints and comes back."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import Precision
from torch import Tensor, nn

from renderer.errors import DatasetError, HeadforgeError
from renderer.strict import to_plain
from trainer.data.loader import Loader
from trainer.data.reader import SampleReader
from trainer.systems.uvnet.config import UVNetConfig as TrainConfig
from trainer.training.checkpoint import load_checkpoint
from trainer.training.config import ScheduleConfig


class NonFiniteError(HeadforgeError):
    """A loss, a gradient or a weight is NaN or infinite. Names the sample keys where they are known."""


@dataclass
class Progress:
    """How far a run is; everything here goes into its checkpoints."""

    step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    phase: int = 0  # the second, 1, has settings of its own
    second_phase_from: float = 1.0  # share of the training that was done when it started
    best_score: float = math.inf  # as the plateau rule counts: small gains do not
    lowest_score: float = math.inf  # of the best weights
    epochs_since_best: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the terms since the last line of the log
    summed: int = 0  # samples in those sums

    def share(self, schedule: ScheduleConfig) -> float:
        """Share of the training that is done."""
        by_time = self.seconds / (schedule.max_minutes * 60) if schedule.max_minutes else 0.0
        return min(1.0, max(self.samples_seen / schedule.max_samples, by_time))


@dataclass
class State:
    """A training in progress. average: the moving average of the weights, None where there is none."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: nn.Module | None
    loader: Loader
    progress: Progress
    precision: Precision

    @property
    def tested(self) -> nn.Module:
        """The network that is evaluated and kept: the average where there is one."""
        return self.average or self.network


# ---------------------------------------------------------------- averaged weights


def make_average(network: nn.Module) -> nn.Module:
    """Where the average starts; float32 in every precision, since bfloat16 rounds small steps away."""
    return copy.deepcopy(network).float().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average a little towards the weights and running statistics; early steps, when all is new, move it more.

    step: how many went before. Counters are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    floating = [(mine, theirs.to(mine.dtype)) for mine, theirs in pairs if mine.is_floating_point()]
    torch._foreach_lerp_([mine for mine, _ in floating], [theirs for _, theirs in floating], 1 - decay)
    for mine, theirs in pairs:
        if not mine.is_floating_point():
            mine.copy_(theirs)


# ---------------------------------------------------------------- checkpoints


def checkpoint_state(state: State, config: TrainConfig, reader: SampleReader) -> dict[str, Any]:
    """Everything needed to go on as if nothing had happened.

    Randomness is a function of seed, step and process on every device, so it has no state: augmentation by
    `trainer.augmentation.draws`, that of the network itself (dropout, noise) by `loop.seed_step`.
    """
    return {
        "network_config": to_plain(config.network),
        "index_sha256": reader.index_hash(),
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "ema": state.average.state_dict() if state.average is not None else None,
        "loader": state.loader.state_dict(),
        "progress": asdict(state.progress),
        "precision": state.precision.state_dict(),  # of "16-mixed" the scale of the gradients
    }


def restore(state: State, path: Path, config: TrainConfig, reader: SampleReader) -> None:
    """The inverse of `checkpoint_state`. Raises FormatError or DatasetError where it does not belong to this run."""
    stored = load_checkpoint(path, config.network)
    if stored["index_sha256"] != reader.index_hash():
        raise DatasetError(
            f"{path} was trained on other shards than {reader.path} holds now: restore the data set, or start a new run"
        )
    state.network.load_state_dict(stored["network"])
    state.optimiser.load_state_dict(stored["optimiser"])
    if state.average is not None:
        state.average.load_state_dict(stored["ema"])
    state.loader.load_state_dict(stored["loader"])
    if scaling := stored.get("precision"):
        state.precision.load_state_dict(scaling)
    # checkpoints from before the plateau rule had a score hold a best loss instead; the rule then starts anew
    kept = {name: value for name, value in stored["progress"].items() if name in Progress.__dataclass_fields__}
    state.progress = Progress(**kept)


def check_finite(state: State) -> None:
    """Raise NonFiniteError before weights, averages or an optimiser's moments that are not finite are stored.

    No sample is to blame that is still known: a gradient that is not finite stops the run at its own step.
    """
    moments = [v for entry in state.optimiser.state.values() for v in entry.values() if isinstance(v, Tensor)]
    parts = {"weights": list(state.network.state_dict().values()), "moments of the optimiser": moments}
    if state.average is not None:
        parts["averaged weights"] = list(state.average.state_dict().values())
    for name, tensors in parts.items():
        floating = [t for t in tensors if t.is_floating_point()]
        if floating and not torch.isfinite(torch.stack([t.float().abs().max() for t in floating if t.numel()])).all():
            raise NonFiniteError(
                f"the {name} are not finite at step {state.progress.step}: lower schedule.lr, or set "
                "schedule.grad_clip; the last checkpoint is from before"
            )
