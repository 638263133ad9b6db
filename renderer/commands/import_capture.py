"""`gen import-capture`."""

from __future__ import annotations

from pathlib import Path

import click

from renderer.commands.options import FOLDER, say
from renderer.progress import Progress


@click.command("import-capture")
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder of the data set.")
@click.option("--dry-run", is_flag=True, help="Check the footage, write nothing.")
def import_capture(folder: Path, out: Path, dry_run: bool) -> None:
    """Make a data set for performance capture out of own footage in FOLDER.

    FOLDER holds the mesh (one .obj) and for each shot a video and a point cache of the same name (.pc2 or .mdd), in
    metres, with the rigid motion of the head removed. Numbers of frames and vertices, sizes and frame rates must fit.
    The same command again completes what was interrupted.

    \b
    gen import-capture footage --out out/anna --dry-run
    gen import-capture footage --out out/anna
    """
    from renderer.run.footage import read_footage, write_footage
    from trainer.data.video import Frames

    def opened(path: Path) -> Frames:
        return Frames(str(path), max_side=10**6)

    with Progress(None, "frame", "checking") as bar:
        footage = read_footage(folder, opened, bar.update)
    width, height = footage.shots[0].size
    shots, vertices = len(footage.shots), len(footage.mesh.vertices)
    say(f"{shots} shots, {footage.frames} frames of {width} x {height} pixels, {vertices} vertices -> {out}")
    if not dry_run:
        with Progress(footage.frames, "frame", "writing") as bar:
            write_footage(footage, out, opened, bar.update)
