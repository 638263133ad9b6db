"""A test: the modules on held-out samples, and what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from renderer.errors import DatasetError, HeadforgeError
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions
from trainer.data.sources import Cached, Streaming
from trainer.training.breakdown import summary
from trainer.training.schedules import Moment
from trainer.training.system import Modules, Tables, Task

Autocast = Callable[[], AbstractContextManager[Any]]
KEPT: Final = ("key", "index", "knobs", "measured", "extra")  # of a sample's record, whole ones take 13 kB as text
UNREADABLE: Final = (HeadforgeError, OSError, ValueError, KeyError)  # what damaged samples raise


@dataclass(frozen=True)
class Evaluation:
    """Means over the held-out samples, and the tables of the system."""

    samples: int
    loss: float
    terms: dict[str, float]
    metrics: dict[str, float]
    splits: Tables


@contextmanager
def in_evaluation_mode(modules: Mapping[str, nn.Module], autocast: Autocast) -> Iterator[Modules]:
    """The modules in evaluation mode and without gradients, to be called in the arithmetic of the training.

    That is for the modules alone: what is computed from their results stays in float32.
    """

    def call(module: nn.Module) -> Callable[..., Any]:
        def called(*inputs: Any) -> Any:
            with autocast():
                return module(*inputs)

        return called

    for module in modules.values():
        module.eval()
    try:
        with torch.no_grad():
            yield {name: call(module) for name, module in modules.items()}
    finally:
        for module in modules.values():
            module.train()


def evaluate(
    modules: Modules,
    task: Task,
    source: Streaming | Cached,
    positions: Positions,
    batch_size: int,
    test: str,
    now: Moment,
) -> Evaluation:
    """A test over `positions`.

    modules: of `in_evaluation_mode`. now: the loss is weighted as in training at that moment.
    Raises DatasetError where no sample can be read.
    """
    parts: dict[str, dict[str, list[npt.NDArray[np.float64]]]] = {"terms": {}, "metrics": {}, "given": {}}
    found: list[dict[str, Any]] = []
    totals: list[float] = []
    groups = [positions[i : i + batch_size] for i in range(0, len(positions), batch_size)]
    for minibatch in source.batches(groups, epoch=0):
        minibatch, chosen = with_records(minibatch, source)
        if not chosen:
            continue
        measured = task.measure(modules, minibatch, chosen, test, now)
        totals += [float(measured.loss)] * len(minibatch)
        for part, into in parts.items():
            for name, tensor in getattr(measured, part).items():
                into.setdefault(name, []).append(tensor.double().cpu().numpy())
        found += [kept(record) for record in chosen]
    if not found:
        raise DatasetError(f"none of the held-out samples of {source.reader.path} can be read; run `gen verify`")
    terms, metrics, given = ({name: np.concatenate(values) for name, values in part.items()} for part in parts.values())
    return Evaluation(
        len(found), float(np.mean(totals)), summary(terms), summary(metrics), task.tables(metrics, found, given)
    )


def with_records(minibatch: Minibatch, source: Streaming | Cached) -> tuple[Minibatch, list[dict[str, Any]]]:
    """The samples whose records can be read, and these records; the others count as bad samples."""
    good, records = [], []
    for slot, position in enumerate(minibatch.positions.tolist()):
        try:
            records.append(source.reader.params(position))
            good.append(slot)
        except UNREADABLE as error:
            source.bad.add(minibatch.keys[slot], str(error))
    return minibatch.only(good), records


def kept(record: Mapping[str, Any]) -> dict[str, Any]:
    """What `Task.tables` and reports read of a record: those of all samples of a test are held at once."""
    return {"knobs": {}, "measured": {}} | {name: record[name] for name in KEPT if name in record}
