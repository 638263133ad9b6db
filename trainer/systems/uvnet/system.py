"""What is particular to UV-net: from stored samples to input and targets, loss, metrics, and the views of a sample.

The reader, the loader, the loop and the run directory know none of it. Another network from the same archives brings
another module like this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.errors import AssetError, DatasetError, SpecError
from trainer.augmentation import occluders, stages
from trainer.augmentation.draws import Draws
from trainer.augmentation.occluders import EnvironmentBank
from trainer.data.loader import Minibatch
from trainer.data.reader import LANDMARKS, SampleReader
from trainer.ramp import Ramp
from trainer.systems.uvnet import losses, metrics
from trainer.systems.uvnet.config import UVNetConfig

COLUMNS: Final = (
    "input",
    "uv predicted",
    "uv target",
    "uv error x10",
    "mask predicted",
    "mask target",
    "occluded mask predicted",
    "occluded mask target",
)
"""Views of a sample in a sprite sheet, from left to right."""
_ALWAYS: Final = Ramp(1.0, 1.0)


def images_needed(config: UVNetConfig) -> tuple[str, ...]:
    """What the reader must read for this loss."""
    return ("input", "uv", "mask", *((LANDMARKS,) if config.loss.landmarks.used else ()))


def check(config: UVNetConfig, reader: SampleReader) -> None:
    """Raise before training starts if data set and config do not fit. Costs nothing."""
    if config.loss.landmarks.used and reader.landmark_uv() is None:
        raise DatasetError(f"{reader.path} states no landmark_uv, which loss.landmarks needs: set its weight to 0")
    if config.network.output_channels != 4 or config.network.input_channels != 3:
        raise SpecError("UV-net has 3 input and 4 output channels (U, V, mask, occluded mask)")
    height, width = reader.shapes["input"][1:]
    if config.augment.quarter_turns.enabled and height != width:
        raise SpecError(f"augment.quarter_turns needs square images, {reader.path} has {width} x {height}")


def open_bank(config: UVNetConfig) -> EnvironmentBank | None:
    """The environments that augmentation cuts from, or None where no stage needs them."""
    if not stages.needs_environments(config.augment):
        return None
    folder = Path(config.augment.environments) if config.augment.environments else pack_environments()
    return occluders.load_environments(folder, config.augment.environment_height_px)


def pack_environments() -> Path:
    """The folder of environments in the head pack. Raises AssetError where the pack cannot be had."""
    try:
        from blend_assets.build import ensure_pack

        return Path(ensure_pack()) / "hdris"
    except ImportError as error:
        raise AssetError(
            "the head pack is not on this machine: set augment.environments to a folder of EXR environments"
        ) from error


def make_task(config: UVNetConfig, reader: SampleReader, device: torch.device) -> UVTask:
    """The task on a data set, what it needs on the training device."""
    bank, landmark_uv = open_bank(config), reader.landmark_uv()
    return UVTask(
        config,
        bank.to(device) if bank else None,
        torch.from_numpy(landmark_uv).to(device) if landmark_uv is not None else None,
    )


@dataclass(frozen=True)
class UVTask:
    """Functions of minibatches, with what they need at hand. bank and landmark_uv lie on the training device."""

    config: UVNetConfig
    bank: EnvironmentBank | None
    landmark_uv: Tensor | None

    def samples(self, minibatch: Minibatch) -> stages.Samples:
        """Stored arrays to float32 input and targets. The occluded mask is what rendered occluders leave visible."""
        images = minibatch.images
        mask = images["mask"].float()
        return stages.Samples(
            images["input"].float(),
            images["uv"].float(),
            mask[:, :1],
            mask[:, :1] * mask[:, 1:2],
            images.get(LANDMARKS),
        )

    def training_samples(self, minibatch: Minibatch, progress: float) -> stages.Samples:
        """Augmented; a function of (seed, epoch, sample) and the progress of the schedules alone."""
        samples = self.samples(minibatch)
        draws = Draws.for_samples(self.config.seed, minibatch.epoch, minibatch.positions, samples.input.device)
        return stages.augment(samples, self.config.augment, draws, self.bank, progress)

    def test_samples(self, minibatch: Minibatch, occluded: bool) -> stages.Samples:
        """As stored, or each with the same occluder in every evaluation."""
        samples = self.samples(minibatch)
        if occluded and self.bank is not None:
            always = replace(self.config.augment.occlusion, share=_ALWAYS)
            draws = Draws.for_samples(0, 0, minibatch.positions, samples.input.device).fork("test")
            samples = stages.occlude(samples, always, draws, self.bank, 1.0)
        return stages.plain(samples)

    def loss_terms(self, prediction: Tensor, samples: stages.Samples, progress: float = 1.0) -> dict[str, Tensor]:
        """Per-sample terms by name, (N,) each."""
        return losses.loss_terms(prediction, samples, self.config.loss, self.landmark_uv, progress)

    def term_names(self) -> list[str]:
        """Names of the loss terms, in the order of `loss_terms`."""
        return losses.active_terms(self.config.loss)

    def total_loss(self, terms: dict[str, Tensor], progress: float = 1.0) -> Tensor:
        return losses.total_loss(terms, self.config.loss, progress)

    def metrics(self, prediction: Tensor, samples: stages.Samples, params: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Per-sample metrics by name, (N,) each; params: the samples' records, for landmarks."""
        if self.landmark_uv is not None:
            points = np.stack([single_head_landmarks(p) for p in params])
            samples = replace(samples, landmarks=torch.from_numpy(points).to(samples.input.device))
        return metrics.sample_metrics(prediction, samples, self.landmark_uv)

    def hidden_share(self, samples: stages.Samples) -> Tensor:
        """Share of each face that an occluder hides, rendered or put on by augmentation, (N,); NaN without a face."""
        return 1 - samples.occluded_mask.sum((1, 2, 3)) / samples.mask.sum((1, 2, 3))

    def score(self, means: Mapping[str, float]) -> float:
        """What the plateau rule watches, lower is better: unlike the loss no weight or ramp of the config moves it."""
        return means.get("uv_error", 1.0) + 1 - means.get("mask_iou", 0.0)


def single_head_landmarks(params: dict[str, Any]) -> npt.NDArray[np.float32]:
    """NaN where there is not exactly one head: a UV cannot tell heads apart."""
    heads = params.get("landmarks_px") or []
    if len(heads) != 1:
        return np.full((68, 2), np.nan, np.float32)
    return np.array([[np.nan, np.nan] if p is None else p for p in heads[0]], np.float32)


def views(picture: Tensor, prediction: Tensor, target: stages.Samples | None) -> npt.NDArray[np.uint8]:
    """One row of a sprite sheet: (columns, H, W, 3) in the order of `COLUMNS`. Without a target its views are black.

    picture: (3, H, W) in [0, 1]. prediction: (4, H, W). target: a single sample, or None for a photo.
    """
    prediction = prediction.float().cpu()
    shown = prediction[:2] * (prediction[2:3] > 0.5)
    black = torch.zeros(3, *picture.shape[1:])
    tiles = {name: black for name in COLUMNS}
    tiles["input"] = picture.cpu()
    tiles["uv predicted"] = _uv_colours(shown)
    tiles["mask predicted"] = prediction[2:3].expand(3, -1, -1)
    tiles["occluded mask predicted"] = prediction[3:4].expand(3, -1, -1)
    if target is not None:
        uv, mask = target.uv[0].cpu(), target.mask[0].cpu()
        tiles["uv target"] = _uv_colours(uv)
        tiles["uv error x10"] = _uv_colours((prediction[:2] - uv).abs() * mask * 10)
        tiles["mask target"] = mask.expand(3, -1, -1)
        tiles["occluded mask target"] = target.occluded_mask[0].cpu().expand(3, -1, -1)
    stack = torch.stack([tiles[name] for name in COLUMNS]).clamp(0, 1)
    return (stack * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _uv_colours(uv: Tensor) -> Tensor:
    """(2, H, W) to a picture: U red, V green."""
    return torch.cat([uv, torch.zeros_like(uv[:1])])
