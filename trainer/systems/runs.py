"""Trainings of the known systems, and what has been trained, by the names that specs, runs and weights give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from renderer.errors import FormatError, HeadforgeError
from trainer.systems.registry import class_of, parse_config, run_config
from trainer.training import checks, session
from trainer.training import export as exporting
from trainer.training.checkpoint import read_weights, weights_file
from trainer.training.checks import Plan
from trainer.training.config import TrainConfig
from trainer.training.export import Exported
from trainer.training.loop import Outcome
from trainer.training.run_dir import RunDir
from trainer.training.system import System


def system_named(name: str) -> System:
    """Raises SpecError with the known names."""
    found: System = class_of(name, "system", "System", "the system")()
    return found


def check(config: TrainConfig) -> Plan:
    """What a run of this config would do. Raises a HeadforgeError for whatever can be known to be wrong."""
    return checks.check(config, system_named(config.system))


def train(config: TrainConfig) -> Outcome:
    """A new run. Raises what `check` raises before its directory exists."""
    return session.train(config, system_named(config.system))


def resume(run: Path, checkpoint: str = "") -> Outcome:
    """Go on with a run from its newest checkpoint, or from the older one of that name, with its own config."""
    config = run_config(run)
    return session.resume(RunDir(run), config, system_named(config.system), checkpoint)


@dataclass(frozen=True)
class Trained:
    """A module as it was trained. header: of its weights file: run_id, tag, system, and what the system adds."""

    system: System
    config: TrainConfig  # defaults, but for the sections that the shape of the weights depends on
    module: nn.Module
    header: dict[str, str]


def load_trained(run_or_weights: Path, only: str = "") -> Trained:
    """The trained module of a run directory or a weights file, ready for inference.

    only: the system that it must be of. Raises FormatError where the weights are of another, or of none.
    """
    path = weights_file(run_or_weights)
    tensors, architecture, header = read_weights(path)
    if only and header["system"] != only:
        raise FormatError(f"{path} is of the system {header['system']!r}; this works with {only!r} alone")
    config = parse_config({"system": header["system"], **architecture}, str(path))
    system = system_named(config.system)
    module = system.modules(config)[system.exported]
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise FormatError(f"{path} does not fit the network its header describes: {error}") from error
    return Trained(system, config, module.eval().requires_grad_(False), header)


def system_of(run_or_weights: Path) -> str:
    """The name of the system that weights are of. Raises FormatError or DatasetError where there are none."""
    return read_weights(weights_file(run_or_weights))[2]["system"]


def export(run_or_weights: Path, out: Path, formats: Sequence[str] = (), half: bool = False) -> list[Exported]:
    """Write what was trained into `out` for use elsewhere; no formats: all (`trainer.training.export`)."""
    trained = load_trained(run_or_weights)
    module = exporting.rounded(trained.module) if half else trained.module
    what = trained.system.exportable(trained.config, module)
    weights = weights_file(run_or_weights)
    return exporting.export(weights, what, trained.header, out, tuple(formats or exporting.FORMATS), half)


def gallery(run: Path, png: Path) -> tuple[dict[str, Any] | None, str]:
    """`System.gallery` of a run: (what the page says of the pictures or None, why there are none)."""
    try:
        trained = load_trained(run)
        return trained.system.gallery(run_config(run), trained.module, png), ""
    except (HeadforgeError, OSError, KeyError, ValueError) as error:
        return None, f"no projections for {run.name}: {error}"
