"""`gen frontalise`: options in, library calls, text out."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from click.core import ParameterSource

from renderer.errors import SpecError
from trainer.commands.options import DEVICE, FOLDER, WEIGHTS, WEIGHTS_PATH
from trainer.weights import NAME


@click.command()
@WEIGHTS
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--out", type=FOLDER, default=Path("frontal"), show_default=True, help="Folder of the results.")
@click.option(
    "--finder",
    type=WEIGHTS_PATH,
    metavar="RUN_OR_WEIGHTS",
    default=NAME,
    show_default=True,
    help="UV-net that finds the faces; shipped: the network for photographs that comes with headforge.",
)
@click.option("--cropped", is_flag=True, help="Photos show one face in the middle, its box 0.625 of the side.")
@click.option("--one", is_flag=True, help="Refuse photos in which several faces are found.")
@click.option("--encoder", default="", help="Face encoder in place of the network's own: a name, or a file.")
@click.option("--sheet", is_flag=True, help="Also write sheet.png: each face beside what is made of it.")
@DEVICE
@click.pass_context
def frontalise(
    context: click.Context,
    /,
    weights: Path,
    inputs: tuple[str, ...],
    out: Path,
    finder: Path,
    cropped: bool,
    one: bool,
    encoder: str,
    sheet: bool,
    device: str,
) -> None:
    """Make a frontal, neutral face of each face in photos or folders of photos.

    NAME.face.png is the whole face, NAME.mask.png where it is to be shown, NAME.frontal.png both over white; NAME-1,
    NAME-2 and so on where a photo shows several. Exit code 1 if a photo gave nothing.

    \b
    gen frontalise runs/frontal-... photo.jpg
    gen frontalise runs/frontal-... photos/ --sheet --finder runs/photo-...
    gen frontalise runs/frontal-... face.png --cropped
    """
    from trainer.systems.frontal import apply

    if cropped and context.get_parameter_source("finder") is ParameterSource.COMMANDLINE:
        raise SpecError(
            "--cropped says that photos show one face in the middle: nothing is looked for, leave out --finder"
        )
    job = apply.Job(weights, out, None if cropped else finder, encoder, one, sheet, device)
    failed = apply.frontalise(job, inputs, lambda line: click.echo(line, err=True))
    click.echo(out)
    if failed:
        sys.exit(1)
