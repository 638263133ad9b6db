"""Metrics of many samples as means, and as tables by what is known of the samples."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]  # (N,)
Rows = list[dict[str, Any]]  # of {"label", "count", metric: mean...}


def summary(values: Mapping[str, Values]) -> dict[str, float]:
    """Mean of each metric over the samples to which it applies; left out where there are none."""
    return {name: float(np.nanmean(v)) for name, v in values.items() if np.isfinite(v).any()}


def by_edges(values: Mapping[str, Values], column: Values, edges: Sequence[float], unit: str = "") -> Rows:
    """A row for each interval between edges that has samples; the last interval includes its end. column: (N,)."""
    rows = []
    for low, high in itertools.pairwise(edges):
        chosen = (column >= low) & ((column <= high) if high == edges[-1] else (column < high))
        if chosen.any():
            rows.append(_row(values, chosen, f"{low:.4g}..{high:.4g}{' ' + unit if unit else ''}"))
    return rows


def by_knobs(values: Mapping[str, Values], records: Sequence[Mapping[str, Any]], quantiles: int = 4) -> dict[str, Rows]:
    """A table for every stored knob: numbers split at their quantiles, words and switches by value.

    values: (N,) per metric. records: the JSON of each sample. A knob with one value only is left out.
    """
    tables: dict[str, Rows] = {}
    for knob in sorted({k for r in records for k in r["knobs"]}):
        column = [r["knobs"].get(knob) for r in records]
        numbers = [c for c in column if isinstance(c, (int, float)) and not isinstance(c, bool)]
        if len(numbers) == sum(c is not None for c in column) and len(set(numbers)) > quantiles:
            numeric = np.array([np.nan if c is None else c for c in column], float)
            edges = np.unique(np.nanquantile(numeric, np.linspace(0, 1, quantiles + 1)))
            rows = by_edges(values, numeric, tuple(edges.tolist()))
        else:
            words = sorted({str(c): c for c in column if c is not None}.values(), key=str)
            rows = [_row(values, np.array([c == word for c in column]), str(word)) for word in words]
        if len(rows) > 1:
            tables[knob] = rows
    return tables


def _row(values: Mapping[str, Values], chosen: npt.NDArray[np.bool_], label: str) -> dict[str, Any]:
    return {"label": label, "count": int(chosen.sum()), **summary({k: v[chosen] for k, v in values.items()})}
