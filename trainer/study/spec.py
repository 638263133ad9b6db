"""A study as YAML: scenarios of rendering, one training for all of them, and what they are tested on.

Scenarios are named one by one, or made from a base and named changes. Each change takes one variability away, so that

    leave_one_out   base, and base with each change ("without_NAME")
    add_one_in      base with all changes ("bare"), with all but one ("only_NAME"), and base
    each            base, and base with each change, called NAME: for changes of any other kind
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from renderer.errors import SpecError
from renderer.parameters.jobspecs import STUDIES, find_jobspec, load_spec, study_names, training_names
from renderer.parameters.spec import Spec
from renderer.strict import knob, load, override
from trainer.systems.registry import load_config
from trainer.training.config import TrainConfig

BASE: Final = "base"
MAX_SCENARIOS: Final = 40
NAMES: Final = r"[\w.-]+"


@dataclass(frozen=True)
class Scenario:
    """What one network is trained on, and every network tested on."""

    spec: str = knob("", "spec to render, by file or name")
    change: Mapping[str, Any] = knob({}, "dotted keys of the spec with other values")
    data: str = knob("", "data set to train on as it is, in place of rendering", path=True)
    test_data: str = knob("", "and one to test on", path=True)

    def check(self) -> None:
        if bool(self.spec) == bool(self.data and self.test_data) or bool(self.data) != bool(self.test_data):
            raise SpecError("spec names what to render, or data and test_data what is there: one of the two")


@dataclass(frozen=True)
class TestSpec:
    """Held-out samples: another seed, so other heads, which no network is trained on."""

    scenario: str = knob("", "whose test set ranks the networks; empty: that of the last scenario")
    count: int = knob(2000, "samples of that test set", 1, 10**7)
    other_count: int = knob(300, "samples of the test set of each other scenario", 1, 10**7)
    seed: int = knob(1, "of the test sets", 0, 2**31 - 1)


@dataclass(frozen=True)
class StudySpec:
    """A study."""

    name: str = knob("study", "folder of its results")
    about: str = knob("", "what it asks, for its page")
    training: str = knob("", "training spec, by file or name: one network for each scenario and seed")
    train: Mapping[str, Any] = knob({}, "dotted keys of the training with other values")
    render: Mapping[str, Any] = knob({}, "dotted keys of every scenario's spec with other values")
    count: int = knob(2500, "samples to train on, for each scenario", 1, 10**9)
    seed: int = knob(0, "of the training sets; equal in all, so that all show the same heads", 0, 2**31 - 1)
    seeds: tuple[int, ...] = knob((0,), "of the trainings: each is repeated with each", 0, 2**31 - 1)
    scenarios: Mapping[str, Scenario] = knob({}, "by name, in the order of the page")
    base: str = knob("", "spec that `changes` are made to")
    changes: Mapping[str, Mapping[str, Any]] = knob({}, "by name: dotted keys of the base with other values")
    grid: tuple[Literal["leave_one_out", "add_one_in", "each"], ...] = knob(
        ("leave_one_out",), "which combinations of base and changes are scenarios"
    )
    test: TestSpec = TestSpec()
    shown: int = knob(4, "test samples shown with saliency and rebuilt heads", 0, 32)
    shown_in: str = knob("", "spec that rebuilt heads are shown in; empty: the first scenario's")

    def check(self) -> None:
        if bad := next((n for n in (self.name, *self.all_scenarios()) if not re.fullmatch(NAMES, n)), None):
            raise SpecError(f"scenarios and name become folders; {bad!r} may hold letters, digits, '_', '.' and '-'")
        if bool(self.base) != bool(self.changes):
            raise SpecError("base and changes belong together: give both, or name scenarios")
        every = self.all_scenarios()
        if not 1 <= len(every) <= MAX_SCENARIOS:
            raise SpecError(f"scenarios, with those of base and changes, are {len(every)}; 1 to {MAX_SCENARIOS} may be")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise SpecError(f"seeds is {list(self.seeds)}; it must hold different numbers, one at least")
        if self.test.scenario and self.test.scenario not in every:
            raise SpecError(f"test.scenario is {self.test.scenario!r}; there are {', '.join(every)}")
        if self.test.seed == self.seed:
            raise SpecError(
                f"test.seed is {self.test.seed}, as seed is: the heads tested on would be those trained on; set another"
            )

    def all_scenarios(self) -> dict[str, Scenario]:
        """Named ones, then those of the grid."""
        found = dict(self.scenarios)
        if not self.base:
            return found

        def changed(names: list[str]) -> Scenario:
            return Scenario(self.base, {k: v for name in names for k, v in self.changes[name].items()})

        names = list(self.changes)
        if "add_one_in" in self.grid:
            found["bare"] = changed(names)
            found |= {f"only_{name}": changed([n for n in names if n != name]) for name in names}
        if "leave_one_out" in self.grid:
            found |= {f"without_{name}": changed([name]) for name in names}
        if "each" in self.grid:
            found |= {name: changed([name]) for name in names}
        return found | {BASE: changed([])}

    @property
    def main(self) -> str:
        """The scenario whose test set ranks the networks."""
        return self.test.scenario or list(self.all_scenarios())[-1]

    def test_count(self, scenario: str) -> int:
        """Samples of a scenario's test set."""
        return self.test.count if scenario == self.main else self.test.other_count


@dataclass(frozen=True)
class Study:
    """A study whose specs have been read. path: its file; relative names of files in it start there."""

    spec: StudySpec
    path: Path
    scenarios: Mapping[str, Scenario]
    config: TrainConfig  # of the trainings, but for data, seed and name

    @property
    def folder(self) -> Path:
        return self.path.parent

    def render_spec(self, scenario: str) -> Spec:
        """What a scenario renders; of one with a `spec`."""
        found = self.scenarios[scenario]
        spec = load_spec(beside(self.folder, found.spec))
        return override(spec, {**found.change, **self.spec.render}, f"scenario {scenario}")


def beside(folder: Path, name: str) -> Path:
    """A file beside the study, where there is one of that name; else the name, of a jobspec."""
    return folder / name if (folder / name).is_file() else Path(name)


def load_study(source: Path) -> Study:
    """A study by file or by the name of one that comes with headforge. Raises SpecError for what cannot be right."""
    path = find_jobspec(source, "study", study_names(), STUDIES)
    spec = load(StudySpec, path)
    training = find_jobspec(beside(path.parent, spec.training), "training spec", training_names())
    config = override(load_config(training), spec.train, f"{path}: train")
    study = Study(spec, path, spec.all_scenarios(), config)
    specs = {name: study.render_spec(name) for name, scenario in study.scenarios.items() if scenario.spec}
    for name, rendered in specs.items():
        if words := config.lacks(rendered):
            raise SpecError(f"{path}: scenario {name}: {words}")
    targets = {name: config.target(rendered) for name, rendered in specs.items()}
    if len(set(targets.values())) > 1:
        (a, b), *_ = ((a, b) for a, b in itertools.pairwise(targets) if targets[a] != targets[b])
        raise SpecError(
            f"{path}: scenarios {a} and {b} share no parameters: {targets[a]}, and {targets[b]}; networks cannot be"
            " compared"
        )
    return study
