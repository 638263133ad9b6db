"""Curves over the course of a run and the figures on top of its page, named as the run's system names its metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

MAX_POINTS: Final = 1500  # of one curve
LAST: Final = 10  # values that a summary figure is the mean of


@dataclass(frozen=True)
class SystemNames:
    """What the engine wrote into meta.json about the system of a run; read with care, since a run may be anybody's.

    metrics: see `trainer.training.system.Metric`, here as plain values. tests: kind of log line -> word for it.
    """

    metrics: tuple[Mapping[str, Any], ...] = ()
    tests: Mapping[str, str] = field(default_factory=lambda: {"test": "test"})

    @classmethod
    def of(cls, meta: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> SystemNames:
        """Of a run that tells nothing, the metrics of its log under the names they have there."""
        told = meta.get("system")
        if not isinstance(told, Mapping):
            kinds = {
                str(x["kind"]): x["metrics"] for x in lines if isinstance(x.get("metrics"), Mapping) and "kind" in x
            }
            names = dict.fromkeys(name for metrics in kinds.values() for name in metrics)
            return cls(tuple({"name": name} for name in names), {k: k for k in kinds} or cls().tests)
        metrics, tests = told.get("metrics"), told.get("tests")
        known = [m for m in metrics if isinstance(m, Mapping) and "name" in m] if isinstance(metrics, list) else []
        words = {str(k): str(v) for k, v in tests.items()} if isinstance(tests, Mapping) else {}
        return cls(tuple(known), words or cls().tests)

    @property
    def rising(self) -> list[str]:
        """Metrics of which more is better."""
        return [str(m["name"]) for m in self.metrics if m.get("higher_is_better")]


def figures(
    meta: Mapping[str, Any],
    status: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    system: SystemNames,
) -> list[dict[str, Any]]:
    """The numbers on top of the page: progress, and means of the last ten logged values."""

    def last(kind: str, *where: str) -> float | None:
        values = [v for line in _of_kind(lines, kind) if (v := _get(line, where)) is not None][-LAST:]
        return sum(values) / len(values) if values else None

    ten = f"mean of the last {LAST}"
    newest = lines[-1] if lines else {}
    found = [
        ("epochs", status.get("epoch", newest.get("epoch")), ""),
        ("samples seen", status.get("samples_seen", newest.get("samples_seen")), ""),
        ("samples/s", last("train", "samples_per_s"), ten),
        ("train loss", last("train", "loss"), ten),
        ("test loss", last("test", "loss"), ten),
    ]
    for number, metric in enumerate(m for m in system.metrics if m.get("on_top")):
        for kind, word in system.tests.items() if number == 0 else [("test", "test")]:
            name = str(metric.get("title", metric["name"])) + ("" if kind == "test" else f", {word}")
            found.append((name, last(kind, "metrics", str(metric["name"])), f"test, {ten}"))
    found.append(("parameters", meta.get("parameters"), "of the network"))
    return [{"name": name, "value": value, "note": note} for name, value, note in found if value is not None]


def _catalogue(system: SystemNames) -> list[tuple[str, str, str, bool, tuple[str, ...]]]:
    """Name, title, unit, linear scale, and where a log line holds it."""
    metrics = [
        (str(m["name"]), str(m.get("title", m["name"])), str(m.get("about", "")), bool(m.get("higher_is_better")))
        for m in system.metrics
    ]
    return [
        ("loss", "Loss", "", False, ("loss",)),
        *((name, title, about, linear, ("metrics", name)) for name, title, about, linear in metrics),
        ("samples_per_s", "Speed", "training samples per second", True, ("samples_per_s",)),
        ("lr", "Learning rate", "", False, ("lr",)),
    ]


def curves(lines: Sequence[Mapping[str, Any]], system: SystemNames) -> list[dict[str, Any]]:
    """One entry per curve and kind of line: x as epochs, samples and hours, and y."""
    ends = _epoch_ends(lines)
    made = []
    for name, title, unit, linear, where in _catalogue(system):
        for kind, label in {"train": "train", **system.tests}.items():
            chosen = [(line, y) for line in _of_kind(lines, kind) if (y := _get(line, where)) is not None]
            if not chosen:
                continue
            columns = [
                [_epochs(line, ends, kind) for line, _ in chosen],
                [float(line.get("samples_seen") or 0) for line, _ in chosen],
                [float(line.get("seconds") or 0) / 3600 for line, _ in chosen],
                [y for _, y in chosen],
            ]
            thinned = dict(zip(("epoch", "samples", "hours", "y"), (thin(c, MAX_POINTS) for c in columns), strict=True))
            made.append({"name": name, "title": title, "unit": unit, "linear": linear, "kind": label, **thinned})
    return made


def _epoch_ends(lines: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Last step of the epochs that end with a test, by its line."""
    return {int(x["epoch"]): int(x["step"]) for x in _of_kind(lines, "test") if "epoch" in x and "step" in x}


def _epochs(line: Mapping[str, Any], ends: Mapping[int, int], kind: str) -> float:
    """Epochs done when the line was written: a whole number for tests, a fraction within an epoch for training."""
    epoch, step = int(line.get("epoch") or 0), float(line.get("step") or 0)
    if kind != "train":
        return float(epoch)
    if not ends:
        return epoch - 0.5
    last = max(ends)
    if step > ends[last] > 0:  # after the last test: at the pace until then, but no further than this epoch
        return min(float(epoch), last + (step - ends[last]) * last / ends[last])
    known = sorted(ends)
    return float(np.interp(step, [0, *(ends[e] for e in known)], [0, *known]))


def thin(values: Sequence[float], most: int) -> list[float]:
    """Means of runs of equal length, at most `most` of them."""
    size = math.ceil(len(values) / most) if values else 1
    return [sum(part) / len(part) for i in range(0, len(values), size) if (part := values[i : i + size])]


def _of_kind(lines: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line.get("kind") == kind]


def _get(line: Mapping[str, Any], where: Sequence[str]) -> float | None:
    value: Any = line
    for name in where:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
