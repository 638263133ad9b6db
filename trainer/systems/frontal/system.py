"""Frontal faces as a system: from stored samples to features, faces and masks, steps, metrics and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from renderer.errors import DatasetError, SpecError
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions
from trainer.data.pictures import picture_values
from trainer.data.reader import Needs, SampleReader
from trainer.data.sources import Cached, Streaming
from trainer.networks.face_encoder import FaceEncoder, load_encoder
from trainer.systems.frontal import frame, losses, metrics, starts
from trainer.systems.frontal.config import FrontalConfig, NetworkConfig
from trainer.systems.frontal.landmarks import points_of, shape_of
from trainer.systems.frontal.network import Discriminator, FrontalNetwork, Made, initialise
from trainer.systems.frontal.spline import pixel_centres, spline_matrix
from trainer.systems.frontal.views import COLUMNS, views
from trainer.training.breakdown import Values, by_edges, by_knobs
from trainer.training.schedules import Moment
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

YAW_EDGES_DEG: Final = (0, 15, 30, 45, 60, 90)
HIDDEN_EDGES: Final = (0, 0.02, 0.1, 0.25, 0.5, 1)


class FrontalSystem(System):
    """What frontal faces are made of and how results are shown (`trainer.training.system.System`)."""

    name = "frontal"
    config = FrontalConfig
    exported = "network"
    columns = COLUMNS
    tables = ("|yaw|", "occlusion share")
    metrics = (
        Metric("ssim", "SSIM", "to the true companion, on white", True, error_curve=True, naive="mean_ssim"),
        Metric("mean_ssim", "SSIM of the mean face", higher_is_better=True, on_top=False),
        Metric("psnr", "PSNR, dB", "to the true companion", True, naive="mean_psnr"),
        Metric("mean_psnr", "PSNR of the mean face, dB", higher_is_better=True, on_top=False),
        Metric("symmetry_px", "Asymmetry, px", "of a picture of 320 pixels", on_top=False),
        Metric("tilt_px", "Tilt, px", on_top=False),
        Metric("lip_gap_px", "Lip gap, px"),
    )

    def needs(self, config: FrontalConfig) -> Needs:
        """The picture, its face, and the companion; landmarks in the picture and in head space."""
        return Needs(("input", "mask", "neutral"), {"points": points_of, "shape": shape_of})

    def check(self, config: FrontalConfig, reader: SampleReader) -> None:
        """Raises where data set, encoder, landmark network and config do not fit."""
        height, width = reader.shapes["input"][1:]
        if height != width:
            raise DatasetError(f"{reader.path} has pictures of {width} x {height}; frontal faces need square ones")
        if not config.network.mask and (config.loss.mask_area or config.loss.mask_variation):
            raise SpecError("network.mask is false: set loss.mask_area and loss.mask_variation to 0")
        if config.network.components and not config.loss.supervised:
            raise SpecError("network.components are those of companions: set loss.l1 or loss.ssim, or components to 0")
        encoder = open_encoder(config.network)
        if config.loss.identity and not encoder.differentiable:
            raise SpecError(
                f"network.encoder {config.network.encoder} gives no gradients: set loss.identity to 0, or give the "
                "encoder as TorchScript or torch.export"
            )
        if config.landmarks.run:
            starts.stored_landmarks(config)

    def modules(self, config: FrontalConfig) -> dict[str, nn.Module]:
        """Decoders and landmarks in one module, and the discriminator where there is an adversary."""
        modules: dict[str, nn.Module] = {"network": FrontalNetwork(config.network)}
        if config.loss.adversarial:
            modules["discriminator"] = Discriminator(config.network)
        for number, module in enumerate(modules.values()):
            initialise(module, 1000 * config.seed + number)
        return modules

    def initialise(
        self,
        config: FrontalConfig,
        source: Streaming | Cached,
        training: Positions,
        modules: Mapping[str, nn.Module],
    ) -> None:
        """The mean face, the spread of features, and the landmark network, of training samples alone."""
        network = modules["network"]
        assert isinstance(network, FrontalNetwork)
        task = FrontalTask.of(config, source.device)
        supervised, seen = config.loss.supervised, task.companions_and_features
        starts.take_means(network, source, training, config.mean_samples, supervised, seen)
        if config.landmarks.run:
            network.landmarks.load_state_dict(starts.stored_landmarks(config))
        else:
            starts.fit_landmarks(config, network.landmarks, source, training)

    def inputs(self, config: FrontalConfig, reader: SampleReader) -> dict[str, tuple[Tensor, ...]]:
        """Features of one face, and one face."""
        side = config.network.output_px
        found: dict[str, tuple[Tensor, ...]] = {"network": (torch.empty(1, config.network.encoder_features),)}
        if config.loss.adversarial:
            found["discriminator"] = (torch.empty(1, 3, side, side),)
        return found

    def photo_px(self, config: FrontalConfig, reader: SampleReader) -> tuple[int, int]:
        """Photos should show one face in the middle, its box 0.625 of the side."""
        return config.network.output_px, config.network.output_px

    def build(
        self, config: FrontalConfig, reader: SampleReader, device: torch.device, training: bool = True
    ) -> FrontalTask:
        """The task, with the encoder on the device."""
        return FrontalTask.of(config, device)

    def exportable(self, config: FrontalConfig, module: nn.Module) -> Exportable:
        """For features of any number of faces; the encoder is not ours to give on."""
        assert isinstance(module, FrontalNetwork)
        count, generator = config.network.encoder_features, torch.Generator().manual_seed(0)
        return Exportable(
            module=Joined(module),
            inputs=[(torch.rand(number, count, generator=generator),) for number in (3, 1)],
            dynamic={"features": {0: torch.export.Dim.AUTO}},
            outputs=("face_and_mask",),
            about={
                "input": f"N x {count} features of the encoder {config.network.encoder!r}, of its last layer "
                "without spatial extent; the face's box is 0.625 of the side of the picture",
                "output": "N x 4 x S x S: the face, R, G, B in [0, 1] (gamma 2.2), and where it is to be shown",
            },
        )


class Joined(nn.Module):
    """Face and mask as one tensor, for use elsewhere."""

    def __init__(self, network: FrontalNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        face, mask = self.network.decoded(features)
        return torch.cat([face, mask], 1)


def open_encoder(config: NetworkConfig) -> FaceEncoder:
    """The encoder that a config names. Raises SpecError where it gives another number of features than is stated."""
    encoder = load_encoder(config.encoder, config.encoder_values)
    if encoder.feature_count != config.encoder_features:
        raise SpecError(
            f"network.encoder_features is {config.encoder_features}, the encoder {config.encoder} gives "
            f"{encoder.feature_count}: set it to that, or name the encoder that the weights were trained with"
        )
    return encoder


@dataclass(frozen=True)
class FrontalTask(Task):
    """Frontal faces at work. matrix: of the spline, for every pixel of a face. known: features by position.

    The encoder is frozen and inputs are not varied, so each is encoded once.
    """

    config: FrontalConfig
    encoder: FaceEncoder
    matrix: Tensor
    known: dict[int, Tensor] = field(default_factory=dict)

    averaged = ("network",)

    @classmethod
    def of(cls, config: FrontalConfig, device: torch.device) -> FrontalTask:
        places = torch.tensor(frame.CANONICAL, dtype=torch.float64)
        matrix = spline_matrix(places, pixel_centres(config.network.output_px, places)).float()
        return cls(config, open_encoder(config.network).to(device), matrix.to(device))

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        """The generator's, and the discriminator's where there is an adversary."""
        last = f"decoder.stages.{len(self.config.network.stage_features) - 1}.up."
        found = {"network": Optimiser(("network",), self.config.schedule, (last, "mask_decoder.stages.1.up."))}
        if self.config.loss.adversarial:
            found["discriminator"] = Optimiser(("discriminator",), self.config.adversary)
        return found

    # ------------------------------------------------------------ training

    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> dict[str, Tensor]:
        """A step of the generator, and every few steps one of the discriminator."""
        pictures, truth = self.pictures(batch), self.truth(batch)
        features = self.features(batch, pictures)
        made = modules["network"](features)
        terms = self.terms(made, batch, pictures, truth, features)
        loss = self.config.loss
        if loss.adversarial:
            terms["adversarial"] = losses.says(modules["discriminator"](made.face), losses.REAL)
        update(losses.weighted(terms, loss).mean(), "network")
        if loss.adversarial and now.step % self.config.adversary.every == self.config.adversary.every - 1:
            real = pictures if self.config.adversary.real == "inputs" else truth
            on_both = modules["discriminator"](torch.cat([real, made.face.detach().to(real.dtype)]))
            told, fooled = on_both.chunk(2)
            terms["discriminator"] = losses.says(told, losses.REAL) + losses.says(fooled, losses.FALSE)
            update(terms["discriminator"].mean(), "discriminator")
        return terms

    def pictures(self, batch: Minibatch) -> Tensor:
        """The faces of the inputs, (N, 3, S, S) picture values in [0, 1]."""
        windows = frame.windows_about(frame.boxes_of(batch.vectors["points"]))
        return frame.crop(picture_values(batch.images["input"]), windows, self.config.network.output_px)

    def truth(self, batch: Minibatch) -> Tensor:
        """The companions on white, (N, 3, S, S) picture values in [0, 1]."""
        neutral = picture_values(frame.on_white(batch.images["neutral"].float()))
        return frame.companion_part(neutral, self.config.network.output_px)

    def features(self, batch: Minibatch, pictures: Tensor) -> Tensor:
        """(N, F) of inputs. Each picture is encoded by itself: what it gives depends on no minibatch."""
        positions = batch.positions.tolist()
        with torch.no_grad():
            for slot, position in enumerate(positions):
                if position not in self.known:
                    self.known[position] = self.encoder.features(pictures[slot : slot + 1]).float()[0]
        return torch.stack([self.known[position] for position in positions])

    def companions_and_features(self, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """`truth` and `features`."""
        return self.truth(batch), self.features(batch, self.pictures(batch))

    def terms(
        self, made: Made, batch: Minibatch, pictures: Tensor, truth: Tensor, features: Tensor
    ) -> dict[str, Tensor]:  # fmt: skip
        """All terms that count but the adversary's, (N,) each."""
        loss, used = self.config.loss, self.config.loss.used
        picture, landmarks = made.picture.float(), made.landmarks.float()
        terms = losses.landmark_terms(landmarks, batch.vectors["shape"])
        if "texture" in used:
            chosen = list(frame.WARPED)
            windows = frame.windows_about(frame.boxes_of(batch.vectors["points"]))
            given = frame.in_window(batch.vectors["points"], windows)[:, chosen, :2]
            face, mask, places = made.face.float(), made.mask.float(), landmarks[:, chosen, :2]
            terms["texture"] = losses.texture(face, mask, places, pictures, given, self.matrix)
        if "identity" in used:
            count = max(1, round(loss.identity_share * len(picture)))
            apart = losses.identity(self.encoder.features(picture[:count]), features[:count])
            terms["identity"] = apart if count == len(picture) else apart.mean().expand(len(picture))
        terms |= losses.mask_terms(made.mask.float(), loss.mask_power) | losses.supervised_terms(picture, truth)
        return {name: values for name, values in terms.items() if name in used}

    # ------------------------------------------------------------ tests

    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        """Terms without the adversary's, and metrics."""
        pictures, truth = self.pictures(batch), self.truth(batch)
        features = self.features(batch, pictures)
        made = modules["network"](features)
        terms = self.terms(made, batch, pictures, truth, features)
        return Measured(losses.weighted(terms, self.config.loss).mean(), terms, self.found(made, truth))

    def found(self, made: Made, truth: Tensor) -> dict[str, Tensor]:
        """Every metric, (N,) each."""
        picture, landmarks = made.picture.float(), made.landmarks.float()
        average = made.average.float().expand_as(truth)
        measured = losses.landmark_terms(landmarks, landmarks)
        return {
            "ssim": losses.ssim(picture, truth),
            "mean_ssim": losses.ssim(average, truth),
            "psnr": metrics.psnr(picture, truth),
            "mean_psnr": metrics.psnr(average, truth),
            "symmetry_px": measured["symmetry"],
            "tilt_px": measured["tilt"],
            "lip_gap_px": measured["expression"],
        }

    def score(self, means: Mapping[str, float]) -> float:
        """What the best weights are chosen by."""
        return 1 - means["ssim"]

    def tables(self, metrics: Mapping[str, Values], records: Sequence[Record], given: Mapping[str, Values]) -> Tables:
        """By yaw, by the share of the face that something hides, and by every knob."""
        yaw = np.abs(np.degrees([float(record["knobs"].get("pose.yaw_rad", np.nan)) for record in records]))
        hidden = np.array([1 - record["measured"].get("visible_share", np.nan) for record in records], float)
        rows = {
            "|yaw|": by_edges(metrics, yaw, YAW_EDGES_DEG, "deg"),
            "occlusion share": by_edges(metrics, hidden, HIDDEN_EDGES),
        }
        return {name: found for name, found in rows.items() if found} | by_knobs(metrics, records)

    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        """One sample beside what is made of it."""
        pictures, truth = self.pictures(batch), self.truth(batch)
        made = modules["network"](self.features(batch, pictures))
        return views(pictures[0], made, truth[0]), {n: float(v[0]) for n, v in self.found(made, truth).items()}

    def photo_views(self, modules: Modules, picture: Tensor) -> Tiles:
        """A photo of a face beside what is made of it; there is no truth."""
        return views(picture, modules["network"](self.encoder.features(picture[None]).float()), None)
