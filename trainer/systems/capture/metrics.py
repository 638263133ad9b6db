"""How far vertices are off, frame by frame, and how much they tremble. Lengths are millimetres.

Vertices that no expression moves are left out: they would make every error look small. The head looks along +Z of its
own space, so Z is depth, and X and Y are the image plane of a camera in front of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.systems.capture.losses import fitted
from trainer.systems.capture.mesh import Mesh
from trainer.systems.capture.network import MM
from trainer.training.breakdown import Rows, Values
from trainer.training.system import Record

Floats = npt.NDArray[np.float64]
FOLLOWED: Final = 300  # animated vertices, evenly spread over their list, that jitter is measured at
REST_MM: Final = 0.1  # a frame is at rest where the RMS move of the truth from and to its neighbours is below that
SECOND_DIFFERENCE: Final = math.sqrt(1 + 4 + 1)  # spread of a(t-1) - 2 a(t) + a(t+1) for independent a of spread 1


def frame_errors(prediction: Tensor, truth: Tensor, mesh: Mesh) -> dict[str, Tensor]:
    """Every metric of frames (N, V, 3) in metres, (N,) in millimetres.

    rmse_mm: root mean square of the Euclidean distances of the animated vertices. affine_mm: the same after the best
    affine map of each frame. depth_mm, plane_mm: of their parts along Z and in X and Y. lips_mm, ...: by region.
    """
    off = (prediction - truth).float() * MM
    animated = torch.from_numpy(mesh.animated).to(off.device)
    moving = off[:, animated]
    after = (fitted(prediction[:, animated], truth[:, animated]) - truth[:, animated]) * MM
    found = {
        "rmse_mm": _rms(moving),
        "affine_mm": _rms(after),
        "depth_mm": _rms(moving[..., 2:]),
        "plane_mm": _rms(moving[..., :2]),
    }
    for region, chosen in mesh.regions.items():
        found[f"{region}_mm"] = _rms(off[:, torch.from_numpy(chosen).to(off.device)])
    return found


def distance(off: Tensor, mesh: Mesh) -> Tensor:
    """rmse_mm of vertices that are off by (N, V, 3) metres; (N,)."""
    return _rms(off[:, torch.from_numpy(mesh.animated).to(off.device)].float() * MM)


def _rms(vectors: Tensor) -> Tensor:
    """(N, K, D) to (N,): root mean square of lengths."""
    return vectors.square().sum(2).mean(1).sqrt()


def followed(mesh: Mesh) -> npt.NDArray[np.int64]:
    """The vertices that jitter is measured at."""
    spread = np.linspace(0, len(mesh.animated) - 1, min(FOLLOWED, len(mesh.animated)))
    return np.asarray(mesh.animated[np.unique(spread.astype(int))])


# ---------------------------------------------------------------- what is at hand of a frame's shot


def shot_of(record: Record) -> tuple[int, int]:
    """Shot and frame. Frames that are no part of any are shots of their own."""
    extra: dict[str, Any] = record.get("extra") or {}
    return int(extra["clip"] if "clip" in extra else record["index"]), int(extra.get("frame", 0))


def kind_of(record: Record) -> str:
    """Of a shot: range_of_motion, pangrams, ... (`renderer.sampling.shots`)."""
    return str((record.get("extra") or {}).get("kind", "shots"))


# ---------------------------------------------------------------- tables


def tables(
    metrics: Mapping[str, Values], records: Sequence[Record], predicted: Floats, true: Floats
) -> dict[str, Rows]:
    """By kind of shot and by shot, all frames first; errors are root mean squares over all frames of a row.

    predicted, true: (N, K, 3) millimetres, of `followed`. Rows have the jitter of these, too (`trembling`).
    """
    places = np.array([shot_of(record) for record in records]).reshape(-1, 2)
    kinds = np.array([kind_of(record) for record in records])
    columns = {name: values**2 for name, values in metrics.items()}
    columns |= {name: values**2 for name, values in trembling(predicted, true, places).items()}
    groups = {"kind": kinds, "shot": places[:, 0]}
    every = _row(columns, np.ones(len(kinds), bool), "all")
    return {
        title: [every, *(_row(columns, labels == label, str(label)) for label in np.unique(labels))]
        for title, labels in groups.items()
    }


def _row(squares: Mapping[str, Values], chosen: npt.NDArray[np.bool_], label: str) -> dict[str, Any]:
    row: dict[str, Any] = {"label": label, "count": int(chosen.sum())}
    for name, values in squares.items():
        if (known := values[chosen][np.isfinite(values[chosen])]).size:
            row[name] = float(np.sqrt(known.mean()))
    return row


def trembling(predicted: Floats, true: Floats, places: npt.NDArray[Any]) -> dict[str, Values]:
    """Jitter of each frame, (N,) millimetres; NaN where the frames before and after are not at hand.

    Root mean square over the vertices (N, K, 3) of the second difference in time, divided by sqrt(6): the size of
    errors that are independent from frame to frame. jitter_mm: of predicted - true; truth_jitter_mm: of the truth,
    what its own motion contributes; rest_jitter_mm: of the prediction where the truth moves less than `REST_MM`.
    """
    order = np.lexsort((places[:, 1], places[:, 0]))
    shot, frame = places[order].T
    follows = (np.diff(shot) == 0) & (np.diff(frame) == 1)
    middle = np.flatnonzero(follows[:-1] & follows[1:]) + 1 if len(order) > 2 else np.empty(0, int)
    before, at, after = (order[middle + step] for step in (-1, 0, 1))

    def second(points: Floats) -> Values:
        return _lengths(points[before] - 2 * points[at] + points[after]) / SECOND_DIFFERENCE

    moves = np.maximum(_lengths(true[at] - true[before]), _lengths(true[after] - true[at]))
    of_prediction = second(predicted)
    values = {
        "jitter_mm": second(predicted - true),
        "truth_jitter_mm": second(true),
        "rest_jitter_mm": np.where(moves < REST_MM, of_prediction, np.nan),
    }
    return {name: _placed(found, at, len(places)) for name, found in values.items()}


def _lengths(vectors: Floats) -> Values:
    """(M, K, 3) to (M,): root mean square of lengths."""
    return np.asarray(np.sqrt((vectors**2).sum(2).mean(1)))


def _placed(values: Values, at: npt.NDArray[Any], count: int) -> Values:
    out = np.full(count, np.nan)
    out[at] = values
    return out
