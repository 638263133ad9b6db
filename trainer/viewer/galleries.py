"""Pictures of a run: the sheets of its evaluations, and the worst samples of its newest `gen evaluate`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.training.run_dir import read_json, read_lines
from trainer.viewer.curves import SystemNames


def sheets(
    source: Path, folder: Path, letter: str, most: int, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Any] | None:
    """The evaluation images of a run, their sheets linked (or copied) into the page. At most `most` epochs."""
    layout = read_json(source / "layout.json")
    columns = [str(c) for c in layout.get("columns", [])]
    rows_file = Path(str(layout.get("rows_file", "rows.jsonl"))).name
    rows = {r["epoch"]: r for r in read_lines(source / rows_file)
            if isinstance(r.get("epoch"), int) and r.get("rows")}  # fmt: skip
    there = [r for _, r in sorted(rows.items()) if (source / Path(str(r.get("file", ""))).name).is_file()]
    if not columns or not there:
        return None
    picked = sorted({round(i) for i in np.linspace(0, len(there) - 1, min(most, len(there)))})
    epochs = []
    for i in picked:
        record = there[i]
        name = f"sheet-{letter}-{record['epoch']:06d}.png"
        link(source / Path(str(record["file"])).name, folder / name)
        epochs.append({"epoch": record["epoch"], "file": name, "rows": [sheet_row(row) for row in record["rows"]]})
        progress(1)
    return {"columns": columns, "epochs": epochs, "left_out": len(there) - len(picked)}


def sheet_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """{name, key?, metrics} of one row of a sheet."""
    metrics = {k: v for k, v in row.items() if isinstance(v, float) and k not in ("name", "kind", "key")}
    shown: dict[str, Any] = {"name": str(row.get("name", "")), "metrics": metrics}
    return {**shown, "key": str(row["key"])} if row.get("key") else shown


def link(source: Path, target: Path) -> None:
    """A hard link where the file system can, else a copy: sheets are never changed in place."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def worst_gallery(path: Path, folder: Path, letter: str, system: SystemNames) -> dict[str, Any] | None:
    """The worst samples of the newest `gen evaluate` of a run; None where there is none that can be shown.

    A report may be anybody's: only a file that lies beside it is shown, and what it lacks is left out.
    """
    found = sorted(path.glob("evaluation*/evaluation.json"), key=lambda p: p.stat().st_mtime)
    result = read_json(found[-1]) if found else {}
    worst = result.get("worst")
    if not isinstance(worst, Mapping):
        return None
    columns, rows = ([*part] if isinstance(part := worst.get(n), list) else [] for n in ("columns", "rows"))
    rows = [worst_row(row) for row in rows if isinstance(row, Mapping)]
    sheet = beside(found[-1], worst.get("file"))
    if sheet is None or not columns or not rows:
        return None
    name = f"worst-{letter}.png"
    link(sheet, folder / name)
    return {
        "title": "Worst samples",
        "lead": f"The {len(rows)} worst samples of `gen evaluate` on {result.get('dataset', '')}, "
        "each with the command that renders it again, larger.",
        "file": name,
        "columns": [str(column) for column in columns],
        "rows": rows,
        "falling": system.rising,
    }


def beside(report: Path, name: object) -> Path | None:
    """The file of that plain name in the folder of a report; None where it lies elsewhere, as links may, too."""
    if not isinstance(name, str) or not name or Path(name).name != name:
        return None
    file = report.parent / name
    return file if file.is_file() and file.resolve().parent == report.parent.resolve() else None


def worst_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of a report as the page reads it: name, key, metrics {name: number}, knobs, command."""
    measured, knobs = (part if isinstance(part := row.get(n), Mapping) else {} for n in ("metrics", "knobs"))
    metrics = {k: v for k, v in measured.items() if isinstance(v, (int, float))}
    return {n: str(row.get(n, "")) for n in ("name", "key", "command")} | {"metrics": metrics, "knobs": dict(knobs)}
