"""The ways from a photo to the maps of its faces, put together for `gen reconstruct`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor

from trainer.augmentation.mirror import Network
from trainer.positions.reconstruct import Face, Positions, by_fit, by_network
from trainer.positions.reconstruct_job import Faces, Timer
from trainer.uvmaps import head_pose
from trainer.uvmaps.faces import Window
from trainer.uvmaps.finding import find_faces, options_of, read_faces, window_around

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the photo
FINDING: Final = "finding"
MAPS: Final = "maps"


def fitted_by(uvnet: Network, boxes: Sequence[Box] = ()) -> Faces:
    """UV-net and model fit. boxes: of faces, in place of those that it finds."""
    options, head = options_of(uvnet), head_pose.pack_head()

    def faces(photo: Tensor, timer: Timer) -> list[Face]:
        with timer.part(FINDING):
            if boxes:
                windows = [window_around(box, options.window) for box in boxes]
                found = read_faces(uvnet, photo, windows, options, least_face=0.0)
            else:
                found = find_faces(uvnet, photo, options)
        with timer.part(MAPS):
            return by_fit(photo, found, head)

    return faces


def mapped_by(network: Positions, side: int, window: float, finder: Network | None, boxes: Sequence[Box] = ()) -> Faces:
    """A network for position maps, in windows about boxes or about the faces that a UV-net finds.

    side: of the pictures that the network takes. window: side of a window in units of the larger side of a face's box.
    """

    def windows(photo: Tensor) -> list[Window]:
        if finder is None:
            return [window_around(box, window) for box in boxes]
        return [window_around(face.box, window) for face in find_faces(finder, photo, options_of(finder))]

    def faces(photo: Tensor, timer: Timer) -> list[Face]:
        with timer.part(FINDING):
            found = windows(photo)
        with timer.part(MAPS):
            return by_network(network, photo, found, side)

    return faces
