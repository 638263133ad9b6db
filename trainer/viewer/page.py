"""The page of a run, of two runs side by side, or of a data set: one folder that opens from disk.

    PAGE/index.html  viewer.css  *.js      copied from trainer/viewer/static/
         data.js                           everything the page knows: a page opened from disk may not fetch JSON
         config-a.txt ...                  files that the page links to
         sheet-*.png, *.jpg                sprite sheets; the page loads one when it is looked at

Only files are read, and torch is needed for UV grids over samples alone, which are left out without it: a data set can
be browsed on a machine that only renders.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer.errors import DatasetError
from renderer.format.folder import DATASET_FILE
from trainer.viewer.dataset_page import dataset_data
from trainer.viewer.run_page import Gallery, is_run, runs_data

STATIC: Final = Path(__file__).resolve().parent / "static"
HEADER: Final = "window.HEADFORGE = "  # how data.js begins; by it a page of ours is known


@dataclass(frozen=True)
class Page:
    """What was built."""

    index: Path  # the file to open
    kind: str  # "runs" or "dataset"
    files: int
    note: str = ""


def build_page(
    targets: Sequence[Path],
    out: Path | None = None,
    *,
    limit: int = 2000,
    gallery: Gallery | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Page:
    """Build the page of one data set, or of one or two runs. The page appears whole; an older one is replaced.

    out: folder of the page; by default `view` inside the first target. limit: samples of a data set that are shown,
    spread evenly. gallery: pictures that a run's system makes for the page. progress: called with the number of
    samples or sheets just done.
    Raises DatasetError if a target is neither, or `out` holds something else.
    """
    datasets = [path for path in targets if (path / DATASET_FILE).is_file()]
    for path in targets:
        if path not in datasets and not is_run(path):
            raise DatasetError(
                f"{path} is neither a run (it has no log.jsonl) nor a data set (it has no {DATASET_FILE})"
            )
    if datasets and len(targets) > 1:
        raise DatasetError("give one data set, or one or two runs")
    if len(targets) > 2:
        raise DatasetError(f"at most two runs can be shown side by side, not {len(targets)}")
    final = out or targets[0] / ("view" if len(targets) == 1 else f"view-{targets[1].resolve().name}")
    with _folder(final) as folder:
        if datasets:
            data = dataset_data(datasets[0], folder, limit, progress)
        else:
            data = runs_data(targets, folder, gallery, progress)
        for file in sorted(STATIC.iterdir()):
            shutil.copyfile(file, folder / file.name)
        data |= {"made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), "version": _version()}
        (folder / "data.js").write_text(to_script(data), "ascii")
        files = sum(1 for _ in folder.iterdir())
    return Page(final / "index.html", str(data["kind"]), files, str(data.get("note", "")))


def to_script(data: Mapping[str, Any]) -> str:
    """Data as a script. ASCII only, so that no encoding and no line separator inside a string can break it."""
    return HEADER + json.dumps(_plain(data), separators=(",", ":"), allow_nan=False) + ";\n"


def _plain(value: Any) -> Any:
    """Plain JSON values; numbers to four digits or so, NaN and infinity as null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


class _folder:
    """A folder that appears under its final name once the block has ended well."""

    def __init__(self, final: Path) -> None:
        self.final = final
        self.partial = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.partial")

    def __enter__(self) -> Path:
        if self.final.exists() and not _is_page(self.final):
            raise DatasetError(f"{self.final} holds something that is no page of `gen view`: choose another --out")
        try:
            self.partial.mkdir(parents=True)
        except OSError as error:
            raise DatasetError(f"cannot write {self.final}: {error.strerror}; choose another --out") from error
        return self.partial

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                if self.final.exists():
                    shutil.rmtree(self.final)
                self.partial.replace(self.final)
        finally:
            shutil.rmtree(self.partial, ignore_errors=True)


def _is_page(path: Path) -> bool:
    """Is this an empty folder, or a page that was made here? Only these are ever replaced."""
    if not path.is_dir():
        return False
    script = path / "data.js"
    if not script.is_file():
        return not any(path.iterdir())
    with script.open("rb") as file:
        return file.read(len(HEADER)) == HEADER.encode()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("headforge")
    except PackageNotFoundError:
        return ""
