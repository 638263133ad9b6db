"""UV-net as a system: from stored samples to input and targets, a step, metrics, views and export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from renderer.errors import AssetError, DatasetError, SpecError
from trainer.augmentation import stages
from trainer.augmentation.banks import Banks
from trainer.augmentation.donors import load_donors
from trainer.augmentation.draws import Draws
from trainer.augmentation.occluders import load_environments
from trainer.augmentation.pictures import load_pictures
from trainer.augmentation.samples import Samples
from trainer.data.device import laid_out
from trainer.data.minibatch import Minibatch
from trainer.data.reader import Needs, SampleReader
from trainer.networks.lite0 import published_lite0
from trainer.ramp import Ramp
from trainer.systems.uvnet import losses
from trainer.systems.uvnet.config import UVNetConfig
from trainer.systems.uvnet.export import exportable
from trainer.systems.uvnet.gallery import draw_gallery
from trainer.systems.uvnet.landmarks import first_landmarks, landmark_uv, single_head_landmarks
from trainer.systems.uvnet.metrics import sample_metrics, split_metrics
from trainer.systems.uvnet.network import UVNet, make_network
from trainer.systems.uvnet.photo_network import PhotoNet, make_photo_network
from trainer.systems.uvnet.views import COLUMNS, views
from trainer.training.breakdown import Values
from trainer.training.schedules import Moment
from trainer.training.sheets import single
from trainer.training.system import (
    Exportable,
    Measured,
    Metric,
    Modules,
    Optimiser,
    Record,
    System,
    Tables,
    Task,
    Tiles,
    Update,
)

IMAGES: Final = ("input", "uv", "mask")
_ALWAYS: Final = Ramp(1.0, 1.0)


class UVNetSystem(System):
    """What UV-net is made of and how its results are shown (`trainer.training.system.System`)."""

    name = "uvnet"
    config = UVNetConfig
    exported = "network"
    tests: ClassVar[Mapping[str, str]] = {"test": "test", "test_occluded": "occluded"}
    columns = COLUMNS
    tables = ("|yaw|", "occlusion share")
    metrics = (
        Metric("uv_error", "UV error", "mean inside the mask, UV units", error_curve=True),
        Metric("mask_iou", "Mask IoU", higher_is_better=True),
        Metric("occluded_iou", "Occluded mask IoU", "face still visible", higher_is_better=True, on_top=False),
        Metric("landmark_nme", "Landmark NME", "68 points, by the box of the face", error_curve=True),
        Metric("landmarks_used", "Landmarks used", "share of the 68", higher_is_better=True, on_top=False),
    )

    def needs(self, config: UVNetConfig) -> Needs:
        """The triplet, the foreground where backgrounds change, landmarks where the loss has a term of them."""
        vectors = {"landmarks": first_landmarks} if config.loss.landmarks.used else {}
        return Needs(IMAGES, vectors, ("foreground",) if config.augment.background.enabled else ())

    def check(self, config: UVNetConfig, reader: SampleReader) -> None:
        """Raises where data set, environments and config do not fit."""
        if config.loss.landmarks.used and landmark_uv(reader.info) is None:
            raise DatasetError(f"{reader.path} states no landmark_uv, which loss.landmarks needs: set its weight to 0")
        height, width = reader.shapes["input"][1:]
        if config.augment.quarter_turns.enabled and height != width:
            raise SpecError(f"augment.quarter_turns needs square images, {reader.path} has {width} x {height}")
        open_banks(config, reader)
        if config.pretrained:
            published_lite0()

    def modules(self, config: UVNetConfig) -> dict[str, nn.Module]:
        """One network."""
        if config.network.kind == "uvnet":
            return {"network": make_network(config.network, config.seed)}
        counting = torch.get_default_device().type == "meta"
        published = published_lite0() if config.pretrained and not counting else None
        network = make_photo_network(config.network, config.seed, published)
        network.freeze(config.frozen_stages)
        return {"network": network}

    def inputs(self, config: UVNetConfig, reader: SampleReader) -> dict[str, tuple[Tensor, ...]]:
        """One picture."""
        return {"network": (torch.empty(1, 3, *self.photo_px(config, reader)),)}

    def photo_px(self, config: UVNetConfig, reader: SampleReader) -> tuple[int, int]:
        """Photos are shown as large as what the network is trained on."""
        side = config.augment.side_px
        height, width = reader.shapes["input"][1:]
        return (side, side) if side else (height, width)

    def header(self, config: UVNetConfig, reader: SampleReader) -> dict[str, str]:
        """`gen apply` scales faces to the size that a network was trained on, and refuses another UV frame."""
        return {"uv_frame": reader.info["uv_frame"], "input_px": str(max(self.photo_px(config, reader)))}

    def build(self, config: UVNetConfig, reader: SampleReader, device: torch.device, training: bool = True) -> UVTask:
        """The task on a data set, with what it needs on the device; environments only for training."""
        banks, points = open_banks(config, reader) if training else Banks(), landmark_uv(reader.info)
        return UVTask(
            config,
            banks.to(device),
            torch.from_numpy(points).to(device) if points is not None else None,
        )

    def exportable(self, config: UVNetConfig, module: nn.Module) -> Exportable:
        """For pictures of any size."""
        assert isinstance(module, UVNet | PhotoNet)
        return exportable(module)

    def gallery(self, config: UVNetConfig, module: nn.Module, png: Path) -> dict[str, Any]:
        """Projections on held-out samples."""
        reader, task = SampleReader(Path(config.data.path), IMAGES), UVTask(config, Banks(), None)

        def sample_at(position: int) -> Samples:
            return task.test_samples(single(reader, position, torch.device("cpu")), occluded=False)

        rising = [metric.name for metric in self.metrics if metric.higher_is_better]
        return draw_gallery(module, reader, config.data.test_share, sample_at, png) | {"falling": rising}


def open_banks(config: UVNetConfig, reader: SampleReader) -> Banks:
    """What the stages that are on take from elsewhere. Raises AssetError, or DatasetError without a label it needs."""
    augment = config.augment
    views = augment.needs_pictures and augment.pictures.panoramas > 0
    folder = None
    if augment.needs_environments or views:
        folder = Path(augment.environments) if augment.environments else pack_environments()
    training, _ = reader.split(config.data.test_share)
    return Banks(
        load_environments(folder, augment.environment_height_px) if folder and augment.needs_environments else None,
        load_pictures(augment.pictures, folder) if augment.needs_pictures else None,
        load_donors(reader, training, augment.cutouts.donors) if augment.needs_pieces else None,
    )


def pack_environments() -> Path:
    """The folder of environments in the head pack. Raises AssetError where the pack cannot be had."""
    try:
        from blend_assets.build import ensure_pack

        return Path(ensure_pack()) / "hdris"
    except ImportError as error:
        raise AssetError(
            "the head pack is not on this machine: set augment.environments to a folder of EXR environments"
        ) from error


@dataclass(frozen=True)
class UVTask(Task):
    """UV-net at work on a data set. banks and landmark_uv, (68, 2), lie on the device."""

    config: UVNetConfig
    banks: Banks
    landmark_uv: Tensor | None

    averaged = ("network",)

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        """One, for everything."""
        return {"network": Optimiser(("network",), self.config.schedule, by_adam=("last.",))}

    # ------------------------------------------------------------ training

    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> dict[str, Tensor]:
        """Augment, predict, update."""
        samples = self.training_samples(batch, now.share)
        prediction = modules["network"](laid_out(samples.input, self.config.device.channels_last))
        terms = self.loss_terms(prediction, samples, now.share)
        update(self.total_loss(terms, now.share), "network")
        return terms

    def samples(self, minibatch: Minibatch) -> Samples:
        """Stored arrays to float32 input and targets. The occluded mask is what rendered occluders leave visible."""
        images = minibatch.images
        mask = images["mask"].float()
        return Samples(
            images["input"].float(),
            images["uv"].float(),
            mask[:, :1],
            mask[:, :1] * mask[:, 1:2],
            minibatch.vectors.get("landmarks"),
            images["foreground"].float() if "foreground" in images else None,
        )

    def training_samples(self, minibatch: Minibatch, progress: float) -> Samples:
        """Augmented; a function of (seed, epoch, sample) and the progress of the schedules alone."""
        samples = self.samples(minibatch)
        draws = Draws.for_samples(self.config.seed, minibatch.epoch, minibatch.positions, samples.input.device)
        return stages.augment(samples, self.config.augment, draws, self.banks, progress)

    def loss_terms(self, prediction: Tensor, samples: Samples, progress: float = 1.0) -> dict[str, Tensor]:
        """Per-sample terms by name, (N,) each."""
        return losses.loss_terms(prediction, samples, self.config.loss, self.landmark_uv, progress)

    def total_loss(self, terms: dict[str, Tensor], progress: float = 1.0) -> Tensor:
        return losses.total_loss(terms, self.config.loss, progress)

    # ------------------------------------------------------------ tests

    def tests(self) -> tuple[str, ...]:
        """Without environments there is nothing to occlude with."""
        return ("test",) if self.banks.environments is None else ("test", "test_occluded")

    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        """Terms, metrics, and the share of each face that an occluder hides."""
        samples = self.test_samples(batch, occluded=test == "test_occluded")
        prediction = modules["network"](samples.input).float()
        terms = self.loss_terms(prediction, samples, now.share)
        total = self.total_loss(terms, now.share)
        landmarks = self.landmarks(batch, records, samples.size)
        measured = self.metrics(prediction, samples, landmarks)
        return Measured(total, terms, measured, {"hidden": self.hidden_share(samples)})

    def test_samples(self, minibatch: Minibatch, occluded: bool) -> Samples:
        """As stored, or each with the same occluder in every evaluation; as large as in training."""
        samples = self.samples(minibatch)
        if occluded and self.banks.environments is not None:
            always = replace(self.config.augment.occlusion, share=_ALWAYS)
            draws = Draws.for_samples(0, 0, minibatch.positions, samples.input.device).fork("test")
            samples = stages.occlude(samples, always, draws, self.banks.environments, 1.0)
        return stages.plain(samples, self.config.augment.side_px)

    def metrics(self, prediction: Tensor, samples: Samples, landmarks: Tensor) -> dict[str, Tensor]:
        """Per-sample metrics by name, (N,) each. landmarks: (N, 68, 2) pixels, as `landmarks` gives them."""
        if self.landmark_uv is not None:
            samples = replace(samples, landmarks=landmarks.to(samples.input.device))
        return sample_metrics(prediction, samples, self.landmark_uv)

    def landmarks(self, batch: Minibatch, records: Sequence[Record], size: tuple[int, int]) -> Tensor:
        """Those that the records of a minibatch state, in pixels of test samples of that size (H, W); (N, 68, 2)."""
        points = torch.from_numpy(np.stack([single_head_landmarks(record) for record in records]))
        height, width = batch.images["input"].shape[2:]
        return points * torch.tensor([size[1] / width, size[0] / height], dtype=points.dtype)

    def hidden_share(self, samples: Samples) -> Tensor:
        """Share of each face that an occluder hides, rendered or put on by augmentation, (N,); NaN without a face."""
        return 1 - samples.occluded_mask.sum((1, 2, 3)) / samples.mask.sum((1, 2, 3))

    def score(self, means: Mapping[str, float]) -> float:
        """What the plateau rule watches, lower is better: unlike the loss no weight or ramp of the config moves it."""
        return means.get("uv_error", 1.0) + 1 - means.get("mask_iou", 0.0)

    def tables(self, metrics: Mapping[str, Values], records: Sequence[Record], given: Mapping[str, Values]) -> Tables:
        """By yaw, by the share of the face that is occluded, and by every knob."""
        return split_metrics(metrics, records, hidden=given.get("hidden"))

    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        """One sample beside what the network sees in it."""
        target = self.test_samples(batch, occluded=test == "test_occluded")
        prediction = modules["network"](target.input).float()
        measured = self.metrics(prediction, target, self.landmarks(batch, [record], target.size))
        return views(target.input[0], prediction[0], target), {name: float(v[0]) for name, v in measured.items()}

    def photo_views(self, modules: Modules, picture: Tensor) -> Tiles:
        """A photo beside what the network sees in it; there is nothing to compare that with."""
        return views(picture, modules["network"](picture[None]).float()[0], None)
