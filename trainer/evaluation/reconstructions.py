"""What `gen reconstruct` wrote, beside what is known of the photos: annotated landmarks, and scans.

Landmarks: mean distance of the reconstruction's landmarks from the annotated, visible ones in the picture, divided by
sqrt(width x height) of the annotated points' box; of all 68, and of the inner 51, without the jaw. No alignment. Faces
that were not found are counted and in no mean. Scans: see `trainer.evaluation.scans`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer.errors import DatasetError
from renderer.files import write_atomic
from trainer.data import pictures
from trainer.evaluation import scans
from trainer.evaluation.photos.annotations import Annotated, Floats, is_photo, read_annotations
from trainer.evaluation.photos.measure import size_of
from trainer.positions.files import read_positions
from trainer.positions.recover import face_mesh
from trainer.training.run_dir import finite
from trainer.uvmaps import head_pose

YAWS_DEG: Final = (0, 30, 60, 91)
JAW: Final = 17  # of the 68 points
NOTE: Final = (
    "landmarks: NME by sqrt(w x h) of the annotated points' box, visible points, no alignment; "
    "scans: distance to the nearest of the map's vertices after landmarks and ICP, by outer eye corners"
)


@dataclass(frozen=True)
class Row:
    """One photo. points68, points51: NME, NaN where its face was not found. scan: `scans.errors`, if there is one."""

    name: str
    group: str
    yaw_deg: float
    points68: float
    points51: float
    scan: Mapping[str, float] = field(default_factory=dict)


def compare(out: Path, folder: Path) -> list[Row]:
    """Results in `out` beside the annotations and scans of a folder of photos.

    Raises DatasetError where no photo is both reconstructed and known, FormatError on bad annotations and scans.
    """
    made = {}
    for file in sorted(out.glob("*.json")):
        record = json.loads(file.read_text("utf-8"))
        if isinstance(record, dict) and "faces" in record:
            made[Path(record["source"]).resolve()] = (file.with_suffix(""), record)
    items = known_photos(folder)
    rows = [_row(item, *made[item.photo.resolve()]) for item in items if item.photo.resolve() in made]
    if not rows:
        raise DatasetError(f"none of the photos in {out} is annotated in {folder}: reconstruct those of that folder")
    return rows


def known_photos(folder: Path) -> list[Annotated]:
    """Photos with points or scans. Raises DatasetError where there is none, FormatError on bad annotations."""
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    photos = [path for path in sorted(folder.iterdir()) if is_photo(path) and scans.scan_of(path) is not None]
    try:
        items = [item for item in read_annotations(folder) if item.points is not None]
    except DatasetError:
        if not photos:
            raise
        items = []
    known = {item.photo.resolve() for item in items}
    return items + [Annotated(photo) for photo in photos if photo.resolve() not in known]


def _row(item: Annotated, start: Path, record: Mapping[str, Any]) -> Row:
    width, height = pictures.picture_size(item.photo)
    scaled = item.scaled(record["width"] / width, record["height"] / height)
    faces = [np.array(face["landmarks_px"]) for face in record["faces"]]
    yaw_deg = math.nan if item.yaw_deg is None else item.yaw_deg
    which, found = 0, dict[str, float]()
    errors = {"points68": math.nan, "points51": math.nan}
    if scaled.points is not None and scaled.visible is not None and faces:
        off = [np.linalg.norm(face[:, :2] - scaled.points, axis=1) / size_of(scaled.points) for face in faces]
        which = int(np.argmin([np.nanmean(one) for one in off]))
        if np.nanmean(off[which]) < 0.5:  # else another person's face
            seen = np.where(scaled.visible, off[which], np.nan)
            errors = {"points68": float(np.nanmean(seen)), "points51": float(np.nanmean(seen[JAW:]))}
    if (path := scans.scan_of(item.photo)) is not None and faces:
        positions, _ = read_positions(start.with_name(f"{start.name}.face{which}.positions.exr"))
        mesh = face_mesh(head_pose.pack_head(), positions.shape[1])
        upright = np.array([1.0, -1.0, 1.0])  # pixels count downwards
        vertices: Floats = mesh.vertices(positions).astype(np.float64) * upright
        found = scans.errors(vertices, faces[which] * upright, scans.read_scan(path))
    return Row(item.photo.stem, item.group, yaw_deg, **errors, scan=found)


def write(rows: Sequence[Row], out: Path) -> str:
    """comparison.json in `out`, every photo and the means; returns these as text."""
    groups = {"all": list(rows)}
    for name in sorted({row.group for row in rows} - {""}):
        groups[name] = [row for row in rows if row.group == name]
    for low, high in pairwise(YAWS_DEG):
        groups[f"yaw {low}-{high}"] = [row for row in rows if low <= abs(row.yaw_deg) < high]
    means = {name: _means(chosen) for name, chosen in groups.items() if chosen}
    plain = [{**vars(row), "scan": dict(row.scan)} for row in rows]
    values = {"note": NOTE, "means": means, "photos": plain}
    write_atomic(out / "comparison.json", json.dumps(finite(values), indent=1).encode())
    text = [NOTE]
    for name, mean in means.items():
        text.append(f"{name:<12} " + ", ".join(f"{key} {value:.4g}" for key, value in mean.items()))
    return "\n".join(text)


def _means(rows: Sequence[Row]) -> dict[str, float]:
    table: dict[str, list[float]] = {"points68": [r.points68 for r in rows], "points51": [r.points51 for r in rows]}
    for key in sorted({key for row in rows for key in row.scan}):
        table[key] = [row.scan[key] for row in rows if row.scan]
    known = {key: [value for value in column if math.isfinite(value)] for key, column in table.items()}
    found = len(known["points68"])
    return {"photos": len(rows), "found": found} | {k: float(np.mean(v)) for k, v in known.items() if v}
