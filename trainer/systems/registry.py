"""The known systems, and training specs read as the config of the system that they name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from renderer.errors import SpecError
from renderer.strict import load_yaml
from trainer.config import override, read
from trainer.training.config import TrainConfig

if TYPE_CHECKING:
    from typing import Any as System

NAMES: Final = {"uvnet": "UVNet"}
"""Folder of trainer/systems -> how its classes are called: UVNetConfig in `config.py`, UVNetSystem in `system.py`."""
DEFAULT: Final = "uvnet"
MAX_SWEEP: Final = 20


def system_named(name: str) -> System:
    """A system; loads torch. Raises SpecError with the known names."""
    found: System = _named(name, "system", "System", "the system")()
    return found


def config_class(name: str, source: str) -> type[TrainConfig]:
    """The class of a system's configs; needs no torch. Raises SpecError with the known names."""
    found: type[TrainConfig] = _named(name, "config", "Config", f"{source}: system")
    return found


def _named(name: str, module: str, kind: str, what: str) -> Any:
    if name not in NAMES:
        raise SpecError(f"{what} is {name!r}; known are {', '.join(NAMES)}")
    return getattr(import_module(f"trainer.systems.{name}.{module}"), f"{NAMES[name]}{kind}")


# ---------------------------------------------------------------- reading


def load_config(path: Path) -> TrainConfig:
    """Read a training spec. Raises SpecError on anything but a valid spec; a sweep is refused with a hint."""
    raw = load_yaml(path)
    if "base" in raw:
        raise SpecError(f"{path} is a sweep (it has `base`), not a single run: use `load_sweep`")
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], source: str) -> TrainConfig:
    """The config of a system from plain values. source: where they came from, for messages."""
    name = raw.get("system", DEFAULT) if isinstance(raw, Mapping) else DEFAULT
    return read(config_class(name, source), raw, source)


def load_sweep(path: Path) -> list[TrainConfig]:
    """Read a sweep: `base` (a spec beside it), and `vary` (dotted key -> list of values, all combinations) or
    `runs` (a list of dotted key -> value). A plain spec is a sweep of one. At most `MAX_SWEEP` runs.

    Where there are several, each run's name gets the number of its combination, so that run-IDs tell them apart.
    """
    raw = load_yaml(path)
    if "base" not in raw:
        return [parse_config(raw, str(path))]
    if unknown := sorted(raw.keys() - {"base", "vary", "runs"}):
        raise SpecError(f"{path}: unknown keys {unknown}; a sweep has base, vary and runs")
    base = load_config(path.parent / str(raw["base"]))
    runs = _combinations(raw, path)
    if len(runs) > MAX_SWEEP:
        raise SpecError(f"{path} makes {len(runs)} runs; at most {MAX_SWEEP} are allowed: split it")
    configs = []
    for number, values in enumerate(runs):
        config = override(base, values, f"{path} run {number}")
        configs.append(replace(config, name=f"{config.name}-{number:02d}") if len(runs) > 1 else config)
    return configs


def _combinations(raw: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    vary, runs = raw.get("vary", {}), raw.get("runs", [{}])
    if not isinstance(vary, dict) or not all(isinstance(v, list) and v for v in vary.values()):
        raise SpecError(f"{path}: `vary` maps dotted keys to lists of values")
    if not isinstance(runs, list) or not runs or not all(isinstance(r, dict) for r in runs):
        raise SpecError(f"{path}: `runs` is a list of mappings from dotted keys to values")
    grids = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    return [{**run, **grid} for run in runs for grid in grids]
