"""`gen evaluate`: the metrics of training over a whole data set, or landmarks over a folder of annotated photos.

On a data set: every metric of `trainer.systems.uvnet.metrics` per sample, their means, splits by yaw, occlusion and
knob, the error curves (`trainer.evaluation.plots`), the worst samples with the command that renders each again; on a
data set of clips (`gen render --sequence`), temporal stability, too (`trainer.evaluation.jitter`). On photos: see
`trainer.evaluation.photos`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.errors import DatasetError
from renderer.files import write_atomic
from renderer.format.folder import DATASET_FILE
from renderer.format.sample_format import key_index
from renderer.progress import Progress
from trainer.augmentation.mirror import Averaged, Network
from trainer.augmentation.stages import Samples, plain
from trainer.data.reader import SampleReader
from trainer.data.rerender import render_command
from trainer.data.sources import BadSamples, Streaming
from trainer.evaluation import jitter as temporal
from trainer.evaluation import photos, plots
from trainer.evaluation.plots import Floats
from trainer.systems import registry
from trainer.systems.uvnet import trained
from trainer.systems.uvnet.landmarks import landmark_uv, single_head_landmarks
from trainer.systems.uvnet.metrics import sample_metrics, split_metrics
from trainer.systems.uvnet.views import COLUMNS, views
from trainer.training.breakdown import summary
from trainer.training.config import DataConfig
from trainer.training.run_dir import REPORT_VERSION, finite, rounded
from trainer.training.sheets import write_sheet
from trainer.training.validation import with_records
from trainer.uvmaps import finding, head_pose

WORST: Final = 20
MAX_BAD: Final = DataConfig.max_bad
WORKERS: Final = DataConfig.workers
NO_CLIPS: Final = "the samples are no clips; `gen render --sequence FRAMES` renders some"


@dataclass(frozen=True)
class Evaluation:
    """Per-sample values by metric, (N,), NaN where a metric does not apply; records: params of each sample."""

    dataset: str
    keys: tuple[str, ...]
    values: dict[str, Floats]
    records: tuple[dict[str, Any], ...]
    note: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)  # damaged samples, key: what is wrong
    tracks: temporal.Tracks | None = None  # of a data set of clips

    def worst(self, metric: str = "uv_error", count: int = WORST) -> list[int]:
        """Positions of the largest values, largest first."""
        values = np.nan_to_num(self.values[metric], nan=-math.inf)
        order = np.argsort(-values, kind="stable")
        return [int(i) for i in order[:count] if np.isfinite(values[i])]


# ---------------------------------------------------------------- data sets


def chosen_positions(reader: SampleReader, run: Path | None, everything: bool) -> tuple[npt.NDArray[Any], str]:
    """Positions to evaluate, and a word on them: of the run's own data set only what was held out."""
    every = np.arange(len(reader))
    meta_path = run / "meta.json" if run is not None and run.is_dir() else None
    if everything or meta_path is None or not meta_path.is_file():
        return every, "all samples"

    assert run is not None
    meta = json.loads(meta_path.read_text("utf-8"))
    if meta.get("data", {}).get("tag") != reader.info["tag"]:
        return every, "all samples; the run was trained on another data set"
    held_out = reader.split(registry.run_config(run).data.test_share)[1]
    if not len(held_out):
        raise DatasetError(f"no sample of {reader.path} was held out of the run's training: give --all, or other data")
    return held_out, "the samples held out of the run's training"


@torch.no_grad()
def evaluate_dataset(
    network: Network,
    reader: SampleReader,
    positions: Sequence[int] | npt.NDArray[Any],
    note: str = "",
    batch_size: int = 32,
    progress: Callable[[int], object] = lambda done: None,
    max_bad: int = MAX_BAD,
    workers: int = WORKERS,
) -> Evaluation:
    """Every metric of every sample, without augmentation; `workers` threads decode.

    Damaged samples are left out and reported; raises DatasetError where there are more than `max_bad`.
    """
    points = landmark_uv(reader.info)
    uv68 = None if points is None else torch.from_numpy(points)
    parts: dict[str, list[Floats]] = {}
    keys: list[str] = []
    records: list[dict[str, Any]] = []
    clip_frames, located = reader.dataset.clip_frames, []
    source = Streaming(reader, workers, BadSamples(max_bad, "--max-bad"), torch.device("cpu"))
    every = np.asarray(positions, np.int64)
    groups = [every[start : start + batch_size] for start in range(0, len(every), batch_size)]
    for group, whole in zip(groups, source.batches(groups, epoch=0), strict=True):
        minibatch, found = with_records(whole, source, {})
        if found:
            samples = samples_of(minibatch.images, found)
            prediction = network(samples.input)
            if clip_frames:
                located.append(temporal.locate(prediction, samples, uv68))
            for name, value in sample_metrics(prediction, samples, uv68).items():
                parts.setdefault(name, []).append(value.double().numpy())
            records += [{k: p.get(k, {}) for k in ("key", "index", "knobs", "measured")} for p in found]
            keys += minibatch.keys
        progress(len(group))
    if not records:
        raise DatasetError(f"{reader.path} holds no sample to evaluate")
    values = {name: np.concatenate(part) for name, part in parts.items()}
    tracks = temporal.join(located, [key_index(key) for key in keys], clip_frames) if clip_frames else None
    if tracks is not None:
        values["jitter_px"] = temporal.frame_values(tracks)["jitter_px"]
    name, skipped = reader.path.resolve().name, source.bad.found
    return Evaluation(name, tuple(keys), values, tuple(records), note, skipped, tracks)


def read_samples(reader: SampleReader, positions: Sequence[int], params: Sequence[Mapping[str, Any]]) -> Samples:
    """Samples as the network is tested on them, landmarks included where there is just one head."""
    arrays = [reader.read(p) for p in positions]
    return samples_of({n: torch.from_numpy(np.stack([a[n] for a in arrays])) for n in arrays[0]}, params)


def samples_of(stored: Mapping[str, Tensor], params: Sequence[Mapping[str, Any]]) -> Samples:
    """`read_samples` of what is decoded already, (N, C, H, W) by name."""
    images, uv, mask = (stored[name].float() for name in ("input", "uv", "mask"))
    points = torch.from_numpy(np.stack([single_head_landmarks(p) for p in params]))
    return plain(Samples(images, uv, mask[:, :1], mask.prod(1, keepdim=True), points))


def write_dataset_report(result: Evaluation, network: Network, reader: SampleReader, out: Path) -> dict[str, Any]:
    """evaluation.json, worst.png and the plots; returns what evaluation.json holds."""
    out.mkdir(parents=True, exist_ok=True)
    rows, tiles = [], []
    command = render_command(reader.info)
    for i in result.worst():
        record = result.records[i]
        samples = read_samples(
            reader, [reader.keys.index(result.keys[i])], [reader.params(reader.keys.index(result.keys[i]))]
        )
        with torch.no_grad():
            prediction = network(samples.input)
        tiles.append(views(samples.input[0], prediction[0], samples))
        rows.append(
            {
                "name": f"sample {record['index']}",
                "key": result.keys[i],
                "metrics": {name: rounded(v[i]) for name, v in result.values.items() if np.isfinite(v[i])},
                "knobs": record["knobs"],
                "command": command.replace("{index}", str(record["index"])),
            }
        )
    report: dict[str, Any] = {
        "version": REPORT_VERSION,
        "dataset": result.dataset,
        "note": result.note,
        "samples": len(result.keys),
        "skipped": dict(result.skipped),
        "metrics": {k: rounded(v) for k, v in summary(result.values).items()},
        "splits": split_metrics(result.values, result.records),
        "per_sample": [
            {"key": key, **{name: rounded(v[i]) for name, v in result.values.items()}}
            for i, key in enumerate(result.keys)
        ],
    }
    if tiles:
        write_sheet(np.stack(tiles), out / "worst.png")
        report["worst"] = {"file": "worst.png", "columns": list(COLUMNS), "rows": rows}
    if result.tracks is not None:
        report["jitter"] = temporal.report(result.tracks, reader.dataset.clip_frames)
        plots.plot_jitter(result.tracks, out / "jitter.svg")
    else:
        report["jitter"] = {"left_out": NO_CLIPS}
    plots.plot_curves(result, out / "curves.svg")
    plots.plot_knobs(result, out / "knobs.svg")
    write_atomic(out / "evaluation.json", json.dumps(finite(report), allow_nan=False).encode())
    return report


def table(report: Mapping[str, Any], knobs: Sequence[str] = ("|yaw|", "occlusion share")) -> str:
    """Means, and the splits by yaw and occlusion, as text."""
    lines = [
        f"{report['samples']} samples of {report['dataset']}" + (f" ({report['note']})" if report.get("note") else "")
    ]
    lines += [f"  {name:<16} {value:.4g}" for name, value in report["metrics"].items() if value is not None]
    for knob in knobs:
        rows = report.get("splits", {}).get(knob, [])
        if not rows:
            continue
        names = [n for n in report["metrics"] if any(n in row for row in rows)]
        lines.append(f"{knob:<18}{'samples':>8}" + "".join(f"{n:>16}" for n in names))
        for row in rows:
            cells = "".join(f"{row[n]:>16.4g}" if row.get(n) is not None else f"{'-':>16}" for n in names)
            lines.append(f"  {row['label']:<16}{row['count']:>8}{cells}")
    if skipped := report.get("skipped"):
        lines.append(f"{len(skipped)} damaged samples left out: {', '.join(skipped)}")
    if jitter := report.get("jitter"):
        lines += [f"no jitter: {jitter['left_out']}"] if "left_out" in jitter else temporal.lines(jitter)
    return "\n".join(lines)


# ---------------------------------------------------------------- all together


def evaluate(
    run_or_weights: Path,
    target: Path,
    out: Path | None = None,
    *,
    everything: bool = False,
    mirrored: bool = False,
    limit: int = 0,
    batch_size: int = 32,
    device: str = "cpu",
    max_bad: int = MAX_BAD,
    bar: Progress | None = None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate on a data set or on a folder of annotated photos; returns the report and its folder.

    out: by default `evaluation-NAME` in the run, or beside the weights file. mirrored: of the mean of what the network
    sees in the pictures and in their mirror images; `-mirrored` is added to the folder's name.
    """
    loaded = trained.load(run_or_weights, device)
    network, how = (Averaged(loaded), "; averaged with their mirror images") if mirrored else (loaded, "")
    home = run_or_weights if run_or_weights.is_dir() else run_or_weights.parent
    out = out or home / f"evaluation-{target.resolve().name}{'-mirrored' * mirrored}"
    if not target.is_dir():
        raise DatasetError(f"there is no folder {target}")
    if not (target / DATASET_FILE).is_file():
        report = photos.evaluate_photos(
            network, target, head_pose.landmark_uv(), bar=bar, network_px=finding.trained_px(loaded)
        )
        report["note"] += how
        photos.write_photo_report(report, out)
        return report, out
    reader = SampleReader(target, ("input", "uv", "mask"))
    positions, note = chosen_positions(reader, run_or_weights, everything)
    if limit and len(positions) > limit:
        if frames := reader.dataset.clip_frames:
            clip = np.array([key_index(reader.keys[int(p)]) // frames for p in positions])
            positions = temporal.thinned(positions, clip, limit)
        else:
            positions = positions[np.unique(np.linspace(0, len(positions) - 1, limit).astype(int))]
        note = f"{len(positions)} of {note}"
    if bar is not None:
        bar.total = len(positions)
    progress = bar.update if bar is not None else lambda done: None
    result = evaluate_dataset(network, reader, positions, note + how, batch_size, progress, max_bad)
    return write_dataset_report(result, network, reader, out), out
