"""The sections that every training spec has, whatever its system: data, schedule, device, output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

from renderer.errors import SpecError
from renderer.parameters.spec import Spec
from renderer.strict import knob, knobs, override, to_plain

C = TypeVar("C", bound="TrainConfig")
BELOW_ONE: Final = 0.999999  # for decays: at 1 nothing would ever change


@dataclass(frozen=True)
class DataConfig:
    """Which samples, and how they reach the network."""

    path: str = knob("", "data set folder, as `gen render` wrote it", path=True)
    test_share: float = knob(0.1, "share of the keys held out, chosen by a hash of the key", 0.0, 0.9)
    limit: int = knob(0, "use only the first LIMIT training samples; 0 = all", 0, 10**9)
    test_limit: int = knob(1000, "evaluate on at most this many held-out samples; 0 = all", 0, 10**9)
    test_on_train: bool = knob(False, "evaluate on the training samples: for overfitting on purpose")
    cache: Literal["none", "memory", "device"] = knob("none", "stream from the tars, or hold all decoded samples")
    batch_size: int = knob(40, "samples per step over all processes", 1, 65536)
    window: int = knob(2000, "shuffle window in samples, after the shards are shuffled", 1, 10**9)
    workers: int = knob(2, "decoding threads; 0 decodes in the training thread", 0, 256)
    max_bad: int = knob(10, "bad samples skipped and reported before the run stops", 0, 10**9)


@dataclass(frozen=True)
class OptimiserConfig:
    """How one optimiser steps (`trainer.training.optimisers`, `trainer.training.schedules`)."""

    optimiser: Literal["adam", "muon", "sgd"] = knob(
        "adam", "muon: orthogonalised steps for kernels, Adam for the rest; sgd: with momentum"
    )
    lr: tuple[float, float] = knob((1e-4, 1e-5), "learning rate of the two phases, or at start and end", 0, 10)
    beta1: tuple[float, float] = knob(
        (0.9, 0.99),
        "Adam's beta1 or SGD's momentum: of the two phases, or before and after the ramp down",
        0,
        BELOW_ONE,
    )
    beta2: float = knob(0.999, "Adam's beta2", 0, BELOW_ONE)
    decay: Literal["step", "linear", "constant", "cosine", "inverse_sqrt", "inverse"] = knob(
        "step",
        "step: lr[1] all through the second phase; linear: from lr[0] at its start to lr[1] at the end of training; "
        "constant: lr[0]; cosine: from lr[0] to lr[1]; inverse_sqrt: lr[0] / sqrt(samples / decay_samples) after the "
        "first decay_samples; inverse: lr[0] (1 + samples / decay_samples)^-decay_power, as Caffe has it",
    )
    decay_samples: int = knob(10_000, "unit of inverse_sqrt and inverse in samples", 1, 10**12)
    decay_power: float = knob(0.75, "exponent of inverse", 0, 10)
    ramp_up: float = knob(0.0, "share of training in which the rate grows geometrically from a thousandth", 0, 1)
    ramp_down: float = knob(0.0, "share of training, at its end, in which the rate falls smoothly to 0", 0, 1)
    weight_decay: float = knob(0.0, "added to the gradient, times the weights; not with muon", 0, 1)
    grad_clip: float = knob(0.0, "largest gradient norm; 0 = none", 0, 1e9)

    def check(self) -> None:
        """What fields must satisfy together. Raises SpecError."""
        if self.weight_decay and self.optimiser == "muon":
            raise SpecError(f"weight_decay is {self.weight_decay}, which muon does not have: set it to 0")


@dataclass(frozen=True)
class ScheduleConfig(OptimiserConfig):
    """How the weights step, and how long. The second phase starts when the held-out error levels off (thesis 3.7).

    The error is the system's score: the loss itself may mean something else from epoch to epoch (ramps). A system with
    several optimisers has a section of settings for each other one.
    """

    plateau_epochs: int = knob(5, "epochs without `plateau_gain` before the second phase", 1, 10**6)
    plateau_gain: float = knob(0.01, "improvement of the score that counts, relative", 0, 1)
    second_phase_at: float = knob(1.0, "share of training at which the second phase starts at the latest", 0, 1)
    max_samples: int = knob(8_000_000, "training stops after this many samples", 1, 10**12)
    max_minutes: float = knob(
        0.0,
        "or after this time, all sessions together; ramps then depend on the machine's load; 0 = no limit",
        0,
        10**7,
    )
    ema: float = knob(0.0, "decay of the moving average of the weights per step; 0 = none", 0, BELOW_ONE)


@dataclass(frozen=True)
class DeviceConfig:
    """Where and in which arithmetic."""

    accelerator: Literal["auto", "cpu", "cuda"] = knob("auto", "auto takes a GPU where there is one")
    devices: int = knob(1, "processes on this node", 1, 4096)
    nodes: int = knob(1, "nodes", 1, 4096)
    strategy: Literal["auto", "ddp", "ddp_spawn", "ddp_fork"] = knob("auto", "Fabric's strategy for many processes")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true"] = knob(
        "auto", "Fabric's precision; auto: bf16-mixed where the device computes bfloat16 in hardware, else 32-true"
    )
    channels_last: bool = knob(False, "N, H, W, C memory layout")
    compile: bool = knob(False, "torch.compile the network; on a CPU with the compiler g++, or that of CXX")
    threads: int = knob(0, "CPU threads of torch; 0 = torch's choice", 0, 1024)


@dataclass(frozen=True)
class OutputConfig:
    """What a run leaves behind, and how often."""

    runs: str = knob("runs", "folder of the run directories", path=True)
    checkpoint_minutes: float = knob(10.0, "between checkpoints; each epoch's end has one, too", 0, 10**6)
    checkpoint_steps: int = knob(0, "or every so many steps; 0 = by time alone", 0, 10**9)
    keep_checkpoints: int = knob(2, "older ones are removed", 1, 10**6)
    log_steps: int = knob(50, "steps between lines in log.jsonl", 1, 10**9)
    evaluate_epochs: int = knob(1, "epochs between evaluations", 1, 10**6)
    images: bool = knob(True, "write evaluation images")
    chosen: tuple[str, ...] = knob((), "keys of the held-out samples shown every time; empty = six by hash")
    photos: str = knob("", "folder of real photos, shown beside the synthetic ones", path=True)
    chosen_photos: tuple[str, ...] = knob((), "file names shown every time; empty = the first six")
    tensorboard: bool = knob(True, "write TensorBoard scalars")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The config of a system extends it with sections of its own."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("network",)  # sections that decide the shape of the weights

    name: str = knob("run", "start of the run-ID")
    system: str = knob("", "what is trained: a folder of trainer/systems; each has its own name here")
    seed: int = knob(0, "of weights, order and augmentation", 0, 2**31 - 1)
    start: str = knob("", "run directory or weights file to start from; empty = new weights from the seed", path=True)
    data: DataConfig = DataConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    device: DeviceConfig = DeviceConfig()
    output: OutputConfig = OutputConfig()

    def check(self) -> None:
        """What fields must satisfy together. Raises SpecError."""
        if not re.fullmatch(r"[\w.-]+", self.name):  # it becomes part of a path
            raise SpecError(f"name is {self.name!r}; it may hold letters, digits, '_', '.' and '-'")
        if self.data.batch_size % self.processes:
            size = self.data.batch_size
            raise SpecError(f"data.batch_size {size} does not divide among {self.processes} processes")

    @property
    def processes(self) -> int:
        """How many train together."""
        return self.device.devices * self.device.nodes

    def lacks(self, spec: Spec) -> str:
        """What is wrong with what a spec renders, for this training; empty: nothing."""
        return ""

    def target(self, spec: Spec) -> str:
        """What is learnt from what a spec renders; networks compare only where it is equal."""
        return ""

    def architecture(self) -> dict[str, Any]:
        """The sections that weights depend on, as plain values."""
        plain = to_plain(self)
        return {name: plain[name] for name in self.ARCHITECTURE}


def named_paths(config: TrainConfig) -> dict[str, str]:
    """The files and folders that a config names, by the dotted keys of their fields; empty ones are left out."""
    found = {knob.key: attrgetter(knob.key)(config) for knob in knobs(type(config)) if knob.path}
    return {key: path for key, path in found.items() if path}


def absolute_paths(config: C) -> C:
    """The config with its paths made absolute: a run is resumed, looked at and queued from other working folders."""
    return override(
        config, {key: str(Path(path).absolute()) for key, path in named_paths(config).items()}, "absolute paths"
    )
