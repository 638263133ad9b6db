"""Training steps of a config beside what the device can do, as JSON lines. `gen bench network` prints them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import torch
from lightning_fabric import Fabric

from renderer.errors import SpecError
from renderer.processor import this_processor
from trainer.augmentation.banks import Banks
from trainer.bench.timing import gpu_busy_share, line, matrix_flop_per_s, seconds_per_call
from trainer.data.device import laid_out
from trainer.data.loader import Loader
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, open_source
from trainer.systems.runs import system_named
from trainer.systems.uvnet.config import NetworkConfig, UVNetConfig
from trainer.systems.uvnet.network import UVNet
from trainer.systems.uvnet.system import UVTask
from trainer.training import loop, session
from trainer.training.checks import open_reader, parameter_count, splits
from trainer.training.config import TrainConfig
from trainer.training.schedules import Moment
from trainer.training.system import Task
from trainer.training.updates import Models, Updates, make_models, precision_of

DTYPES: Final = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16}


def network_lines(config: TrainConfig, size_px: int = 128) -> Iterator[str]:
    """Training steps as `gen train` takes them: samples/s, TFLOP/s, share of the device's ceiling, GPU busy share.

    Of UV-net first the network alone, on random pictures that lie on the device. Where config.data.path is set, whole
    steps on that data set in device memory: loader, augmentation, modules, losses and optimisers. The ceiling is the
    rate of a large matrix product in the same arithmetic on the same device, measured beside it. On one device.
    Raises SpecError for another system without a data set.
    """
    config = replace(config, device=replace(config.device, devices=1, nodes=1))
    system = system_named(config.system)
    if not config.data.path and not isinstance(config, UVNetConfig):
        raise SpecError(f"what the system {config.system!r} takes in is not made up: give --data DATASET")
    fabric = session.make_fabric(config)
    fabric.launch()
    device = fabric.device
    session.tune(config, device)
    reader = open_reader(config, system) if config.data.path else None
    if reader is not None:
        system.check(config, reader)
    task = system.build(config, reader, device) if reader is not None else UVTask(_uvnet(config), Banks(), None)
    models = make_models(fabric, config, system.modules(config), task.optimisers)
    precision = precision_of(fabric)  # what is used: "auto" names none, and CPUs have no "16-mixed"
    about = {"batch": config.data.batch_size, "size_px": size_px, "precision": precision}
    about |= {"parameters": parameter_count(models.plain[system.exported])}
    about |= {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else this_processor().describe()}
    about |= {"threads": torch.get_num_threads()}
    about |= {"compile": config.device.compile, "channels_last": config.device.channels_last}
    ceiling = matrix_flop_per_s(device, DTYPES.get(precision, torch.float32))
    yield line("matrix_product_ceiling", ceiling / 1e12, "TFLOP/s", precision=precision, device=about["device"])
    if isinstance(config, UVNetConfig):
        step = network_step(fabric, models, task, config, size_px)
        yield from _step_lines("network_step", step, config, ceiling, device, about)
    if reader is not None:
        step, side = training_step(fabric, models, task, config, reader), int(next(iter(reader.shapes.values()))[-1])
        yield from _step_lines("train_step", step, config, ceiling, device, about | {"size_px": side})
    if device.type != "cuda":
        print("GPU busy shares are left out: torch uses no CUDA device here", file=sys.stderr)


def _uvnet(config: TrainConfig) -> UVNetConfig:
    assert isinstance(config, UVNetConfig)
    return config


def _step_lines(
    name: str,
    step: Callable[[], object],
    config: TrainConfig,
    ceiling: float,
    device: torch.device,
    about: dict[str, Any],
) -> Iterator[str]:
    """The figures of one kind of step; those in operations of UV-net alone, since only one of its modules computes."""
    seconds, batch = seconds_per_call(step, device), config.data.batch_size
    yield line(name, batch / seconds, "samples/s", **about)
    if isinstance(config, UVNetConfig):
        flop = (
            3 * forward_flop(config.network, about["size_px"]) * batch
        )  # the backward pass takes twice the forward one
        yield line(f"{name}_flops", flop / seconds / 1e12, "TFLOP/s", **about)
        yield line(f"{name}_share_of_ceiling", 100 * flop / seconds / ceiling, "%", **about)
    if device.type == "cuda":
        yield line(f"{name}_gpu_busy_share", 100 * gpu_busy_share(step, device), "%", **about)


def network_step(fabric: Fabric, models: Models, task: Task, config: UVNetConfig, size_px: int) -> Callable[[], object]:
    """A step of UV-net alone, on random pictures that lie on the device."""
    shape = (config.data.batch_size, 3, size_px, size_px)
    image = laid_out(torch.rand(shape, device=fabric.device), config.device.channels_last)
    updates = Updates(fabric, models, task.optimisers)

    def step() -> None:
        updates.begin(Moment(share=0.0))
        updates(models.wrapped["network"](image).float().abs().mean(), "network")

    return step


def training_step(
    fabric: Fabric, models: Models, task: Task, config: TrainConfig, reader: SampleReader
) -> Callable[[], object]:
    """A step of a training, its samples in the device's memory."""
    training, _ = splits(config, reader)
    bad = BadSamples(config.data.max_bad)
    source = open_source(reader, training, "device", config.data.workers, bad, fabric.device)
    loader = Loader(source, training, config.data.batch_size, seed=config.seed, window=config.data.window)
    updates, start = Updates(fabric, models, task.optimisers), Moment(share=0.0)
    minibatches = (minibatch for _ in itertools.count() for minibatch in loader)
    return lambda: loop.train_step(task, models, updates, next(minibatches), start)


def forward_flop(network: NetworkConfig, size_px: int) -> int:
    """Floating-point operations of one forward pass of one sample, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        UVNet(network)(torch.zeros(1, 3, size_px, size_px))
    return int(counter.get_total_flops())
