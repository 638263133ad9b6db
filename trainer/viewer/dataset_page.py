"""The data of the page that browses a data set: tiles of every sample, knobs to filter by, facts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from renderer.errors import DatasetError, FormatError
from renderer.format.dataset import Dataset, open_dataset
from renderer.format.manifest import SampleEntry
from renderer.format.sample_format import frame_size
from renderer.format.shard import ShardReader
from renderer.report import collage
from trainer.data.rerender import render_command
from trainer.viewer.tiles import SHEET_SIDE, Bytes, TileSheets


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
    writer = TileSheets(folder, [name for name, _, _ in views])
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
        ("resolution", _size(dataset.info), "pixels"),
        ("without a head", sum(h == 0 for h in heads), f"of {len(heads)} shown"),
        ("with several heads", sum(h > 1 for h in heads), f"of {len(heads)} shown"),
        ("face share", mean("face_share"), "mean over the image"),
        ("visible share", mean("visible_share"), "mean of the face area"),
        ("skipped", sum(len(s.summary.skipped) for s in dataset.shards), "failed while rendering"),
    ]
    if bad:
        rows.append(("unreadable", bad, "left out; run gen verify"))
    return [{"name": n, "value": v, "note": note} for n, v, note in rows if v is not None]


def _size(info: Mapping[str, Any]) -> int | str | None:
    """Side of the images, or width x height."""
    width, height = frame_size(info.get("resolution") or (0, 0))
    return width or None if width == height else f"{width} x {height}"


def _dataset_facts(dataset: Dataset) -> list[list[str]]:
    info = dataset.info
    names = ("name", "tag", "seed", "uv_frame", "uv_precision", "labels", "format_version", "bpy", "assets")
    rows = [[n, json.dumps(info[n]) if isinstance(info[n], (dict, list)) else str(info[n])] for n in names if n in info]
    rows.insert(0, ["folder", str(dataset.path.resolve())])
    if info.get("spec"):
        rows.append(["spec", json.dumps(info["spec"])])
    return rows


def _views(sample: SampleEntry) -> list[tuple[str, str, Callable[[dict[str, Any]], Bytes]]]:
    """(image, label, function from the decoded images to a picture) of each view that samples like this one have."""
    views: list[tuple[str, str, Callable[[dict[str, Any]], Bytes]]] = [
        ("input", "input", lambda i: collage.tone_map(i["input"])),
    ]
    stored = {name.removesuffix(".exr") for name in sample.members}
    if "uv" not in stored:  # own footage
        return views
    views += [
        ("uv", "UV", lambda i: collage.uv_picture(i["uv"])),
        ("mask", "mask", lambda i: collage.mask_picture(i["mask"])),
    ]
    try:
        from trainer.uvmaps.grid import sample_grid

        views.append(("grid", "UV grid", lambda i: sample_grid(collage.tone_map(i["input"]), i["uv"], i["mask"])))
    except ImportError:  # no torch on this machine
        pass
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
    needed = {name for name, _, _ in views if name != "grid"}  # which is drawn from the triplet
    images = {name: shard.image(entry, name) for name in sorted(needed)}
    return {name: make(images) for name, _, make in views}


def _bytes(values: npt.NDArray[Any]) -> Bytes:
    return (np.clip(values, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


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
