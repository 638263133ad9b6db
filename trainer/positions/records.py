"""Position maps of rendered samples, from their records: the geometry is evaluated again, no image is read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from renderer.errors import FormatError
from renderer.head.deform import deformed, vertical_extent
from renderer.head.model import HeadModel
from renderer.head.pca import rest_vertices
from renderer.head.pose import posed
from renderer.labels.camera import project, second_camera
from renderer.parameters.from_record import identity_from_record, tuples
from renderer.parameters.params import Camera, Deform, Pose
from trainer.positions.texels import SIDE, Floats, Map, texels
from trainer.uvmaps import head_pose


def record_positions(record: Mapping[str, Any], side: int = SIDE, view: int = 1, head: HeadModel | None = None) -> Map:
    """(3, side, side) float32 map in pixels of the head nearest to the camera; a function for `data.reader.Needs`.

    record: of a sample (`renderer.labels.record`). view: 1, or 2 for the picture of the second camera. head: of the
    pack that the data set was rendered with; by default the one in the cache. Raises FormatError where the record has
    no head.
    """
    head = head or head_pose.pack_head()
    raw, pose = nearest_head(record)
    yaw_rad = float(record["second_camera_yaw_rad"]) if view == 2 else 0.0
    world = posed(head_points(raw, head, side), pose) @ second_camera(yaw_rad).T
    origin = second_camera(yaw_rad) @ np.asarray(pose.position_m)
    return texels(head, side).of_points(in_pixels(world, origin, Camera(**record["camera"]), int(record["resolution"])))


def head_positions(record: Mapping[str, Any], side: int = SIDE, head: HeadModel | None = None) -> Map:
    """The same map in head space, metres. Raises FormatError as `record_positions`."""
    head = head or head_pose.pack_head()
    raw, _ = nearest_head(record)
    return texels(head, side).of_points(head_points(raw, head, side))


def in_pixels(world: Floats, origin: Floats, camera: Camera, resolution: int) -> Floats:
    """(P, 3) points of the world before a camera to pixels, z from the depth of the head's `origin` (3,)."""
    pixels = project(world, camera, resolution)
    depth = camera.distance_m - origin[2]
    pixels_per_m = camera.focal_mm / camera.sensor_mm * resolution / depth
    return np.column_stack([pixels[:, :2], (depth - pixels[:, 2]) * pixels_per_m])


def head_points(raw: Mapping[str, Any], head: HeadModel, side: int = SIDE) -> Floats:
    """(P, 3) points of a record's head that maps depend on, in head space. They lie where no neck bends them."""
    person = identity_from_record(raw["identity"])
    deform = Deform(**tuples(raw["deform"]))
    expressed = head.expressed(rest_vertices(head, person), raw["expression"]["units"])
    low, high = vertical_extent(expressed[_skin(Path(head.folder))], deform)
    return np.asarray(texels(head, side).operator @ deformed(expressed, deform, low, high))


@lru_cache(maxsize=2)
def _skin(folder: Path) -> Any:
    """Vertices of the skin, which the deformations are measured against."""
    head = head_pose.head_of(folder)
    return np.unique(head.faces[head.part_faces("skin")])


def nearest_head(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], Pose]:
    """The record of the head nearest to the first camera, and its pose. Raises FormatError where there is none."""
    if not record.get("heads"):
        raise FormatError(
            f"sample {record.get('key')!r} has no head, so no position map: render a spec with heads.empty_share 0"
        )
    raw = max(record["heads"], key=lambda one: float(one["pose"]["position_m"][2]))
    return raw, Pose(**tuples(raw["pose"]))
