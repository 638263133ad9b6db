"""`gen view`, `gen apply`, `gen evaluate`: read options, call the library, print."""

from __future__ import annotations

import sys
from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="RUN [RUN2] | DATASET", type=FOLDER)
@click.option("--out", type=FOLDER, help="Folder of the page.  [default: `view` in the run or data set]")
@click.option("--limit", default=2000, show_default=True, type=click.IntRange(1), help="Samples of a data set shown.")
@click.option("--projections/--no-projections", default=True, show_default=True, help="Run the network of a run, too.")
@click.option("--open/--no-open", "open_page", default=True, help="Open the page in a browser.  [default: open]")
def view(targets: tuple[Path, ...], out: Path | None, limit: int, projections: bool, open_page: bool) -> None:
    """Build the page of a run, of two runs side by side, or of a data set, and open it.

    The page is one folder of plain files: it opens from disk or over SSHFS, without a server and without a network.

    \b
    gen view runs/uvnet-...              curves, images by epoch, projections
    gen view runs/uvnet-A runs/uvnet-B   two runs side by side
    gen view out/mixed                   tiles, filters and histograms of a data set
    """
    from tqdm import tqdm

    from trainer.view import build_page

    with tqdm(unit="image", disable=None, leave=False, dynamic_ncols=True) as bar:
        page = build_page(targets, out, limit=limit, projections=projections, progress=bar.update)
    click.echo(page.index)
    if page.note:
        click.echo(page.note, err=True)
    if open_page and sys.stdout.isatty():
        click.launch(str(page.index.resolve()))
