"""A study as jobs: renders, trainings that wait for them, and one that tests all networks and writes the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from renderer.errors import DatasetError, SpecError
from slurm import scheduler
from slurm.node.command_job import CommandOrder
from slurm.records import job_name
from slurm.submit.batch import Log, Shape
from slurm.submit.commands import submit_commands
from slurm.submit.render import prepare_submission, submit_render

if TYPE_CHECKING:
    from trainer.study.plan import Layout, Step

STUDY: Final = ("{python}", "-m", "renderer.cli", "study")
SHARD_SIZE: Final = 500


def submit_study(
    layout: Layout, profile: str | Path, *, dry_run: bool = False, allow_dirty: bool = False, log: Log = print
) -> list[str]:
    """Queue what is missing of a study; returns the ids of its jobs, in order. All of them use one profile.

    Each training waits for its scenario's data set; the last job waits for all, does whatever is still missing, tests
    and writes the page. Raises SpecError, MachineError or DatasetError before anything is queued that needs what is
    wrong.
    """
    study, name = layout.study, job_name(layout.out, layout.study.spec.name)
    if study.config.processes > 1:
        raise SpecError(f"{study.path}: a study's trainings are jobs of one process; set device.devices and nodes to 1")
    if not dry_run:
        if running := scheduler.queue(name):
            raise DatasetError(f"jobs of this study are in the queue: {running}. Wait, or end them: scancel -n {name}")
        layout.out.mkdir(parents=True, exist_ok=True)
        layout.write_specs()
    missing = [step for step in layout.steps() if step.kind == "page" or not layout.done(step)]
    sent: dict[str, tuple[str, ...]] = {}
    for step in missing:
        if step.kind == "render":
            sent[step.name] = _submit_render(layout, step, profile, dry_run, allow_dirty, log)

    def submit(orders: Sequence[CommandOrder], after: Sequence[str]) -> tuple[str, ...]:
        made = submit_commands(
            orders, name, layout.out, profile, shape=Shape(), depends_on=tuple(after), dry_run=dry_run,
            allow_dirty=allow_dirty, log=log,
        )  # fmt: skip
        return made.jobs if made else ()

    words = (*STUDY, str(study.path.absolute()), "--out", str(layout.out))
    for step in missing:
        if step.kind == "train":
            after = [job for need in layout.needs(step) for job in sent.get(need.name, ())]
            sent[step.name] = submit([CommandOrder((*words, "--only", step.name))], after)
    every = [job for jobs in sent.values() for job in jobs]
    return [*every, *submit([CommandOrder(words)], every)]


def _submit_render(
    layout: Layout, step: Step, profile: str | Path, dry_run: bool, allow_dirty: bool, log: Log
) -> tuple[str, ...]:
    """Queue one data set; the job that ends it."""
    spec, out = layout.study.render_spec(step.scenario), layout.data(step.scenario, step.test)
    context = prepare_submission(spec, layout.seed(step.test), profile, log)
    made = submit_render(
        context, out, layout.count(step), SHARD_SIZE, profile, dry_run=dry_run, allow_dirty=allow_dirty, log=log
    )
    return made.jobs[-1:] if made else ()
