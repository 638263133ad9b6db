"""What was measured on the samples of a data set, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from renderer.errors import DatasetError, FormatError, SpecError
from renderer.format.sample_format import key_index
from trainer.augmentation.mirror import Averaged
from trainer.data.device import device_named
from trainer.data.order import spread
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming
from trainer.evaluation import jitter
from trainer.systems.registry import run_config
from trainer.systems.runs import load_trained
from trainer.training.breakdown import Values
from trainer.training.config import DataConfig
from trainer.training.run_dir import RunDir, read_json
from trainer.training.schedules import Moment
from trainer.training.system import Metric, Modules, System, Task
from trainer.training.validation import kept, with_records

MAX_BAD: Final = DataConfig.max_bad
WORKERS: Final = DataConfig.workers
WORST: Final = 20
HELD_OUT: Final = "the samples held out of the run's training"
SAME: Final = {"uv_frame": "UV frame", "topology": "mesh"}  # what weights and data set must agree on, where they say it


@dataclass(frozen=True)
class Work:
    """A trained system at work on a data set. modules: to be called, as `Task` takes them; they lie on the device."""

    system: System
    task: Task
    modules: Modules
    reader: SampleReader
    device: torch.device


def at_work(weights: Path, dataset: Path, device: str = "cpu", mirrored: bool = False) -> Work:
    """The weights of a run, or of a file, ready to be measured on a data set.

    mirrored: what the network sees in pictures is averaged with what it sees in their mirror images.
    Raises FormatError for weights of another UV frame or mesh, SpecError where there are no UV maps to mirror.
    """
    place, found = device_named(device), load_trained(weights)
    system, module = found.system, found.module.to(place)
    needs = system.needs(found.config)
    reader = SampleReader(dataset, needs.images, needs.vectors)
    there = system.header(found.config, reader)
    for name, word in SAME.items():
        if (trained_on := found.header.get(name)) != there.get(name):
            raise FormatError(f"{weights} was trained on {word} {trained_on!r}; {dataset} has {there.get(name)!r}")
    if mirrored and system.name != "uvnet":
        raise SpecError(f"--mirrored averages UV maps; {weights} is of the system {system.name!r}")
    task = system.build(found.config, reader, place, training=False)
    modules = {system.exported: Averaged(module) if mirrored else module}
    return Work(system, task, modules, reader, place)


@dataclass(frozen=True)
class Results:
    """Values by metric, (N,) each, NaN where one does not apply. metrics: as the system shows them, the first sorts.

    records: of each sample what `validation.KEPT` names.
    """

    dataset: str
    metrics: tuple[Metric, ...]
    keys: tuple[str, ...]
    values: dict[str, Values]
    records: tuple[dict[str, Any], ...]
    note: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)  # damaged samples, key: what is wrong
    tracks: jitter.Tracks | None = None  # of a data set of clips
    given: Mapping[str, Values] = field(default_factory=dict)  # (N, ...) what else the task says of the samples

    def worst(self, count: int = WORST) -> list[int]:
        """Positions of the worst samples by the first metric, worst first; without those to which it does not apply."""
        first = self.metrics[0]
        badness = self.values[first.name] * (-1 if first.higher_is_better else 1)
        order = np.argsort(-np.nan_to_num(badness, nan=-math.inf), kind="stable")
        return [int(i) for i in order[:count] if np.isfinite(badness[i])]


def positions_to_measure(reader: SampleReader, run: Path, everything: bool) -> tuple[npt.NDArray[Any], str]:
    """Positions and words for them: of the data set that a run was trained on only what was held out of it."""
    every = np.arange(len(reader))
    meta = read_json(RunDir(run).meta)
    if everything or not meta:
        return every, "all samples"
    if meta.get("data", {}).get("tag") != reader.info["tag"]:
        return every, "all samples; the run was trained on another data set"
    held_out = reader.split(run_config(run).data.test_share)[1]
    if not len(held_out):
        raise DatasetError(f"no sample of {reader.path} was held out of the run's training: give --all, or other data")
    return held_out, HELD_OUT


def thinned(reader: SampleReader, positions: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    """About `limit` of the positions, spread evenly; of clips and of subjects whole ones."""
    if (frames := reader.dataset.group_size) > 1:
        clip = np.array([key_index(reader.keys[int(p)]) // frames for p in positions])
        return jitter.thinned(positions, clip, limit)
    return spread(positions, limit)


@torch.no_grad()
def measure(
    work: Work,
    positions: Sequence[int] | npt.NDArray[Any],
    note: str = "",
    *,
    batch_size: int = 32,
    max_bad: int = MAX_BAD,
    workers: int = WORKERS,
    progress: Callable[[int], object] = lambda done: None,
) -> Results:
    """Every metric of every sample in the first kind of test, without augmentation; `workers` threads decode.

    Damaged samples are left out and reported; raises DatasetError where there are more than `max_bad`.
    """
    parts: dict[str, list[Values]] = {}
    given: dict[str, list[Values]] = {}
    keys: list[str] = []
    records: list[dict[str, Any]] = []
    task, reader = work.task, work.reader
    follower = jitter.Follower.of(task, reader)
    source = Streaming(reader, workers, BadSamples(max_bad, "--max-bad"), work.device)
    every = np.asarray(positions, np.int64)
    groups = [every[start : start + batch_size] for start in range(0, len(every), batch_size)]
    watched = follower.watched(work.modules) if follower else work.modules
    for group, whole in zip(groups, source.batches(groups, epoch=0), strict=True):
        minibatch, found = with_records(whole, source)
        if found:
            measured = task.measure(watched, minibatch, found, task.tests()[0], Moment())
            for name, value in measured.metrics.items():
                parts.setdefault(name, []).append(value.double().cpu().numpy())
            for name, value in measured.given.items():
                given.setdefault(name, []).append(value.double().cpu().numpy())
            if follower:
                follower.locate(minibatch, found)
            records += [kept(record) for record in found]
            keys += minibatch.keys
        progress(len(group))
    if not records:
        raise DatasetError(f"{reader.path} holds no sample to evaluate")
    values = {name: np.concatenate(part) for name, part in parts.items()}
    tracks = follower.tracks(keys) if follower else None
    if tracks is not None:
        values["jitter_px"] = jitter.frame_values(tracks)["jitter_px"]
    name, metrics = reader.path.resolve().name, tuple(work.system.metrics)
    beside = {name: np.concatenate(part) for name, part in given.items()}
    return Results(name, metrics, tuple(keys), values, tuple(records), note, source.bad.found, tracks, beside)
