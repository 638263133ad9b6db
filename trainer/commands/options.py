"""Options that several commands of the trainer share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trainer import weights

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


class RunOrWeights(click.Path):
    """A run directory or a weights file; the name of the weights that come with headforge stands for their file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Path of what was named."""
        if str(value) == weights.NAME and not Path(value).exists():
            return weights.SAFETENSORS
        return super().convert(value, param, ctx)


WEIGHTS_PATH = RunOrWeights(path_type=Path)
WEIGHTS = click.argument("weights", metavar="RUN_OR_WEIGHTS", type=WEIGHTS_PATH)
RUN = click.option(
    "--run",
    "weights",
    metavar="RUN_OR_WEIGHTS",
    type=WEIGHTS_PATH,
    default=weights.NAME,
    show_default=True,
    help="Run directory or weights file; shipped: the network for photographs that comes with headforge.",
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
