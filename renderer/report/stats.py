"""Distribution of every knob of a data set, as one picture."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from renderer.format.dataset import Dataset, open_dataset

MOST: Final = 20_000  # samples whose records are read; more would not change a histogram


def knob_values(
    dataset: Dataset, count: int, progress: Callable[[int], object] = lambda done: None
) -> dict[str, list[Any]]:
    """Every knob's values over at most `count` samples of a data set, evenly spread, and what was measured."""
    values: dict[str, list[Any]] = defaultdict(list)
    for shard, entry in dataset.spread(count):
        record = shard.params(entry)
        for name, value in {**record["knobs"], **{f"measured.{k}": v for k, v in record["measured"].items()}}.items():
            values[name].append(value)
        progress(1)
    return dict(sorted(values.items()))


def plot_knobs(path: Path, out: Path, count: int = MOST, progress: Callable[[int], object] = lambda done: None) -> str:
    """Histogram of each knob into one picture; returns in words of how many knobs and samples.

    count: samples, evenly spread. progress: called with the number of samples just read.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    dataset = open_dataset(path)
    values = knob_values(dataset, count, progress)
    columns = 6
    rows = math.ceil(len(values) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * 2.6, rows * 1.7), squeeze=False)
    for axis in axes.flat[len(values) :]:
        axis.axis("off")
    for axis, (name, data) in zip(axes.flat, values.items(), strict=False):
        if isinstance(data[0], (str, bool)):
            common = Counter(str(v) or "none" for v in data).most_common(8)
            axis.barh([label[:16] for label, _ in common][::-1], [n for _, n in common][::-1], color="#4477aa")
        elif name.endswith("_rad") or "_rad." in name:
            axis.hist([math.degrees(v) for v in data], bins=30, color="#4477aa")
            name = name.replace("_rad", " (degrees)")
        else:
            axis.hist(data, bins=30, color="#4477aa")
        axis.set_title(name, fontsize=7)
        axis.tick_params(labelsize=5)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80)
    plt.close(figure)
    shown = max(map(len, values.values()), default=0)
    return f"{len(values)} knobs of {shown} of {len(dataset)} samples"
