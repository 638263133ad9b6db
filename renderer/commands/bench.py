"""`gen bench render`, `gen bench shards`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option(
    "--count", type=click.IntRange(1), default=200, show_default=True, help="Samples to render for the throughput."
)
@click.option("--what", type=click.Choice(["all", "throughput", "drift", "error"]), default="all", show_default=True)
def bench(count: int, what: str) -> None:
    """Samples per second against a plain render loop, growth over many samples, and the error of the images.

    Prints JSON lines. Figures worth keeping go to docs/benchmarks.md.

    \b
    gen bench render --what throughput
    """
    from renderer.bench.render import run_bench

    run_bench(count, what, lambda line: click.echo(json.dumps(line)))


@click.command()
@click.option("--shards", type=click.IntRange(2), default=20_000, show_default=True, help="Number of shards.")
@click.option("--shard-size", type=click.IntRange(1), default=500, show_default=True, help="Samples per shard.")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder to make it in.  [default: the temporary folder]",
)
def shards(shards: int, shard_size: int, scratch: Path | None) -> None:
    """Seconds and memory of opening, planning, plotting and training on a data set of many shards.

    Makes one with real manifests, a kB a sample, in the temporary folder or in --scratch, and removes it again.
    At most 256 files may be open. Prints JSON lines.

    \b
    gen bench shards --shards 200
    """
    from renderer.bench.shards import run_scale

    run_scale(lambda line: click.echo(json.dumps(line)), shards, shard_size, scratch)
