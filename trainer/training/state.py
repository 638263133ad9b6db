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
from trainer.data.loader import Loader
from trainer.data.reader import SampleReader
from trainer.training.checkpoint import load_checkpoint
from trainer.training.config import ScheduleConfig, TrainConfig
from trainer.training.schedules import Moment


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
    sums: dict[str, float] = field(default_factory=dict)  # of terms and losses since the last line of the log
    counts: dict[str, float] = field(default_factory=dict)  # samples in each of those sums

    def share(self, schedule: ScheduleConfig) -> float:
        """Share of the training that is done."""
        by_time = self.seconds / (schedule.max_minutes * 60) if schedule.max_minutes else 0.0
        return min(1.0, max(self.samples_seen / schedule.max_samples, by_time))

    def moment(self, schedule: ScheduleConfig) -> Moment:
        """What schedules and systems know of it."""
        return Moment(self.step, self.samples_seen, self.share(schedule), self.phase, self.second_phase_from)

    def add(self, name: str, value: float, samples: int) -> None:
        """To the sum of that name what some samples add up to."""
        self.sums[name] = self.sums.get(name, 0.0) + value
        self.counts[name] = self.counts.get(name, 0) + samples

    def take_means(self) -> dict[str, float]:
        """Means since the last call; the sums start again."""
        means = {name: value / max(self.counts[name], 1) for name, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means


@dataclass
class State:
    """A training in progress: modules, optimisers and moving averages of modules by name."""

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    averages: dict[str, nn.Module]
    loader: Loader
    progress: Progress
    precision: Precision

    @property
    def tested(self) -> dict[str, nn.Module]:
        """The modules that are evaluated and kept: averages where there are some."""
        return self.modules | self.averages


# ---------------------------------------------------------------- averaged weights


def make_average(module: nn.Module) -> nn.Module:
    """Where the average starts; float32 in every precision, since bfloat16 rounds small steps away."""
    return copy.deepcopy(module).float().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Move the average a little towards the weights and running statistics; early steps, when all is new, move it more.

    step: how many went before. Counters are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), module.state_dict().values(), strict=True))
    floating = [(mine, theirs.to(mine.dtype)) for mine, theirs in pairs if mine.is_floating_point()]
    torch._foreach_lerp_([mine for mine, _ in floating], [theirs for _, theirs in floating], 1 - decay)
    for mine, theirs in pairs:
        if not mine.is_floating_point():
            mine.copy_(theirs)


# ---------------------------------------------------------------- checkpoints


def checkpoint_state(state: State, config: TrainConfig, reader: SampleReader) -> dict[str, Any]:
    """Everything needed to go on as if nothing had happened.

    Randomness is a function of seed, step and process on every device, so it has no state: augmentation by
    `trainer.augmentation.draws`, that of the modules themselves (dropout, noise) by `loop.seed_step`.
    """
    return {
        "system": config.system,
        "architecture": config.architecture(),
        "index_sha256": reader.index_hash(),
        "modules": {name: module.state_dict() for name, module in state.modules.items()},
        "optimisers": {name: optimiser.state_dict() for name, optimiser in state.optimisers.items()},
        "averages": {name: module.state_dict() for name, module in state.averages.items()},
        "loader": state.loader.state_dict(),
        "progress": asdict(state.progress),
        "precision": state.precision.state_dict(),  # of "16-mixed" the scale of the gradients
    }


def restore(state: State, path: Path, config: TrainConfig, reader: SampleReader) -> None:
    """The inverse of `checkpoint_state`. Raises FormatError or DatasetError where it does not belong to this run."""
    stored = load_checkpoint(path, config)
    if stored["index_sha256"] != reader.index_hash():
        raise DatasetError(
            f"{path} was trained on other shards than {reader.path} holds now: restore the data set, or start a new run"
        )
    for name, module in state.modules.items():
        module.load_state_dict(stored["modules"][name])
    for name, optimiser in state.optimisers.items():
        optimiser.load_state_dict(stored["optimisers"][name])
    for name, average in state.averages.items():
        average.load_state_dict(stored["averages"][name])
    state.loader.load_state_dict(stored["loader"])
    if scaling := stored["precision"]:
        state.precision.load_state_dict(scaling)
    state.progress = Progress(**stored["progress"])


def check_finite(state: State) -> None:
    """Raise NonFiniteError before weights, averages or an optimiser's moments that are not finite are stored.

    No sample is to blame that is still known: a gradient that is not finite stops the run at its own step.
    """
    parts: list[tuple[str, str, list[Tensor]]] = []
    for what, modules in (("weights", state.modules), ("averaged weights", state.averages)):
        parts += [(what, name, list(module.state_dict().values())) for name, module in modules.items()]
    for name, optimiser in state.optimisers.items():
        moments = [v for entry in optimiser.state.values() for v in entry.values() if isinstance(v, Tensor)]
        parts.append(("moments", name, moments))
    for what, name, tensors in parts:
        floating = [t for t in tensors if t.is_floating_point()]
        if floating and not torch.isfinite(torch.stack([t.float().abs().max() for t in floating if t.numel()])).all():
            raise NonFiniteError(
                f"the {what} are not finite at step {state.progress.step} ({name}): lower the learning rate, or set "
                "grad_clip; the last checkpoint is from before"
            )
