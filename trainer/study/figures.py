"""The figures of a study as SVG: violins, error against angle, the matrix, errors by parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from trainer.study.outcome import Outcome
from trainer.study.statistics import moving_average

NAIVE: Final = "#777777"
COLOURS: Final = ("#4477aa", "#ee6677", "#ccbb44", "#228833", "#66ccee", "#aa3377", "#e07b39", "#882255")
WINDOW_DEG: Final = 20.0  # of the moving averages
NAIVE_LABEL: Final = "naive"


def write_figures(outcome: Outcome, folder: Path) -> list[tuple[str, str]]:
    """Write what applies into `folder`; returns (file, caption) in order."""
    made = [
        ("violins.svg", violins, f"Error on the test set of `{outcome.main}` by what networks were trained on. The"
         " width is the density, the bar the quartiles, the white point the median. Gray: the naive predictor."),
        ("angle.svg", angle, f"Error on the test set of `{outcome.main}` against yaw: moving averages over"
         f" {WINDOW_DEG:.0f} degrees, with 95 % bands."),
        ("matrix.svg", matrix, "Median error of every network (rows) on every test set (columns), as a share of the"
         " naive predictor's where there is one."),
        ("parameters.svg", parameters, "Squared error of each parameter as a share of the naive predictor's. 1 is a"
         " guess; the parameters of the shape come first, the strongest component of each kind before the others."),
    ]  # fmt: skip
    found = []
    for name, draw, caption in made:
        figure = draw(outcome)
        if figure is not None:
            _save(figure, folder / name)
            found.append((name, caption))
    return found


def violins(outcome: Outcome) -> Any:
    """Densities of the errors on the main test set, all seeds together."""
    main = outcome.main
    columns = [(s, outcome.errors(s, main).ravel()) for s in outcome.scenarios]
    naive = outcome.naive(main)
    if naive is not None:
        columns.append((NAIVE_LABEL, naive))
    columns = [(name, values[np.isfinite(values)]) for name, values in columns]
    figure, axis = _figure(max(4.5, 1.25 * len(columns)), 3.6)
    shown = [values[values <= np.quantile(values, 0.995)] for _, values in columns]
    places = np.arange(len(columns))
    parts = axis.violinplot(shown, places, widths=0.85, showextrema=False)
    for body, (name, _) in zip(parts["bodies"], columns, strict=True):
        body.set(facecolor=_colour(outcome, name), alpha=0.55, edgecolor="none")
    low, middle, high = np.array([np.quantile(values, [0.25, 0.5, 0.75]) for _, values in columns]).T
    axis.vlines(places, low, high, color="#222222", lw=5)
    axis.scatter(places, middle, color="white", s=16, zorder=3)
    if naive is not None:
        axis.axhline(float(np.median(naive)), color=NAIVE, lw=1, ls="--")
    axis.set_xticks(places, [name for name, _ in columns], rotation=20 if len(columns) > 6 else 0)
    axis.set(ylabel=outcome.metric.title.lower(), ylim=(min(0.0, *(v.min() for v in shown)), None))
    return figure


def angle(outcome: Outcome) -> Any:
    """Moving averages of the error over yaw; None where all samples have one view."""
    yaw = outcome.yaw_deg(outcome.main)
    if not np.isfinite(yaw).any() or np.nanmax(yaw) - np.nanmin(yaw) < WINDOW_DEG:
        return None
    at = np.linspace(np.nanmin(yaw), np.nanmax(yaw), 73)
    figure, axis = _figure(6.4, 3.6)
    rows = [(s, outcome.errors(s, outcome.main).mean(0)) for s in outcome.scenarios]
    if (naive := outcome.naive(outcome.main)) is not None:
        rows.append((NAIVE_LABEL, naive))
    for name, errors in rows:
        mean, spread = moving_average(yaw, errors, at, WINDOW_DEG)
        colour = _colour(outcome, name)
        axis.plot(at, mean, color=colour, label=name, ls="--" if name == NAIVE_LABEL else "-")
        axis.fill_between(at, mean - 1.96 * spread, mean + 1.96 * spread, color=colour, alpha=0.15, lw=0)
    axis.set(xlabel="yaw, degrees", ylabel=outcome.metric.title.lower(), xlim=(at[0], at[-1]))
    axis.legend(frameon=False, fontsize=8, ncols=2)
    axis.grid(alpha=0.25)
    return figure


def matrix(outcome: Outcome) -> Any:
    """Medians as a coloured table."""
    names = outcome.scenarios
    values = np.array([[outcome.matrix[s, t].value for t in names] for s in names])
    side = 0.85 * len(names) + 1.6
    figure, axis = _figure(side, side * 0.8)
    middle = 1.0 if outcome.metric.naive else float(np.median(values))
    reach = max(float(np.abs(values - middle).max()), 1e-9)
    axis.imshow(values, cmap="RdYlGn_r", vmin=middle - reach, vmax=middle + reach)
    for row in range(len(names)):
        for column in range(len(names)):
            axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=9)
    axis.set_xticks(range(len(names)), names, rotation=30)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="tested on", ylabel="trained on")
    return figure


def parameters(outcome: Outcome) -> Any:
    """Shares of the naive error by parameter; None where a system estimates none."""
    figure, axis = _figure(8.5, 3.2)
    for scenario in outcome.scenarios:
        shares = outcome.by_parameter(scenario)
        if shares is None:
            return None
        axis.plot(np.arange(len(shares)), shares, "o-", ms=3, lw=1, color=_colour(outcome, scenario), label=scenario)
    axis.axhline(1.0, color=NAIVE, lw=1, ls="--")
    axis.set(xlabel="parameter", ylabel="error / naive error", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8, ncols=4)
    axis.grid(alpha=0.25)
    return figure


def _colour(outcome: Outcome, name: str) -> str:
    return NAIVE if name == NAIVE_LABEL else COLOURS[outcome.scenarios.index(name) % len(COLOURS)]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def _save(figure: Any, path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "headforge"}):
        figure.savefig(path, metadata={"Date": None})
