"""`gen train`: options in, the engine does the work, text out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderer.errors import SpecError
from renderer.parameters.jobspecs import training_names
from renderer.strict import to_yaml
from trainer.commands.options import VALUES
from trainer.systems import registry

if TYPE_CHECKING:
    from trainer.training.config import TrainConfig
    from trainer.training.loop import Outcome

INTERRUPTED = 75  # exit code of a run that a signal stopped and `--resume` continues (EX_TEMPFAIL)


@click.command(
    epilog="""\b
Examples:
  gen train train_uvnet_small --data out/mixed
  gen train train_uvnet --data out/mixed --set device.devices=2 --dry-run
  gen train sweep_occlusion --data out/mixed --only 3
  gen train --resume runs/uvnet_small-1a2b3c-20260101-120000
  gen train sweep_occlusion --data /shared/mixed --slurm cluster_gpu
"""
)
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of the data set, in place of the spec's data.path."
)
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Folder of run directories, in place of the spec's output.runs."
)
@VALUES
@click.option("--only", type=int, help="Train only this run of a sweep; the first is 0.")
@click.option("--resume", "run", type=click.Path(path_type=Path), help="Resume a run from its last checkpoint.")
@click.option(
    "--from", "checkpoint", default="", help="With --resume: start from an older checkpoint, such as step-0000001234."
)
@click.option(
    "--slurm",
    "profile",
    help="Submit to SLURM, a sweep as one array; a profile is a YAML file or a name such as cluster_gpu.",
)
@click.option("--allow-dirty", is_flag=True, help="With --slurm: run uncommitted code; the run says so.")
@click.option("--dry-run", is_flag=True, help="Check everything, print the plan and the whole config, train nothing.")
def train(
    spec: Path | None,
    data: Path | None,
    runs: Path | None,
    values: tuple[str, ...],
    only: int | None,
    run: Path | None,
    checkpoint: str,
    profile: str | None,
    allow_dirty: bool,
    dry_run: bool,
) -> None:
    """Train what SPEC says (a YAML file, or the name of one that comes with headforge), or every run of a sweep.

    Ctrl-C, SIGTERM and SIGUSR1 save a checkpoint and end with exit code 75; `--resume` goes on exactly there.
    """
    from trainer.systems.runs import check, resume
    from trainer.systems.runs import train as start

    if (spec is None) == (run is None):
        raise SpecError(
            f"give either a SPEC to start ({', '.join(training_names())}, or a file), or --resume RUN to go on"
        )
    if run is not None:
        if data or runs or values or profile or only is not None:
            raise SpecError(
                "--resume goes on with the run's own config; --data, --runs, --set, --only and --slurm need a SPEC"
            )
        if dry_run:
            _print_plan(registry.run_config(run))
        else:
            _report(resume(run, checkpoint))
        return
    assert spec is not None
    if checkpoint:
        raise SpecError("--from names the checkpoint that --resume RUN goes on from; it needs --resume")
    configs = registry.configs_of(spec, data, runs, values)
    if only is not None:
        if not 0 <= only < len(configs):
            raise SpecError(f"--only {only}: {spec} makes runs 0 to {len(configs) - 1}")
        configs = [configs[only]]
    if profile is not None:
        from slurm.submit.training import submit_training

        options = {"data": data, "runs": runs, "values": values, "only": only}
        submit_training(spec, profile, **options, dry_run=dry_run, allow_dirty=allow_dirty, log=click.echo)  # type: ignore[arg-type]
        return
    for config in configs:  # all of a sweep are checked before the first one starts
        if dry_run:
            _print_plan(config)
        else:
            check(config)
    for config in configs if not dry_run else []:
        _report(start(config))


def _print_plan(config: TrainConfig) -> None:
    from trainer.systems.runs import check

    plan = check(config)
    click.echo(f"name:              {config.name}")
    click.echo(f"device:            {plan.device}")
    if plan.warning:
        click.echo(plan.warning, err=True)
    click.echo(f"parameters:        {plan.parameters:,}")
    click.echo(f"data set:          {config.data.path} (tag {plan.tag})")
    click.echo(f"training samples:  {plan.training_samples:,}, held out {plan.test_samples:,}")
    click.echo(f"steps per epoch:   {plan.steps_per_epoch:,} of {config.data.batch_size} samples")
    click.echo(f"epochs:            {plan.epochs:.1f} ({config.schedule.max_samples:,} samples)")
    click.echo(f"decoded size:      {plan.bytes_decoded / 1e9:.2f} GB, cache {config.data.cache}")
    click.echo("---\n" + to_yaml(config))


def _report(outcome: Outcome) -> None:
    click.echo(f"{outcome.state} at step {outcome.step}: {outcome.run}")
    if outcome.state == "interrupted":
        click.echo(f"go on with: gen train --resume {outcome.run}", err=True)
        raise SystemExit(INTERRUPTED)
