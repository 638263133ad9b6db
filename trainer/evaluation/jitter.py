"""Temporal stability on rendered clips: do points of the face keep still under the network, beyond the head's motion?

Points of the UV grid are located in every frame through the predicted and through the true UV map
(`points.find_points`). Jitter is the second difference in time: it forgives an error that stays, or that grows
steadily, and punishes one that trembles. Divided by sqrt(6) it is the size of the error itself where errors of
neighbouring frames are independent.

Frames with more than one head are left out: a UV cannot tell heads apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.format.sample_format import key_index
from trainer.augmentation.samples import Samples
from trainer.data.minibatch import Minibatch
from trainer.data.reader import SampleReader
from trainer.systems.uvnet.system import UVTask
from trainer.training.system import Modules, Record, Task
from trainer.uvmaps.points import find_points, regular_points

GRID: Final = 20  # points: the inner crossings of a 20 x 20 UV grid
SECOND_DIFFERENCE: Final = math.sqrt(1 + 4 + 1)  # spread of a(t-1) - 2 a(t) + a(t+1) for independent a of spread 1
DEFINITIONS: Final = {
    "jitter_px": "of the network: RMS, over the grid points found in three consecutive frames, of the second difference"
    " in time of (predicted - true position) in pixels, divided by sqrt(6); mean over frames",
    "jitter_truth_px": "the same of the true position: what the head's own motion contributes",
    "jitter_floor_px": "the same of (68 landmarks found through the true UV map - projected by the renderer): what half"
    " floats and the search for points contribute",
    "position_error_px": "RMS over the points found in both of the distance between predicted and true position;"
    " equals the jitter where errors of neighbouring frames are independent; mean over frames",
    "found_share": "of the grid points that the true UV map shows, how many the predicted one shows; mean over frames",
}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tracks:
    """Points in every frame, pixels (x, y), NaN where not found.

    clip, frame: (N,) int. predicted, true: (N, K, 2). floor: (N, 68, 2), landmarks as found less as projected.
    """

    clip: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]
    predicted: Floats
    true: Floats
    floor: Floats


class Follower:
    """Locates points while a UV-net is measured: its predictions are looked at as they pass by."""

    def __init__(self, task: UVTask, clip_frames: int) -> None:
        self.task, self.clip_frames = task, clip_frames
        self._prediction: Tensor | None = None
        self._parts: list[tuple[Floats, Floats, Floats]] = []

    @classmethod
    def of(cls, task: Task, reader: SampleReader) -> Follower | None:
        """None where there are no clips, or no UV maps."""
        frames = reader.dataset.clip_frames
        return cls(task, frames) if frames and isinstance(task, UVTask) else None

    def watched(self, modules: Modules) -> Modules:
        """The modules, of which the network's last prediction is kept."""

        def network(pictures: Tensor) -> Tensor:
            self._prediction = modules["network"](pictures)
            return self._prediction

        return {**modules, "network": network}

    def locate(self, batch: Minibatch, records: Sequence[Record]) -> None:
        """Points of the minibatch that was measured last."""
        assert self._prediction is not None
        samples = self.task.test_samples(batch, occluded=False)
        points = self.task.landmarks(batch, records, samples.size).to(samples.input.device)
        self._parts.append(locate(self._prediction, replace(samples, landmarks=points), self.task.landmark_uv))

    def tracks(self, keys: Sequence[str]) -> Tracks:
        """Of all minibatches; keys: of their samples."""
        return join(self._parts, [key_index(key) for key in keys], self.clip_frames)


def locate(prediction: Tensor, samples: Samples, landmark_uv: Tensor | None) -> tuple[Floats, Floats, Floats]:
    """Points of a minibatch as `Tracks` holds them: predicted, true, floor. prediction: (N, 4, H, W).

    samples: with landmarks, which are NaN where there is not exactly one head.
    """
    assert samples.landmarks is not None
    points = regular_points(GRID).to(prediction.device)
    several = torch.isnan(samples.landmarks).all(-1).all(-1)
    predicted = find_points(prediction[:, :2].float(), prediction[:, 2:3], points)
    true = find_points(samples.uv, samples.mask, points)
    true[several] = torch.nan
    floor = torch.full_like(samples.landmarks, torch.nan)
    if landmark_uv is not None:
        floor = find_points(samples.uv, samples.mask, landmark_uv) - samples.landmarks
    return _floats(predicted), _floats(true), _floats(floor)


def _floats(points: Tensor) -> Floats:
    return points.double().cpu().numpy()


def join(parts: Sequence[tuple[Floats, Floats, Floats]], indices: Sequence[int], clip_frames: int) -> Tracks:
    """Tracks of minibatches in the order of `indices`, the samples' indices in the data set."""
    clip, frame = np.divmod(np.asarray(indices, np.int64), clip_frames)
    predicted, true, floor = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Tracks(clip, frame, predicted, true, floor)


def jitter(points: Floats, clip: npt.NDArray[np.int64], frame: npt.NDArray[np.int64]) -> Floats:
    """RMS second difference / sqrt(6) at each frame, (N,); NaN where a neighbour or every point is missing.

    points: (N, K, 2) pixels, in the order of the frames; NaN is a point that is not found.
    """
    out = np.full(len(points), math.nan)
    if len(points) < 3:
        return out
    follows = (np.diff(clip) == 0) & (np.diff(frame) == 1)
    middle = follows[:-1] & follows[1:]
    out[1:-1][middle] = _rms(np.diff(points, n=2, axis=0)[middle]) / SECOND_DIFFERENCE
    return out


def _rms(vectors: Floats) -> Floats:
    """Root mean square length over the known vectors of each row, (N, K, 2) -> (N,); NaN where none is known."""
    squares = (vectors**2).sum(-1)
    known = np.isfinite(squares)
    count = known.sum(1)
    return np.asarray(np.sqrt(np.where(known, squares, 0).sum(1) / np.where(count, count, math.nan)))


def frame_values(tracks: Tracks) -> dict[str, Floats]:
    """The values of `DEFINITIONS` at each frame, (N,)."""
    error = tracks.predicted - tracks.true
    shown, both = (np.isfinite(points).all(2).sum(1) for points in (tracks.true, error))
    return {
        "jitter_px": jitter(error, tracks.clip, tracks.frame),
        "jitter_truth_px": jitter(tracks.true, tracks.clip, tracks.frame),
        "jitter_floor_px": jitter(tracks.floor, tracks.clip, tracks.frame),
        "position_error_px": _rms(error),
        "found_share": both / np.where(shown, shown, math.nan),
    }


def report(tracks: Tracks, clip_frames: int) -> dict[str, Any]:
    """Definitions, means over frames, and means of each clip, for evaluation.json. None: nothing to measure."""
    values = frame_values(tracks)
    clips = [
        {"clip": int(clip), "frames": int((tracks.clip == clip).sum()), **_means(values, tracks.clip == clip)}
        for clip in np.unique(tracks.clip)
    ]
    everything = np.ones(len(tracks.clip), bool)
    return {
        "definitions": DEFINITIONS,
        "frames_per_clip": clip_frames,
        "grid_points": tracks.true.shape[1],
        "means": _means(values, everything),
        "clips": clips,
    }


def _means(values: Mapping[str, Floats], chosen: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    kept = {name: v[chosen][np.isfinite(v[chosen])] for name, v in values.items()}
    return {name: float(f"{v.mean():.6g}") if len(v) else None for name, v in kept.items()}


def thinned(positions: npt.NDArray[Any], clip: npt.NDArray[Any], limit: int) -> npt.NDArray[Any]:
    """About `limit` of the positions, as whole clips spread evenly; at least one clip. clip: of each position."""
    clips = np.unique(clip)
    wanted = max(1, round(limit / (len(positions) / len(clips))))
    chosen = clips[np.unique(np.linspace(0, len(clips) - 1, wanted).astype(int))]
    return np.asarray(positions[np.isin(clip, chosen)])


def lines(found: Mapping[str, Any]) -> list[str]:
    """`report` for the terminal."""
    count = len(found["clips"])
    text = [f"temporal stability: {count} clips, {found['grid_points']} grid points, {found['frames_per_clip']} frames"]
    for name, value in found["means"].items():
        text.append(f"  {name:<18}{'-' if value is None else f'{value:.3g}':>8}  {found['definitions'][name]}")
    return text


def plot(axes: Sequence[Any], tracks: Tracks) -> None:
    """Displacement (predicted - true) over time, a clip per axis: some points thin, the RMS over all points bold."""
    error = tracks.predicted - tracks.true
    distance, rms = np.linalg.norm(error, axis=2), _rms(error)
    clips = np.unique(tracks.clip)
    shown = clips[np.unique(np.linspace(0, len(clips) - 1, len(axes)).astype(int))]
    for axis, clip in zip(axes, shown, strict=False):
        chosen = tracks.clip == clip
        frames = tracks.frame[chosen]
        axis.plot(frames, distance[chosen][:, :: GRID + 1], lw=0.5, alpha=0.4)  # about one point of each row
        axis.plot(frames, rms[chosen], "k", lw=1.5)
        axis.set(title=f"clip {clip}", xlabel="frame", ylabel="predicted - true, px", ylim=(0, None))
        axis.grid(alpha=0.3)
    for axis in axes[len(shown) :]:
        axis.axis("off")
