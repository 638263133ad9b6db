"""`gen evaluate`: the metrics of training over a whole data set, or landmarks over a folder of annotated photos.

On a data set: every metric of `trainer.metrics` per sample, their means, splits by yaw, occlusion and knob, the error
curves, the worst samples with the command that renders each again; on a data set of clips (`gen render --sequence`),
temporal stability, too (`trainer.temporal`). On photos: the 68 landmarks found through the UV map of the face that lies
nearest to the annotation.

Annotations of photos, beside each picture NAME.jpg: NAME.pts (300-W; its pixels count from 1), NAME.mat (AFLW2000-3D,
`pt3d_68`), or one `landmarks.json` for the folder: {"NAME.jpg": [[x, y] x 68], ...} in pixels, (0, 0) at the top left
corner of the picture, the subject's right first (iBUG order); null for a point that is not known.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from renderer.archive import write_atomic
from renderer.errors import DatasetError, FormatError
from renderer.sample_format import key_index
from trainer import apply, temporal, visualise
from trainer.dataset import SampleReader
from trainer.metrics import sample_metrics, split_metrics, summary
from trainer.mirrored import Averaged, Network

VERSION: Final = 1
WORST: Final = 20
NO_CLIPS: Final = "the samples are no clips; `gen render --sequence FRAMES` renders some"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Per-sample values by metric, (N,), NaN where a metric does not apply; records: params of each sample."""

    dataset: str
    keys: tuple[str, ...]
    values: dict[str, Floats]
    records: tuple[dict[str, Any], ...]
    note: str = ""
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
    from trainer.run_dir import RunDir

    assert run is not None
    meta = json.loads(meta_path.read_text("utf-8"))
    if meta.get("data", {}).get("tag") != reader.info["tag"]:
        return every, "all samples; the run was trained on another data set"
    held_out = reader.split(RunDir(run).load_config().data.test_share)[1]
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
) -> Evaluation:
    """Every metric of every sample, without augmentation."""
    landmark_uv = reader.landmark_uv()
    uv68 = None if landmark_uv is None else torch.from_numpy(landmark_uv)
    parts: dict[str, list[Floats]] = {}
    records: list[dict[str, Any]] = []
    clip_frames, located = reader.dataset.clip_frames, []
    for start in range(0, len(positions), batch_size):
        chosen = [int(p) for p in positions[start : start + batch_size]]
        params = [reader.params(p) for p in chosen]
        samples = read_samples(reader, chosen, params)
        prediction = network(samples.input)
        if clip_frames:
            located.append(temporal.locate(prediction, samples, uv68))
        for name, value in sample_metrics(prediction, samples, uv68).items():
            parts.setdefault(name, []).append(value.double().numpy())
        records += [{k: p.get(k, {}) for k in ("key", "index", "knobs", "measured")} for p in params]
        progress(len(chosen))
    if not records:
        raise DatasetError(f"{reader.path} holds no sample to evaluate")
    keys = tuple(reader.keys[int(p)] for p in positions)
    values = {name: np.concatenate(part) for name, part in parts.items()}
    tracks = temporal.join(located, [key_index(key) for key in keys], clip_frames) if clip_frames else None
    if tracks is not None:
        values["jitter_px"] = temporal.frame_values(tracks)["jitter_px"]
    return Evaluation(reader.path.resolve().name, keys, values, tuple(records), note, tracks)


def read_samples(reader: SampleReader, positions: Sequence[int], params: Sequence[Mapping[str, Any]]) -> Any:
    """Samples as the network is tested on them, landmarks included where there is just one head."""
    from trainer.augment import Samples, plain
    from trainer.task import _single_head_landmarks

    arrays = [reader.read(p) for p in positions]
    images, uv, mask = (torch.from_numpy(np.stack([a[n] for a in arrays])).float() for n in ("input", "uv", "mask"))
    points = torch.from_numpy(np.stack([_single_head_landmarks(dict(p)) for p in params]))
    return plain(Samples(images, uv, mask[:, :1], mask.prod(1, keepdim=True), points))


def write_dataset_report(result: Evaluation, network: Network, reader: SampleReader, out: Path) -> dict[str, Any]:
    """evaluation.json, worst.png and the plots; returns what evaluation.json holds."""
    from trainer import task
    from trainer.sheets import write_sheet
    from trainer.view import _render_command

    out.mkdir(parents=True, exist_ok=True)
    where = {key: i for i, key in enumerate(reader.keys)}
    rows, tiles = [], []
    command = _render_command(reader.info)
    for i in result.worst():
        record = result.records[i]
        samples = read_samples(reader, [where[result.keys[i]]], [reader.params(where[result.keys[i]])])
        with torch.no_grad():
            prediction = network(samples.input)
        tiles.append(task.views(samples.input[0], prediction[0], samples))
        rows.append(
            {
                "name": f"sample {record['index']}",
                "key": result.keys[i],
                "metrics": {name: _number(v[i]) for name, v in result.values.items() if np.isfinite(v[i])},
                "knobs": record["knobs"],
                "command": command.replace("{index}", str(record["index"])),
            }
        )
    report: dict[str, Any] = {
        "version": VERSION,
        "dataset": result.dataset,
        "note": result.note,
        "samples": len(result.keys),
        "metrics": {k: _number(v) for k, v in summary(result.values).items()},
        "splits": split_metrics(result.values, result.records),
        "per_sample": [
            {"key": key, **{name: _number(v[i]) for name, v in result.values.items()}}
            for i, key in enumerate(result.keys)
        ],
    }
    if tiles:
        write_sheet(np.stack(tiles), out / "worst.png")
        report["worst"] = {"file": "worst.png", "columns": list(task.COLUMNS), "rows": rows}
    if result.tracks is not None:
        report["jitter"] = temporal.report(result.tracks, reader.dataset.clip_frames)
        plot_jitter(result.tracks, out / "jitter.svg")
    else:
        report["jitter"] = {"left_out": NO_CLIPS}
    plot_curves(result, out / "curves.svg")
    plot_knobs(result, out / "knobs.svg")
    write_atomic(out / "evaluation.json", json.dumps(_plain(report), allow_nan=False).encode())
    return report


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    from trainer.run_dir import finite

    return finite(value)


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
    if jitter := report.get("jitter"):
        lines += [f"no jitter: {jitter['left_out']}"] if "left_out" in jitter else temporal.lines(jitter)
    return "\n".join(lines)


# ---------------------------------------------------------------- plots


def error_curve(errors: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Cumulative error curve: errors in rising order, and the share of all samples (NaN never arrives) up to each."""
    finite = np.sort(errors[np.isfinite(errors)]).astype(np.float64)
    return finite, np.arange(1, len(finite) + 1) / max(1, len(errors))


def _figure(columns: int, rows: int) -> tuple[Any, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _save(figure: Any, path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "headforge"}):
        figure.savefig(path, metadata={"Date": None})


def plot_curves(result: Evaluation, path: Path) -> None:
    """Cumulative error curves, and the UV error against yaw."""
    figure, axes = _figure(3, 1)
    for axis, metric, label in ((axes[0][0], "uv_error", "UV error"), (axes[0][1], "landmark_nme", "landmark NME")):
        if metric in result.values and np.isfinite(result.values[metric]).any():
            known = result.values[metric][np.isfinite(result.values[metric])]
            x, y = error_curve(known)
            axis.plot(x, 100 * y)
            axis.set(xlim=(0, float(np.quantile(x, 0.98)) * 1.05 or 1), ylim=(0, 100))
        axis.set(xlabel=label, ylabel="samples, %")
        axis.grid(alpha=0.3)
    yaw = np.degrees([float(r["knobs"].get("pose.yaw_rad", math.nan)) for r in result.records])
    _scatter(axes[0][2], yaw, result.values["uv_error"], "yaw, degrees")
    _save(figure, path)


def _scatter(axis: Any, x: npt.NDArray[Any], y: npt.NDArray[Any], label: str) -> None:
    """Points, and the mean in ten groups of equal count."""
    ok = np.isfinite(x) & np.isfinite(y)
    axis.plot(x[ok], y[ok], ".", ms=2, alpha=0.35)
    order = np.argsort(x[ok])
    groups = [g for g in np.array_split(order, 10) if len(g)]
    if len(order) >= 20:
        axis.plot([x[ok][g].mean() for g in groups], [y[ok][g].mean() for g in groups], "o-", ms=3)
    axis.set(xlabel=label, ylabel="UV error", ylim=(0, None))
    axis.grid(alpha=0.3)


def plot_jitter(tracks: temporal.Tracks, path: Path, most: int = 12) -> None:
    """Displacement of points over time, per clip; of at most so many clips, spread evenly."""
    count = min(most, len(np.unique(tracks.clip)))
    columns = min(3, count)
    figure, axes = _figure(columns, math.ceil(count / columns))
    temporal.plot([axis for row in axes for axis in row], tracks)
    _save(figure, path)


def plot_knobs(result: Evaluation, path: Path, most: int = 24) -> None:
    """UV error against each numeric knob, those with the strongest rank correlation first."""
    from scipy.stats import spearmanr

    error = result.values["uv_error"]
    found: list[tuple[float, str, Floats]] = []
    for knob in sorted({k for r in result.records for k in r["knobs"]}):
        column = [r["knobs"].get(knob) for r in result.records]
        x = np.array(
            [float(c) if isinstance(c, (int, float)) and not isinstance(c, bool) else math.nan for c in column]
        )
        ok = np.isfinite(x) & np.isfinite(error)
        if ok.sum() >= 10 and len(np.unique(x[ok])) > 4:
            rank = float(spearmanr(x[ok], error[ok]).statistic)
            found.append((abs(rank) if math.isfinite(rank) else 0.0, knob, x))
    found = sorted(found, key=lambda f: (-f[0], f[1]))[:most]
    figure, axes = _figure(4, max(1, math.ceil(len(found) / 4)))
    flat = [axis for row in axes for axis in row]
    for axis, (rank, knob, x) in zip(flat, found, strict=False):
        _scatter(axis, x, error, f"{knob} (|rank correlation| {rank:.2f})")
    for axis in flat[len(found) :]:
        axis.axis("off")
    _save(figure, path)


# ---------------------------------------------------------------- annotated photos


def read_pts(path: Path) -> Floats:
    """(68, 2) of a 300-W .pts file, moved so that the top left corner of the picture is (0, 0)."""
    try:
        body = path.read_text("ascii").partition("{")[2].partition("}")[0]
        points = np.array([[float(v) for v in line.split()] for line in body.strip().splitlines()])
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} is no .pts file: {error}") from error
    return _checked(points, path) - 0.5  # its pixel (1, 1) has its centre at (0.5, 0.5) here


def read_mat(path: Path) -> Floats:
    """(68, 2) of an AFLW2000-3D .mat file."""
    from scipy.io import loadmat

    try:
        points = np.asarray(loadmat(path)["pt3d_68"], np.float64)[:2].T
    except Exception as error:  # scipy raises many kinds on damaged files
        raise FormatError(f"{path} is no AFLW2000-3D file with pt3d_68: {error}") from error
    return _checked(points, path) - 0.5


def _checked(points: Floats, path: Path) -> Floats:
    if points.shape != (68, 2):
        raise FormatError(f"{path} holds points of shape {points.shape}, not (68, 2)")
    return points


def read_annotations(folder: Path) -> dict[Path, Floats]:
    """Photos of a folder with their 68 points. Raises DatasetError where none is annotated, FormatError on bad ones."""
    found: dict[Path, Floats] = {}
    listed = folder / "landmarks.json"
    if listed.is_file():
        try:
            raw = json.loads(listed.read_text("utf-8"))
            for name, points in raw.items():
                array = np.array([[math.nan, math.nan] if p is None else p for p in points], np.float64)
                found[folder / name] = _checked(array, listed)
        except (ValueError, TypeError, AttributeError) as error:
            raise FormatError(f"{listed} is not a mapping of file names to 68 points: {error}") from error
        if missing := [p.name for p in found if not p.is_file()]:
            raise DatasetError(f"{listed} names {', '.join(missing[:5])}, which {folder} does not hold")
    for photo in sorted(p for p in folder.iterdir() if p.suffix.lower() in apply.PHOTO_SUFFIXES and p not in found):
        for suffix, read in ((".pts", read_pts), (".mat", read_mat)):
            if photo.with_suffix(suffix).is_file():
                found[photo] = read(photo.with_suffix(suffix))
                break
    if not found:
        raise DatasetError(f"{folder} is no data set, and holds no photo with NAME.pts, NAME.mat or landmarks.json")
    return found


def photo_nme(found: npt.NDArray[Any], truth: Floats) -> float:
    """Mean distance over the points found and known, by sqrt(width x height) of the box around the known ones."""
    known = np.isfinite(truth).all(1)
    both = known & np.isfinite(found).all(1)
    if both.sum() < 5:
        return math.nan
    scale = math.sqrt(float(np.prod(truth[known].max(0) - truth[known].min(0))))
    return float(np.linalg.norm(found[both] - truth[both], axis=1).mean() / max(scale, 1.0))


def evaluate_photos(
    network: Network,
    folder: Path,
    landmark_uv: torch.Tensor,
    max_side: int = 2048,
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """NME of each photo. A photo in which no face overlaps the annotation counts as not found, not as zero."""
    rows: list[dict[str, Any]] = []
    every = apply.Options(min_agreement=0)  # the annotation tells which is the face
    for photo, points in read_annotations(folder).items():
        picture = apply.to_tensor(apply.read_picture(photo, 10**6))
        scale = min(1.0, max_side / max(picture.shape[2:]))
        if scale < 1:
            size = [max(1, round(s * scale)) for s in picture.shape[2:]]
            picture = torch.nn.functional.interpolate(picture, size=size, mode="area")
        truth = points * scale
        box = (*np.nanmin(truth, 0), *np.nanmax(truth, 0))
        faces = sorted(apply.find_faces(network, picture, every), key=lambda f: -apply._overlap(f.box, box))
        nme, used = math.nan, 0
        if faces and apply._overlap(faces[0].box, box) > 0.3:
            face = faces[0]
            found = visualise.find_landmarks(face.uv, face.mask, landmark_uv)[0].numpy()
            found = found + np.array([face.window.x, face.window.y])
            nme, used = photo_nme(found, truth), int((np.isfinite(found) & np.isfinite(truth)).all(1).sum())
        rows.append(
            {"photo": photo.name, "landmark_nme": _number(nme), "landmarks_used": used / 68, "faces": len(faces)}
        )
        progress(1)
    values = [r["landmark_nme"] for r in rows if r["landmark_nme"] is not None]
    metrics = {
        "landmark_nme": float(np.mean(values)) if values else None,
        "landmark_nme_median": float(np.median(values)) if values else None,
        "found_share": len(values) / len(rows),
        "landmarks_used": float(np.mean([r["landmarks_used"] for r in rows])),
    }
    note = "NME: mean distance / sqrt(width x height) of the box around the annotated points, over the points found"
    rows.sort(key=lambda r: -(r["landmark_nme"] if r["landmark_nme"] is not None else math.inf))
    return {
        "version": VERSION,
        "dataset": folder.resolve().name,
        "note": note,
        "samples": len(rows),
        "metrics": metrics,
        "per_sample": rows,
    }


def write_photo_report(report: Mapping[str, Any], out: Path) -> None:
    """evaluation.json and the cumulative error curve."""
    out.mkdir(parents=True, exist_ok=True)
    errors = np.array([math.nan if r["landmark_nme"] is None else r["landmark_nme"] for r in report["per_sample"]])
    figure, axes = _figure(1, 1)
    x, y = error_curve(errors)
    axes[0][0].plot(x, 100 * y)
    axes[0][0].set(xlabel="landmark NME", ylabel="photos, % of all", ylim=(0, 100), xlim=(0, None))
    axes[0][0].grid(alpha=0.3)
    _save(figure, out / "curves.svg")
    write_atomic(out / "evaluation.json", json.dumps(_plain(report), allow_nan=False).encode())


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
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[dict[str, Any], Path]:
    """Evaluate on a data set or on a folder of annotated photos; returns the report and its folder.

    out: by default `evaluation-NAME` in the run, or beside the weights file. mirrored: of the mean of what the network
    sees in the pictures and in their mirror images; `-mirrored` is added to the folder's name.
    """
    from trainer.view import is_dataset

    loaded = apply.load(run_or_weights, device)
    network, how = (Averaged(loaded), "; averaged with their mirror images") if mirrored else (loaded, "")
    home = run_or_weights if run_or_weights.is_dir() else run_or_weights.parent
    out = out or home / f"evaluation-{target.resolve().name}{'-mirrored' * mirrored}"
    if not target.is_dir():
        raise DatasetError(f"there is no folder {target}")
    if not is_dataset(target):
        report = evaluate_photos(network, target, apply.landmark_uv(), progress=progress)
        report["note"] += how
        write_photo_report(report, out)
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
    result = evaluate_dataset(network, reader, positions, note + how, batch_size, progress)
    return write_dataset_report(result, network, reader, out), out
