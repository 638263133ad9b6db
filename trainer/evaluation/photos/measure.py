"""A UV-net, or position maps drawn as UV maps, at work on annotated photos: one row of values per photo.

What rows mean together is in `summary`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.errors import SpecError
from renderer.progress import Progress
from trainer.augmentation.mirror import Network
from trainer.data import pictures
from trainer.data.pictures import Bytes
from trainer.evaluation.photos import masks, motion, occluders
from trainer.evaluation.photos.annotations import Annotated, Flags, Floats, read_annotations, with_points
from trainer.evaluation.photos.points import MASK, NOT_SHOWN, FaceMap, face_map, learnt_uv, locate, uv_at
from trainer.positions.drawn import DrawnMaps
from trainer.uvmaps.faces import Face
from trainer.uvmaps.finding import Options, find_faces
from trainer.uvmaps.results import maps

MAX_SIDE: Final = 2048  # larger photos are scaled down while they are read
LEAST_LEARNT: Final = 12  # photos of one way of annotating from which UVs are learnt
LEAST_PX: Final = 20  # of an area in which a mask is measured
Maps = dict[str, npt.NDArray[np.float32]]
Measured = Network | DrawnMaps


def size_of(points: Floats) -> float:
    """sqrt(width x height) of the box of points, by which errors are divided. (K, 2); NaN is not known."""
    return math.sqrt(float(np.prod(np.nanmax(points, 0) - np.nanmin(points, 0))))


@dataclass
class Placed:
    """The points of an annotated face. errors: (68,) distance by the face's size; NaN where unknown or not visible."""

    errors: Floats
    hidden_too: Floats  # the same, of points that the head itself hides, too
    how: npt.NDArray[np.int64]  # (68,) see `points`
    places: Floats  # (68, 2) pixels
    seen_uv: Floats  # (68, 2) UV at the annotated points
    eye_corners: float  # the face's size by the distance between the outer corners of the eyes
    learnt: Floats | None = None  # errors with learnt UVs
    alone: Floats | None = None  # errors where only the found face whose box shares most with the annotated one is read


@dataclass
class Occluded:
    """What an occluder does to a face. Shares in [0, 1], NaN where too few pixels; errors as of `Placed`."""

    kind: str
    found: bool
    kept: float  # of the area under the occluder, what the full mask has
    left: float  # of the same area, what the visible mask has
    beside: float  # of the face beside it, what the visible mask has
    covered: Flags  # (68,) points under it, visible without it
    errors: Floats | None  # (68,) with the occluder


@dataclass
class Row:
    """One photo. box: of the annotation, in its pixels, scaled as the photo was."""

    item: Annotated
    faces: int
    area: float  # of the picture that is face
    covered: float = math.nan  # part of the annotated box that the mask covers
    placed: Placed | None = None
    masks: dict[str, dict[str, float]] = field(default_factory=dict)  # "full", "visible": `masks.scores`
    occluded: list[Occluded] = field(default_factory=list)
    jitter: float | None = None  # of `motion`, by the face's size

    @property
    def name(self) -> str:
        return self.item.photo.stem


def read_scaled(item: Annotated, max_side: int = MAX_SIDE) -> tuple[Bytes, Annotated]:
    """A photo, made smaller where it is too large, and what is known of it."""
    width, height = pictures.picture_size(item.photo)
    picture = pictures.read_picture(item.photo, max_side)
    return picture, item.scaled(picture.shape[1] / width, picture.shape[0] / height)


def evaluate(
    network: Measured,
    folder: Path,
    landmark_uv: Floats,
    options: Options,
    max_side: int = MAX_SIDE,
    occluded: bool = False,
    moving: bool = False,
    bar: Progress | None = None,
) -> list[Row]:
    """Rows of the annotated photos of a folder, in the order of the annotations.

    options: how faces are found, as in `gen apply`. landmark_uv: (68, 2). occluded: measure occluders drawn over the
    photos, too, which runs the network once more for each kind; of photos of which nothing is annotated the points are
    those that the network finds without the occluder. moving: measure jitter on moved photos, too, likewise; raises
    SpecError for position maps, which cannot be followed.
    """
    tracked = None if isinstance(network, DrawnMaps) else network
    if moving and tracked is None:
        raise SpecError(
            "--motion follows faces from frame to frame as a UV-net does; position maps have no such following"
        )
    items = read_annotations(folder, bare=occluded or moving)
    if bar is not None:
        bar.total = len(items)
    rows = []
    with tempfile.TemporaryDirectory(prefix="headforge-") as spill:
        for number, item in enumerate(items):
            picture, scaled = read_scaled(item, max_side)
            row, face = measure(network, picture, scaled, landmark_uv, options)
            if face is not None:
                np.savez(_map_file(spill, number), uv=face.uv, at=(face.x, face.y))
            if occluded or moving:
                known = _as_found(network, picture, scaled, landmark_uv, options)
                whole = known.points is not None and bool(np.isfinite(known.points).all())
                if occluded and whole:
                    row.occluded = list(_occluded(network, picture, known, landmark_uv, options))
                if tracked is not None and moving and whole:
                    row.jitter = motion.measure(tracked, picture, known, landmark_uv, options)
            rows.append(row)
            if bar is not None:
                bar.update()
        _learn(rows, landmark_uv, Path(spill))
    return rows


def _map_file(folder: str | Path, number: int) -> Path:
    return Path(folder) / f"{number}.npz"


def faces_of(network: Measured, picture: Tensor, options: Options) -> list[Face]:
    """The faces of a picture (1, 3, H, W), as UV maps."""
    if isinstance(network, DrawnMaps):
        return network.faces(picture, options)
    return find_faces(network, picture, options)


def network_maps(network: Measured, picture: Bytes, options: Options) -> tuple[Maps, list[Face]]:
    """UV and masks of the whole picture as `gen apply --maps` writes them, and the faces."""
    tensor = pictures.to_tensor(picture)
    faces = faces_of(network, tensor, options)
    return maps(faces, *picture.shape[:2]), faces


def measure(
    network: Measured, picture: Bytes, item: Annotated, landmark_uv: Floats, options: Options
) -> tuple[Row, FaceMap | None]:
    """One photo; with the map of the annotated face, if it has points and was found."""
    found, faces = network_maps(network, picture, options)
    row = Row(item, len(faces), float((found["mask"] > MASK).mean()))
    face = None
    if item.points is not None and item.box is not None:
        face, row.covered = face_map(found["uv"], found["mask"], item.box)
        row.placed = None if face is None else place(face, item, landmark_uv)
        if row.placed is not None:
            row.placed.alone = _alone(faces, picture, item, landmark_uv, row.placed)
    if item.labels is not None and item.hull is not None:
        size = (picture.shape[1], picture.shape[0])
        wanted = masks.targets(masks.read_labels(item.labels, size), item.hull)
        row.masks = {
            name: masks.scores(found[key] > MASK, target)
            for (name, key), target in zip((("full", "mask"), ("visible", "visible")), wanted, strict=True)
        }
    return row, face


def _alone(faces: Sequence[Face], picture: Bytes, item: Annotated, landmark_uv: Floats, all_read: Placed) -> Floats:
    """Errors without what other people's faces have beside the annotated one; those of `all_read` where it is alone."""
    box = item.box
    assert box is not None
    if len(faces) < 2:
        return all_read.errors
    found = maps([max(faces, key=lambda face: overlap(face.box, box))], *picture.shape[:2])
    face, _ = face_map(found["uv"], found["mask"], box)
    return all_read.errors if face is None else place(face, item, landmark_uv).errors


def overlap(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, wide) * max(0.0, high)
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (areas - shared))


def place(face: FaceMap, item: Annotated, landmark_uv: Floats) -> Placed:
    """The points of a face that was found."""
    assert item.points is not None and item.visible is not None
    places, how = locate(face, landmark_uv)
    away = np.linalg.norm(places - item.points, axis=1) / size_of(item.points)
    corners = float(np.linalg.norm(item.points[36] - item.points[45])) / size_of(item.points)
    seen = uv_at(face, item.points)
    return Placed(np.where(item.visible, away, np.nan), away, how, places, seen, corners)


def _learn(rows: Sequence[Row], landmark_uv: Floats, spill: Path) -> None:
    """Add the errors with learnt UVs, apart for the two ways of placing the jaw's points."""
    for contour2d in (True, False):
        chosen = [
            (n, row.placed) for n, row in enumerate(rows) if row.placed is not None and row.item.contour2d == contour2d
        ]
        if len(chosen) < LEAST_LEARNT:
            continue
        seen = np.stack([placed.seen_uv for _, placed in chosen])
        learnt = learnt_uv([rows[n].name for n, _ in chosen], seen, landmark_uv)
        for (number, placed), uv in zip(chosen, learnt, strict=True):
            item = rows[number].item
            assert item.points is not None and item.visible is not None
            with np.load(_map_file(spill, number)) as kept:
                face = FaceMap(kept["uv"], int(kept["at"][0]), int(kept["at"][1]))
            away = np.linalg.norm(locate(face, uv)[0] - item.points, axis=1) / size_of(item.points)
            placed.learnt = np.where(item.visible, away, np.nan)


@torch.no_grad()
def _as_found(network: Measured, picture: Bytes, item: Annotated, landmark_uv: Floats, options: Options) -> Annotated:
    """A photo of which nothing is annotated with the points of its surest face; any other as it is."""
    if item.points is not None or item.labels is not None or item.no_face:
        return item
    faces = faces_of(network, pictures.to_tensor(picture), options)[:1]
    if not faces:
        return item
    found = maps(faces, *picture.shape[:2])
    face, _ = face_map(found["uv"], found["mask"], np.array(faces[0].box, np.float64))
    if face is None:
        return item
    places, how = locate(face, landmark_uv)
    return with_points(item.photo, places, visible=how != NOT_SHOWN)


def _occluded(
    network: Measured, picture: Bytes, item: Annotated, landmark_uv: Floats, options: Options
) -> Iterator[Occluded]:
    """Each kind of occluder over the photo."""
    assert item.points is not None and item.visible is not None and item.box is not None
    hull = masks.inside(_hull(item.points), (picture.shape[1], picture.shape[0]))
    core = masks.eroded(hull, masks.core_px(hull))
    column, row = (item.points[:, k].astype(int).clip(0, picture.shape[1 - k] - 1) for k in (0, 1))
    for kind in occluders.KINDS:
        drawn, cover = occluders.occlude(picture, item.points, kind, item.photo.stem)
        found, _ = network_maps(network, drawn, options)
        face, _ = face_map(found["uv"], found["mask"], item.box)
        under, beside = core & masks.eroded(cover, 1), core & ~cover
        yield Occluded(
            kind,
            face is not None,
            share(found["mask"] > MASK, under),
            share(found["visible"] > MASK, under),
            share(found["visible"] > MASK, beside),
            cover[row, column] & item.visible,
            None if face is None else place(face, item, landmark_uv).errors,
        )


def share(found: npt.NDArray[Any], area: Flags) -> float:
    """Part of an area that a mask has; NaN where the area is too small."""
    return float(found[area].mean()) if area.sum() > LEAST_PX else math.nan


def _hull(points: Floats) -> Floats:
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]
