"""What a study found: errors of every scenario's networks on every test set, gathered from its results files."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from renderer.errors import DatasetError
from trainer.study import measure
from trainer.study.measure import Measurement
from trainer.study.plan import Layout
from trainer.study.statistics import Floats, Interval, difference, interval
from trainer.systems.runs import system_named
from trainer.training.system import Metric

MILLIMETRES = ("vertex_mm", "naive_mm")


@dataclass(frozen=True)
class Outcome:
    """Results of a study. measured: (scenario, seed, test) -> measurement. metric: the system's first one."""

    layout: Layout
    metric: Metric
    measured: Mapping[tuple[str, int, str], Measurement]

    @property
    def scenarios(self) -> list[str]:
        return list(self.layout.study.scenarios)

    @property
    def main(self) -> str:
        return self.layout.study.spec.main

    def of(self, scenario: str, test: str) -> list[Measurement]:
        """One for each seed."""
        return [self.measured[scenario, seed, test] for seed in self.layout.study.spec.seeds]

    def errors(self, scenario: str, test: str, name: str = "") -> Floats:
        """(seeds, N) values of a metric, by default the first, the higher the worse."""
        sign = -1.0 if self.metric.higher_is_better and not name else 1.0
        return sign * np.stack([m.values[name or self.metric.name] for m in self.of(scenario, test)])

    def naive(self, test: str) -> Floats | None:
        """(N,) errors of the naive predictor; None where the system has none."""
        first = self.of(self.scenarios[0], test)[0]
        return first.values[self.metric.naive] if self.metric.naive else None

    def yaw_deg(self, test: str) -> Floats:
        return self.of(self.scenarios[0], test)[0].yaw_deg

    @functools.cached_property
    def matrix(self) -> dict[tuple[str, str], Interval]:
        """(trained on, tested on) -> median error, as a share of the naive predictor's where there is one."""
        tests = self.scenarios
        return {(s, t): interval(self.errors(s, t), self.naive(t)) for s in self.scenarios for t in tests}

    @functools.cached_property
    def ranking(self) -> list[tuple[str, Interval, Interval]]:
        """Scenarios by their error on the main test set, best first, each with its distance from the main scenario."""
        base, naive = self.errors(self.main, self.main), self.naive(self.main)
        rows = [
            (s, self.matrix[s, self.main], difference(self.errors(s, self.main), base, naive)) for s in self.scenarios
        ]
        return sorted(rows, key=lambda row: row[1].value)

    def millimetres(self, scenario: str) -> Interval | None:
        """Mean distance of the vertices on the main test set; None where heads cannot be rebuilt."""
        if MILLIMETRES[0] not in self.of(scenario, self.main)[0].values:
            return None
        return interval(self.errors(scenario, self.main, MILLIMETRES[0]))

    def naive_millimetres(self) -> Interval | None:
        """The same of the average head."""
        values = self.of(self.scenarios[0], self.main)[0].values.get(MILLIMETRES[1])
        return None if values is None else interval(values[None])

    def by_parameter(self, scenario: str) -> Floats | None:
        """(P,) mean squared error of each parameter on the main test set, as a share of the naive predictor's."""
        found = self.of(scenario, self.main)
        if "estimate" not in found[0].given:
            return None
        truth = found[0].given["truth"]
        wrong = np.mean([(m.given["estimate"] - truth) ** 2 for m in found], axis=(0, 1))
        return np.asarray(wrong / (truth**2).mean(0))


def gather(layout: Layout) -> Outcome:
    """Every result of a study. Raises DatasetError where one is missing."""
    steps = [step for step in layout.steps() if step.kind == "measure"]
    if missing := [step.name for step in steps if not layout.result(step).is_file()]:
        raise DatasetError(f"{layout.out} lacks {', '.join(missing[:5])}: give `gen study` without --only")
    measured = {(s.scenario, s.seed, s.test): measure.load(layout.result(s)) for s in steps}
    for (scenario, _, test), found in measured.items():
        other = measured[next(iter(layout.study.scenarios)), layout.study.spec.seeds[0], test]
        if found.keys != other.keys:
            raise DatasetError(
                f"networks were not tested on the same samples of {test}: see {scenario}; remove results/"
            )
    return Outcome(layout, system_named(layout.study.config.system).metrics[0], measured)
