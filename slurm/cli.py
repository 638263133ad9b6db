"""Commands of the SLURM layer: `gen status`, `gen bench packing`, `gen bench scaling`."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--watch", "renew", is_flag=True, help="Repeat every few seconds until no job works on it any more.")
def status(out: Path, renew: bool) -> None:
    """What is done, running, missing or failed of the data set at OUT.

    Read from the finished shards and the jobs' heartbeats; the scheduler is asked, but not needed. Exit code 0 if the
    data set is complete, 3 if it is not yet.

    \b
    gen status out/mixed
    gen status out/mixed --watch
    """
    from slurm.status import describe, read_status, watch

    if renew:

        def show(text: str) -> None:
            if sys.stdout.isatty():
                click.clear()
            click.echo(text)

        found = watch(out, show)
    else:
        found = read_status(out)
        click.echo(describe(found))
    if not found.done:
        sys.exit(3)


@click.command()
@click.argument("profile")
@click.option("--spec", default="mixed", show_default=True, help="Spec to render for the measurement.")
def packing(profile: str, spec: str) -> None:
    """Measure workers x threads on this node, and write the best into PROFILE, a file or a name.

    Run it on a node, not on the login node: plans of later submissions rest on its seconds per sample.

    \b
    srun --cpus-per-task=8 gen bench packing cluster_mine.yaml
    """
    from slurm.packing import tune

    tune(profile, spec, log=click.echo)


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--count", type=click.IntRange(1), default=300_000, show_default=True, help="Number of samples to project to."
)
def scaling(dataset: Path, count: int) -> None:
    """Where the time of DATASET, rendered on a cluster, went, and what more nodes would bring.

    \b
    gen bench scaling out/mixed
    """
    from slurm.scaling import report

    click.echo(report(dataset, count))
