"""The report of photos: evaluation.json, a text of tables, curves.svg, and sheets of the worst."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from renderer.files import write_atomic
from renderer.progress import Progress
from trainer.data import pictures
from trainer.data.pictures import Bytes
from trainer.evaluation.photos import curves, summary
from trainer.evaluation.photos.measure import MAX_SIDE, Measured, Row, faces_of, read_scaled
from trainer.evaluation.photos.points import MASK
from trainer.training.run_dir import REPORT_VERSION, finite, rounded
from trainer.training.sheets import write_sheet
from trainer.uvmaps.finding import Options
from trainer.uvmaps.grid import draw_points, grid_lines
from trainer.uvmaps.results import maps
from trainer.uvmaps.textures import EPSILON

WORST: Final = 20
TILE_PX: Final = 224
COLUMNS: Final = ("photo, annotated points green, found ones yellow", "UV grid", "face white, hidden face orange")
TRUTH, FOUND = (0.2, 1.0, 0.4), (1.0, 0.9, 0.1)
NOTE: Final = (
    "errors in % of sqrt(width x height) of the box of the annotated points, over visible points of faces found"
)
Badness = Callable[[Row], float]


def values(rows: Sequence[Row], dataset: str, note: str) -> dict[str, Any]:
    """What evaluation.json holds."""
    groups = [group for group in dict.fromkeys(row.item.group for row in rows) if group]
    every = {group: [row for row in rows if row.item.group == group] for group in groups}

    def tables(of: Callable[[Sequence[Row]], summary.Table]) -> dict[str, summary.Table]:
        """By group; of all together where there are none or several."""
        found = {group: table for group, chosen in every.items() if (table := of(chosen))}
        return found if len(found) == 1 or not (table := of(rows)) else {"all": table} | found

    return {
        "version": REPORT_VERSION,
        "dataset": dataset,
        "note": note,
        "samples": len(rows),
        "metrics": {k: None if v is None else rounded(v) for k, v in summary.metrics(rows).items()},
        "landmarks": tables(summary.landmark_table),
        "placing": summary.placing(rows),
        "masks": tables(summary.mask_table),
        "without_face": summary.without_face(rows),
        "occluders": summary.occluder_table(rows),
        "jitter": summary.jitter(rows),
        "per_sample": [_described(row) for row in rows],
    }


def _described(row: Row) -> dict[str, Any]:
    placed, item = row.placed, row.item
    found: dict[str, Any] = {"photo": item.photo.name, "set": item.group, "faces": row.faces, "area": row.area}
    if item.points is not None:
        found |= {"yaw": item.yaw_deg, "covered": row.covered, "found": placed is not None}
    if placed is not None:
        chosen = (("nme_51", summary.INNER, placed.errors), ("nme_68", summary.ALL, placed.errors),
                  ("nme_51_learnt", summary.INNER, placed.learnt))  # fmt: skip
        found |= {name: summary.percent(summary.mean(e[list(points)])) for name, points, e in chosen if e is not None}
    if row.jitter is not None:
        found["jitter"] = 100 * row.jitter
    return found | {f"{name}_iou": scores["iou"] for name, scores in row.masks.items()}


# ---------------------------------------------------------------- text


def text(report: Mapping[str, Any]) -> str:
    """The tables of a report, as Markdown."""
    parts = [f"{report['samples']} photos of {report['dataset']} ({report['note']})"]
    for group, table in report["landmarks"].items():
        parts.append(_table(f"Landmarks, {group}", table, {"photos": "", "not_found": "", "nme": ".2f", "median": ".2f",
                                                           "over10": ".1f", "auc10": ".3f"}))  # fmt: skip
    for group, table in report["masks"].items():
        parts.append(_table(f"Masks, {group}", table, {"photos": "", "iou": ".3f", "f1": ".3f", "precision": ".3f",
                                                       "recall": ".3f"}))  # fmt: skip
    if empty := report["without_face"]:
        parts.append(
            f"Without a face: in {empty['with_a_face']} of {empty['photos']} pictures one is found; mask on "
            f"{empty['mean_area']:.2f} % of their area, on over 1 % of it in {empty['over_1_percent']:.1f} %, "
            f"on over 5 % of it in {empty['over_5_percent']:.1f} % of them"
        )
    if hidden := report["occluders"]:
        columns = {"photos": "", "not_found": "", "kept": ".1f", "left": ".1f", "beside": ".1f", "covered": ".2f",
                   "covered_without": ".2f", "times": ".2f", "free": ".2f", "free_without": ".2f"}  # fmt: skip
        parts.append(_table("Drawn occluders", hidden, columns))
    if moved := report["jitter"]:
        parts.append(
            f"Jitter of {moved['photos']} moved photos: {moved['mean']:.3f} % of the face's size, "
            f"median {moved['median']:.3f} %"
        )
    return "\n\n".join(parts)


def _table(title: str, rows: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    width = max(len(title), *(len(name) for name in rows))
    lines = [title.ljust(width) + "".join(f"{name.replace('_', ' '):>{max(10, len(name) + 2)}}" for name in columns)]
    for name, row in rows.items():
        cells = (
            f"{'-' if row[c] is None else format(row[c], form):>{max(10, len(c) + 2)}}" for c, form in columns.items()
        )
        lines.append(name.ljust(width) + "".join(cells))
    return "\n".join(lines)


# ---------------------------------------------------------------- files


def write(
    rows: Sequence[Row],
    report: dict[str, Any],
    out: Path,
    network: Measured,
    options: Options,
    bar: Progress | None = None,
) -> None:
    """evaluation.json, evaluation.txt, curves.svg, and of photos with points, with labels and without a face a sheet
    each of the worst, which the network reads once more."""
    out.mkdir(parents=True, exist_ok=True)
    sheets = {
        name: sorted((row for row in rows if badness(row) > 0), key=badness, reverse=True)[:WORST]
        for name, badness in (("worst", _error), ("worst-masks", _mask_error), ("false-faces", _false_face))
    }
    if bar is not None:
        bar.total = (bar.total or 0) + sum(map(len, sheets.values()))
    for name, worst in sheets.items():
        file = out / f"{name}.png"
        file.unlink(missing_ok=True)  # of an earlier evaluation
        if worst:
            tiles = []
            for row in worst:
                tiles.append(_tiles(network, row, options))
                if bar is not None:
                    bar.update()
            write_sheet(np.stack(tiles), file)
            report[name.replace("-", "_")] = {
                "file": file.name,
                "columns": list(COLUMNS),
                "rows": [{"name": row.item.photo.name, "metrics": _numbers(_described(row))} for row in worst],
            }
    curves.plot(rows, out / "curves.svg")
    write_atomic(out / "evaluation.txt", (text(report) + "\n").encode())
    write_atomic(out / "evaluation.json", json.dumps(finite(report), allow_nan=False).encode())


def _numbers(described: Mapping[str, Any]) -> dict[str, float]:
    return {k: v for k, v in described.items() if isinstance(v, float) and math.isfinite(v)}


def _error(row: Row) -> float:
    """Of the 51 points; what was not found comes first."""
    if row.item.points is None:
        return 0.0
    if row.placed is None:
        return math.inf
    return summary.mean(row.placed.errors[list(summary.INNER)]) or 0.0


def _mask_error(row: Row) -> float:
    return 1 - row.masks["visible"]["iou"] if row.masks else 0.0


def _false_face(row: Row) -> float:
    return row.area if row.item.no_face else 0.0


@torch.no_grad()
def _tiles(network: Measured, row: Row, options: Options) -> Bytes:
    """One row of a sheet, (columns, TILE_PX, TILE_PX, 3): the annotated face, or the whole picture without one."""
    picture, item = read_scaled(row.item, MAX_SIDE)
    image = pictures.to_tensor(picture)
    found = maps(faces_of(network, image, options), *picture.shape[:2])
    box = item.box if item.box is not None else np.array([0, 0, picture.shape[1], picture.shape[0]], np.float64)
    centre, side = (box[:2] + box[2:]) / 2, float(max(box[2:] - box[:2])) * (1.6 if item.box is not None else 1.0)
    corner = centre - side / 2
    seen = _cut(image, corner, side)
    mask, visible = (_cut(_tensor(found[name]), corner, side) for name in ("mask", "visible"))
    weighted = _cut(_tensor(found["uv"] * found["mask"][..., None]), corner, side)
    uv = weighted / mask.clamp(min=EPSILON)
    face = (mask > MASK).float()
    marked = seen
    for points, colour in ((item.points, TRUTH), (None if row.placed is None else row.placed.places, FOUND)):
        if points is not None:
            at = torch.from_numpy((points - corner) * (TILE_PX / side))[None].float()
            marked = draw_points(marked, at, 1.6, colour)
    hidden = torch.tensor([1.0, 0.5, 0.1])[None, :, None, None] * (mask - visible).clamp(0, 1)
    drawn = torch.lerp(seen * 0.35, visible.expand_as(seen) + hidden, mask.expand_as(seen).clamp(0, 1))
    tiles = (marked, grid_lines(seen, uv, face, 20, 1.2), drawn)
    return np.stack([pictures.to_bytes(tile) for tile in tiles])


def _tensor(plane: Any) -> torch.Tensor:
    values = torch.from_numpy(np.atleast_3d(plane))
    return values.permute(2, 0, 1)[None]


def _cut(image: torch.Tensor, corner: Any, side: float) -> torch.Tensor:
    """A square of (1, C, H, W), scaled to a tile; black beyond the border."""
    height, width = image.shape[2:]
    steps = (torch.arange(TILE_PX) + 0.5) * (side / TILE_PX)
    x, y = (2 * (float(corner[0]) + steps) / width - 1, 2 * (float(corner[1]) + steps) / height - 1)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
    return torch.nn.functional.grid_sample(image, grid, mode="bilinear", align_corners=False)
