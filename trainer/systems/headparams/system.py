"""Head parameters as a system: from a stored picture and its record to estimates, a step, metrics and views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from renderer.errors import DatasetError, FormatError, SpecError
from trainer.data.device import laid_out
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions, chunks, spread
from trainer.data.pictures import picture_values
from trainer.data.reader import Array, Needs, SampleReader
from trainer.data.sources import Cached, Streaming
from trainer.systems.headparams.config import HeadParamsConfig
from trainer.systems.headparams.heads import Heads, heads_of
from trainer.systems.headparams.metrics import by_parameter, by_yaw, errors
from trainer.systems.headparams.network import Regressor, load_pretrained, make_network, resized
from trainer.systems.headparams.views import COLUMNS, views
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

TRUTH: Final = "q"
_AT_ONCE: Final = 64  # pictures of the mean image in memory


def parameters_of(record: Mapping[str, Any]) -> Array:
    """(P,) float32 in [-1, 1], of the first head. Raises FormatError where the sample has none."""
    try:
        return np.asarray(record["heads"][0]["identity"]["pca"]["q"], np.float32)
    except (KeyError, IndexError, TypeError):
        raise FormatError(
            f"sample {record.get('key')!r} has no head parameters: render a spec with identity.kind: pca and one head"
        ) from None


class HeadParamsSystem(System):
    """What the regression is made of and how its results are shown (`trainer.training.system.System`)."""

    name = "headparams"
    config = HeadParamsConfig
    exported = "network"
    columns = COLUMNS
    tables = ("yaw", "sex", "age", "parameter")
    metrics = (
        Metric("squared_error", "Squared error", "sum over all parameters", error_curve=True, naive="naive_error"),
        Metric("naive_error", "Naive squared error", "of zero for every parameter", on_top=False),
        Metric("vertex_mm", "Vertex error, mm", "mean distance, rebuilt head", error_curve=True, naive="naive_mm"),
        Metric("naive_mm", "Naive vertex error, mm", "of the average head", on_top=False),
    )

    def needs(self, config: HeadParamsConfig) -> Needs:
        """The picture, and the parameters of its head."""
        return Needs(("input",), {TRUTH: parameters_of})

    def check(self, config: HeadParamsConfig, reader: SampleReader) -> None:
        """Raises where data set, checkpoint and config do not fit."""
        (count,), (height, width) = reader.shapes[TRUTH], reader.shapes["input"][1:]
        if count != config.network.parameters:
            raise SpecError(
                f"network.parameters is {config.network.parameters}, the heads of {reader.path} have {count}: set it to"
                " that, or use another data set"
            )
        if height != width:
            raise DatasetError(f"{reader.path} has pictures of {width} x {height}; the network takes square ones")
        if config.pretrained or config.published:
            load_pretrained(make_network(config.network, 0).backbone, checkpoint_of(config))

    def modules(self, config: HeadParamsConfig) -> dict[str, nn.Module]:
        """One network."""
        return {"network": make_network(config.network, config.seed)}

    def initialise(
        self,
        config: HeadParamsConfig,
        source: Streaming | Cached,
        training: Positions,
        modules: Mapping[str, nn.Module],
    ) -> None:
        """The mean image of training samples spread evenly, and what a checkpoint has learnt elsewhere."""
        network = modules["network"]
        assert isinstance(network, Regressor)
        if config.pretrained or config.published:
            load_pretrained(network.backbone, checkpoint_of(config))
        total, seen = torch.zeros_like(network.mean, dtype=torch.float64), 0
        for batch in source.batches(chunks(spread(training, config.mean_samples), _AT_ONCE), epoch=0):
            pictures = resized(picture_values(batch.images["input"]).cpu(), config.network.input_px)
            total, seen = total + pictures.double().sum(0), seen + len(batch)
        network.mean.copy_(total / max(seen, 1))

    def inputs(self, config: HeadParamsConfig, reader: SampleReader) -> dict[str, tuple[Tensor, ...]]:
        """One picture."""
        return {"network": (torch.empty(1, *reader.shapes["input"]),)}

    def photo_px(self, config: HeadParamsConfig, reader: SampleReader) -> tuple[int, int]:
        """Photos are shown as large as the samples."""
        height, width = reader.shapes["input"][1:]
        return height, width

    def header(self, config: HeadParamsConfig, reader: SampleReader) -> dict[str, str]:
        """`gen apply` rebuilds heads from the pack that the network knows."""
        heads = heads_of(reader.info, torch.device("cpu"))
        return {"pack": str(heads.pack.name), "shape_parameters": str(heads.shape)} if heads else {}

    def build(
        self, config: HeadParamsConfig, reader: SampleReader, device: torch.device, training: bool = True
    ) -> HeadParamsTask:
        """The task on a data set."""
        return HeadParamsTask(config, heads_of(reader.info, device))

    def exportable(self, config: HeadParamsConfig, module: nn.Module) -> Exportable:
        """For pictures of the network's size, any number at a time."""
        side, generator = config.network.input_px, torch.Generator().manual_seed(0)
        inputs = [(torch.rand(count, 3, side, side, generator=generator),) for count in (3, 1)]
        return Exportable(
            module=module,
            inputs=inputs,
            dynamic={"picture": {0: torch.export.Dim.AUTO}},
            outputs=("parameters",),
            about={
                "input": f"N x 3 x {side} x {side} picture values (gamma 2.2) in [0, 1]",
                "output": f"{config.network.parameters} parameters of the head; those of rendered heads lie in [-1, 1]",
            },
        )


def checkpoint_of(config: HeadParamsConfig) -> Path | None:
    """The file that first weights come from; None for published ones."""
    return Path(config.pretrained) if config.pretrained else None


@dataclass(frozen=True)
class HeadParamsTask(Task):
    """The regression at work on a data set."""

    config: HeadParamsConfig
    heads: Heads | None = None  # None: parameters are not those of a head pack

    averaged = ("network",)

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        """One, for everything."""
        return {"network": Optimiser(("network",), self.config.schedule, by_adam=("backbone.fc.",))}

    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> dict[str, Tensor]:
        """Half the squared distance, as Caffe's Euclidean loss is."""
        terms = {"distance": self.loss(self.estimate(modules, batch), batch.vectors[TRUTH])}
        update(terms["distance"].mean(), "network")
        return terms

    def estimate(self, modules: Modules, batch: Minibatch) -> Tensor:
        """(N, P) float32."""
        picture = laid_out(picture_values(batch.images["input"]), self.config.device.channels_last)
        return modules["network"](picture).float()  # type: ignore[no-any-return]

    def loss(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """(N,)."""
        return 0.5 * (estimate - truth).square().sum(1)

    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        """Loss and metrics; estimates and truth are given on, for the tables."""
        estimate, truth = self.estimate(modules, batch), batch.vectors[TRUTH]
        loss = self.loss(estimate, truth)
        given = {"estimate": estimate, "truth": truth} | (self.heads.traits(truth) if self.heads else {})
        return Measured(loss.mean(), {"distance": loss}, self.errors(estimate, truth), given)

    def errors(self, estimate: Tensor, truth: Tensor) -> dict[str, Tensor]:
        """Every metric, (N,) each."""
        return errors(estimate, truth, self.heads.basis_mm if self.heads else None)

    def score(self, means: Mapping[str, float]) -> float:
        """What the best weights are chosen by."""
        return means["squared_error"]

    def tables(self, metrics: Mapping[str, Values], records: Sequence[Record], given: Mapping[str, Values]) -> Tables:
        """By yaw, by thirds of sex, age and ancestry, by parameter where estimates are given, and by every knob."""
        rows = {"yaw": by_yaw(metrics, records)}
        for name in given:
            if name.startswith("trait."):
                edges = np.quantile(given[name], np.linspace(0, 1, 4))
                rows[name.removeprefix("trait.")] = by_edges(metrics, given[name], edges.tolist())
        if "estimate" in given:
            names = [f"q{number}" for number in range(given["truth"].shape[1])]
            rows["parameter"] = by_parameter(given["estimate"], given["truth"], names)
        return {name: found for name, found in rows.items() if found} | by_knobs(metrics, records)

    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        """One sample beside its parameters."""
        estimate, truth = self.estimate(modules, batch), batch.vectors[TRUTH]
        measured = self.errors(estimate, truth)
        picture = picture_values(batch.images["input"])[0]
        return views(picture, estimate[0], truth[0]), {name: float(v[0]) for name, v in measured.items()}

    def photo_views(self, modules: Modules, picture: Tensor) -> Tiles:
        """A photo beside what is read from it; there is nothing to compare that with."""
        return views(picture, modules["network"](picture[None]).float()[0], None)
