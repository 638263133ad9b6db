"""`gen evaluate`: options in, library calls, text out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from renderer.progress import Progress
from trainer.commands.options import DEVICE, FOLDER, MIRRORED, WEIGHTS


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
@DEVICE
@click.option("--json", "as_json", is_flag=True, help="Print the means as JSON.")
def evaluate(weights: Path, target: Path, out: Path | None, as_json: bool, **options: Any) -> None:
    """Measure a network on a data set, or its landmarks on a folder of annotated photos.

    Prints a table and writes evaluation.json (means, splits by knob, every sample), curves.svg, knobs.svg and the worst
    samples as a sheet; `gen view RUN` shows those. On clips (`gen render --sequence`) it measures jitter and draws
    jitter.svg, too. Photos need NAME.pts (300-W), NAME.mat (AFLW2000-3D) or one landmarks.json,
    {"NAME.jpg": [[x, y] x 68]}.

    \b
    gen evaluate runs/uvnet-... out/mixed
    gen evaluate weights.safetensors photos/300w --json
    """
    from trainer.evaluation.report import write_report

    with Progress(None, "sample", "evaluating") as bar:
        written = write_report(weights, target, out, bar=bar, **options)
    click.echo(json.dumps(written.values["metrics"]) if as_json else written.text)
    click.echo(written.folder, err=True)
