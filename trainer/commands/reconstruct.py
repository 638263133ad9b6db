"""`gen reconstruct`: options in, library calls, text out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from renderer.errors import SpecError
from trainer.commands.options import DEVICE, FOLDER, WEIGHTS, WEIGHTS_PATH

if TYPE_CHECKING:
    from trainer.positions.reconstruct_job import Faces

    Base = click.ParamType[tuple[float, float, float, float]]
else:
    Base = click.ParamType  # cannot be subscripted at run time


class Box(Base):
    """LEFT,TOP,RIGHT,BOTTOM in pixels."""

    name = "LEFT,TOP,RIGHT,BOTTOM"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        """Four numbers of a box that is not empty."""
        try:
            left, top, right, bottom = (float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no box: give LEFT,TOP,RIGHT,BOTTOM in pixels, as 120,80,340,330", param, ctx)
        if not (left < right and top < bottom):
            self.fail(f"{value!r} is empty: LEFT,TOP must lie above and to the left of RIGHT,BOTTOM", param, ctx)
        return left, top, right, bottom


@click.command()
@WEIGHTS
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option("--out", type=FOLDER, default=Path("reconstructed"), show_default=True, help="Folder of the results.")
@click.option(
    "--finder",
    metavar="RUN_OR_WEIGHTS",
    type=WEIGHTS_PATH,
    help="UV-net that finds the faces; needed with a network for position maps, unless boxes are given.",
)
@click.option(
    "--box",
    "boxes",
    multiple=True,
    type=Box(),
    help="A face's box in pixels, hair left out; in place of finding faces.",
)
@click.option(
    "--max-side",
    default=2048,
    show_default=True,
    type=click.IntRange(64),
    help="Scale larger photos down to this side.",
)
@click.option(
    "--compare",
    metavar="FOLDER",
    type=FOLDER,
    help="Afterwards, measure against what this folder knows of the photos: annotated points, scans.",
)
@DEVICE
def reconstruct(
    weights: Path,
    photos: tuple[str, ...],
    out: Path,
    finder: Path | None,
    boxes: tuple[tuple[float, float, float, float], ...],
    max_side: int,
    compare: Path | None,
    device: str,
) -> None:
    """Faces of photos in 3D: from a position map, one per face.

    The map comes from a network that was trained for it (train_position_map), or, where RUN_OR_WEIGHTS is a UV-net,
    from the head model fitted to the UV map. Of each face: NAME.faceN.obj and .glb, a mesh with its texture;
    NAME.faceN.positions.exr, the map; NAME.faceN.second.png, the face turned by 30 degrees. Of each photo NAME.json:
    windows, 68 landmarks in 3D, pose. Prints how long each part takes. Exit code 1 if a photo could not be read.

    \b
    gen reconstruct runs/position_map-... photo.jpg --finder runs/photo-...
    gen reconstruct runs/position_map-... photo.jpg --box 120,80,340,330
    gen reconstruct runs/photo-... photos/ --out meshes       by UV map and model fit
    gen reconstruct runs/photo-... photos/ --compare photos/  with errors, where landmarks or scans lie beside photos
    """
    from trainer.evaluation import reconstructions
    from trainer.positions.reconstruct_job import Job, run_all

    if compare is not None:
        reconstructions.known_photos(compare)  # before long work
    faces = _faces(weights, finder, boxes, device)
    failed = run_all(Job(out, max_side), faces, photos, lambda line: click.echo(line, err=True))
    if compare is not None:
        click.echo(reconstructions.write(reconstructions.compare(out, compare), out))
    click.echo(out)
    if failed:
        sys.exit(1)


def _faces(
    weights: Path, finder: Path | None, boxes: tuple[tuple[float, float, float, float], ...], device: str
) -> Faces:
    """How the faces of a photo are found and mapped. Raises SpecError where the options do not fit the network."""
    from trainer.positions import sources
    from trainer.systems.position_map import trained as mapping
    from trainer.systems.runs import system_of
    from trainer.systems.uvnet import trained

    system = system_of(weights)
    if finder is not None and boxes:
        raise SpecError("--finder and --box both say where faces are: leave one of them out")
    if system == "uvnet":
        if finder is not None:
            raise SpecError(f"{weights} is a UV-net, which finds faces itself: leave --finder out")
        return sources.fitted_by(trained.load(weights, device), boxes)
    if system == "position_map":
        if finder is None and not boxes:
            raise SpecError(f"{weights} finds no faces itself: name a UV-net with --finder, or give boxes by --box")
        network = mapping.load(weights, device)
        found = trained.load(finder, device) if finder is not None else None
        return sources.mapped_by(network, network.side, network.window, found, boxes)
    raise SpecError(f"{weights} is of the system {system!r}: faces are reconstructed by position_map and uvnet")
