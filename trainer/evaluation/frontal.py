"""Frontal faces against their truth, subject by subject: what a report of the system `frontal` has beside its metrics.

Identity is told by a second encoder, which no network was trained to please. Two naive answers are measured beside the
network: the mean frontal face of the training, and the companion of the training sample whose features are nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.errors import AssetError
from renderer.progress import Progress
from trainer.data.minibatch import Minibatch
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming
from trainer.evaluation.results import MAX_BAD, WORKERS, Work
from trainer.networks.face_encoder import FaceEncoder, load_encoder
from trainer.networks.lite0 import DEVIATION, MEAN, Lite0, published_lite0
from trainer.systems.frontal import losses, metrics
from trainer.systems.frontal.network import FrontalNetwork, Made
from trainer.systems.frontal.system import HIDDEN_EDGES, YAW_EDGES_DEG, FrontalTask
from trainer.training.breakdown import Rows, Values, by_edges

DEEP_PX: Final = 160
KINDS: Final = ("made", "mean", "nearest")
ABOUT: Final = {
    "ssim": "structural similarity to the companion",
    "psnr": "dB to the companion",
    "deep": "distance in the maps of EfficientNet-Lite0, features of a place scaled to length 1",
    "identity": "cosine similarity of the second encoder's embeddings of output and companion",
    "darker_eyes": "companion less output about the eyes, picture values",
    "skin_error": "difference of the cheeks' mean colour, picture values",
    "corner_px": "the right corner of the mouth above the left one, pixels of 320",
    "smile_px": "corners of the mouth above its middle, output less companion, pixels of 320",
}


@dataclass(frozen=True)
class Yardsticks:
    """Networks to measure with, which were not trained here."""

    encoder: FaceEncoder
    deep: Lite0

    def embedding(self, pictures: Tensor) -> Tensor:
        """(N, F), length 1."""
        return F.normalize(self.encoder.embedding(pictures))

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """What `metrics.deep_distance` compares."""
        size = (DEEP_PX, DEEP_PX)
        scaled = F.interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)
        mean, deviation = (scaled.new_tensor(v)[:, None, None] for v in (MEAN, DEVIATION))
        maps: list[Tensor] = self.deep((scaled - mean) / deviation)
        return maps


def yardsticks(device: torch.device) -> Yardsticks:
    """Both with their published weights. Raises AssetError where they cannot be had."""
    deep = Lite0()
    deep.load_published(published_lite0())
    return Yardsticks(load_encoder("mobilenet").to(device), deep.eval().requires_grad_(False).to(device))


@dataclass
class Views:
    """What was found on the samples of one subject."""

    values: dict[str, Tensor]  # (V,) by metric
    inputs: Tensor  # (V, F) embeddings of the pictures
    outputs: Tensor  # (V, F) and of what was made of them
    average: Tensor  # (3, S, S) of what was made
    spread: float  # NaN where there is one view


@dataclass
class Found:
    """All subjects."""

    subjects: list[Views] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def values(self) -> dict[str, Values]:
        """(N,) by metric."""
        names = self.subjects[0].values
        return {n: torch.cat([s.values[n] for s in self.subjects]).double().numpy() for n in names}


@torch.no_grad()
def measure(work: Work, positions: npt.NDArray[Any], training: npt.NDArray[Any], tools: Yardsticks) -> Found:
    """The network on samples of a data set. training: positions of the samples that it was trained on, or none."""
    task = work.task
    assert isinstance(task, FrontalTask)
    source = Streaming(work.reader, WORKERS, BadSamples(MAX_BAD, "the limit"), work.device)
    features = _features(task, source, training)
    found = Found()
    with Progress(len(positions), "picture", "telling people apart") as bar:
        for batch in source.batches(work.reader.groups(positions), epoch=0):
            bar.update(len(batch))
            if len(batch):
                nearest = _nearest(task, work, source, batch, training, features)
                found.subjects.append(_views(task, work, batch, nearest, tools))
                found.records += [_told(work.reader, int(p)) for p in batch.positions]
    return found


def _told(reader: SampleReader, position: int) -> dict[str, Any]:
    record = reader.params(position)
    return {
        "yaw_deg": abs(float(np.degrees(record["knobs"].get("pose.yaw_rad", np.nan)))),
        "hidden": 1 - float(record["measured"].get("visible_share", np.nan)),
    }


def _features(task: FrontalTask, source: Streaming, training: npt.NDArray[Any]) -> Tensor | None:
    groups = [training[start : start + 16] for start in range(0, len(training), 16)]
    found = [task.features(batch, task.pictures(batch)) for batch in source.batches(groups, epoch=0)]
    return torch.cat(found) if found else None


def _nearest(
    task: FrontalTask,
    work: Work,
    source: Streaming,
    batch: Minibatch,
    training: npt.NDArray[Any],
    features: Tensor | None,
) -> Tensor | None:
    """Companions of the training samples that the encoder takes for the most alike, (N, 3, S, S)."""
    if features is None:
        return None
    network = work.modules["network"]
    assert isinstance(network, FrontalNetwork)
    scaled = [
        F.normalize((f - network.feature_mean) / network.feature_spread)
        for f in (task.features(batch, task.pictures(batch)), features)
    ]
    chosen = training[(scaled[0] @ scaled[1].T).argmax(1).cpu().numpy()]
    return torch.cat([task.truth(one) for one in source.batches([chosen[i : i + 1] for i in range(len(chosen))], 0)])


def _views(task: FrontalTask, work: Work, batch: Minibatch, nearest: Tensor | None, tools: Yardsticks) -> Views:
    pictures, truth = task.pictures(batch), task.truth(batch)
    network = work.modules["network"]
    assert isinstance(network, FrontalNetwork)
    made: Made = network(task.features(batch, pictures))
    answers = {"made": made.picture.float(), "mean": made.average.float().expand_as(truth)}
    if nearest is not None:
        answers["nearest"] = nearest
    known = truth[:1] if bool((truth == truth[:1]).all()) else truth  # views of a subject may share their companion
    true_person, true_maps = tools.embedding(known), tools.maps(known)
    values: dict[str, Tensor] = {}
    outputs = true_person
    for kind, answer in answers.items():
        seen = answer[:1] if kind == "mean" else answer
        person = tools.embedding(seen)
        outputs = person if kind == "made" else outputs
        values |= {
            f"{kind}.ssim": losses.ssim(answer, truth),
            f"{kind}.psnr": metrics.psnr(answer, truth),
            f"{kind}.deep": metrics.deep_distance(tools.maps(seen), true_maps).expand(len(truth)),
            f"{kind}.identity": (person * true_person).sum(1).expand(len(truth)),
        }
    picture, landmarks = answers["made"], made.landmarks.float()
    at_rest = network.landmarks(truth).float()
    values |= {
        "darker_eyes": metrics.darker_eyes(picture, truth),
        "skin_error": metrics.skin_error(picture, truth),
        "corner_px": metrics.corner_height(landmarks),
        "smile_px": metrics.smile(landmarks) - metrics.smile(at_rest),
    }
    spread = metrics.spread(picture) if len(picture) > 1 else float("nan")
    return Views(values, tools.embedding(pictures), outputs, picture.mean(0), spread)


# ---------------------------------------------------------------- what is said of it


def report(found: Found) -> dict[str, Any]:
    """Plain values: means, tables by yaw and by what is hidden, verification, stability."""
    values = found.values()
    yaw, hidden = (np.array([r[name] for r in found.records]) for name in ("yaw_deg", "hidden"))
    tables: dict[str, Rows] = {
        "|yaw|": by_edges(values, yaw, YAW_EDGES_DEG, "deg"),
        "occlusion share": by_edges(values, hidden, HIDDEN_EDGES),
    }
    return {
        "about": dict(ABOUT),
        "subjects": len(found.subjects),
        "samples": len(found.records),
        "means": {name: float(np.nanmean(v)) for name, v in values.items()},
        "tables": tables,
        "verification": verification(found),
        "stability": stability(found),
    }


def verification(found: Found) -> dict[str, Any]:
    """How well the second encoder tells people apart by the pictures, and by what was made of them.

    Pairs of one person are all pairs of a subject's views; as many are of that subject and the next one.
    """
    groups = [s for s in found.subjects if len(s.inputs) > 1]
    if len(groups) < 2:
        return {"left_out": "there are no two subjects of several views; `groups.of` of a spec makes some"}
    told: dict[str, Any] = {}
    for name in ("inputs", "outputs"):
        same, other = [], []
        for one, two in zip(groups, groups[1:] + groups[:1], strict=True):
            mine, theirs = getattr(one, name), getattr(two, name)
            pairs = torch.combinations(torch.arange(len(mine)))
            same.append((mine[pairs[:, 0]] * mine[pairs[:, 1]]).sum(1))
            other.append((mine[pairs[:, 0]] * theirs[pairs[:, 1] % len(theirs)]).sum(1))
        told[name] = metrics.verification(torch.cat(same).cpu(), torch.cat(other).cpu())
        told["pairs"] = 2 * sum(len(scores) for scores in same)
    return told


def stability(found: Found) -> dict[str, Any]:
    """Standard deviation, in picture values, over what was made of one subject, and over subjects' means."""
    within = [s.spread for s in found.subjects if np.isfinite(s.spread)]
    if not within or len(found.subjects) < 2:
        return {"left_out": "there are no two subjects of several views; `groups.of` of a spec makes some"}
    apart = float(torch.stack([s.average for s in found.subjects]).std(0).mean())
    return {"within_subjects": float(np.mean(within)), "between_subjects": apart}


def lines(told: Mapping[str, Any]) -> list[str]:
    """`report` for the terminal."""
    if "left_out" in told:
        return [f"no measures of identity: {told['left_out']}"]
    means = told["means"]
    text = [f"{told['subjects']} subjects, {told['samples']} samples"]
    text.append(f"  {'':<12}" + "".join(f"{kind:>10}" for kind in KINDS))
    for name in ("ssim", "psnr", "deep", "identity"):
        cells = [means.get(f"{kind}.{name}") for kind in KINDS]
        text.append(f"  {name:<12}" + "".join(f"{'-' if c is None else f'{c:.3f}':>10}" for c in cells))
    text += [f"  {name:<12}{means[name]:>10.3f}  {ABOUT[name]}" for name in ABOUT if name in means]
    for part in ("verification", "stability"):
        said = told[part]
        shown = said["left_out"] if "left_out" in said else ", ".join(f"{k} {v:.4g}" for k, v in said.items())
        text.append(f"{part}: {shown}")
    return text


def add(work: Work, positions: npt.NDArray[Any], training: npt.NDArray[Any]) -> dict[str, Any]:
    """`report` of a network on samples; where weights to measure with cannot be had, why it is left out."""
    try:
        tools = yardsticks(work.device)
    except AssetError as error:
        return {"left_out": str(error)}
    return report(measure(work, positions, training, tools))
