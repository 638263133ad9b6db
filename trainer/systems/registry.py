"""The known systems, and training specs read as the config of the system that they name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from renderer.errors import SpecError
from renderer.parameters.jobspecs import find_jobspec, training_names
from renderer.strict import knob, load, load_yaml, override, read, settings
from trainer.training.config import TrainConfig
from trainer.training.run_dir import RunDir

NAMES: Final = {
    "uvnet": "UVNet",
    "headparams": "HeadParams",
    "capture": "Capture",
    "position_map": "PositionMap",
    "frontal": "Frontal",
}
"""Folder of trainer/systems -> how its classes are called: UVNetConfig in `config.py`, UVNetSystem in `system.py`."""
DEFAULT: Final = "uvnet"
MAX_SWEEP: Final = 20


def config_class(name: str, source: str) -> type[TrainConfig]:
    """The class of a system's configs; needs no torch. Raises SpecError with the known names."""
    found: type[TrainConfig] = class_of(name, "config", "Config", f"{source}: system")
    return found


def class_of(name: str, module: str, kind: str, what: str) -> Any:
    """A class of a system's folder. Raises SpecError with the known names."""
    if name not in NAMES:
        raise SpecError(f"{what} is {name!r}; known are {', '.join(NAMES)}")
    return getattr(import_module(f"trainer.systems.{name}.{module}"), f"{NAMES[name]}{kind}")


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Sweep:
    """Several runs that differ from a training spec in some of its knobs."""

    base: str
    vary: Mapping[str, tuple[Any, ...]] = knob({}, "dotted key: its values; every combination is a run")
    runs: tuple[Mapping[str, Any], ...] = knob(({},), "or each run as dotted keys with their values")

    def check(self) -> None:
        if not all(self.vary.values()) or not self.runs:
            raise SpecError("vary and runs must hold at least one value each, where they are given")
        if (number := len(self.runs) * math.prod(map(len, self.vary.values()))) > MAX_SWEEP:
            raise SpecError(f"vary and runs make {number} runs; at most {MAX_SWEEP} are allowed: split the sweep")

    def combinations(self) -> list[dict[str, Any]]:
        """What each run changes of the base: dotted keys with their values."""
        grids = [dict(zip(self.vary, values, strict=True)) for values in itertools.product(*self.vary.values())]
        return [{**run, **grid} for run in self.runs for grid in grids]


def load_config(path: Path) -> TrainConfig:
    """Read a training spec. Raises SpecError on anything but a valid spec; a sweep is refused with a hint."""
    raw = load_yaml(path)
    if "base" in raw:
        raise SpecError(f"{path} is a sweep (it has `base`), not a single run: use `load_sweep`")
    return load(config_class(raw.get("system", DEFAULT), str(path)), path)


def parse_config(raw: Mapping[str, Any], source: str) -> TrainConfig:
    """The config of a system from plain values. source: where they came from, for messages."""
    return read(config_class(raw.get("system", DEFAULT), source), raw, source)


def run_config(run: Path) -> TrainConfig:
    """The config that a run was started with. Raises SpecError."""
    return parse_config(RunDir(run).plain_config(), str(RunDir(run).config))


def load_sweep(path: Path) -> list[TrainConfig]:
    """The runs of a sweep, whose `base` is a spec beside it; a plain training spec is a sweep of one.

    Where there are several, each run's name gets the number of its combination, so that run-IDs tell them apart.
    """
    if "base" not in load_yaml(path):
        return [load_config(path)]
    sweep = load(Sweep, path)
    base, runs = load_config(path.parent / sweep.base), sweep.combinations()
    configs = [override(base, values, f"{path} run {number}") for number, values in enumerate(runs)]
    if len(runs) == 1:
        return configs
    return [replace(config, name=f"{config.name}-{number:02d}") for number, config in enumerate(configs)]


def configs_of(spec: Path, data: Path | None, runs: Path | None, values: tuple[str, ...]) -> list[TrainConfig]:
    """The runs of a spec or sweep, by file or name, with the command line's overrides. Raises SpecError."""
    path = find_jobspec(spec, "training spec", training_names())
    changes = settings(values)
    if data is not None:
        changes["data.path"] = str(data)
    if runs is not None:
        changes["output.runs"] = str(runs)
    return [override(config, changes, f"{spec} and the command line") for config in load_sweep(path)]
