"""Options that several commands of the trainer share."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)

WEIGHTS_PATH = click.Path(path_type=Path)
WEIGHTS = click.argument("weights", metavar="RUN_OR_WEIGHTS", type=WEIGHTS_PATH)
RUN = click.option(
    "--run",
    "weights",
    metavar="RUN_OR_WEIGHTS",
    type=WEIGHTS_PATH,
    help="Run directory or weights file; required.",
)
DEVICE = click.option("--device", default="cpu", show_default=True, help="torch device: cpu, cuda.")
MIRRORED = click.option(
    "--mirrored", is_flag=True, help="Average over picture and mirror image: more accurate, half as fast."
)
VALUES = click.option(
    "--set",
    "values",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a field of SPEC, for example loss.uv=2; may be repeated.",
)
