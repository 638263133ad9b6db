"""The plots of `gen evaluate`, as SVG."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.evaluation import jitter
from trainer.evaluation.results import Results

Floats = npt.NDArray[np.float64]


def error_curve(errors: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Cumulative error curve: errors in rising order, and the share of all samples, NaN included, up to each."""
    finite = np.sort(errors[np.isfinite(errors)]).astype(np.float64)
    return finite, np.arange(1, len(finite) + 1) / max(1, len(errors))


def figure(columns: int, rows: int) -> tuple[Any, Any]:
    """A figure and its panels, (rows, columns)."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, path: Path) -> None:
    """As SVG; equal figures give equal files."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "headforge"}):
        figure.savefig(path, metadata={"Date": None})


def plot_curves(results: Results, path: Path) -> None:
    """Cumulative curves of the metrics that have one, and the first metric against yaw."""
    shown = [m for m in results.metrics if m.error_curve]
    made, axes = figure(len(shown) + 1, 1)
    for axis, metric in zip(axes[0], shown, strict=False):
        values = results.values.get(metric.name, np.empty(0))
        known = values[np.isfinite(values)]
        if len(known):
            x, y = error_curve(known)
            axis.plot(x, 100 * y)
            axis.set(xlim=(0, float(np.quantile(x, 0.98)) * 1.05 or 1), ylim=(0, 100))
        axis.set(xlabel=metric.title, ylabel="samples, %")
        axis.grid(alpha=0.3)
    yaw = np.degrees([float(r["knobs"].get("pose.yaw_rad", math.nan)) for r in results.records])
    first = results.metrics[0]
    scatter(axes[0][-1], yaw, results.values[first.name], "yaw, degrees", first.title)
    save(made, path)


def scatter(axis: Any, x: npt.NDArray[Any], y: npt.NDArray[Any], label: str, title: str) -> None:
    """Points, and the mean in ten groups of equal count."""
    ok = np.isfinite(x) & np.isfinite(y)
    axis.plot(x[ok], y[ok], ".", ms=2, alpha=0.35)
    order = np.argsort(x[ok])
    groups = [g for g in np.array_split(order, 10) if len(g)]
    if len(order) >= 20:
        axis.plot([x[ok][g].mean() for g in groups], [y[ok][g].mean() for g in groups], "o-", ms=3)
    axis.set(xlabel=label, ylabel=title, ylim=(0, None))
    axis.grid(alpha=0.3)


def plot_jitter(tracks: jitter.Tracks, path: Path, most: int = 12) -> None:
    """Displacement of points over time, per clip; of at most so many clips, spread evenly."""
    count = min(most, len(np.unique(tracks.clip)))
    columns = min(3, count)
    made, axes = figure(columns, math.ceil(count / columns))
    jitter.plot([axis for row in axes for axis in row], tracks)
    save(made, path)


def plot_knobs(results: Results, path: Path, most: int = 24) -> None:
    """The first metric against each numeric knob, those with the strongest rank correlation first."""
    from scipy.stats import spearmanr

    first = results.metrics[0]
    error = results.values[first.name]
    found: list[tuple[float, str, Floats]] = []
    for knob in sorted({k for r in results.records for k in r["knobs"]}):
        column = [r["knobs"].get(knob) for r in results.records]
        x = np.array(
            [float(c) if isinstance(c, (int, float)) and not isinstance(c, bool) else math.nan for c in column]
        )
        ok = np.isfinite(x) & np.isfinite(error)
        if ok.sum() >= 10 and len(np.unique(x[ok])) > 4:
            rank = float(spearmanr(x[ok], error[ok]).statistic)
            found.append((abs(rank) if math.isfinite(rank) else 0.0, knob, x))
    found = sorted(found, key=lambda f: (-f[0], f[1]))[:most]
    made, axes = figure(4, max(1, math.ceil(len(found) / 4)))
    flat = [axis for row in axes for axis in row]
    for axis, (rank, knob, x) in zip(flat, found, strict=False):
        scatter(axis, x, error, f"{knob} (|rank correlation| {rank:.2f})", first.title)
    for axis in flat[len(found) :]:
        axis.axis("off")
    save(made, path)
