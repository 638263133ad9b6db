"""Position maps as a system: from stored views and records to pictures and targets, a step, metrics and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from renderer.errors import DatasetError
from renderer.head.catalog import pack_folder
from renderer.head.model import HeadModel
from trainer.augmentation.draws import Draws
from trainer.data.device import laid_out
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions, chunks, spread
from trainer.data.reader import Needs, SampleReader
from trainer.data.sources import Cached, Streaming
from trainer.positions.records import record_positions
from trainer.positions.texels import texels
from trainer.systems.position_map import windows
from trainer.systems.position_map.config import AugmentConfig, PositionMapConfig
from trainer.systems.position_map.lite0 import Encoded, encoder_weights, principal_maps
from trainer.systems.position_map.metrics import ICP_ABOUT, by_yaw, chosen, errors, icp_errors
from trainer.systems.position_map.network import PositionNet, first_weights, make_network
from trainer.systems.position_map.views import COLUMNS, views
from trainer.training.breakdown import Values, by_knobs
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
from trainer.uvmaps import head_pose

TRUTH: Final = "positions"
SECOND_BOX: Final = "second_box"
_AT_ONCE: Final = 32  # maps of the mean map in memory


class PositionMapSystem(System):
    """What position maps are made of and how results are shown (`trainer.training.system.System`)."""

    name = "position_map"
    config = PositionMapConfig
    exported = "network"
    columns = COLUMNS
    tables = ("yaw",)
    metrics = (
        Metric("nme", "NME", "points of the face in 3D, by the box of the face", error_curve=True, naive="naive_nme"),
        Metric("aligned_nme", "NME, aligned", "after a rigid motion", error_curve=True, naive="naive_aligned_nme"),
        Metric("landmark_nme", "Landmark NME", "68 points in the picture", naive="naive_landmark_nme"),
        *(
            Metric(name, "NME, ICP", about, on_top=False, error_curve=name == "icp_nme", naive=f"naive_{name}")
            for name, about in ICP_ABOUT.items()
        ),
        *(
            Metric(f"naive_{name}", f"{title} of the mean face", on_top=False)
            for name, title in (("nme", "NME"), ("aligned_nme", "NME, aligned,"), ("landmark_nme", "Landmark NME"))
        ),
    )

    def needs(self, config: PositionMapConfig) -> Needs:
        """The picture and its map; the second one and where the face is in it, where both are taken."""
        vectors = {TRUTH: partial(record_positions, side=config.network.side_px)}
        if config.network.views != "taken":
            return Needs(("input",), vectors)
        return Needs(("input", "view2"), vectors | {SECOND_BOX: windows.second_box})

    def check(self, config: PositionMapConfig, reader: SampleReader) -> None:
        """Raises where data set, first network and config do not fit."""
        height, width = reader.shapes["input"][1:]
        if height != width:
            raise DatasetError(f"{reader.path} has pictures of {width} x {height}; position maps are of square ones")
        known = Path(head_pose.pack_head().folder)
        if "assets" in reader.info and (rendered := pack_folder(reader.info)) != known:
            raise DatasetError(f"{reader.path} shows heads of {rendered.name}, maps are made of {known.name}'s")
        if config.network.views == "made":
            first_weights(config)
        if config.encoder:
            encoder_weights(config.encoder)

    def modules(self, config: PositionMapConfig) -> dict[str, nn.Module]:
        """One network, with the one in it that the second view is made by."""
        network = make_network(config.network, config.seed)
        if isinstance(network.layers, Encoded):
            network.layers.freeze(config.frozen_stages)
        return {"network": network}

    def initialise(
        self,
        config: PositionMapConfig,
        source: Streaming | Cached,
        training: Positions,
        modules: Mapping[str, nn.Module],
    ) -> None:
        """The mean map of training samples spread evenly, their principal maps, and what was trained before."""
        network = modules["network"]
        assert isinstance(network, PositionNet)
        if network.first is not None:
            network.first.load_state_dict(first_weights(config))
        task = self.build(config, source.reader, network.mean.device)
        groups = chunks(spread(training, config.mean_samples), _AT_ONCE)
        total, seen = torch.zeros_like(network.mean, dtype=torch.float64), 0
        for batch in source.batches(groups, epoch=0):
            maps = task.seen(batch, windows.still(config.augment))[1].to(total.device)
            total, seen = total + maps.double().sum(0), seen + len(batch)
        network.mean.copy_(total / max(seen, 1) / config.network.side_px)
        if isinstance(network.layers, Encoded):
            side, mean = config.network.side_px, network.mean.cpu()
            seen_in_training = [
                task.seen(batch, config.augment)[1].cpu() / side - mean for batch in source.batches(groups, epoch=0)
            ]
            network.layers.principal.copy_(principal_maps(torch.cat(seen_in_training), config.network.components))
            if config.encoder:
                network.layers.encoder.load_published(encoder_weights(config.encoder))

    def inputs(self, config: PositionMapConfig, reader: SampleReader) -> dict[str, tuple[Tensor, ...]]:
        """One sample's pictures."""
        side = config.network.side_px
        return {"network": (torch.empty(1, config.network.channels, side, side),)}

    def photo_px(self, config: PositionMapConfig, reader: SampleReader) -> tuple[int, int] | None:
        """Photos have no second camera."""
        side = config.network.side_px
        return None if config.network.views == "taken" else (side, side)

    def header(self, config: PositionMapConfig, reader: SampleReader) -> dict[str, str]:
        """Whose vertices the maps are of, and how windows are cut."""
        return {
            "pack": Path(head_pose.pack_head().folder).name,
            "input_px": str(config.network.side_px),
            "window": str(windows.FACES),
        }

    def build(
        self, config: PositionMapConfig, reader: SampleReader, device: torch.device, training: bool = True
    ) -> PositionMapTask:
        """The task on a data set."""
        head = head_pose.pack_head()
        where = texels(head, config.network.side_px)
        face = torch.from_numpy(where.face).to(device)
        weights = where.weight_mask()[0] if config.loss.weighted else np.ones(where.face.shape, np.float32)
        marks = torch.from_numpy(np.asarray(head.landmarks_uv, np.float32)).to(device)
        return PositionMapTask(config, head, face, torch.from_numpy(weights).to(device), chosen(face), marks, training)

    def exportable(self, config: PositionMapConfig, module: nn.Module) -> Exportable:
        """For any number of pictures at a time."""
        side, channels = config.network.side_px, config.network.channels
        generator = torch.Generator().manual_seed(0)
        return Exportable(
            module=module,
            inputs=[(torch.rand(count, channels, side, side, generator=generator),) for count in (3, 1)],
            dynamic={"pictures": {0: torch.export.Dim.AUTO}},
            outputs=("positions",),
            about={
                "input": f"N x {channels} x {side} x {side} picture values (gamma 2.2) in [0, 1], views: "
                f"{config.network.views}; the face's box times {windows.FACES} fills the first picture",
                "output": f"N x 3 x {side} x {side}: x, y and z in pixels of the first picture over the UV plane",
            },
        )


@dataclass(frozen=True)
class PositionMapTask(Task):
    """Position maps at work on a data set.

    face: (S, S) texels of the face area. weights: (S, S) of texels in the loss. points: numbers of the texels that
    metrics are means over. landmark_uv: (68, 2). training: ICP, which is slow, is left out.
    """

    config: PositionMapConfig
    head: HeadModel
    face: Tensor
    weights: Tensor
    points: Tensor
    landmark_uv: Tensor
    training: bool

    averaged = ("network",)

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        """One, for everything."""
        return {"network": Optimiser(("network",), self.config.schedule)}

    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> dict[str, Tensor]:
        """Cut, change, predict, update."""
        pictures, truth = self.seen(batch, self.config.augment)
        terms = {
            "positions": self.loss(modules["network"](laid_out(pictures, self.config.device.channels_last)), truth)
        }
        update(terms["positions"].mean(), "network")
        return terms

    def seen(self, batch: Minibatch, augment: AugmentConfig) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3 or 6, S, S) in windows, and their true maps (N, 3, S, S) in pixels of the first ones."""
        side, stored = self.config.network.side_px, batch.vectors[TRUTH]
        draws = Draws.for_samples(self.config.seed, batch.epoch, batch.positions, stored.device)
        found = windows.windows(windows.boxes(stored, self.face), augment.window, draws)
        pictures, truth = windows.cut(batch.images["input"], found, side), windows.follow(stored, found)
        if "view2" in batch.images:
            second = windows.windows(batch.vectors[SECOND_BOX], augment.window, draws.fork("second"))
            pictures = torch.cat([pictures, windows.cut(batch.images["view2"], second, side)], 1)
        return windows.changed(pictures, truth, augment, draws)

    def loss(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """Mean squared error in units of the side, (N,), weighted by texel."""
        squared = ((estimate - truth) / truth.shape[3]).square().mean(1)
        return (squared * self.weights).sum((1, 2)) / self.weights.sum()

    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        """Loss, metrics, and those of the mean map."""
        pictures, truth = self.seen(batch, windows.still(self.config.augment))
        pictures = modules["network"](pictures, "pictures")
        estimate = modules["network"](laid_out(pictures, self.config.device.channels_last)).float()
        loss = self.loss(estimate, truth)
        return Measured(loss.mean(), {"positions": loss}, self.errors(modules, pictures, estimate, truth))

    def errors(self, modules: Modules, pictures: Tensor, estimate: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Every metric, (N,) each."""
        mean = modules["network"](pictures, "mean")
        found: dict[str, Tensor] = {}
        for measured in (errors,) if self.training else (errors, icp_errors):
            found |= measured(estimate, truth, self.points, self.landmark_uv)
            found |= measured(mean, truth, self.points, self.landmark_uv, "naive_")
        return found

    def score(self, means: Mapping[str, float]) -> float:
        """What the best weights are chosen by."""
        return means["nme"]

    def tables(self, metrics: Mapping[str, Values], records: Sequence[Record], given: Mapping[str, Values]) -> Tables:
        """By yaw, and by every knob."""
        return {"yaw": by_yaw(metrics, records)} | by_knobs(metrics, records)

    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        """One sample: pictures, maps and mesh."""
        pictures, truth = self.seen(batch, windows.still(self.config.augment))
        pictures = modules["network"](pictures, "pictures")
        estimate = modules["network"](laid_out(pictures, self.config.device.channels_last)).float()
        measured = self.errors(modules, pictures, estimate, truth)
        tiles = views(pictures[0], estimate[0], truth[0], self.head)
        return tiles, {name: float(value[0]) for name, value in measured.items()}

    def photo_views(self, modules: Modules, picture: Tensor) -> Tiles:
        """A photo, the view that is made of it, and the map."""
        pictures = modules["network"](picture[None], "pictures")
        return views(
            pictures[0],
            modules["network"](laid_out(pictures, self.config.device.channels_last)).float()[0],
            None,
            self.head,
        )
