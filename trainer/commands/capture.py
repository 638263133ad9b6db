"""`gen capture`: options in, library calls, text out."""

from __future__ import annotations

from pathlib import Path

import click

from trainer.commands.options import DEVICE, FILE, FOLDER, WEIGHTS


@click.command()
@WEIGHTS
@click.argument("inputs", nargs=-1, required=True, metavar="VIDEO...", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, default=Path("captured"), show_default=True, help="Folder of the results.")
@click.option("--second", type=FILE, multiple=True, help="Video of the second camera; once for each video, in order.")
@click.option(
    "--truth", type=FILE, multiple=True, help="True point cache, .pc2 or .mdd; once for each video, in order."
)
@click.option("--shot", "shots", type=click.IntRange(0), multiple=True, help="Of a data set, this shot alone.")
@click.option(
    "--stabilise", is_flag=True, help="Bring the frames of each shot together: for networks of the affine loss."
)
@click.option("--video/--no-video", default=True, help="Draw the video.  [default: video]")
@DEVICE
def capture(
    weights: Path,
    inputs: tuple[Path, ...],
    out: Path,
    second: tuple[Path, ...],
    truth: tuple[Path, ...],
    shots: tuple[int, ...],
    stabilise: bool,
    video: bool,
    device: str,
) -> None:
    """Turn video of the actor that a network was trained on into an animated mesh, frame by frame.

    Writes NAME.pc2 and NAME.mdd (point caches that move mesh.obj), NAME.glb (glTF with morph targets), NAME.mp4 (frame
    and mesh side by side), NAME.json and page/index.html, where the mesh can be turned; with a truth also errors, by
    frame in NAME.svg. In place of videos a data set: its shots that were held out of the training, or those of --shot.
    Videos must have the size and frame rate of the training footage.

    \b
    gen capture runs/capture-... take1.mp4 take2.mp4
    gen capture runs/capture-... take1.mp4 --truth take1.pc2
    gen capture runs/capture-... front.mp4 --second side.mp4
    gen capture runs/capture-... out/actor --shot 3 --out shot3
    """
    from trainer.systems.capture.job import Options
    from trainer.systems.capture.job import capture as run

    options = Options(second, truth, shots, stabilise, video, device)
    run(weights, inputs, out, options, lambda line: click.echo(line, err=True))
    click.echo(out)
