"""`gen view`: options in, library calls, text out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from renderer.progress import Progress
from trainer.commands.options import FOLDER


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="RUN [RUN2] | DATASET", type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder of the page.  [default: `view` in the run or data set]")
@click.option(
    "--limit",
    default=2000,
    show_default=True,
    type=click.IntRange(1),
    help="Largest number of samples to show of a data set.",
)
@click.option(
    "--projections/--no-projections",
    default=True,
    show_default=True,
    help="Run the network, to show projections on held-out samples.",
)
@click.option("--open/--no-open", "open_page", default=True, help="Open the page in a browser.  [default: open]")
def view(targets: tuple[Path, ...], out: Path | None, limit: int, projections: bool, open_page: bool) -> None:
    """Build the page of a run, of two runs side by side, or of a data set, and open it.

    The page is one folder of plain files: it opens from disk or over SSHFS, without a server and without a network.

    \b
    gen view runs/uvnet-...              curves, images by epoch, projections
    gen view runs/uvnet-A runs/uvnet-B   two runs side by side
    gen view out/mixed                   tiles, filters and histograms of a data set
    """
    from trainer.viewer.page import build_page

    with Progress(None, "image", "drawing") as bar:
        page = build_page(targets, out, limit=limit, gallery=_projections if projections else None, progress=bar.update)
    click.echo(page.index)
    if page.note:
        click.echo(page.note, err=True)
    if open_page and sys.stdout.isatty():
        click.launch(str(page.index.resolve()))


def _projections(run: Path, png: Path) -> tuple[dict[str, Any] | None, str]:
    """What the network of a run makes of held-out samples; loads torch."""
    from trainer.systems.runs import gallery

    return gallery(run, png)
