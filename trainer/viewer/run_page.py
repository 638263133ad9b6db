"""The data of the page of one or two runs: figures, facts, events, curves, tables and pictures of what a run wrote."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from trainer.training.run_dir import RunDir, read_json
from trainer.viewer.curves import SystemNames, curves, figures
from trainer.viewer.galleries import sheets, worst_gallery

MAX_SHEETS: Final = 900  # per page, so that a folder stays below 1,000 files
Gallery = Callable[[Path, Path], tuple[dict[str, Any] | None, str]]
"""Of a run and the PNG to write: its rows as the page shows them, or None and why there is none."""


def is_run(path: Path) -> bool:
    run = RunDir(path)
    return run.log.is_file() or run.meta.is_file()


def runs_data(
    runs: Sequence[Path],
    folder: Path,
    gallery: Gallery | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """The data of a page of one or two runs; their sheets are put into `folder`."""
    entries, notes = [], []
    for letter, path in zip("ab", runs, strict=False):
        entry = run_entry(RunDir(path), folder, letter, MAX_SHEETS // len(runs), progress)
        if gallery is not None:
            entry["projections"], note = gallery(path, folder / f"projections-{letter}.png")
            notes += [note] if note else []
        entries.append(entry)
    title = " against ".join(e["id"] for e in entries)
    return {"kind": "runs", "title": title, "runs": entries, "note": "; ".join(notes)}


def run_entry(
    run: RunDir, folder: Path, letter: str, max_sheets: int, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Any]:
    """One run as the page shows it. A run that is still starting, or was damaged, is shown as far as it goes."""
    meta, status, lines = read_json(run.meta), read_json(run.status), run.lines()
    system = SystemNames.of(meta, lines)
    entry: dict[str, Any] = {
        "id": str(meta.get("run_id", run.path.resolve().name)),
        "figures": figures(meta, status, lines, system),
        "facts": facts(meta, status, lines),
        "events": [[line.get("epoch"), str(line.get("text", ""))] for line in lines if line.get("kind") == "event"],
        "curves": curves(lines, system),
        "sheets": sheets(run.evaluation, folder, letter, max_sheets, progress),
        "splits": splits(read_json(run.evaluation / "splits.json"), system),
        "worst": worst_gallery(run.path, folder, letter, system),
    }
    if run.config.is_file():
        name = f"config-{letter}.txt"  # browsers show .txt and download .yaml
        shutil.copyfile(run.config, folder / name)
        entry["facts"].append(["config", "whole config", name])
    return entry


def facts(meta: Mapping[str, Any], status: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Rows of the table: [name, text] or [name, text, link]."""
    seconds = status.get("seconds", lines[-1].get("seconds") if lines else None)
    data = meta.get("data") if isinstance(meta.get("data"), Mapping) else {}
    assert isinstance(data, Mapping)
    rows: list[list[str]] = []

    def add(name: str, value: Any) -> None:
        if value not in (None, "", {}):
            rows.append([name, str(value)])

    state = str(status.get("state", ""))
    add("state", f"{state}: {status['message']}" if status.get("message") else state)
    add("started", meta.get("created"))
    add("training time", duration(float(seconds)) if isinstance(seconds, (int, float)) else None)
    add("precision", status.get("precision"))
    add("commit", meta.get("commit"))
    name = data.get("name") or Path(str(data.get("path", ""))).name
    if name:
        kinds = (("training_samples", "for training"), ("test_samples", "held out"))
        counts = [f"{data[k]:,} {text}" for k, text in kinds if isinstance(data.get(k), int)]
        add("data set", f"{name} ({', '.join([str(data.get('tag', '')), *counts])})")
    add("data set hash", str(data.get("index_sha256", ""))[:16])
    add("UV frame", data.get("uv_frame"))
    versions = meta.get("versions")
    add("versions", ", ".join(f"{k} {v}" for k, v in versions.items()) if isinstance(versions, Mapping) else None)
    return rows


def duration(seconds: float) -> str:
    """3725 -> "1 h 2 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def splits(raw: Mapping[str, Any], system: SystemNames) -> dict[str, Any]:
    """Tables by knob. Those of several kinds of test in one file are told apart by their names."""
    tables: dict[str, Any] = {k: v for k, v in raw.items() if isinstance(v, list)}
    for number, (kind, word) in enumerate(system.tests.items()):
        if isinstance(raw.get(kind), Mapping):
            suffix = f" ({word})" if number else ""
            tables |= {f"{k}{suffix}": v for k, v in raw[kind].items() if isinstance(v, list)}
    return tables
