"""Commands of the SLURM layer. Options in, library calls, text out."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--watch", is_flag=True, help="Renew every few seconds, until nobody works on it any more.")
def status(out: Path, watch: bool) -> None:
    """What is done, running, missing or failed of the data set at OUT.

    Read from the finished shards and the jobs' heartbeats; the scheduler is asked, but not needed. Exit code 0 if the
    data set is complete, 3 if it is not yet.

    \b
    gen status out/mixed
    gen status out/mixed --watch
    """
    from slurm import status as library

    if watch:

        def show(text: str) -> None:
            if sys.stdout.isatty():
                click.clear()
            click.echo(text)

        found = library.watch(out, show)
    else:
        found = library.read_status(out)
        click.echo(library.describe(found))
    if not found.done:
        sys.exit(3)
