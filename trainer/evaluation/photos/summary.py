"""What the rows of photos mean together: tables of landmarks, masks, pictures without a face, and occluders.

Errors are in % of sqrt(width x height) of the box of the annotated points. A face's error is the mean over its points
that are visible and known; NME is the mean over faces that were found. A face that was not found has no error and
counts as above 10 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from trainer.evaluation.photos.annotations import COUNT, Floats
from trainer.evaluation.photos.measure import Occluded, Placed, Row
from trainer.evaluation.photos.points import BESIDE, INSIDE, NOT_SHOWN

FAILURE: Final = 0.10  # of the face's size
YAW_BINS: Final = ((0, 30), (30, 60), (60, 90))  # degrees, the upper end included
PARTS: Final = {"jaw": range(17), "brows": range(17, 27), "nose": range(27, 36), "eyes": range(36, 48),
                "mouth": range(48, 68)}  # fmt: skip
ALL: Final = range(COUNT)
INNER: Final = range(17, COUNT)  # the 51 points off the jaw
Table = dict[str, dict[str, Any]]
Errors = Callable[[Placed], Floats | None]


def mean(values: Sequence[float] | Floats) -> float | None:
    """Over the values that are known, None where there is none."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else None


def percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def face_errors(rows: Sequence[Row], points: Sequence[int], errors: Errors) -> Floats:
    """The error of each face, (N,): NaN where it was not found or shows none of these points."""
    return np.array([_face_error(row.placed, points, errors) for row in rows], np.float64)


def _face_error(placed: Placed | None, points: Sequence[int], errors: Errors) -> float:
    values = errors(placed) if placed is not None else None
    if values is None:
        return math.nan
    found = mean(values[list(points)])
    return math.nan if found is None else found


def landmark_row(rows: Sequence[Row], points: Sequence[int], errors: Errors) -> dict[str, Any]:
    """NME, median, failures and AUC over photos with points. AUC: area under the cumulative curve up to 10 %."""
    lost = sum(row.placed is None for row in rows)
    values = face_errors(rows, points, errors)
    values = values[np.isfinite(values)]
    every = len(values) + lost
    over = (int((values > FAILURE).sum()) + lost) / every if every else math.nan
    return {
        "photos": len(values),
        "not_found": lost,
        "nme": percent(mean(values)),
        "median": float(100 * np.median(values)) if len(values) else None,
        "over10": 100 * over,
        "auc10": float((FAILURE - values).clip(min=0).sum() / (FAILURE * every)) if every else None,
    }


def landmark_table(rows: Sequence[Row]) -> Table:
    """Of the photos with points: 51 and 68 points, by yaw and by part of the face."""
    rows = [row for row in rows if row.item.points is not None]
    if not rows:
        return {}

    def visible(placed: Placed) -> Floats:
        return placed.errors

    def learnt(placed: Placed) -> Floats | None:
        return placed.learnt

    def alone(placed: Placed) -> Floats | None:
        return placed.alone

    def by_eyes(placed: Placed) -> Floats:
        return placed.errors / placed.eye_corners

    table = {
        "51 points": landmark_row(rows, INNER, visible),
        "68 points": landmark_row(rows, ALL, visible),
        "68 points, hidden ones too": landmark_row(rows, ALL, lambda placed: placed.hidden_too),
        "51 points, other faces left out": landmark_row(rows, INNER, alone),
    }
    if any(row.placed is not None and row.placed.learnt is not None for row in rows):
        table["51 points, learnt UVs"] = landmark_row(rows, INNER, learnt)
        table["68 points, learnt UVs"] = landmark_row(rows, ALL, learnt)
    for label, chosen in by_yaw(rows):
        table[f"51 points, yaw {label}"] = landmark_row(chosen, INNER, visible)
        table[f"68 points, yaw {label}"] = landmark_row(chosen, ALL, visible)
        if "51 points, learnt UVs" in table:
            table[f"51 points, learnt UVs, yaw {label}"] = landmark_row(chosen, INNER, learnt)
    for part, points in PARTS.items():
        table[part] = landmark_row(rows, points, visible)
    front = [row for row in rows if row.item.yaw_deg is not None and abs(row.item.yaw_deg) <= 60]
    if front:
        table["51 points, by the outer eye corners, yaw 0-60"] = landmark_row(front, INNER, by_eyes)
    return table


def by_yaw(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Photos whose yaw is known, in bins; empty ones are left out."""
    for low, high in YAW_BINS:
        chosen = [
            row
            for row in rows
            if row.item.yaw_deg is not None and (low < abs(row.item.yaw_deg) <= high or (low == row.item.yaw_deg == 0))
        ]
        if chosen:
            yield f"{low}-{high}", chosen


def placing(rows: Sequence[Row]) -> dict[str, float | None]:
    """How the visible points were placed (see `points`), in %."""
    how = [row.placed.how[np.isfinite(row.placed.errors)] for row in rows if row.placed is not None]
    every = np.concatenate(how) if how else np.empty(0)
    names = {"inside a triangle": INSIDE, "beside the map": BESIDE, "not in the map": NOT_SHOWN}
    return {name: percent(mean((every == code).astype(float))) for name, code in names.items()}


def mask_table(rows: Sequence[Row]) -> Table:
    """Mean IoU, F1, precision and recall over photos with labels, all and by their nominal yaw."""
    rows = [row for row in rows if row.masks]
    groups = {"": rows}
    for yaw in sorted({abs(r.item.yaw_nominal_deg) for r in rows if r.item.yaw_nominal_deg is not None}):
        nominal = (row for row in rows if row.item.yaw_nominal_deg is not None)
        groups[f", yaw {yaw:g}"] = [row for row in nominal if abs(row.item.yaw_nominal_deg or 0) == yaw]
    return {
        f"{which} mask{label}": {"photos": len(chosen)}
        | {score: mean([row.masks[which][score] for row in chosen]) for score in ("iou", "f1", "precision", "recall")}
        for label, chosen in groups.items()
        if chosen
        for which in ("full", "visible")
    }


def without_face(rows: Sequence[Row]) -> dict[str, Any]:
    """Of the pictures without a face: those with one all the same, and how much of them is taken for face, in %."""
    rows = [row for row in rows if row.item.no_face]
    if not rows:
        return {}
    areas = np.array([row.area for row in rows])
    return {
        "photos": len(rows),
        "with_a_face": sum(row.faces > 0 for row in rows),
        "mean_area": 100 * float(areas.mean()),
        "over_1_percent": 100 * float((areas > 0.01).mean()),
        "over_5_percent": 100 * float((areas > 0.05).mean()),
    }


def occluder_table(rows: Sequence[Row]) -> Table:
    """By kind of occluder, in %: what masks keep and leave, errors of covered and free points with and without it."""
    pairs = [(row, found) for row in rows for found in row.occluded]
    if not pairs:
        return {}
    groups = {"all": pairs} | {
        kind: [pair for pair in pairs if pair[1].kind == kind] for kind in dict.fromkeys(f.kind for _, f in pairs)
    }
    return {name: _occluder_row(chosen) for name, chosen in groups.items()}


def _occluder_row(pairs: Sequence[tuple[Row, Occluded]]) -> dict[str, Any]:
    found = [occluded for _, occluded in pairs]
    free = [o.errors[~o.covered] for o in found if o.errors is not None]
    row: dict[str, Any] = {
        "photos": len(pairs),
        "not_found": sum(not o.found for o in found),
        "kept": percent(mean([o.kept for o in found])),
        "left": percent(mean([o.left for o in found])),
        "beside": percent(mean([o.beside for o in found])),
        "covered": percent(_mean_of([o.errors[o.covered] for o in found if o.errors is not None])),
        "covered_without": percent(
            _mean_of([row.placed.errors[o.covered] for row, o in pairs if row.placed is not None])
        ),
        "free": percent(_mean_of(free)),
        "free_without": percent(
            _mean_of([row.placed.errors[~o.covered] for row, o in pairs if row.placed is not None])
        ),
    }
    with_it, without = row["covered"], row["covered_without"]
    row["times"] = with_it / without if with_it is not None and without else None
    return row


def _mean_of(faces: Sequence[Floats]) -> float | None:
    """Mean over faces of the mean over their points."""
    return mean([math.nan if (found := mean(errors)) is None else found for errors in faces])


def jitter(rows: Sequence[Row]) -> dict[str, Any]:
    """Of moved photos: how far points tremble, in % of the face's size, mean over faces that could be followed."""
    values = [row.jitter for row in rows if row.jitter is not None]
    return (
        {"photos": len(values), "mean": 100 * float(np.mean(values)), "median": 100 * float(np.median(values))}
        if values
        else {}
    )


def metrics(rows: Sequence[Row]) -> dict[str, float | None]:
    """The figures that stand for the whole, in % but for IoUs; None where the annotations do not say."""
    landmarks, regions, empty = landmark_table(rows), mask_table(rows), without_face(rows)
    hidden = occluder_table(rows)

    def of(table: Mapping[str, Mapping[str, Any]], row: str, value: str) -> float | None:
        found = table.get(row, {}).get(value)
        return None if found is None else float(found)

    return {
        "nme_51": of(landmarks, "51 points", "nme"),
        "nme_51_median": of(landmarks, "51 points", "median"),
        "nme_51_learnt": of(landmarks, "51 points, learnt UVs", "nme"),
        "nme_68": of(landmarks, "68 points", "nme"),
        "over10": of(landmarks, "51 points", "over10"),
        "not_found": of(landmarks, "51 points", "not_found"),
        "full_iou": of(regions, "full mask", "iou"),
        "visible_iou": of(regions, "visible mask", "iou"),
        "with_a_face": float(empty["with_a_face"]) if empty else None,
        "occluded_kept": of(hidden, "all", "kept"),
        "occluded_left": of(hidden, "all", "left"),
        "occluded_times": of(hidden, "all", "times"),
        "jitter": jitter(rows).get("mean"),
    }
