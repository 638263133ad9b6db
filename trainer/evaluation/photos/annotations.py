"""What is known about the photos of a folder.

Beside each picture NAME.jpg: NAME.pts (300-W; its pixels count from 1) or NAME.mat (AFLW2000-3D, `pt3d_68`); or one
file for the folder:

`landmarks.json`  {"NAME.jpg": [[x, y] x 68], ...}: pixels, (0, 0) at the top left corner of the picture, null for a
                  point that is not known.
`index.json`      {"version": 1, "items": [{"image": "sub/NAME.jpg", ...}, ...]}: pixels, (0, 0) at the *centre* of the
                  top left pixel. All other keys are optional, and unknown ones are left alone:

    set           str, name of the group that the tables show the picture in
    landmarks68   [[x, y] x 68], null for a point that is not known
    visible68     [0 or 1 x 68]: is the point seen, rather than hidden by the head itself? By default all known ones are
    bbox          [left, top, right, bottom] of the face; by default the box of its points
    yaw           degrees
    contour2d     bool: do the jaw's points lie on the outline that is seen (300-W), or on the jaw (AFLW2000-3D)?
    labels        PNG of the picture's size, a code of `masks.CODES` per pixel
    face_hull     [[x, y], ...], polygon around the face, forehead included; needed with `labels`
    yaw_nominal   degrees as the protocol of the photographs states them: masks are tabled by it
    no_face       true: there is no face in the picture. The set "negative" says the same

The 68 points are in iBUG order, the subject's right first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import DatasetError, FormatError
from trainer.data import pictures

INDEX: Final = "index.json"
INDEX_VERSION: Final = 1
COUNT: Final = 68
WITHOUT_FACE: Final = "negative"  # the set whose pictures have no face
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Annotated:
    """One photo. Points and boxes are pixels from the top left corner: the centre of the first pixel is (0.5, 0.5)."""

    photo: Path
    group: str = ""
    points: Floats | None = None  # (68, 2), NaN is not known
    visible: Flags | None = None  # (68,), with `points`
    box: Floats | None = None  # left, top, right, bottom; with `points`
    yaw_deg: float | None = None
    contour2d: bool = True
    labels: Path | None = None
    hull: Floats | None = None  # (n, 2), with `labels`
    yaw_nominal_deg: float | None = None
    no_face: bool = False

    def scaled(self, x: float, y: float) -> Annotated:
        """For the photo scaled by these factors."""
        factors = np.array([x, y])
        points, hull = (None if p is None else p * factors for p in (self.points, self.hull))
        return replace(self, points=points, hull=hull, box=None if self.box is None else self.box * [x, y, x, y])


def with_points(photo: Path, points: Floats, **more: Any) -> Annotated:
    """A photo with 68 points; what is not known of them is not visible."""
    known = np.isfinite(points).all(1)
    box = np.array([*np.nanmin(points, 0), *np.nanmax(points, 0)]) if known.any() else None
    return Annotated(photo, **{"points": points, "visible": known, "box": box, **more})


# ---------------------------------------------------------------- one file per photo


def read_pts(path: Path) -> Floats:
    """(68, 2) of a 300-W .pts file, moved so that the top left corner of the picture is (0, 0)."""
    try:
        body = path.read_text("ascii").partition("{")[2].partition("}")[0]
        points = np.array([[float(v) for v in line.split()] for line in body.strip().splitlines()])
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no .pts file: {error}") from error
    return _checked(points, path) - 0.5  # its pixel (1, 1) has its centre at (0.5, 0.5) here


def read_mat(path: Path) -> Floats:
    """(68, 2) of an AFLW2000-3D .mat file."""
    from scipy.io import loadmat

    try:
        points = np.asarray(loadmat(path)["pt3d_68"], np.float64)[:2].T
    except Exception as error:  # scipy raises many kinds on damaged files
        raise FormatError(f"{path} is no AFLW2000-3D file with pt3d_68: {error}") from error
    return _checked(points, path) - 0.5


def _checked(points: Floats, source: object) -> Floats:
    if points.shape != (COUNT, 2):
        raise FormatError(f"{source} holds points of shape {points.shape}, not ({COUNT}, 2)")
    return points


# ---------------------------------------------------------------- a folder


def read_annotations(folder: Path, bare: bool = False) -> list[Annotated]:
    """Annotated photos of a folder. bare: where nothing is annotated, all photos.

    Raises DatasetError where one or all are missing, FormatError on bad ones.
    """
    if (folder / INDEX).is_file():
        found = list(_read_index(folder / INDEX))
    else:
        listed = folder / "landmarks.json"
        found = list(_read_listed(listed)) if listed.is_file() else []
        found += _read_beside(folder, {item.photo for item in found})
    if bare and not found:
        found = [Annotated(photo) for photo in sorted(folder.iterdir()) if is_photo(photo)]
    if not found:
        raise DatasetError(
            f"{folder} is no data set, and holds no photo with NAME.pts, NAME.mat, landmarks.json or {INDEX}"
        )
    files = [file for item in found for file in (item.photo, item.labels) if file is not None]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise DatasetError(f"the annotations of {folder} name {', '.join(missing[:5])}, which is not there")
    return found


def is_photo(path: Path) -> bool:
    return path.suffix.lower() in pictures.PHOTO_SUFFIXES


def _read_beside(folder: Path, done: set[Path]) -> Iterator[Annotated]:
    for photo in sorted(p for p in folder.iterdir() if is_photo(p) and p not in done):
        if photo.with_suffix(".pts").is_file():
            yield with_points(photo, read_pts(photo.with_suffix(".pts")))
        elif photo.with_suffix(".mat").is_file():
            yield with_points(photo, read_mat(photo.with_suffix(".mat")), contour2d=False)


def _points(raw: Any, source: object) -> Floats:
    return _checked(np.array([[math.nan, math.nan] if p is None else p for p in raw], np.float64), source)


def _read_listed(path: Path) -> Iterator[Annotated]:
    try:
        for name, points in json.loads(path.read_text("utf-8")).items():
            yield with_points(path.parent / name, _points(points, f"{path}: {name}"))
    except (ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path} is not a mapping of file names to {COUNT} points: {error}") from error


def _read_index(path: Path) -> Iterator[Annotated]:
    try:
        raw = json.loads(path.read_text("utf-8"))
        version, items = raw["version"], raw["items"]
        if version != INDEX_VERSION:
            raise FormatError(f"{path} has version {version!r}; this headforge reads {INDEX_VERSION}")
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{path} is not {{version, items}}: {error!r}") from error
    for number, item in enumerate(items):
        try:
            yield _item(item, path)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(f"{path}: item {number} cannot be read: {error!r}") from error


def _item(item: Mapping[str, Any], path: Path) -> Annotated:
    photo, group = path.parent / str(item["image"]), str(item.get("set", ""))
    more: dict[str, Any] = {"group": group, "no_face": bool(item.get("no_face", group == WITHOUT_FACE))}
    more |= {key: float(item[name]) for key, name in _ANGLES.items() if item.get(name) is not None}
    more["contour2d"] = bool(item.get("contour2d", True))
    if item.get("bbox") is not None:
        more["box"] = np.array(item["bbox"], np.float64).reshape(4) + 0.5
    if item.get("labels") is not None:
        more |= {
            "labels": path.parent / str(item["labels"]),
            "hull": np.array(item["face_hull"], np.float64).reshape(-1, 2) + 0.5,
        }
    if item.get("landmarks68") is None:
        return Annotated(photo, **more)
    points = _points(item["landmarks68"], f"{path}: {item['image']}") + 0.5
    if item.get("visible68") is not None:
        visible = np.array(item["visible68"], bool).reshape(COUNT)
        more["visible"] = visible & np.isfinite(points).all(1)
    return with_points(photo, points, **more)


_ANGLES: Final = {"yaw_deg": "yaw", "yaw_nominal_deg": "yaw_nominal"}
