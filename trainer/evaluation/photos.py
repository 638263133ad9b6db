"""Landmarks over a folder of annotated photos: what `gen evaluate` does without a data set.

The 68 landmarks are found through the UV map of the face that lies nearest to the annotation.

Annotations of photos, beside each picture NAME.jpg: NAME.pts (300-W; its pixels count from 1), NAME.mat (AFLW2000-3D,
`pt3d_68`), or one `landmarks.json` for the folder: {"NAME.jpg": [[x, y] x 68], ...} in pixels, (0, 0) at the top left
corner of the picture, the subject's right first (iBUG order); null for a point that is not known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from renderer.errors import DatasetError, FormatError
from renderer.files import write_atomic
from renderer.progress import Progress
from trainer.augmentation.mirror import Network
from trainer.data import pictures
from trainer.evaluation.plots import Floats, plot_photos
from trainer.training.run_dir import REPORT_VERSION, finite, rounded
from trainer.uvmaps.finding import NETWORK_PX, Options, find_faces, shared_part
from trainer.uvmaps.points import find_landmarks


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


def _checked(points: Floats, path: Path) -> Floats:
    if points.shape != (68, 2):
        raise FormatError(f"{path} holds points of shape {points.shape}, not (68, 2)")
    return points


def read_annotations(folder: Path) -> dict[Path, Floats]:
    """Photos of a folder with their 68 points. Raises DatasetError where none is annotated, FormatError on bad ones."""
    found: dict[Path, Floats] = {}
    listed = folder / "landmarks.json"
    if listed.is_file():
        try:
            raw = json.loads(listed.read_text("utf-8"))
            for name, points in raw.items():
                array = np.array([[math.nan, math.nan] if p is None else p for p in points], np.float64)
                found[folder / name] = _checked(array, listed)
        except (ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"{listed} is not a mapping of file names to 68 points: {error}") from error
        if missing := [p.name for p in found if not p.is_file()]:
            raise DatasetError(f"{listed} names {', '.join(missing[:5])}, which {folder} does not hold")
    for photo in sorted(p for p in folder.iterdir() if p.suffix.lower() in pictures.PHOTO_SUFFIXES and p not in found):
        for suffix, read in ((".pts", read_pts), (".mat", read_mat)):
            if photo.with_suffix(suffix).is_file():
                found[photo] = read(photo.with_suffix(suffix))
                break
    if not found:
        raise DatasetError(f"{folder} is no data set, and holds no photo with NAME.pts, NAME.mat or landmarks.json")
    return found


def photo_nme(found: npt.NDArray[Any], truth: Floats) -> float:
    """Mean distance over the points found and known, by sqrt(width x height) of the box around the known ones."""
    known = np.isfinite(truth).all(1)
    both = known & np.isfinite(found).all(1)
    if both.sum() < 5:
        return math.nan
    scale = math.sqrt(float(np.prod(truth[known].max(0) - truth[known].min(0))))
    return float(np.linalg.norm(found[both] - truth[both], axis=1).mean() / max(scale, 1.0))


def evaluate_photos(
    network: Network,
    folder: Path,
    landmark_uv: torch.Tensor,
    max_side: int = 2048,
    bar: Progress | None = None,
    network_px: int = NETWORK_PX,
) -> dict[str, Any]:
    """NME of each photo. A photo in which no face overlaps the annotation counts as not found, not as zero."""
    rows: list[dict[str, Any]] = []
    every = Options(min_agreement=0, network_px=network_px)  # the annotation tells which is the face
    annotated = read_annotations(folder)
    if bar is not None:
        bar.total = len(annotated)
    for photo, points in annotated.items():
        width, height = pictures.picture_size(photo)
        picture = pictures.to_tensor(
            pictures.read_picture(photo, max_side)
        )  # made smaller as bytes: floats take 4 times more
        truth = points * np.array([picture.shape[3] / width, picture.shape[2] / height])
        box = (*np.nanmin(truth, 0), *np.nanmax(truth, 0))
        faces = sorted(find_faces(network, picture, every), key=lambda f: -shared_part(f.box, box))
        nme, used = math.nan, 0
        if faces and shared_part(faces[0].box, box) > 0.3:
            face = faces[0]
            found = find_landmarks(face.uv, face.mask, landmark_uv)[0].numpy()
            found = found + np.array([face.window.x, face.window.y])
            nme, used = photo_nme(found, truth), int((np.isfinite(found) & np.isfinite(truth)).all(1).sum())
        rows.append(
            {"photo": photo.name, "landmark_nme": rounded(nme), "landmarks_used": used / 68, "faces": len(faces)}
        )
        if bar is not None:
            bar.update()
    values = [r["landmark_nme"] for r in rows if r["landmark_nme"] is not None]
    metrics = {
        "landmark_nme": float(np.mean(values)) if values else None,
        "landmark_nme_median": float(np.median(values)) if values else None,
        "found_share": len(values) / len(rows),
        "landmarks_used": float(np.mean([r["landmarks_used"] for r in rows])),
    }
    note = "NME: mean distance / sqrt(width x height) of the box around the annotated points, over the points found"
    rows.sort(key=lambda r: -(r["landmark_nme"] if r["landmark_nme"] is not None else math.inf))
    return {
        "version": REPORT_VERSION,
        "dataset": folder.resolve().name,
        "note": note,
        "samples": len(rows),
        "metrics": metrics,
        "per_sample": rows,
    }


def write_photo_report(report: Mapping[str, Any], out: Path) -> None:
    """evaluation.json and the cumulative error curve."""
    out.mkdir(parents=True, exist_ok=True)
    errors = np.array([math.nan if r["landmark_nme"] is None else r["landmark_nme"] for r in report["per_sample"]])
    plot_photos(errors, out / "curves.svg")
    write_atomic(out / "evaluation.json", json.dumps(finite(report), allow_nan=False).encode())
