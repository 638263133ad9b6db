"""The sections that every training spec has, whatever its system: data, schedule, device, output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

from renderer.errors import SpecError
from trainer.config import noted, override, ranged, to_plain

C = TypeVar("C", bound="TrainConfig")
BELOW_ONE: Final = 0.999999  # for decays: at 1 nothing would ever change


@dataclass(frozen=True)
class DataConfig:
    """Which samples, and how they reach the network."""

    path: str = noted("", "data set folder, as `gen render` wrote it")
    test_share: float = ranged(0.1, 0.0, 0.9, "share of the keys held out, chosen by a hash of the key")
    limit: int = ranged(0, 0, 10**9, "use only the first LIMIT training samples; 0 = all")
    test_limit: int = ranged(1000, 0, 10**9, "evaluate on at most this many held-out samples; 0 = all")
    test_on_train: bool = noted(False, "evaluate on the training samples: for overfitting on purpose")
    cache: Literal["none", "memory", "device"] = noted("none", "stream from the tars, or hold all decoded samples")
    batch_size: int = ranged(40, 1, 65536, "samples per step over all processes")
    window: int = ranged(2000, 1, 10**9, "shuffle window in samples, after the shards are shuffled")
    workers: int = ranged(2, 0, 256, "decoding threads; 0 decodes in the training thread")
    max_bad: int = ranged(10, 0, 10**9, "bad samples skipped and reported before the run stops")


@dataclass(frozen=True)
class ScheduleConfig:
    """How weights step, and how long. The second phase starts when the held-out error levels off (thesis 3.7).

    The error is UV error + 1 - mask IoU: the loss itself may mean something else from epoch to epoch (ramps).
    """

    optimiser: Literal["adam", "muon"] = noted(
        "adam", "muon: orthogonalised steps for kernels (trainer/training/optimisers.py), Adam for the rest"
    )
    lr: tuple[float, float] = ranged((1e-4, 1e-5), 0, 10, "learning rate of the two phases")
    beta1: tuple[float, float] = ranged((0.9, 0.99), 0, BELOW_ONE, "Adam's beta1 of the two phases")
    beta2: float = ranged(0.999, 0, BELOW_ONE, "Adam's beta2")
    plateau_epochs: int = ranged(5, 1, 10**6, "epochs without `plateau_gain` before the second phase")
    plateau_gain: float = ranged(0.01, 0, 1, "improvement of UV error + 1 - mask IoU that counts, relative")
    second_phase_at: float = ranged(1.0, 0, 1, "share of training at which the second phase starts at the latest")
    decay: Literal["step", "linear"] = noted(
        "step",
        "step: lr[1] all through the second phase; linear: from lr[0] at its start to lr[1] at the end of training",
    )
    max_samples: int = ranged(8_000_000, 1, 10**12, "training stops after this many samples")
    max_minutes: float = ranged(
        0.0,
        0,
        10**7,
        "or after this time, all sessions together; ramps then depend on the machine's load; 0 = no limit",
    )
    ema: float = ranged(0.0, 0, BELOW_ONE, "decay of the moving average of the weights per step; 0 = none")
    grad_clip: float = ranged(0.0, 0, 1e9, "largest gradient norm; 0 = none")


@dataclass(frozen=True)
class DeviceConfig:
    """Where and in which arithmetic."""

    accelerator: Literal["auto", "cpu", "cuda"] = noted("auto", "auto takes a GPU where there is one")
    devices: int = ranged(1, 1, 4096, "processes on this node")
    nodes: int = ranged(1, 1, 4096, "nodes")
    strategy: Literal["auto", "ddp", "ddp_spawn", "ddp_fork"] = noted("auto", "Fabric's strategy for many processes")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true"] = noted(
        "auto", "Fabric's precision; auto: bf16-mixed where the device computes bfloat16 in hardware, else 32-true"
    )
    channels_last: bool = noted(False, "N, H, W, C memory layout")
    compile: bool = noted(False, "torch.compile the network; on a CPU with the compiler g++, or that of CXX")
    threads: int = ranged(0, 0, 1024, "CPU threads of torch; 0 = torch's choice")


@dataclass(frozen=True)
class OutputConfig:
    """What a run leaves behind, and how often."""

    runs: str = noted("runs", "folder of the run directories")
    checkpoint_minutes: float = ranged(10.0, 0, 10**6, "between checkpoints; each epoch's end has one, too")
    checkpoint_steps: int = ranged(0, 0, 10**9, "or every so many steps; 0 = by time alone")
    keep_checkpoints: int = ranged(2, 1, 10**6, "older ones are removed")
    log_steps: int = ranged(50, 1, 10**9, "steps between lines in log.jsonl")
    evaluate_epochs: int = ranged(1, 1, 10**6, "epochs between evaluations")
    images: bool = noted(True, "write evaluation images")
    chosen: tuple[str, ...] = noted((), "keys of the held-out samples shown every time; empty = six by hash")
    photos: str = noted("", "folder of real photos, shown beside the synthetic ones")
    chosen_photos: tuple[str, ...] = noted((), "file names shown every time; empty = the first six")
    tensorboard: bool = noted(True, "write TensorBoard scalars")


@dataclass(frozen=True)
class TrainConfig:
    """One training run. The config of a system extends it with sections of its own."""

    ARCHITECTURE: ClassVar[tuple[str, ...]] = ("network",)  # sections that decide the shape of the weights
    PATHS: ClassVar[tuple[str, ...]] = ("start", "data.path", "output.runs", "output.photos")  # may be empty

    name: str = noted("run", "start of the run-ID")
    system: str = noted("uvnet", "what is trained: a folder of trainer/systems")
    seed: int = ranged(0, 0, 2**31 - 1, "of weights, order and augmentation")
    start: str = noted("", "run directory or weights file to start from; empty = new weights from the seed")
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

    def architecture(self) -> dict[str, Any]:
        """The sections that weights depend on, as plain values."""
        plain = to_plain(self)
        return {name: plain[name] for name in self.ARCHITECTURE}


def absolute_paths(config: C) -> C:
    """The config with its paths made absolute: a run is resumed, looked at and queued from other working folders."""
    found = {key: attrgetter(key)(config) for key in config.PATHS}
    return override(config, {key: str(Path(path).absolute()) for key, path in found.items() if path}, "absolute paths")
