"""Trainings as jobs: one, or a sweep as one array, each with its own run-ID and frozen code and config."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from renderer.errors import SpecError
from renderer.format.folder import read_info
from renderer.strict import to_yaml
from slurm.node.command_job import CommandOrder
from slurm.profile import Profile, load_profile
from slurm.records import JobFolder
from slurm.scheduler import gpus_of
from slurm.submit.batch import Log, Shape, Submission
from slurm.submit.commands import submit_commands

if TYPE_CHECKING:
    from trainer.training.config import TrainConfig

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

    Each element trains the config as it is resolved now, on a copy of the code as it is now, with as many nodes and
    processes as `device` says; after a time limit or a lost node it resumes its run. Raises SpecError, MachineError or
    DatasetError before anything is queued.
    """
    from trainer.systems.registry import configs_of
    from trainer.training.config import absolute_paths

    configs = [absolute_paths(config) for config in configs_of(spec, data, runs, values)]
    configs = configs if only is None else configs[only : only + 1]
    shape = _shape(configs, load_profile(profile)[0], spec)
    paths = {what: path for config in configs for what, path in _reads(config, must_exist=not dry_run)}
    root = Path(configs[0].output.runs)
    folder = JobFolder(root).root / "configs" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    orders = []
    for number, config in enumerate(configs):
        file = folder / f"{number:02d}-{config.name}.yaml"
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(to_yaml(config), "utf-8")
        orders.append(CommandOrder((*TRAIN, str(file), "--runs", "{runs}"), (*TRAIN, "--resume"), str(root)))
    return submit_commands(
        orders, f"headforge-{spec.stem}", root, profile, shape=shape, paths=paths, parallel=parallel, dry_run=dry_run,
        allow_dirty=allow_dirty, log=log,
    )  # fmt: skip


def _reads(config: TrainConfig, must_exist: bool) -> Iterator[tuple[str, Path]]:
    """What a run reads, by the name that errors give it. Raises SpecError or DatasetError for what is not there."""
    from trainer.training.config import named_paths

    for key, path in named_paths(config).items():
        if key == "output.runs":
            continue
        if must_exist and not Path(path).exists():
            raise SpecError(f"{key} of {config.name} is {path}, which does not exist")
        yield f"{key} of {config.name}", Path(path)
    if must_exist and (head := read_info(Path(config.data.path))["spec"]["assets"]["head"]):
        yield f"head of {config.name}'s data set", Path(head)


def _shape(configs: list[TrainConfig], profile: Profile, spec: Path) -> Shape:
    """Processes and GPUs of each run's job; an array has one shape. Raises SpecError."""
    found = set()
    for config in configs:
        device = config.device
        wants = device.accelerator == "cuda" or (device.accelerator == "auto" and gpus_of(profile.gres) > 0)
        found.add(Shape(device.nodes, device.devices, device.devices if wants else 0))
    if len(found) > 1:
        raise SpecError(
            f"{spec}: its runs differ in device.devices, nodes or accelerator; submit each by itself, with --only"
        )
    return found.pop()
