"""The steps of a study, where each puts what it makes, and which are done. What is on disk decides; needs no torch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from renderer.errors import DatasetError, SpecError
from renderer.format.dataset import Dataset, open_dataset
from renderer.format.folder import DATASET_FILE, INDEX_FILE, read_info
from renderer.format.sample_format import sample_key
from renderer.format.state import read_state
from renderer.parameters.spec import parse_spec
from renderer.strict import override, to_plain, to_yaml
from trainer.study.spec import Study
from trainer.training.config import TrainConfig, absolute_paths
from trainer.training.run_dir import RunDir, read_json

GEN: Final = (sys.executable, "-m", "renderer.cli")


@dataclass(frozen=True)
class Step:
    """kind: render, train, measure, show or page. name: unique, what `--only` takes.

    scenario, seed: whose data set or network. test: the scenario tested on; of renders "train" or "test".
    """

    kind: str
    scenario: str = ""
    seed: int = 0
    test: str = ""

    @property
    def name(self) -> str:
        return {
            "render": f"render:{self.scenario}:{self.test}",
            "train": f"train:{self.scenario}:{self.seed}",
            "measure": f"measure:{self.scenario}:{self.seed}:{self.test}",
        }.get(self.kind, self.kind)


@dataclass(frozen=True)
class Layout:
    """Files and folders of a study in `out`."""

    study: Study
    out: Path

    def data(self, scenario: str, part: str) -> Path:
        """part: "train" or "test"."""
        found = self.study.scenarios[scenario]
        if found.data:
            return (self.study.folder / (found.data if part == "train" else found.test_data)).absolute()
        return self.out / "data" / (scenario if part == "train" else f"{scenario}-test")

    def spec_file(self, scenario: str) -> Path:
        return self.out / "specs" / f"{scenario}.yaml"

    def config_file(self, step: Step) -> Path:
        return self.out / "specs" / f"train-{step.scenario}-{step.seed}.yaml"

    def runs(self, step: Step) -> Path:
        """Folder of the runs of one training: a single one, unless it failed and was begun again."""
        return self.out / "runs" / f"{step.scenario}-{step.seed}"

    def run(self, step: Step) -> Path | None:
        """The newest run of a training; None where none was begun."""
        found = sorted(p.parent for p in self.runs(step).glob("*/config.yaml"))
        return found[-1] if found else None

    def result(self, step: Step) -> Path:
        return self.out / "results" / f"{step.scenario}-{step.seed}-on-{step.test}.npz"

    @property
    def shown(self) -> Path:
        return self.out / "shown"

    def config(self, step: Step) -> TrainConfig:
        """What a training is started with."""
        values = {
            "name": f"{step.scenario}-{step.seed}",
            "seed": step.seed,
            "data.path": str(self.data(step.scenario, "train")),
            "output.runs": str(self.runs(step)),
        }
        return absolute_paths(override(self.study.config, values, f"the study {self.study.spec.name}"))

    # ------------------------------------------------------------ steps

    def steps(self) -> list[Step]:
        """All steps, each after those it needs."""
        spec, scenarios = self.study.spec, list(self.study.scenarios)
        rendered = [s for s in scenarios if self.study.scenarios[s].spec]
        steps = [Step("render", s, test=part) for part in ("train", "test") for s in rendered]
        steps += [Step("train", s, seed) for seed in spec.seeds for s in scenarios]
        steps += [Step("measure", s, seed, t) for seed in spec.seeds for s in scenarios for t in scenarios]
        return [*steps, *([Step("show")] if spec.shown else []), Step("page")]

    def needs(self, step: Step) -> list[Step]:
        """Steps that must be done before."""

        def before(other: Step) -> bool:
            if step.kind == "train":
                return other.kind == "render" and (other.scenario, other.test) == (step.scenario, "train")
            if step.kind == "measure":
                trained = other.kind == "train" and (other.scenario, other.seed) == (step.scenario, step.seed)
                return trained or (other.kind == "render" and (other.scenario, other.test) == (step.test, "test"))
            return step.kind in ("show", "page") and other.kind == "measure"

        return [other for other in self.steps() if before(other)]

    def count(self, step: Step) -> int:
        """Samples of a render."""
        spec = self.study.spec
        return spec.count if step.test == "train" else spec.test_count(step.scenario)

    def done(self, step: Step) -> bool:
        """Whether a step is done; raises where what lies in its place is of another study."""
        if step.kind == "render":
            return self._rendered(step)
        if step.kind == "train":
            return self._trained(step)
        if step.kind == "measure":
            return self._measured(step)
        return step.kind == "show" and read_json(self.shown / "shown.json").get("of") == self.identity()

    def _rendered(self, step: Step) -> bool:
        path = self.data(step.scenario, step.test)
        if not (path / DATASET_FILE).is_file():
            return False
        info, seed = read_info(path), self.seed(step.test)
        found, wanted = parse_spec(info["spec"], str(path)), self.study.render_spec(step.scenario)
        if (found, info["seed"]) != (wanted, seed):
            sections = [f.name for f in fields(wanted) if getattr(found, f.name) != getattr(wanted, f.name)] or ["seed"]
            raise DatasetError(
                f"{path} was rendered from another spec ({', '.join(sections)} differ) than scenario {step.scenario}:"
                " choose another --out, or remove it"
            )
        return read_state(path).samples >= self.count(step)

    def seed(self, part: str) -> int:
        """Of data sets to train or test on."""
        return self.study.spec.seed if part == "train" else self.study.spec.test.seed

    def _trained(self, step: Step) -> bool:
        run = self.run(step)
        if run is None:
            return False
        found, wanted = RunDir(run).plain_config(), to_plain(self.config(step))
        if found != wanted:
            keys = [k for k in wanted if found.get(k) != wanted[k]]
            raise SpecError(
                f"{run} was trained with other settings ({', '.join(keys)} differ) than the study has now: choose"
                " another --out, or remove it"
            )
        return read_json(RunDir(run).status).get("state") == "finished"

    def _measured(self, step: Step) -> bool:
        return self.result(step).is_file() and stored_header(self.result(step)) == self.measurement(step)

    def measurement(self, step: Step) -> dict[str, Any]:
        """What a measurement is of: the run, and how much of which data set."""
        run, path = self.run(step), self.data(step.test, "test")
        count = self.test_samples(step.test)
        return {"run": run.name if run else "", "tag": read_info(path)["tag"], "samples": count}

    def test_samples(self, scenario: str) -> int:
        """Samples of a test set that are measured: those asked for, of a data set as it is all."""
        asked = self.study.spec.test_count(scenario)
        if self.study.scenarios[scenario].spec:
            return asked
        return min(asked, len(open_dataset(self.data(scenario, "test"))))

    def identity(self) -> dict[str, Any]:
        """What the samples that are shown are of."""
        runs = [self.run(step) for step in self.steps() if step.kind == "train"]
        return {"runs": [run.name if run else "" for run in runs], "shown": self.study.spec.shown}

    def write_specs(self) -> None:
        """Resolved specs and trainings, for `gen render` and `gen train`, and for people to read."""
        for step in self.steps():
            path, content = None, ""
            if step.kind == "render" and step.test == "train":
                path, content = self.spec_file(step.scenario), to_yaml(self.study.render_spec(step.scenario))
            elif step.kind == "train":
                path, content = self.config_file(step), to_yaml(self.config(step))
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, "utf-8")

    def command(self, step: Step) -> list[str]:
        """What does a render or a training, and goes on with it."""
        if step.kind == "render":
            seed, out = str(self.seed(step.test)), str(self.data(step.scenario, step.test))
            words = ["render", "--spec", str(self.spec_file(step.scenario)), "--count", str(self.count(step))]
            return [*GEN, *words, "--seed", seed, "--out", out]
        run = self.run(step)
        if run is not None and list((run / "checkpoints").glob("step-*.pt")):
            return [*GEN, "train", "--resume", str(run)]
        return [*GEN, "train", str(self.config_file(step))]


def stored_header(path: Path) -> dict[str, Any]:
    """What a results file is of; {} where it is damaged."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            found: dict[str, Any] = json.loads(str(stored["header"]))
            return found
    except (OSError, ValueError, KeyError):
        return {}


def step_named(steps: list[Step], name: str) -> Step:
    """Raises SpecError with the known names."""
    for step in steps:
        if step.name == name:
            return step
    raise SpecError(f"--only {name}: no such step; there are {', '.join(s.name for s in steps)}")


# ---------------------------------------------------------------- test sets


def check_test_sets(layout: Layout) -> None:
    """Raise DatasetError where any test set overlaps any training set; those that are not there yet are left out."""
    scenarios = list(layout.study.scenarios)
    for training in (layout.data(s, "train") for s in scenarios):
        for test in (layout.data(s, "test") for s in scenarios):
            if (training / INDEX_FILE).is_file() and (test / INDEX_FILE).is_file():
                refuse_overlap(training, test)


def refuse_overlap(training: Path, test: Path) -> None:
    """Raise DatasetError where a test set holds samples, or just heads, that a training set holds, too."""
    a, b = open_dataset(training), open_dataset(test)
    same_tag = a.info["tag"] == b.info["tag"]
    if not (same_tag or (a.info.get("seed") == b.info.get("seed") and _draws_heads_alike(a, b))):
        return
    shared = sorted(_indices(a) & _indices(b))
    if not shared:
        return
    key = sample_key(b.info["tag"], shared[0])
    what = f"{len(shared)} samples, such as {key}" if same_tag else f"the heads of {len(shared)} samples, such as {key}"
    raise DatasetError(f"{test} shares {what}, with the training set {training}: render it with another --seed")


def _draws_heads_alike(a: Dataset, b: Dataset) -> bool:
    identities = [dataset.info.get("spec", {}).get("identity") for dataset in (a, b)]
    return identities[0] is not None and identities[0] == identities[1]


def _indices(dataset: Dataset) -> set[int]:
    return {index for shard in dataset.shards for index in shard.summary.indices()}
