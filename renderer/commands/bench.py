"""`gen bench render`."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Samples of the throughput run.")
@click.option("--what", type=click.Choice(["all", "throughput", "drift", "error"]), default="all", show_default=True)
def bench(count: int, what: str) -> None:
    """Samples per second against a plain render loop, growth over many samples, and the error of the images.

    Prints JSON lines. Figures worth keeping go to docs/benchmarks.md.

    \b
    gen bench render --what throughput
    """
    from renderer.bench import run_bench

    run_bench(count, what, lambda line: click.echo(json.dumps(line)))
