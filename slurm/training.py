"""Trainings as jobs: one, or a sweep as one array, each with its own run-ID and frozen code and config."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from slurm.command_job import CommandOrder
from slurm.records import JobFolder
from slurm.submit import Log, Submission, submit_commands

if TYPE_CHECKING:
    from trainer.config import TrainConfig

TRAIN = ("{python}", "-m", "renderer.cli", "train")


def submit_training(
    spec: Path,
    profile: str | Path,
    *,
    data: Path | None = None,
    runs: Path | None = None,
    values: tuple[str, ...] = (),
    only: int | None = None,
    parallel: int = 0,
    dry_run: bool = False,
    allow_dirty: bool = False,
    log: Log = print,
) -> Submission | None:
    """Queue the training of `spec`, or every run of a sweep, as one array; options as of `gen train`.

    Each element trains the config as it is resolved now, on a copy of the code as it is now; after a time limit or a
    lost node it resumes its run. Raises SpecError, MachineError or DatasetError before anything is queued.
    """
    from trainer.cli import configs_of
    from trainer.config import override, to_yaml

    configs = configs_of(spec, data, runs, values)
    configs = configs if only is None else configs[only : only + 1]
    root = Path(configs[0].output.runs).absolute()
    folder = JobFolder(root).root / "configs" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    orders = []
    for number, config in enumerate(configs):
        given = {key: value for key, value in _paths(config).items() if value}
        frozen = override(config, {k: str(Path(v).absolute()) for k, v in given.items()}, str(spec))
        file = folder / f"{number:02d}-{config.name}.yaml"
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(to_yaml(frozen), "utf-8")
        orders.append(CommandOrder((*TRAIN, str(file), "--runs", "{runs}"), (*TRAIN, "--resume"), str(root)))
    name = f"headforge-{spec.stem}"
    return submit_commands(
        orders, name, root, profile, parallel=parallel, dry_run=dry_run, allow_dirty=allow_dirty, log=log
    )


def _paths(config: TrainConfig) -> dict[str, str]:
    """Paths in a config by their dotted keys. Jobs start elsewhere, so they are sent as absolute ones."""
    return {
        "data.path": config.data.path,
        "augment.environments": config.augment.environments,
        "output.photos": config.output.photos,
    }
