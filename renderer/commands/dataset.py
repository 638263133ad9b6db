"""`gen stats`, `gen gather`: what can be made of a data set."""

from __future__ import annotations

from pathlib import Path

import click

from renderer import archive
from renderer.commands.options import FOLDER, check_picture, say
from renderer.progress import Progress


@click.command()
@click.argument("dataset", type=FOLDER)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Picture.  [default: DATASET/stats.png]")
def stats(dataset: Path, out: Path | None) -> None:
    """Plot the distribution of every knob of DATASET.

    \b
    gen stats out/mixed
    """
    from renderer.stats import plot_knobs

    check_picture(out)
    out = out or dataset / "stats.png"
    with Progress(None, "sample", "reading") as bar:
        bar.total = len(archive.open_dataset(dataset))
        knobs = plot_knobs(dataset, out, bar.update)
    click.echo(f"{knobs} knobs -> {out}")


@click.command()
@click.argument("dataset", type=FOLDER)
@click.argument("tar", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be written.")
def gather(dataset: Path, tar: Path, dry_run: bool) -> None:
    """Merge the shards of DATASET into one TAR, for those who want a single file. Readers do not need it.

    \b
    gen gather out/mixed mixed.tar
    """
    data = archive.open_dataset(dataset)
    size = sum(shard.manifest.tar_bytes for shard in data.shards)
    say(f"{len(data)} samples, {size / 1e6:.1f} MB -> {tar}")
    if not dry_run:
        with Progress(len(data), "sample", "merging") as bar:
            archive.gather(data, tar, bar.update)
