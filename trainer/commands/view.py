"""`gen view`, `gen apply`, `gen evaluate`, `gen bench visualise`: read options, call the library, print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from renderer.progress import Progress

VIEW_HELP = "lines, points, texture, uv, mask, landmarks, axes, inverse, swap; give it several times for several views."
FOLDER = click.Path(path_type=Path, file_okay=False)


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
    from trainer.systems.uvnet.gallery import projection_gallery

    return projection_gallery(run, png)


@click.command("apply")
@click.argument("weights", metavar="RUN_OR_WEIGHTS", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", type=FOLDER, default=Path("applied"), show_default=True, help="Folder of the results.")
@click.option("--view", "views", multiple=True, default=("lines", "texture"), show_default=True, help=VIEW_HELP)
@click.option(
    "--texture", type=click.Path(path_type=Path, dir_okay=False), help="Picture to project.  [default: a checker]"
)
@click.option("--swap", type=click.Path(path_type=Path, dir_okay=False), help="Photo of the face for the view swap.")
@click.option(
    "--maps", type=click.Choice(["exr", "npz"]), help="Also write UV and both masks, of videos for every frame."
)
@click.option(
    "--mesh", type=click.Choice(["visible", "face", "head"]), help="Write fitted heads, and how much of them."
)
@click.option("--window", is_flag=True, help="Show the first view of videos and webcams in a window; q closes it.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Drop faces on which picture and mirror image agree less than this; 0 keeps all.",
)
@click.option("--mirrored", is_flag=True, help="Average over picture and mirror image: more accurate, half as fast.")
@click.option("--csv", "write_csv", is_flag=True, help="Also write landmarks and pose as CSV.")
@click.option(
    "--focal-px", type=float, help="Focal length in pixels, for the distance.  [default: 1.2 x the longer side]"
)
@click.option(
    "--max-side",
    default=2048,
    show_default=True,
    type=click.IntRange(64),
    help="Scale larger pictures down to this side.",
)
@click.option("--frames", type=click.IntRange(1), help="Stop a video or webcam after this many frames.")
@click.option("--device", default="cpu", show_default=True, help="torch device: cpu, cuda.")
def apply_(
    weights: Path,
    inputs: tuple[str, ...],
    out: Path,
    views: tuple[str, ...],
    texture: Path | None,
    swap: Path | None,
    maps: str | None,
    mesh: str | None,
    window: bool,
    min_agreement: float,
    mirrored: bool,
    write_csv: bool,
    focal_px: float | None,
    max_side: int,
    frames: int | None,
    device: str,
) -> None:
    """Find faces in photos, folders of photos, videos or a webcam (its number), and draw what their UV maps show.

    NAME.VIEW.png or .mp4, and NAME.json with boxes, 68 landmarks and head pose; with --mesh also NAME.faceN.obj and
    .glb: the head model fitted to each face, textured from the picture. A picture without a face is reported and gives
    empty results. Exit code 1 if an input could not be read.

    \b
    gen apply runs/uvnet-... photo.jpg
    gen apply weights.safetensors photos/ --view landmarks --view axes --maps npz
    gen apply runs/uvnet-... clip.mp4 --texture mine.png --view texture
    gen apply runs/uvnet-... photo.jpg --mesh visible
    gen apply runs/uvnet-... 0 --window
    """
    from trainer.systems.uvnet import trained
    from trainer.uvmaps.apply_job import Job, run_all

    job = Job(
        out, views, texture, maps, write_csv, focal_px, swap, max_side, frames, mesh, min_agreement, mirrored, window
    )
    failed = run_all(job, lambda: trained.load(weights, device), inputs, lambda line: click.echo(line, err=True))
    click.echo(out)
    if failed:
        sys.exit(1)


@click.command()
@click.argument("weights", metavar="RUN_OR_WEIGHTS", type=click.Path(path_type=Path))
@click.argument("target", metavar="DATASET_OR_PHOTOS", type=FOLDER)
@click.option(
    "--out",
    type=FOLDER,
    help="Folder of the report.  [default: evaluation-NAME in the run, with --mirrored evaluation-NAME-mirrored]",
)
@click.option("--all", "everything", is_flag=True, help="Include samples that the run was trained on.")
@click.option("--mirrored", is_flag=True, help="Average over picture and mirror image: more accurate, half as fast.")
@click.option(
    "--limit", type=click.IntRange(0), default=0, help="Measure about this many samples, evenly spread; 0: all."
)
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Samples per minibatch.")
@click.option(
    "--max-bad",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Largest number of damaged samples to leave out.",
)
@click.option("--device", default="cpu", show_default=True, help="torch device: cpu, cuda.")
@click.option("--json", "as_json", is_flag=True, help="Print the means as JSON.")
def evaluate(
    weights: Path,
    target: Path,
    out: Path | None,
    everything: bool,
    mirrored: bool,
    limit: int,
    batch_size: int,
    max_bad: int,
    device: str,
    as_json: bool,
) -> None:
    """Measure a network on a data set, or its landmarks on a folder of annotated photos.

    Prints a table and writes evaluation.json (means, splits by knob, every sample), curves.svg, knobs.svg and the worst
    samples as a sheet; `gen view RUN` shows those. On clips (`gen render --sequence`) it measures jitter and draws
    jitter.svg, too. Photos need NAME.pts (300-W), NAME.mat (AFLW2000-3D) or one landmarks.json,
    {"NAME.jpg": [[x, y] x 68]}.

    \b
    gen evaluate runs/uvnet-... out/mixed
    gen evaluate weights.safetensors photos/300w --json
    """
    import json

    from trainer.evaluation.report import evaluate as run
    from trainer.evaluation.report import table

    with Progress(None, "sample", "evaluating") as bar:
        report, folder = run(
            weights,
            target,
            out,
            everything=everything,
            mirrored=mirrored,
            limit=limit,
            batch_size=batch_size,
            max_bad=max_bad,
            device=device,
            bar=bar,
        )
    click.echo(json.dumps(report["metrics"]) if as_json else table(report))
    click.echo(folder, err=True)


@click.command()
def bench_visualise() -> None:
    """Speed of the projections of UV maps at 256 x 256 on one core: one JSON line per figure."""
    from trainer.bench.visualise import lines

    for line in lines():
        click.echo(line)
