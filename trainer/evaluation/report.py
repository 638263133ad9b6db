"""`gen evaluate`: the metrics of a system over a whole data set, or what it does on annotated photos.

On a data set: every metric of the system per sample, their means, tables by knob, error curves, the worst samples with
the command that renders each again; on a data set of clips (`gen render --sequence`), temporal stability of UV maps,
too (`trainer.evaluation.jitter`); of frontal faces, how much they look like whom they show
(`trainer.evaluation.frontal`). On photos, UV-nets and position maps: see `trainer.evaluation.photos`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from renderer.errors import DatasetError, SpecError
from renderer.files import write_atomic
from renderer.format.folder import DATASET_FILE
from renderer.progress import Progress
from trainer.augmentation.mirror import Network
from trainer.data.rerender import render_command
from trainer.evaluation import frontal, jitter, plots
from trainer.evaluation.photos import report as photos
from trainer.evaluation.photos.measure import Measured
from trainer.evaluation.photos.measure import evaluate as measure_photos
from trainer.evaluation.results import HELD_OUT, MAX_BAD, Results, Work, at_work, measure, positions_to_measure, thinned
from trainer.positions.drawn import DrawnMaps
from trainer.systems.position_map import trained as mapping
from trainer.systems.runs import system_of
from trainer.systems.uvnet import trained
from trainer.systems.uvnet.system import UVTask
from trainer.training.breakdown import summary
from trainer.training.run_dir import REPORT_VERSION, finite, rounded
from trainer.training.sheets import single, write_sheet
from trainer.training.system import Metric, Tiles
from trainer.uvmaps import head_pose
from trainer.uvmaps.finding import Options, options_of
from trainer.weights import SAFETENSORS

NO_CLIPS: Final = "the samples are no clips; `gen render --sequence FRAMES` renders some"


@dataclass(frozen=True)
class Written:
    """A report. values: what evaluation.json holds. text: the same in short, for the terminal."""

    folder: Path
    values: dict[str, Any]
    text: str


def write_report(
    weights: Path,
    target: Path,
    out: Path | None = None,
    *,
    everything: bool = False,
    mirrored: bool = False,
    limit: int = 0,
    batch_size: int = 32,
    device: str = "cpu",
    max_bad: int = MAX_BAD,
    min_agreement: float | None = None,
    occluders: bool = False,
    motion: bool = False,
    finder: Path | None = None,
    bar: Progress | None = None,
) -> Written:
    """Evaluate the weights of a run, or of a file, on a data set or on a folder of annotated photos.

    out: by default `evaluation-NAME` in the run, or beside the weights file. mirrored: of the mean of what the network
    sees in the pictures and in their mirror images; `-mirrored` is added to the folder's name. min_agreement,
    occluders, motion: of photos alone, see `trainer.uvmaps.finding.options_of` and the files of these names in
    `trainer.evaluation.photos`. finder: UV-net that finds faces for position maps; by default the one that comes with
    headforge.
    """
    if not target.is_dir():
        raise DatasetError(f"there is no folder {target}")
    home = weights if weights.is_dir() else weights.parent
    out = out or home / f"evaluation-{target.resolve().name}{'-mirrored' * mirrored}"
    how = "; averaged with their mirror images" if mirrored else ""
    if not (target / DATASET_FILE).is_file():
        network, found_by = _for_photos(weights, finder, device)
        options = options_of(found_by, mirrored, min_agreement)
        return _of_photos(network, target, out, options, occluders, motion, bar)
    if finder is not None:
        raise SpecError(f"--finder finds the faces of photos; {target} is a data set, whose faces are known")
    work = at_work(weights, target, device, mirrored)
    positions, note = positions_to_measure(work.reader, weights, everything)
    if limit and len(positions) > limit:
        positions = thinned(work.reader, positions, limit)
        note = f"{len(positions)} of {note}"
    if bar is not None:
        bar.total = len(positions)
    progress = bar.update if bar is not None else lambda done: None
    results = measure(work, positions, note + how, batch_size=batch_size, max_bad=max_bad, progress=progress)
    more = {"frontal": _frontal(work, weights, positions)} if work.system.name == "frontal" else {}
    report = write_dataset_report(results, work, out, more)
    return Written(out, report, table(report, work.system.tables, work.system.metrics))


def _for_photos(weights: Path, finder: Path | None, device: str) -> tuple[Measured, Network]:
    """What is measured, and the UV-net that finds faces: the same, but for position maps."""
    if system_of(weights) != "position_map":
        if finder is not None:
            raise SpecError(f"--finder finds faces for position maps; {weights} is of another system")
        network = trained.load(weights, device)
        return network, network
    maps, found_by = mapping.load(weights, device), trained.load(finder or SAFETENSORS, device)
    return DrawnMaps(maps, maps.side, maps.window, found_by, head_pose.pack_head()), found_by


def _of_photos(
    network: Measured, folder: Path, out: Path, options: Options, occluders: bool, motion: bool, bar: Progress | None
) -> Written:
    landmark_uv = head_pose.landmark_uv()
    rows = measure_photos(
        network, folder, landmark_uv.double().numpy(), options, occluded=occluders, moving=motion, bar=bar
    )
    drawn = "meshes drawn as UV maps, " if isinstance(network, DrawnMaps) else ""
    how = f"{drawn}faces found as `gen apply` does, --min-agreement {options.min_agreement:g}"
    how += ", --mirrored" * options.mirrored
    values = photos.values(rows, folder.resolve().name, f"{photos.NOTE}; {how}")
    photos.write(rows, values, out, network, options, bar)
    return Written(out, values, photos.text(values))


def _frontal(work: Work, weights: Path, positions: npt.NDArray[Any]) -> dict[str, Any]:
    """What reports of frontal faces have beside metrics; naive answers come from what the run was trained on."""
    held_out, note = positions_to_measure(work.reader, weights, everything=False)
    known = note == HELD_OUT
    training = np.setdiff1d(np.arange(len(work.reader)), held_out) if known else np.arange(0)
    return frontal.add(work, np.sort(positions), training)


def write_dataset_report(
    results: Results, work: Work, out: Path, more: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Any]:
    """evaluation.json, worst.png and the plots; returns what evaluation.json holds. more: of a system's own."""
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "version": REPORT_VERSION,
        "dataset": results.dataset,
        "note": results.note,
        "samples": len(results.keys),
        "skipped": dict(results.skipped),
        "metrics": {k: rounded(v) for k, v in summary(results.values).items()},
        "splits": work.task.tables(results.values, results.records, results.given),
        **more,
        "per_sample": [
            {"key": key, **{name: rounded(v[i]) for name, v in results.values.items()}}
            for i, key in enumerate(results.keys)
        ],
    }
    if worst := results.worst():
        rows, tiles = _worst(worst, results, work)
        write_sheet(np.stack(tiles), out / "worst.png")
        report["worst"] = {"file": "worst.png", "columns": list(work.system.columns), "rows": rows}
    if results.tracks is not None:
        report["jitter"] = jitter.report(results.tracks, work.reader.dataset.clip_frames)
        plots.plot_jitter(results.tracks, out / "jitter.svg")
    elif isinstance(work.task, UVTask):  # other systems have tables of their own for it
        report["jitter"] = {"left_out": NO_CLIPS}
    plots.plot_curves(results, out / "curves.svg")
    plots.plot_knobs(results, out / "knobs.svg")
    write_atomic(out / "evaluation.json", json.dumps(finite(report), allow_nan=False).encode())
    return report


@torch.no_grad()
def _worst(worst: Sequence[int], results: Results, work: Work) -> tuple[list[dict[str, Any]], list[Tiles]]:
    """Rows and tiles of these samples."""
    rows, tiles = [], []
    reader, command = work.reader, render_command(work.reader.info)
    for i in worst:
        record, position = results.records[i], reader.keys.index(results.keys[i])
        sample, test = single(reader, position, work.device), work.task.tests()[0]
        views, _ = work.task.views(work.modules, sample, reader.params(position), test)
        tiles.append(views)
        rows.append(
            {
                "name": f"sample {record['index']}",
                "key": results.keys[i],
                "metrics": {name: rounded(v[i]) for name, v in results.values.items() if np.isfinite(v[i])},
                "knobs": record["knobs"],
                "command": command.replace("{index}", str(record["index"])),
            }
        )
    return rows, tiles


def table(report: Mapping[str, Any], tables: Sequence[str] = (), metrics: Sequence[Metric] = ()) -> str:
    """Means, and those tables of the splits, as text. metrics: what is said of them stands beside the means."""
    about = {metric.name: metric.about for metric in metrics}
    lines = [
        f"{report['samples']} samples of {report['dataset']}" + (f" ({report['note']})" if report.get("note") else "")
    ]
    lines += [
        f"  {name:<16} {value:<9.4g} {about.get(name, '')}".rstrip()
        for name, value in report["metrics"].items()
        if value is not None
    ]
    for name in tables:
        lines += _rows(name, report.get("splits", {}).get(name, []), report["metrics"])
    if "frontal" in report:
        lines += frontal.lines(report["frontal"])
    if skipped := report.get("skipped"):
        lines.append(f"{len(skipped)} damaged samples left out: {', '.join(skipped)}")
    if found := report.get("jitter"):
        lines += [f"no jitter: {found['left_out']}"] if "left_out" in found else jitter.lines(found)
    return "\n".join(lines)


def _rows(title: str, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]) -> list[str]:
    known = [*metrics, *dict.fromkeys(n for row in rows for n in row if n not in (*metrics, "label", "count"))]
    widths = {n: max(10, len(n) + 2) for n in known if any(n in row for row in rows)}
    lines = [f"{title:<18}{'samples':>8}" + "".join(f"{n:>{width}}" for n, width in widths.items())] if rows else []
    for row in rows:
        cells = "".join(
            f"{row[n]:>{width}.4g}" if row.get(n) is not None else f"{'-':>{width}}" for n, width in widths.items()
        )
        lines.append(f"  {row['label']:<16}{row['count']:>8}{cells}")
    return lines
