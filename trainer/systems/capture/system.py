"""Performance capture as a system: from stored frames and vertices to a step, metrics, tables and views."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from renderer.errors import DatasetError, SpecError
from trainer.augmentation.draws import Draws
from trainer.data.device import laid_out
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions, chunks, spread
from trainer.data.pictures import to_bytes
from trainer.data.reader import Needs, SampleReader
from trainer.data.sources import Cached, Streaming
from trainer.systems.capture import first_weights, frames
from trainer.systems.capture import metrics as measures
from trainer.systems.capture.config import CaptureConfig
from trainer.systems.capture.losses import affine_error, squared_error
from trainer.systems.capture.mesh import Mesh, mesh_of
from trainer.systems.capture.network import MM, CaptureNet, ImagePca, make_network
from trainer.systems.capture.shading import View, shaded
from trainer.training.breakdown import Values
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

TRUTH: Final = "vertices"
EYES: Final = "eyes"
DEFAULT_FPS: Final = 30.0
_AT_ONCE: Final = 64  # frames that are decoded together for the statistics


class CaptureSystem(System):
    """What performance capture is made of and how its results are shown (`trainer.training.system.System`)."""

    name = "capture"
    config = CaptureConfig
    exported = "network"
    columns = ("input", "true mesh", "mesh", "error, red from 3 mm")
    tables = ("kind", "shot")
    metrics = (
        Metric("rmse_mm", "RMSE, mm", "of the animated vertices", error_curve=True, naive="naive_mm"),
        Metric("naive_mm", "RMSE of the mean training mesh, mm", on_top=False),
        Metric("affine_mm", "RMSE after the best affine map, mm", on_top=False),
        Metric("depth_mm", "RMSE in depth, mm", on_top=False),
        Metric("plane_mm", "RMSE in the image plane, mm", on_top=False),
        Metric("lips_mm", "RMSE of the lips, mm", error_curve=True),
        Metric("eyes_mm", "RMSE about the eyes, mm", on_top=False),
        Metric("brows_mm", "RMSE of the brows, mm", on_top=False),
        Metric("jaw_mm", "RMSE of the jaw, mm", on_top=False),
    )

    def needs(self, config: CaptureConfig) -> Needs:
        """Frames of each camera, vertices, and for the baseline where the eyes are."""
        vectors = {EYES: frames.eye_corners} if config.network.kind == "connected" else {}
        return Needs((*frames.VIEWS[: config.network.views], TRUTH), vectors)

    def check(self, config: CaptureConfig, reader: SampleReader) -> None:
        """Raises where data set and config do not fit."""
        network = config.network
        height, width = reader.shapes["input"][1:]
        if not network.reduction(width, height):
            raise SpecError(
                f"network.width_px x height_px is {network.size}, frames of {reader.path} are {width} x {height}: set"
                f" network.width_px={width} and network.height_px={height}, or render that size"
            )
        count, mesh = reader.shapes[TRUTH][-1], mesh_of(reader.info)
        if count != network.vertices:
            raise SpecError(
                f"network.vertices is {network.vertices}, the mesh of {reader.path} has {count}: set it to that"
            )
        if count != mesh.vertices:
            raise DatasetError(f"{reader.path} has {count} vertices a frame, its mesh has {mesh.vertices}")
        training = len(reader.split(config.data.test_share)[0])
        used = min(training, config.data.limit or training, config.statistics_frames)
        wanted = {"network.components": network.components if config.basis != "none" else 0}
        if network.kind == "connected":
            wanted["network.image_components"] = network.image_components
        for name, most in wanted.items():
            if used and most >= used:
                raise SpecError(f"{name} is {most}, and {used} frames have {used - 1} at most: set it lower")

    def modules(self, config: CaptureConfig) -> dict[str, nn.Module]:
        """One network."""
        network = make_network(config.network, config.seed)
        network.output.requires_grad_(config.basis != "fixed")
        return {"network": network}

    def initialise(
        self,
        config: CaptureConfig,
        source: Streaming | Cached,
        training: Positions,
        modules: Mapping[str, nn.Module],
    ) -> None:
        """Whitening, PCA of the training meshes and, for the baseline, of the pictures; the mesh itself."""
        network = modules["network"]
        assert isinstance(network, CaptureNet)
        task, seen, meshes = CaptureTask(config, mesh_of(source.reader.info)), [], []
        for batch in source.batches(chunks(spread(training, config.statistics_frames), _AT_ONCE), epoch=0):
            seen.append(task.frames(batch).cpu())
            meshes.append(task.truth(batch).cpu())
        pictures = torch.cat(seen)
        first_weights.whiten(network, pictures)
        first_weights.fill_output(network, torch.cat(meshes), config.basis)
        if isinstance(pca := next(network.features.children()), ImagePca):
            first_weights.fill_image_pca(pca, (pictures - network.mean) / network.deviation)
        network.triangles = torch.from_numpy(task.mesh.triangles.astype(np.int32))
        network.animated = torch.zeros(task.mesh.vertices, dtype=torch.bool).index_fill(
            0, torch.from_numpy(task.mesh.animated), True
        )
        if config.basis != "none":
            share = f"{100 * float(network.explained):.3f} % of the variance of {len(pictures):,} training meshes"
            print(f"{config.network.components} components explain {share}", file=sys.stderr, flush=True)

    def inputs(self, config: CaptureConfig, reader: SampleReader) -> dict[str, tuple[Tensor, ...]]:
        """One frame of each camera."""
        network = config.network
        return {"network": (torch.empty(1, network.views, network.height_px, network.width_px),)}

    def header(self, config: CaptureConfig, reader: SampleReader) -> dict[str, str]:
        """The mesh and frame rate that weights are for."""
        return {"topology": mesh_of(reader.info).topology, "fps": f"{fps_of(reader.info):g}"}

    def build(
        self, config: CaptureConfig, reader: SampleReader, device: torch.device, training: bool = True
    ) -> CaptureTask:
        """The task on a data set."""
        return CaptureTask(config, mesh_of(reader.info))

    def exportable(self, config: CaptureConfig, module: nn.Module) -> Exportable:
        """For frames of the network's size, any number at a time."""
        network, generator = config.network, torch.Generator().manual_seed(0)
        size = (network.views, network.height_px, network.width_px)
        return Exportable(
            module=module,
            inputs=[(torch.rand(count, *size, generator=generator),) for count in (3, 1)],
            dynamic={"frames": {0: torch.export.Dim.AUTO}},
            outputs=("vertices",),
            about={
                "input": f"N x {' x '.join(map(str, size))} gray picture values (BT.601, gamma 2.2) in [0, 1]",
                "output": f"N x {network.vertices} x 3 vertices in metres, head space, rigid motion removed",
            },
        )


def fps_of(info: Mapping[str, Any]) -> float:
    """Frames per second of a data set. info: what dataset.json holds."""
    return float(info.get("fps", DEFAULT_FPS))


@dataclass(frozen=True)
class CaptureTask(Task):
    """Performance capture at work on a data set."""

    config: CaptureConfig
    mesh: Mesh

    averaged = ("network",)

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        """One, for everything that learns."""
        return {"network": Optimiser(("network",), self.config.schedule, by_adam=("output.", "coefficients."))}

    def frames(self, batch: Minibatch) -> Tensor:
        """(N, views, H, W) gray, as the network takes them."""
        gray = frames.gray_frames(batch, self.config.network.views)
        placed = frames.stabilised(gray, batch.vectors[EYES]) if EYES in batch.vectors else gray
        return frames.reduced(placed, self.config.network.width_px)

    def truth(self, batch: Minibatch) -> Tensor:
        """(N, V, 3) metres."""
        return batch.images[TRUTH].float()[:, :, 0].transpose(1, 2)

    def loss(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """(N,), square millimetres."""
        error = affine_error if self.config.loss == "affine" else squared_error
        return error(prediction * MM, truth * MM)

    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> dict[str, Tensor]:
        """Vary, predict, update."""
        seen, augment = self.frames(batch), self.config.augment
        if augment.enabled:
            draws = Draws.for_samples(self.config.seed, batch.epoch, batch.positions, seen.device)
            strength = min(1.0, now.share / augment.ramp_up) if augment.ramp_up else 1.0
            seen = frames.varied(seen, augment, draws, strength)
        error = self.loss(self.predicted(modules, seen), self.truth(batch))
        update(error.mean(), "network")
        return {self.config.loss: error}

    def predicted(self, modules: Modules, seen: Tensor) -> Tensor:
        """(N, V, 3) float32 metres."""
        return modules["network"](laid_out(seen, self.config.device.channels_last)).float()  # type: ignore[no-any-return]

    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        """Loss and metrics; some vertices are given on, whose jitter the tables have."""
        seen, truth = self.frames(batch), self.truth(batch)
        prediction = self.predicted(modules, seen)
        loss, chosen = self.loss(prediction, truth), torch.from_numpy(measures.followed(self.mesh)).to(truth.device)
        given = {"predicted": prediction[:, chosen] * MM, "true": truth[:, chosen] * MM}
        found = measures.frame_errors(prediction, truth, self.mesh)
        still = modules["network"](seen, "average").float()
        found["naive_mm"] = measures.distance(still - truth, self.mesh)
        return Measured(loss.mean(), {self.config.loss: loss}, found, given)

    def score(self, means: Mapping[str, float]) -> float:
        """What the best weights are chosen by: what the loss sees."""
        return means["affine_mm" if self.config.loss == "affine" else "rmse_mm"]

    def tables(self, metrics: Mapping[str, Values], records: Sequence[Record], given: Mapping[str, Values]) -> Tables:
        """By kind of shot, and by shot."""
        return measures.tables(metrics, records, given["predicted"], given["true"])

    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        """A frame, its true mesh, the predicted one, and where that is wrong."""
        seen, truth = self.frames(batch), self.truth(batch)
        prediction = self.predicted(modules, seen)
        measured = measures.frame_errors(prediction, truth, self.mesh)
        tiles = mesh_tiles(seen[0], prediction[0], self.mesh, truth[0])
        return tiles, {name: float(value[0]) for name, value in measured.items()}


def mesh_tiles(seen: Tensor, prediction: Tensor, mesh: Mesh, truth: Tensor | None, view: View | None = None) -> Tiles:
    """Frame, true mesh, mesh, error: (4, H, W, 3); without a truth the frame and the mesh alone.

    seen: (views, H, W); the first is shown. prediction, truth: (V, 3). view: None for one that shows what moves.
    """
    picture = to_bytes(seen[:1].expand(3, -1, -1)[None].cpu())
    points = prediction.double().cpu().numpy()
    view = view or View.of(points[mesh.animated], *picture.shape[:2])
    shown = shaded(points, mesh.triangles, view)
    if truth is None:
        return np.stack([picture, shown])
    true = truth.double().cpu().numpy()
    off = np.linalg.norm(points - true, axis=1) * MM
    return np.stack([picture, shaded(true, mesh.triangles, view), shown, shaded(points, mesh.triangles, view, off)])
