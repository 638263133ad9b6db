"""What the engine asks of a system, and nothing else about it: the page to read before adding one.

A system is a folder in `trainer/systems`: the config, modules, losses, metrics and views of one thing that is learnt
from our samples. It has two halves. `System` is stateless: what it needs, what it is made of, how its results are
shown. `Task` is a system at work on one data set and device: a step of training, a measurement, a picture.

The engine owns the rest: processes, precision, the order of samples, optimisers and their schedules, averaged weights,
the check that everything is finite, checkpoints, log and run directory. N is the number of samples in a minibatch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from renderer.errors import SpecError
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions
from trainer.data.reader import Needs, SampleReader
from trainer.data.sources import Cached, Streaming
from trainer.training.breakdown import Rows, Values, by_knobs
from trainer.training.config import OptimiserConfig, TrainConfig
from trainer.training.schedules import Moment

Record = Mapping[str, Any]  # the JSON of a sample, see `renderer.labels.record`
Modules = Mapping[str, Callable[..., Any]]  # name -> module, in the precision of the training, ready to be called
Tiles = npt.NDArray[np.uint8]  # (columns, H, W, 3), one row of a sprite sheet
Tables = dict[str, Rows]  # by name


class Update(Protocol):
    """A step of one optimiser: backward pass, unscaling, clipping, step, and all gradients cleared."""

    def __call__(self, loss: Tensor, optimiser: str) -> None:
        """loss: a scalar. optimiser: a name from `Task.optimisers`. The engine checks later that both are finite."""


@dataclass(frozen=True)
class Optimiser:
    """What one optimiser steps, and how. by_adam: prefixes of parameter names that Muon leaves to Adam."""

    modules: tuple[str, ...]
    settings: OptimiserConfig
    by_adam: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: a curve on the run's page, a number above it, an error curve in reports."""

    name: str  # as `Task.measure` calls it
    title: str
    about: str = ""
    higher_is_better: bool = False
    on_top: bool = True  # its last value stands at the top of the page
    error_curve: bool = False  # reports draw its cumulative distribution
    naive: str = ""  # the metric that a predictor which looks at nothing gets, to compare with


@dataclass(frozen=True)
class Measured:
    """What a test of one minibatch found. All (N,), but for the loss.

    terms: of the loss, as in training. metrics: comparable between runs; NaN where one does not apply.
    given: what is known about the samples beside their records, for `Task.tables`.
    """

    loss: Tensor  # a scalar, weighted as in training at that moment
    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]
    given: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Exportable:
    """What is written for use elsewhere.

    inputs: arguments of `module` to compare with; the first set is traced, the others have other sizes. dynamic: of
    each argument by name the dimensions that may vary, as torch.export takes them. fixed, fixed_inputs, fixed_dynamic:
    the same for torch.export, where it needs a simpler module.
    """

    module: nn.Module
    inputs: Sequence[tuple[Tensor, ...]]
    dynamic: Mapping[str, Any]
    outputs: Sequence[str]  # names
    about: Mapping[str, Any]  # for the JSON file beside it: what goes in and comes out
    fixed: nn.Module | None = None
    fixed_inputs: Sequence[tuple[Tensor, ...]] = ()
    fixed_dynamic: Mapping[str, Any] = field(default_factory=dict)


class Task(ABC):
    """A system at work on one data set and device. Draws random numbers as functions of seed, epoch and sample only.

    `modules` in the methods below are those to call: in training as Fabric wraps them, in tests those of the averaged
    weights where there are some, in evaluation mode and without gradients.
    """

    averaged: Sequence[str] = ()  # modules of which `schedule.ema` keeps averages

    @property
    @abstractmethod
    def optimisers(self) -> Mapping[str, Optimiser]:
        """By name; the loss that the first one is given is "the loss" of the log."""

    @abstractmethod
    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> Mapping[str, Tensor]:
        """One step of training on one minibatch; calls `update` once, or for several optimisers in turn.

        Returns terms of the losses by name, (N,) each, for the log; not every step needs to have every term.

        With several processes gradients are averaged in the backward pass: call a module with gradients on only where
        an update of this step goes through it, else under `torch.no_grad()`.
        """

    def tests(self) -> Sequence[str]:
        """The kinds of test that apply, from `System.tests`; the first gives the score."""
        return ("test",)

    @abstractmethod
    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        """The modules on held-out samples. records: N, of the same samples."""

    @abstractmethod
    def score(self, means: Mapping[str, float]) -> float:
        """How good the means of a test's metrics are, lower is better: for the best weights and the plateau rule."""

    def tables(
        self, metrics: Mapping[str, Values], records: Sequence[Record],
        given: Mapping[str, Values],
    ) -> Tables:  # fmt: skip
        """The metrics of all samples of a test, split by what may matter to them; here by every knob."""
        return by_knobs(metrics, records)

    @abstractmethod
    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        """One sample (N = 1) as tiles in the order of `System.columns`, and its metrics."""

    def photo_views(self, modules: Modules, picture: Tensor) -> Tiles:
        """A photo, (3, H, W) picture values in [0, 1], as such tiles; of systems with a `photo_px` alone."""
        raise NotImplementedError


class System(ABC):
    """What can be said without a data set or a device. Instances are stateless: other processes get their own."""

    name: ClassVar[str]
    config: ClassVar[type[TrainConfig]]  # the class of its configs
    exported: ClassVar[str]  # the module whose weights stand in weights.safetensors
    columns: ClassVar[Sequence[str]]  # of a sprite sheet
    metrics: ClassVar[Sequence[Metric]]  # the first one sorts samples when the worst are shown
    tables: ClassVar[Sequence[str]] = ()  # those that `gen evaluate` prints
    # kind of test, as the log has it -> word for it on the page; the first gives the score
    tests: ClassVar[Mapping[str, str]] = MappingProxyType({"test": "test"})

    @abstractmethod
    def needs(self, config: Any) -> Needs:
        """What the reader must deliver for each sample."""

    @abstractmethod
    def check(self, config: Any, reader: SampleReader) -> None:
        """Raise SpecError, DatasetError or AssetError where config and data set do not fit. Quick."""

    @abstractmethod
    def modules(self, config: Any) -> dict[str, nn.Module]:
        """New modules by name, their weights from `config.seed` alone. Also called on the `meta` device, to count."""

    def initialise(
        self, config: Any, source: Streaming | Cached, training: Positions, modules: Mapping[str, nn.Module]
    ) -> None:
        """What first weights take from files or from the training samples; called once, on the modules of a new run."""
        return None

    @abstractmethod
    def inputs(self, config: Any, reader: SampleReader) -> Mapping[str, tuple[Tensor, ...]]:
        """Arguments of each module for one sample, of any value: on the `meta` device, to estimate memory."""

    def photo_px(self, config: Any, reader: SampleReader) -> tuple[int, int] | None:
        """Height and width that photos are scaled to for `Task.photo_views`; None where a system takes no photos."""
        return None

    def header(self, config: Any, reader: SampleReader) -> dict[str, str]:
        """What weights say of the data that they were trained on, beside tag and run-ID: `input_px`, a frame, ..."""
        return {}

    @abstractmethod
    def build(self, config: Any, reader: SampleReader, device: torch.device, training: bool = True) -> Task:
        """The system at work. training: False where only `measure` and the views are wanted."""

    def exportable(self, config: Any, module: nn.Module) -> Exportable:
        """How to export the trained module. Raises SpecError where a system cannot be exported."""
        raise SpecError(f"the system {self.name!r} cannot be exported yet")

    def gallery(self, config: Any, module: nn.Module, png: Path) -> dict[str, Any] | None:
        """Rows of pictures for the page of a run, beside the sheets of its tests, drawn into `png` one below another.

        Returns title, lead, file (the name of `png`), columns, rows of {name, key, metrics, knobs}, and falling: the
        metrics of which less is worse. None where a system draws none.
        """
        return None


def described(system: System) -> dict[str, Any]:
    """What the page of a run must know to show results of the system, whatever it is."""
    return {
        "name": system.name,
        "tests": dict(system.tests),
        "columns": list(system.columns),
        "metrics": [asdict(metric) for metric in system.metrics],
        "tables": list(system.tables),
    }
