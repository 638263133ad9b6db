"""The plots of the report of photos, as one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.evaluation import plots
from trainer.evaluation.photos import summary
from trainer.evaluation.photos.measure import Placed, Row
from trainer.uvmaps.grid import U_COLOUR


def plot(rows: Sequence[Row], path: Path) -> None:
    """Cumulative errors, error against yaw and by part of the face; IoU of masks; what is there of these."""
    panels: list[Any] = []
    if any(row.item.points is not None for row in rows):
        panels += [_cumulative, _by_yaw, _by_part]
    if any(row.masks for row in rows):
        panels.append(_masks)
    if any(row.occluded for row in rows):
        panels.append(_occluders)
    if not panels:  # pictures without a face alone
        panels.append(_areas)
    figure, axes = plots.figure(len(panels), 1)
    for draw, axis in zip(panels, axes[0], strict=True):
        draw(axis, [row for row in rows if row.item.points is not None or draw in (_masks, _areas, _occluders)])
        axis.grid(alpha=0.3)
    plots.save(figure, path)


def _visible(placed: Placed) -> Any:
    return placed.errors


def _cumulative(axis: Any, rows: Sequence[Row]) -> None:
    curves = {"51 points": (summary.INNER, _visible), "68 points": (summary.ALL, _visible)}
    if any(row.placed is not None and row.placed.learnt is not None for row in rows):
        curves["51 points, learnt UVs"] = (summary.INNER, lambda placed: placed.learnt)
    for label, (points, errors) in curves.items():
        x, y = plots.error_curve(100 * summary.face_errors(rows, points, errors))
        axis.plot(x, 100 * y, label=label)
    axis.set(xlabel="NME, %", ylabel="photos with points, % of all", ylim=(0, 100), xlim=(0, 15))
    axis.legend(fontsize="small")


def _by_yaw(axis: Any, rows: Sequence[Row]) -> None:
    yaw = np.array([np.nan if row.item.yaw_deg is None else row.item.yaw_deg for row in rows])
    plots.scatter(axis, yaw, 100 * summary.face_errors(rows, summary.INNER, _visible), "yaw, degrees", "NME, %")


def _by_part(axis: Any, rows: Sequence[Row]) -> None:
    errors = [summary.face_errors(rows, points, _visible) for points in summary.PARTS.values()]
    known = [100 * e[np.isfinite(e)] for e in errors]
    axis.boxplot(known, tick_labels=list(summary.PARTS), showfliers=False)
    axis.set(ylabel="NME, %", ylim=(0, None))


def _masks(axis: Any, rows: Sequence[Row]) -> None:
    for which in ("full", "visible"):
        values = np.sort([row.masks[which]["iou"] for row in rows if row.masks])
        axis.plot(values, 100 * (1 - np.arange(len(values)) / len(values)), label=f"{which} mask")
    axis.set(xlabel="IoU", ylabel="labelled photos with at least it, %", ylim=(0, 100), xlim=(0, 1))
    axis.legend(fontsize="small")


def _occluders(axis: Any, rows: Sequence[Row]) -> None:
    table = summary.occluder_table(rows)
    at = np.arange(len(table))
    for step, name, colour in ((-0.2, "kept", "tab:green"), (0.2, "left", U_COLOUR)):
        axis.bar(at + step, [row[name] or 0 for row in table.values()], 0.4, label=name, color=colour)
    axis.set_xticks(at, list(table))
    axis.set(ylabel="of the area under the occluder, %", ylim=(0, 100))
    axis.legend(["full mask kept", "visible mask left"], fontsize="small")


def _areas(axis: Any, rows: Sequence[Row]) -> None:
    axis.plot(np.sort([100 * row.area for row in rows])[::-1], "o-", ms=3)
    axis.set(xlabel="photos, worst first", ylabel="taken for face, % of the picture", ylim=(0, None))
