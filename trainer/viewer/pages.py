"""Builds the pages of `gen view`: a run, two runs side by side, or a data set, each as one folder that opens from disk.

    PAGE/index.html  viewer.css  *.js      copied from trainer/viewer/static/
         data.js                           everything the page knows: a page opened from disk may not fetch JSON
         config-a.txt ...                  files that the page links to
         sheet-*.png, *.jpg                sprite sheets; the page loads one when it is looked at

No torch here: a data set can be browsed on a machine that only renders. The projections on a run's page are the
exception, and are left out where torch or the run's data set is missing.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.errors import DatasetError, FormatError
from renderer.format.dataset import Dataset, open_dataset
from renderer.format.folder import DATASET_FILE
from renderer.format.manifest import SampleEntry
from renderer.format.shard import ShardReader
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.report import collage
from renderer.strict import to_plain

STATIC: Final = Path(__file__).resolve().parent / "static"
HEADER: Final = "window.HEADFORGE = "  # how data.js begins; by it a page of ours is known
MAX_SHEETS: Final = 900  # per page, so that a folder stays below 1,000 files
MAX_POINTS: Final = 1500  # of one curve
SHEET_SIDE: Final = 10  # tiles along the side of a sheet of the data set page
LAST: Final = 10  # values that a summary figure is the mean of
CURVES: Final = (
    # name, title, unit, linear scale, where a log line holds it
    ("loss", "Loss", "", False, ("loss",)),
    ("uv_error", "UV error", "mean inside the mask, UV units", False, ("metrics", "uv_error")),
    ("mask_iou", "Mask IoU", "", True, ("metrics", "mask_iou")),
    ("occluded_iou", "Occluded mask IoU", "face still visible", True, ("metrics", "occluded_iou")),
    ("landmark_nme", "Landmark NME", "68 points, by the box of the face", False, ("metrics", "landmark_nme")),
    ("samples_per_s", "Speed", "training samples per second", True, ("samples_per_s",)),
    ("lr", "Learning rate", "", False, ("lr",)),
)
KINDS: Final = {"train": "train", "test": "test", "test_occluded": "occluded"}
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Page:
    """What was built."""

    index: Path  # the file to open
    kind: str  # "runs" or "dataset"
    files: int
    note: str = ""


def is_dataset(path: Path) -> bool:
    return (path / DATASET_FILE).is_file()


def is_run(path: Path) -> bool:
    return (path / "log.jsonl").is_file() or (path / "meta.json").is_file()


def build_page(
    targets: Sequence[Path],
    out: Path | None = None,
    *,
    limit: int = 2000,
    projections: bool = True,
    progress: Callable[[int], object] = lambda done: None,
) -> Page:
    """Build the page of one data set, or of one or two runs. The page appears whole; an older one is replaced.

    out: folder of the page; by default `view` inside the first target. limit: samples of a data set that are shown,
    spread evenly. progress: called with the number of samples or sheets just done.
    Raises DatasetError if a target is neither, or `out` holds something else.
    """
    for path in targets:
        if not (is_dataset(path) or is_run(path)):
            raise DatasetError(
                f"{path} is neither a run (it has no log.jsonl) nor a data set (it has no {DATASET_FILE})"
            )
    datasets = [path for path in targets if is_dataset(path)]
    if datasets and len(targets) > 1:
        raise DatasetError("give one data set, or one or two runs")
    if len(targets) > 2:
        raise DatasetError(f"at most two runs can be shown side by side, not {len(targets)}")
    final = out or targets[0] / ("view" if len(targets) == 1 else f"view-{targets[1].resolve().name}")
    with _folder(final) as folder:
        if datasets:
            data = dataset_data(datasets[0], folder, limit, progress)
        else:
            data = runs_data(targets, folder, projections, progress)
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


# ---------------------------------------------------------------- runs


def runs_data(
    runs: Sequence[Path], folder: Path, projections: bool, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Any]:
    """The data of a page of one or two runs; their sheets are put into `folder`."""
    entries, notes = [], []
    for letter, path in zip("ab", runs, strict=False):
        entry = run_entry(path, folder, letter, MAX_SHEETS // len(runs), progress)
        if projections:
            from trainer.viewer import extras

            entry["projections"], note = extras.projection_gallery(path, folder, letter)
            notes += [note] if note else []
        entries.append(entry)
    title = " against ".join(e["id"] for e in entries)
    return {"kind": "runs", "title": title, "runs": entries, "note": "; ".join(notes)}


def run_entry(
    path: Path, folder: Path, letter: str, max_sheets: int, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Any]:
    """One run as the page shows it."""
    meta, status = _json(path / "meta.json"), _json(path / "status.json")
    lines = read_lines(path / "log.jsonl")
    entry: dict[str, Any] = {
        "id": str(meta.get("run_id", path.resolve().name)),
        "figures": figures(meta, status, lines),
        "facts": facts(meta, status, lines),
        "events": [[line.get("epoch"), str(line.get("text", ""))] for line in lines if line.get("kind") == "event"],
        "curves": curves(lines),
        "sheets": sheets(path / "eval", folder, letter, max_sheets, progress),
        "splits": splits(path / "eval" / "splits.json"),
        "worst": worst_gallery(path, folder, letter),
    }
    if (path / "config.yaml").is_file():
        name = f"config-{letter}.txt"  # browsers show .txt and download .yaml
        shutil.copyfile(path / "config.yaml", folder / name)
        entry["facts"].append(["config", "whole config", name])
    return entry


def _json(path: Path) -> dict[str, Any]:
    """A JSON file of a run, {} where it is missing or damaged: a run that is still starting can be looked at, too."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a JSON-lines file; one that is being written, or damaged, is left out."""
    rows: list[dict[str, Any]] = []
    try:
        text = path.read_text("utf-8", errors="replace")
    except OSError:
        return rows
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _get(line: Mapping[str, Any], where: Sequence[str]) -> float | None:
    value: Any = line
    for name in where:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _of_kind(lines: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [line for line in lines if line.get("kind") == kind]


def figures(
    meta: Mapping[str, Any], status: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The numbers on top of the page: progress, and means of the last ten logged values."""

    def last(kind: str, *where: str) -> float | None:
        values = [v for line in _of_kind(lines, kind) if (v := _get(line, where)) is not None][-LAST:]
        return sum(values) / len(values) if values else None

    ten = f"mean of the last {LAST}"
    newest = lines[-1] if lines else {}
    found = [
        ("epochs", status.get("epoch", newest.get("epoch")), ""),
        ("samples seen", status.get("samples_seen", newest.get("samples_seen")), ""),
        ("samples/s", last("train", "samples_per_s"), ten),
        ("train loss", last("train", "loss"), ten),
        ("test loss", last("test", "loss"), ten),
        ("UV error", last("test", "metrics", "uv_error"), f"test, {ten}"),
        ("UV error, occluded", last("test_occluded", "metrics", "uv_error"), f"test, {ten}"),
        ("mask IoU", last("test", "metrics", "mask_iou"), f"test, {ten}"),
        ("landmark NME", last("test", "metrics", "landmark_nme"), f"test, {ten}"),
        ("parameters", meta.get("parameters"), "of the network"),
    ]
    return [{"name": name, "value": value, "note": note} for name, value, note in found if value is not None]


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


def curves(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry per curve and kind of line: x as epochs, samples and hours, and y."""
    ends = _epoch_ends(lines)
    made = []
    for name, title, unit, linear, where in CURVES:
        for kind, label in KINDS.items():
            chosen = [(line, y) for line in _of_kind(lines, kind) if (y := _get(line, where)) is not None]
            if not chosen:
                continue
            columns = [
                [_epochs(line, ends, kind) for line, _ in chosen],
                [float(line.get("samples_seen") or 0) for line, _ in chosen],
                [float(line.get("seconds") or 0) / 3600 for line, _ in chosen],
                [y for _, y in chosen],
            ]
            thinned = dict(zip(("epoch", "samples", "hours", "y"), (thin(c, MAX_POINTS) for c in columns), strict=True))
            made.append({"name": name, "title": title, "unit": unit, "linear": linear, "kind": label, **thinned})
    return made


def _epoch_ends(lines: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Last step of the epochs that end with a test, by its line."""
    return {int(x["epoch"]): int(x["step"]) for x in _of_kind(lines, "test") if "epoch" in x and "step" in x}


def _epochs(line: Mapping[str, Any], ends: Mapping[int, int], kind: str) -> float:
    """Epochs done when the line was written: a whole number for tests, a fraction within an epoch for training."""
    epoch, step = int(line.get("epoch") or 0), float(line.get("step") or 0)
    if kind != "train":
        return float(epoch)
    if not ends:
        return epoch - 0.5
    last = max(ends)
    if step > ends[last] > 0:  # after the last test: at the pace until then, but no further than this epoch
        return min(float(epoch), last + (step - ends[last]) * last / ends[last])
    known = sorted(ends)
    return float(np.interp(step, [0, *(ends[e] for e in known)], [0, *known]))


def thin(values: Sequence[float], most: int) -> list[float]:
    """Means of runs of equal length, at most `most` of them."""
    size = math.ceil(len(values) / most) if values else 1
    return [sum(part) / len(part) for i in range(0, len(values), size) if (part := values[i : i + size])]


def splits(path: Path) -> dict[str, Any]:
    """Tables by knob. Two kinds of test in one file are told apart by their names."""
    raw = _json(path)
    tables: dict[str, Any] = {k: v for k, v in raw.items() if isinstance(v, list)}
    for kind in ("test", "test_occluded"):
        if isinstance(raw.get(kind), Mapping):
            suffix = "" if kind == "test" else " (occluded)"
            tables |= {f"{k}{suffix}": v for k, v in raw[kind].items() if isinstance(v, list)}
    return tables


def sheets(
    source: Path, folder: Path, letter: str, most: int, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Any] | None:
    """The evaluation images of a run, their sheets linked (or copied) into the page. At most `most` epochs."""
    layout = _json(source / "layout.json")
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
        epochs.append({"epoch": record["epoch"], "file": name, "rows": [_row(row) for row in record["rows"]]})
        progress(1)
    return {"columns": columns, "epochs": epochs, "left_out": len(there) - len(picked)}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
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


def worst_gallery(path: Path, folder: Path, letter: str) -> dict[str, Any] | None:
    """The worst samples of the newest `gen evaluate` of a run; None where there is none that can be shown.

    A report may be anybody's: only a file that lies beside it is shown, and what it lacks is left out.
    """
    found = sorted(path.glob("evaluation*/evaluation.json"), key=lambda p: p.stat().st_mtime)
    result = _json(found[-1]) if found else {}
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
        "lead": f"The {len(rows)} largest UV errors of `gen evaluate` on {result.get('dataset', '')}, "
        "each with the command that renders it again, larger.",
        "file": name,
        "columns": [str(column) for column in columns],
        "rows": rows,
        "falling": ["mask_iou", "occluded_iou", "landmarks_used"],
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


# ---------------------------------------------------------------- a data set


def dataset_data(
    path: Path, folder: Path, limit: int = 2000, progress: Callable[[int], object] = lambda done: None
) -> dict[str, Any]:
    """The data of the page that browses a data set; sheets go into `folder`.

    Samples that cannot be read are left out and counted in the page. Raises DatasetError if none can.
    """
    dataset = open_dataset(path)
    picked = list(dataset.spread(limit))
    if not picked:
        raise DatasetError(f"every sample of {path} was skipped while it was rendered; look at its manifests")
    views = _views(picked[0][1])
    writer = SheetWriter(folder, [name for name, _, _ in views])
    keys, indices, records, bad = [], [], [], 0
    for shard, entry in picked:
        progress(1)
        try:
            record, pictures = shard.params(entry), _pictures(shard, entry, views)
        except (FormatError, OSError, ValueError):
            bad += 1
            continue
        writer.add(pictures)
        keys.append(entry.key)
        indices.append(entry.index)
        records.append(record)
    if not keys:
        raise DatasetError(f"no sample of {path} can be read; run `gen verify {path}`")
    files = writer.close()
    info = dataset.info
    knobs = knob_columns(records)
    return {
        "kind": "dataset",
        "title": f"{path.resolve().name} ({info.get('tag', '')})",
        "note": f"{bad} samples cannot be read and are left out" if bad else "",
        "keys": keys,
        "indices": indices,
        "tile": writer.tile,
        "per_sheet": SHEET_SIDE**2,
        "sheet_columns": SHEET_SIDE,
        "views": [{"name": name, "label": label, "files": files[name]} for name, label, _ in views],
        "knobs": knobs,
        "left_out": len(dataset) - len(keys),
        "figures": _dataset_figures(dataset, records, bad),
        "facts": _dataset_facts(dataset),
        "commands": render_command(info),
    }


def _dataset_figures(dataset: Dataset, records: Sequence[Mapping[str, Any]], bad: int) -> list[dict[str, Any]]:
    measured = [r.get("measured", {}) for r in records]

    def mean(name: str) -> float | None:
        values = [m[name] for m in measured if isinstance(m.get(name), (int, float))]
        return sum(values) / len(values) if values else None

    heads = [len(r.get("heads", ())) for r in records]
    size = sum(shard.summary.tar_bytes for shard in dataset.shards)
    rows: list[tuple[str, Any, str]] = [
        ("samples", len(dataset), f"in {len(dataset.shards)} shards, {size / 1e6:,.0f} MB"),
        ("resolution", dataset.info.get("resolution"), "pixels"),
        ("without a head", sum(h == 0 for h in heads), f"of {len(heads)} shown"),
        ("with several heads", sum(h > 1 for h in heads), f"of {len(heads)} shown"),
        ("face share", mean("face_share"), "mean over the image"),
        ("visible share", mean("visible_share"), "mean of the face area"),
        ("skipped", sum(len(s.summary.skipped) for s in dataset.shards), "failed while rendering"),
    ]
    if bad:
        rows.append(("unreadable", bad, "left out; run gen verify"))
    return [{"name": n, "value": v, "note": note} for n, v, note in rows if v is not None]


def _dataset_facts(dataset: Dataset) -> list[list[str]]:
    info = dataset.info
    names = ("name", "tag", "seed", "uv_frame", "uv_precision", "labels", "format_version", "bpy", "assets")
    rows = [[n, json.dumps(info[n]) if isinstance(info[n], (dict, list)) else str(info[n])] for n in names if n in info]
    rows.insert(0, ["folder", str(dataset.path.resolve())])
    if info.get("spec"):
        rows.append(["spec", json.dumps(info["spec"])])
    return rows


def render_command(info: Mapping[str, Any]) -> str:
    """How to render one sample again, four times as large; {index} is filled in by the page."""
    spec, changes = _spec_of(info)
    frames = changes.pop("sequence.frames", 0)
    changes["render.resolution"] = min(1024, 4 * int(info.get("resolution") or 128))
    settings = "".join(f" --set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in changes.items())
    clip = f" --sequence {frames}" if frames else ""
    return f"gen render --spec {shlex.quote(spec)}{clip} --seed {info.get('seed', 0)} --only {{index}}{settings}"


def _spec_of(info: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The spec of a data set as one that comes with headforge, and section.key -> value where it differs from that."""
    name = str(info.get("name", ""))
    base = name if name in spec_names() else "mixed"
    shipped, stored = to_plain(load_spec(base)), info.get("spec") or {}
    changes = {
        f"{section}.{key}": value
        for section, values in stored.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
        if value != shipped.get(section, {}).get(key)
    }
    return base, changes


def _views(sample: SampleEntry) -> list[tuple[str, str, Callable[[dict[str, Any]], Bytes]]]:
    """(image, label, function from the decoded images to a picture) of each view that samples like this one have."""
    views: list[tuple[str, str, Callable[[dict[str, Any]], Bytes]]] = [
        ("input", "input", lambda i: collage.tone_map(i["input"])),
        ("uv", "UV", lambda i: collage.uv_picture(i["uv"])),
        ("mask", "mask", lambda i: collage.mask_picture(i["mask"])),
    ]
    try:
        from trainer.viewer import extras

        views.append(("grid", "UV grid", lambda i: extras.grid_picture(i)))
    except ImportError:  # no torch on this machine
        pass
    stored = {name.removesuffix(".exr") for name in sample.members}
    if "neutral" in stored:
        views.append(("neutral", "neutral", lambda i: collage.tone_map(i["neutral"])))
    if "view2" in stored:
        views.append(("view2", "second view", lambda i: collage.tone_map(i["view2"])))
    if "albedo" in stored:
        views.append(("albedo", "albedo", lambda i: collage.tone_map(i["albedo"])))
    if "normal" in stored:
        views.append(("normal", "normal", lambda i: _bytes(i["normal"].astype(np.float32) * 0.5 + 0.5)))
    return views


def _pictures(
    shard: ShardReader, entry: SampleEntry, views: Sequence[tuple[str, str, Callable[[dict[str, Any]], Bytes]]]
) -> dict[str, Bytes]:
    needed = {"input", "uv", "mask"} | {name for name, _, _ in views if name != "grid"}
    images = {name: shard.image(entry, name) for name in sorted(needed)}
    return {name: make(images) for name, _, make in views}


def _bytes(values: npt.NDArray[Any]) -> Bytes:
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


class SheetWriter:
    """Collects tiles of several views into square JPEG sheets, `SHEET_SIDE` tiles wide."""

    def __init__(self, folder: Path, names: Sequence[str], most_px: int = 128) -> None:
        self.folder, self.most_px = folder, most_px
        self.tile: list[int] = [0, 0]  # width, height
        self._tiles: dict[str, list[Bytes]] = {name: [] for name in names}
        self._files: dict[str, list[str]] = {name: [] for name in names}

    def add(self, pictures: Mapping[str, Bytes]) -> None:
        if not self.tile[0]:
            height, width = next(iter(pictures.values())).shape[:2]
            scale = min(1.0, self.most_px / max(height, width))
            self.tile = [max(1, round(width * scale)), max(1, round(height * scale))]
        for name, picture in pictures.items():
            if picture.shape[:2] != (self.tile[1], self.tile[0]):
                resized = Image.fromarray(picture).resize((self.tile[0], self.tile[1]), Image.Resampling.BOX)
                picture = np.asarray(resized)
            self._tiles[name].append(picture)
        if len(next(iter(self._tiles.values()))) == SHEET_SIDE**2:
            self._flush()

    def _flush(self) -> None:
        for name, tiles in self._tiles.items():
            if not tiles:
                continue
            width, height = self.tile
            rows = math.ceil(len(tiles) / SHEET_SIDE)
            sheet = np.zeros((rows * height, SHEET_SIDE * width, 3), np.uint8)
            for i, tile in enumerate(tiles):
                y, x = i // SHEET_SIDE * height, i % SHEET_SIDE * width
                sheet[y : y + height, x : x + width] = tile
            file = f"sheet-{name}-{len(self._files[name]):04d}.jpg"
            Image.fromarray(sheet).save(self.folder / file, quality=90, subsampling=0)
            self._files[name].append(file)
            tiles.clear()

    def close(self) -> dict[str, list[str]]:
        """Write what is left; the files of each view in order."""
        self._flush()
        return self._files


def knob_columns(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every knob and measurement as a column over the samples, angles in degrees; those that never vary are left out.

    Returns {name, label, unit, kind: "number" or "word", values}; None where a sample has no such knob.
    """
    flat = [
        {
            **{k: v for k, v in r.get("knobs", {}).items()},
            **{f"measured.{k}": v for k, v in r.get("measured", {}).items()},
        }
        for r in records
    ]
    columns = []
    for name in _ordered({k for row in flat for k in row}):
        values = [row.get(name) for row in flat]
        known = [v for v in values if v is not None]
        if len(set(map(str, known))) < 2:
            continue
        numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in known)
        label, unit, factor = _label(name)
        if numeric:
            values = [None if v is None else float(v) * factor for v in values]
        else:
            values = [
                None if v is None else {True: "yes", False: "no"}[v] if isinstance(v, bool) else str(v) for v in values
            ]
        columns.append(
            {"name": name, "label": label, "unit": unit, "kind": "number" if numeric else "word", "values": values}
        )
    return columns


def _ordered(names: set[str]) -> list[str]:
    """What one looks for first comes first."""
    first = (
        "pose.yaw",
        "pose.pitch",
        "pose.roll",
        "pose.",
        "mouth",
        "measured.",
        "camera.",
        "heads",
        "prop",
        "wear.",
        "surface.",
        "identity",
        "expression",
    )
    return sorted(names, key=lambda n: (next((i for i, f in enumerate(first) if n.startswith(f)), len(first)), n))


def _label(name: str) -> tuple[str, str, float]:
    """Shown name, unit and factor of a knob: pose.yaw_rad is shown as pose.yaw in degrees."""
    for ending, unit, factor in (("_rad", "°", 180 / math.pi), ("_mm", "mm", 1.0), ("_m", "m", 1.0)):
        stem, dot, axis = name.rpartition(".")
        if dot and len(axis) == 1 and stem.endswith(ending):
            return f"{stem.removesuffix(ending)}.{axis}", unit, factor
        if name.endswith(ending):
            return name.removesuffix(ending), unit, factor
    return name, "", 1.0
