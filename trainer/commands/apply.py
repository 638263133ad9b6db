"""`gen apply`: options in, library calls, text out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from renderer.errors import SpecError
from trainer.commands.options import DEVICE, FILE, FOLDER, MIRRORED, RUN, WEIGHTS_PATH

VIEW_HELP = "lines, points, texture, uv, mask, landmarks, axes, inverse, swap; give it several times for several views."


@click.command("apply")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@RUN
@click.option("--out", type=FOLDER, default=Path("applied"), show_default=True, help="Folder of the results.")
@click.option("--view", "views", multiple=True, default=("lines", "texture"), show_default=True, help=VIEW_HELP)
@click.option("--texture", type=FILE, help="Picture to project.  [default: a checker]")
@click.option("--swap", type=FILE, help="Photo of the face for the view swap.")
@click.option(
    "--maps", type=click.Choice(["exr", "npz"]), help="Also write UV and both masks, of videos for every frame."
)
@click.option(
    "--mesh", type=click.Choice(["visible", "face", "head"]), help="Write fitted heads, and how much of them."
)
@click.option("--sheet", is_flag=True, help="Also write sheet.png: all photos, each with its views to the right.")
@click.option(
    "--beside",
    metavar="RUN_OR_WEIGHTS",
    type=WEIGHTS_PATH,
    help="A second network, whose views the sheet shows below those of the first.",
)
@click.option("--window", is_flag=True, help="Show the first view of videos and webcams in a window; q closes it.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="Drop faces on which picture and mirror image agree less than this; 0 keeps all.  [default: 0.5, or 0 with a "
    "network that gives a face score]",
)
@MIRRORED
@click.option("--csv", is_flag=True, help="Also write landmarks and pose as CSV.")
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
@DEVICE
@click.pass_context
def apply_(context: click.Context, /, weights: Path, inputs: tuple[str, ...], device: str, **options: Any) -> None:
    """Find faces in photos, folders of photos, videos or a webcam (its number), and draw what their UV maps show.

    NAME.VIEW.png or .mp4, and NAME.json with boxes, 68 landmarks and head pose; with --mesh also NAME.faceN.obj and
    .glb: the head model fitted to each face, textured from the picture. A picture without a face is reported and gives
    empty results. Exit code 1 if an input could not be read.

    \b
    gen apply photo.jpg
    gen apply photos/ --run weights.safetensors --view landmarks --view axes --maps npz
    gen apply clip.mp4 --texture mine.png --view texture
    gen apply photo.jpg --mesh visible
    gen apply 0 --window
    gen apply photos/ --run runs/A --view lines --view landmarks --sheet --beside runs/B
    gen apply photo.jpg --run runs/headparams-...    the estimated head, NAME.head.obj and .glb
    """
    from trainer.systems.runs import system_of
    from trainer.systems.uvnet import trained
    from trainer.uvmaps.apply_job import Job, run_all

    if given := [i for i in inputs if i.endswith(".safetensors") or (Path(i) / "weights.safetensors").is_file()]:
        raise SpecError(f"{given[0]} holds weights, not pictures: name it as --run {given[0]}")
    if system_of(weights) == "headparams":
        _heads(context, weights, inputs, device, options["out"])
        return
    job = Job(**options)
    beside = job.beside
    second = None if beside is None else lambda: trained.load(beside, device)
    failed = run_all(
        job, lambda: trained.load(weights, device), inputs, lambda line: click.echo(line, err=True), second
    )
    click.echo(job.out)
    if failed:
        sys.exit(1)


def _heads(context: click.Context, weights: Path, inputs: tuple[str, ...], device: str, out: Path) -> None:
    """Photos to heads, with a network that estimates parameters. Options about UV maps are refused."""
    from trainer.systems.headparams.apply import apply_to_photos

    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if useless := [name for name in given if name not in ("weights", "inputs", "device", "out")]:
        option = next(p.opts[0] for p in context.command.params if p.name == useless[0])
        raise SpecError(f"{option} is about UV maps, and {weights} estimates head parameters: leave it out")
    failed = apply_to_photos(weights, inputs, out, device, lambda line: click.echo(line, err=True))
    click.echo(out)
    if failed:
        sys.exit(1)
