"""Reconstructed faces beside scans that a user has: what NoW and MICC Florence measure, with its definition beside it.

Beside a photo NAME.jpg: NAME.scan.obj or NAME.scan.ply, its points in millimetres or metres, and NAME.scan.txt, its
landmarks: rows of x y z, the 68 of iBUG, or seven as NoW has them (outer and inner corner of the right eye, inner and
outer one of the left eye, below the nose, right and left corner of the mouth).

The reconstruction is laid on the scan's landmarks by a similarity. Of the scan those points count that lie within 95 mm
of the landmark below the nose, as PRNet crops Florence about the nose. ICP then moves the reconstruction, with and
without scaling, and the distances of the scan's points from it are what is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import FormatError, MachineError
from renderer.install import how_to_install
from trainer.positions.alignment import icp, similarity

SUFFIXES: Final = (".scan.obj", ".scan.ply")
SEVEN: Final = (36, 39, 42, 45, 33, 48, 54)  # of 68
OUTER_EYES: Final = (0, 3)  # of the seven
BELOW_NOSE: Final = 4
CROP_MM: Final = 95.0
MOST_POINTS: Final = 20_000  # of a scan, evenly spread in the order of the file
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """points: (K, 3) millimetres. landmarks: (7, 3) in the order of SEVEN."""

    points: Floats
    landmarks: Floats


def scan_of(photo: Path) -> Path | None:
    """The scan beside a photo, if there is one."""
    found = [photo.with_suffix(suffix) for suffix in SUFFIXES]
    return next((path for path in found if path.is_file()), None)


def read_scan(path: Path) -> Scan:
    """A scan with its landmarks. Raises FormatError for files that are not as described above."""
    try:
        import trimesh
    except ImportError as error:
        raise MachineError(f"scans need trimesh: {how_to_install('apply')}") from error
    try:
        loaded: Any = trimesh.load(path, process=False)
        points = np.concatenate([np.asarray(g.vertices) for g in getattr(loaded, "geometry", {0: loaded}).values()])
    except Exception as error:  # trimesh raises many kinds on damaged files
        raise FormatError(f"{path} cannot be read as OBJ or PLY: {error}") from error
    marks = _read_landmarks(path.with_suffix(".txt"))
    if len(points) < len(SEVEN) or not np.isfinite(points).all():
        raise FormatError(f"{path} holds {len(points)} points, or some that are no numbers: it is no scan of a face")
    eyes = float(np.linalg.norm(marks[OUTER_EYES[0]] - marks[OUTER_EYES[1]]))
    unit = 1000.0 if eyes < 1 else 1.0
    if not 60 < eyes * unit < 140:
        raise FormatError(
            f"{path}: the outer corners of the eyes are {eyes:.4g} apart: points must be in millimetres or metres"
        )
    step = max(1, len(points) // MOST_POINTS)
    return Scan(points[::step].astype(np.float64) * unit, marks * unit)


def _read_landmarks(path: Path) -> Floats:
    try:
        rows = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} must hold the scan's landmarks, a row of x y z for each: {error}") from error
    if rows.shape not in ((len(SEVEN), 3), (68, 3)):
        raise FormatError(f"{path} holds numbers of shape {rows.shape}; landmarks are 7 or 68 rows of x y z")
    chosen = rows[list(SEVEN)] if len(rows) == 68 else rows
    if not np.isfinite(chosen).all():
        raise FormatError(f"{path}: one of the seven landmarks {SEVEN} is no number")
    return np.asarray(chosen, np.float64)


def errors(vertices: Floats, landmarks: Floats, scan: Scan) -> dict[str, float]:
    """How far a scan lies from (K, 3) dense vertices with 68 landmarks (68, 3), in whatever unit.

    scaled_/rigid_: ICP with or without scale. mean_mm, median_mm, std_mm: of the distances of the scan's points from
    their nearest vertices. nme: their mean divided by the distance between the scan's outer corners of the eyes.
    """
    from scipy.spatial import cKDTree

    onto = similarity(landmarks[list(SEVEN)], scan.landmarks)
    made = onto(vertices)
    middle = scan.landmarks[BELOW_NOSE]
    near = scan.points[np.linalg.norm(scan.points - middle, axis=1) < CROP_MM]
    eyes = float(np.linalg.norm(scan.landmarks[OUTER_EYES[0]] - scan.landmarks[OUTER_EYES[1]]))
    found: dict[str, float] = {}
    for name, scaled in (("scaled", True), ("rigid", False)):
        moved = icp(made, near, scaled, covering=True)(made)
        away = np.asarray(cKDTree(moved).query(near)[0])
        values = {"mean_mm": away.mean(), "median_mm": np.median(away), "std_mm": away.std(), "nme": away.mean() / eyes}
        found |= {f"{name}_{key}": float(value) for key, value in values.items()}
    return found
