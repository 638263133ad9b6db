"""What a network makes of a test set, sample by sample, as one file of arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer.files import write_atomic
from trainer.evaluation.results import Results, at_work, measure
from trainer.study.plan import Layout, Step, check_test_sets
from trainer.training.breakdown import Values
from trainer.training.run_dir import RunDir
from trainer.training.system import Metric

TRAIT: Final = "trait."  # of what a system tells of a sample's subject
TRAITS: Final = ("sex", "age", "african", "asian", "caucasian")


@dataclass(frozen=True)
class Measurement:
    """One network on one test set. values: metric -> (N,). given: what else the task says, (N, ...). yaw_deg: (N,).

    traits: sex, age and ancestry in [0, 1], (N,) each, as far as they are known.
    """

    keys: tuple[str, ...]
    values: Mapping[str, Values]
    given: Mapping[str, Values]
    traits: Mapping[str, Values]
    yaw_deg: Values


def run_measurement(layout: Layout, step: Step) -> None:
    """Measure, and write the results file of a step. Raises DatasetError where the test set was trained on."""
    run = layout.run(step)
    assert run is not None
    test = layout.data(step.test, "test")
    check_test_sets(layout)
    work = at_work(best_weights(run), test, "cpu")
    count = layout.test_samples(step.test)
    results = measure(work, np.arange(min(count, len(work.reader))), batch_size=50)
    save(results, layout.result(step), layout.measurement(step), work.system.metrics)


def best_weights(run: Path) -> Path:
    """Those of the test with the best score: on samples held out of the run's own training set, never a test set's."""
    return RunDir(run).best_weights


def save(results: Results, path: Path, header: Mapping[str, Any], metrics: Sequence[Metric]) -> None:
    """The file that `load` reads."""
    knobs = [record["knobs"] for record in results.records]
    given = {k: v for k, v in results.given.items() if not k.startswith(TRAIT)}
    traits = {k.removeprefix(TRAIT): v for k, v in results.given.items() if k.startswith(TRAIT)}
    for name in TRAITS:
        column = np.array([float(k.get(f"identity.{name}", np.nan)) for k in knobs])
        if name not in traits and np.isfinite(column).any():
            traits[name] = column
    yaw = np.degrees([float(k.get("pose.yaw_rad", np.nan)) for k in knobs])
    parts = {"value": results.values, "given": given, "trait": traits}
    arrays = {f"{part}:{name}": array for part, found in parts.items() for name, array in found.items()}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, header=json.dumps(dict(header)), keys=np.array(results.keys), yaw_deg=yaw, **arrays
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def load(path: Path) -> Measurement:
    """A results file."""
    with np.load(path, allow_pickle=False) as stored:
        parts: dict[str, dict[str, Values]] = {"value": {}, "given": {}, "trait": {}}
        for name in stored.files:
            part, colon, rest = name.partition(":")
            if colon:
                parts[part][rest] = stored[name]
        keys = tuple(stored["keys"].tolist())
        return Measurement(keys, parts["value"], parts["given"], parts["trait"], stored["yaw_deg"])
