"""`gen evaluate`: options in, library calls, text out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from renderer.progress import Progress
from trainer.commands.options import DEVICE, FOLDER, MIRRORED, WEIGHTS, WEIGHTS_PATH


@click.command()
@WEIGHTS
@click.argument("target", metavar="DATASET_OR_PHOTOS", type=FOLDER)
@click.option(
    "--out",
    type=FOLDER,
    help="Folder of the report.  [default: evaluation-NAME in the run, with --mirrored evaluation-NAME-mirrored]",
)
@click.option("--all", "everything", is_flag=True, help="Include samples that the run was trained on.")
@MIRRORED
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
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Of photos: drop faces on which picture and mirror image agree less; 0 keeps all.  [default: as gen apply]",
)
@click.option(
    "--occluders", is_flag=True, help="Of photos: also draw masks, sunglasses and blobs over them, and measure."
)
@click.option("--motion", is_flag=True, help="Of photos: also move them slowly, and measure jitter.")
@click.option(
    "--finder",
    metavar="RUN_OR_WEIGHTS",
    type=WEIGHTS_PATH,
    help="Of photos, by position maps: UV-net that finds the faces.  [default: shipped]",
)
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print the means as JSON.")
def evaluate(weights: Path, target: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Measure a network on a data set, or on a folder of annotated photos.

    Prints a table and writes evaluation.json (means, splits by knob, every sample), curves.svg, knobs.svg and the worst
    samples as a sheet; `gen view RUN` shows those. On clips (`gen render --sequence`) it measures jitter and draws
    jitter.svg, too.

    On photos: errors of 51 and 68 landmarks, with learnt UVs, by yaw and by part; faces not found; IoU of the full and
    of the visible mask; pictures without a face in which one is found. With --occluders what covered faces do to it,
    with --motion jitter. Annotations are index.json (all of this), landmarks.json, NAME.pts (300-W) or NAME.mat
    (AFLW2000-3D): docs/commands/photos.md. Position maps are drawn as UV maps for it; --finder finds their faces.

    \b
    gen evaluate runs/uvnet-... out/mixed
    gen evaluate runs/uvnet-... out/clips            jitter, too
    gen evaluate weights.safetensors photos/300w --json
    gen evaluate runs/position_map-... photos/
    gen evaluate runs/uvnet-... photos/ --occluders --motion --out photos-report
    """
    from trainer.evaluation.report import write_report

    with Progress(None, "picture", "evaluating") as bar:
        written = write_report(weights, target, out, bar=bar, **options)
    click.echo(json.dumps(written.values["metrics"]) if as_json else written.text)
    click.echo(written.folder, err=True)
