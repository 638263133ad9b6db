"""A system of two networks that work against each other, on vectors alone: to show what the engine can carry.

The critic tells pairs of knobs, read from the samples' records, from pairs that the generator makes of noise. It steps
on every minibatch, the generator on every fourth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.strict import knob
from trainer.augmentation.draws import Draws
from trainer.data.minibatch import Minibatch
from trainer.data.reader import Needs, SampleReader
from trainer.training.config import OptimiserConfig, TrainConfig
from trainer.training.schedules import Moment
from trainer.training.system import Measured, Metric, Modules, Optimiser, Record, System, Task, Tiles, Update

CRITIC_STEPS = 4  # to one of the generator


@dataclass(frozen=True)
class PairNetwork:
    """Both networks."""

    width: int = knob(8, "hidden features", 1, 1024)


@dataclass(frozen=True)
class PairConfig(TrainConfig):
    """A training of the pair. `schedule` is the generator's."""

    system: Literal["pair"] = knob("pair", "what is trained")
    network: PairNetwork = PairNetwork()
    critic: OptimiserConfig = OptimiserConfig(optimiser="sgd", lr=(0.05, 0.0), beta1=(0.5, 0.5), decay="constant")


def knobs_of(record: Mapping[str, Any]) -> np.ndarray:
    """Yaw and focal length of about unit size, (2,) float32."""
    knobs = record["knobs"]
    return np.array([knobs["pose.yaw_rad"], knobs["camera.focal_mm"] / 50 - 1.5], np.float32)


class PairSystem(System):
    name = "pair"
    config = PairConfig
    exported = "generator"
    columns = ("made",)
    metrics = (Metric("distance", "Distance of the means"),)

    def needs(self, config: PairConfig) -> Needs:
        return Needs((), {"knobs": knobs_of})

    def check(self, config: PairConfig, reader: SampleReader) -> None:
        assert reader.shapes == {"knobs": (2,)}

    def modules(self, config: PairConfig) -> dict[str, nn.Module]:
        width, modules = config.network.width, {}
        for number, (name, outputs) in enumerate((("generator", 2), ("critic", 1))):
            generator = torch.Generator().manual_seed(1000 * config.seed + number)
            modules[name] = nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, outputs))
            for parameter in modules[name].parameters():
                nn.init.uniform_(parameter, -0.5, 0.5, generator=generator)
        return modules

    def inputs(self, config: PairConfig, reader: SampleReader) -> dict[str, tuple[Tensor, ...]]:
        return {"generator": (torch.empty(1, 2),), "critic": (torch.empty(1, 2),)}

    def build(self, config: PairConfig, reader: SampleReader, device: torch.device, training: bool = True) -> PairTask:
        return PairTask(config)


@dataclass(frozen=True)
class PairTask(Task):
    config: PairConfig

    averaged = ("generator",)

    @property
    def optimisers(self) -> dict[str, Optimiser]:
        return {
            "generator": Optimiser(("generator",), self.config.schedule),
            "critic": Optimiser(("critic",), self.config.critic),
        }

    def noise(self, batch: Minibatch) -> Tensor:
        positions = batch.positions
        return Draws.for_samples(self.config.seed, batch.epoch, positions, torch.device("cpu")).normal("noise", 2)

    def step(self, modules: Modules, batch: Minibatch, now: Moment, update: Update) -> dict[str, Tensor]:
        generator, critic, noise = modules["generator"], modules["critic"], self.noise(batch)
        with torch.no_grad():
            made = generator(noise)
        on_both = critic(torch.cat([batch.vectors["knobs"], made]))[:, 0]
        real, false = on_both.chunk(2)
        terms = {"critic": F.softplus(-real) + F.softplus(false)}
        update(terms["critic"].mean(), "critic")
        if now.step % CRITIC_STEPS == CRITIC_STEPS - 1:
            terms["generator"] = F.softplus(-critic(generator(noise))[:, 0])
            update(terms["generator"].mean(), "generator")
        return terms

    def measure(
        self, modules: Modules, batch: Minibatch, records: Sequence[Record], test: str, now: Moment
    ) -> Measured:
        made, knobs = modules["generator"](self.noise(batch)), batch.vectors["knobs"]
        distance = (made.mean(0) - knobs.mean(0)).norm().expand(len(knobs))
        return Measured(distance.mean(), {"distance": distance}, {"distance": distance})

    def score(self, means: Mapping[str, float]) -> float:
        return means["distance"]

    def views(self, modules: Modules, batch: Minibatch, record: Record, test: str) -> tuple[Tiles, dict[str, float]]:
        made = modules["generator"](self.noise(batch))[0]
        levels = (made.clamp(0, 1) * 255).to(torch.uint8)
        return np.broadcast_to(levels.repeat(2)[:3].numpy(), (1, 4, 4, 3)).copy(), {"distance": float(made.norm())}
