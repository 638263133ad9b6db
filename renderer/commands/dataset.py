"""`gen stats`, `gen gather`: what can be made of a data set."""

from __future__ import annotations

from pathlib import Path

import click

from renderer.commands.options import FOLDER, check_picture, say
from renderer.format.dataset import merge_shards, open_dataset
from renderer.progress import Progress


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Picture.  [default: DATASET/stats.png]")
@click.option("--count", type=click.IntRange(1), help="Number of samples, evenly spread.  [default: at most 20,000]")
def stats(dataset: Path, out: Path | None, count: int | None) -> None:
    """Plot the distribution of every knob of DATASET.

    \b
    gen stats out/mixed
    """
    from renderer.report.stats import MOST, plot_knobs

    check_picture(out)
    out = out or dataset / "stats.png"
    with Progress(None, "sample", "reading") as bar:
        count = bar.total = min(count or MOST, len(open_dataset(dataset)))
        said = plot_knobs(dataset, out, count, bar.update)
    click.echo(f"{said} -> {out}")


@click.command()
@click.argument("dataset", type=FOLDER)
@click.argument("tar", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be written.")
def gather(dataset: Path, tar: Path, dry_run: bool) -> None:
    """Merge the shards of DATASET into one TAR, for those who want a single file. Readers do not need it.

    \b
    gen gather out/mixed mixed.tar
    """
    data = open_dataset(dataset)
    size = sum(shard.summary.tar_bytes for shard in data.shards)
    say(f"{len(data)} samples, {size / 1e6:.1f} MB -> {tar}")
    if not dry_run:
        with Progress(len(data), "sample", "merging") as bar:
            merge_shards(data, tar, bar.update)
