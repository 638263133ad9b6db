"""`gen study`: options in, library calls, text out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trainer.commands.options import FOLDER

STOPPED = 75  # EX_TEMPFAIL, as of a training that a signal stopped


@click.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, help="Folder of the study.  [default: out/study-NAME]")
@click.option("--only", metavar="STEP", help="Do this step alone, such as train:none:0; --dry-run lists them.")
@click.option(
    "--slurm",
    "profile",
    help="Submit renders and trainings to SLURM, with dependencies; a profile is a YAML file or a name.",
)
@click.option("--allow-dirty", is_flag=True, help="With --slurm: run uncommitted code; runs and manifests say so.")
@click.option("--dry-run", is_flag=True, help="List the steps and which are done; write nothing.")
def study(
    spec: Path, out: Path | None, only: str | None, profile: str | None, allow_dirty: bool, dry_run: bool
) -> None:
    """Find out which variability of the training data matters. SPEC: a YAML file, or a name like study_variability.

    Renders the scenarios' data sets and held-out test sets, trains a network on each, tests all on all, and writes one
    page: OUT/index.html, with every figure in OUT/summary.json. The same command goes on where it was stopped, and
    repeats nothing that is done. Ctrl-C saves the step in hand and ends with exit code 75.

    \b
    gen study study_variability --dry-run
    gen study study_variability --out out/variability
    gen study mine.yaml --only train:none:0
    gen study mine.yaml --out /shared/study --slurm cluster_gpu
    """
    from trainer.study.plan import Layout, step_named
    from trainer.study.run import describe, run_study
    from trainer.study.spec import load_study

    found = load_study(spec)
    layout = Layout(found, (out or Path("out") / f"study-{found.spec.name}").absolute())
    step = step_named(layout.steps(), only) if only else None
    if profile is not None:
        from slurm.submit.study import submit_study

        submit_study(layout, profile, dry_run=dry_run, allow_dirty=allow_dirty, log=click.echo)
    elif dry_run:
        for line in describe(layout):
            click.echo(line)
    elif run_study(layout, lambda line: click.echo(line, err=True), step):
        click.echo(layout.out / "index.html" if step is None else layout.out)
    else:
        click.echo("stopped; the same command goes on", err=True)
        sys.exit(STOPPED)
