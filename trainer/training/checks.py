"""What can be known to be wrong before a training starts; and what it would do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from renderer.errors import DatasetError, MachineError, SpecError
from trainer.data.device import chosen_precision, precision_warning
from trainer.data.loader import Loader
from trainer.data.order import Positions
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming, check_room
from trainer.training.checkpoint import load_start
from trainer.training.config import TrainConfig
from trainer.training.sheets import chosen_positions, load_photo, photo_paths
from trainer.training.system import System


@dataclass(frozen=True)
class Plan:
    """What a run would do; `gen train --dry-run` prints it."""

    device: str
    warning: str  # what its arithmetic costs, or empty
    parameters: int
    tag: str
    training_samples: int
    test_samples: int
    steps_per_epoch: int
    epochs: float
    bytes_decoded: int


def check(config: TrainConfig, system: System, new: bool = True) -> Plan:
    """Everything that can be known to be wrong before training starts, as an error; else what the run would do.

    new: a new run, which may start from another's weights; one that is resumed has its own.
    """
    if new and config.start:
        load_start(config)
    accelerator = resolve_accelerator(config)
    modules = meta_modules(config, system)
    check_batch_norm(config, accelerator, modules)
    check_compiler(config, accelerator)
    reader = open_reader(config, system)
    system.check(config, reader)
    training, held_out = splits(config, reader)
    source = Streaming(reader, 0, BadSamples(0), torch.device("cpu"))
    steps = len(Loader(source, training, config.data.batch_size, seed=0, window=1))
    if config.data.cache != "none":
        place = torch.device("cuda" if config.data.cache == "device" and accelerator == "cuda" else "cpu")
        beside = working_bytes(config, system, reader, accelerator) if accelerator == place.type else 0
        check_room(reader, cached_samples(config, len(training), len(held_out), place), place, beside)
    check_pictures(config, system, reader, held_out)
    wanted = config.device.precision
    precision = chosen_precision(wanted, accelerator) + (" (auto)" if wanted == "auto" else "")
    return Plan(
        device=f"{config.device.nodes} x {config.device.devices} {accelerator}, {precision}",
        warning=precision_warning(wanted, accelerator),
        parameters=parameter_count(modules[system.exported]),
        tag=reader.info["tag"],
        training_samples=len(training),
        test_samples=len(held_out),
        steps_per_epoch=steps,
        epochs=config.schedule.max_samples / (steps * config.data.batch_size),
        bytes_decoded=reader.bytes_per_sample * (len(training) + len(held_out)),
    )


def resolve_accelerator(config: TrainConfig) -> str:
    """ "cpu" or "cuda". Raises MachineError where CUDA is asked for and absent."""
    if config.device.accelerator == "cpu" or (config.device.accelerator == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise MachineError(
            "device.accelerator is 'cuda', but torch sees no CUDA device: install the driver and a CUDA build of "
            "torch, or set it to 'auto'"
        )
    if torch.cuda.device_count() < config.device.devices:
        raise MachineError(
            f"device.devices is {config.device.devices}, torch sees {torch.cuda.device_count()} CUDA devices"
        )
    return "cuda"


def check_batch_norm(config: TrainConfig, accelerator: str, modules: Mapping[str, nn.Module]) -> None:
    """Batch norm over the global minibatch, as one process has it, exists between GPUs only."""
    normalised = [name for name, module in modules.items() if any(isinstance(m, _BatchNorm) for m in module.modules())]
    if normalised and config.processes > 1 and accelerator == "cpu":
        raise SpecError(
            f"{normalised[0]} has batch_norm with several processes on CPUs: each would normalise by its own samples "
            "and train another network than one process does; switch it off, or set device.devices and nodes to 1"
        )


def check_compiler(config: TrainConfig, accelerator: str) -> None:
    """torch.compile writes C++ for CPUs and would say so only at the first step."""
    compiler = os.environ.get("CXX", "g++")
    if config.device.compile and accelerator == "cpu" and shutil.which(compiler) is None:
        raise MachineError(
            f"device.compile on a CPU needs the C++ compiler {compiler}: install g++, name another one in CXX, or set "
            "device.compile to false"
        )


def check_pictures(config: TrainConfig, system: System, reader: SampleReader, held_out: Positions) -> None:
    """Photos and samples that are to be shown."""
    photos = photo_paths(config.output)[1]
    if photos and system.photo_px(config, reader) is None:
        raise SpecError(f"output.photos: {system.name} takes no photos, leave it empty")
    for photo in photos:
        load_photo(photo, (8, 8))
    chosen_positions(reader, held_out, config.output.chosen)


def open_reader(config: TrainConfig, system: System) -> SampleReader:
    """The data set of a config. Raises SpecError or DatasetError."""
    if not config.data.path:
        raise SpecError("data.path is empty: give the folder of a data set, or --data DATASET")
    needs = system.needs(config)
    return SampleReader(Path(config.data.path), needs.images + needs.training, needs.vectors)


def splits(config: TrainConfig, reader: SampleReader) -> tuple[Positions, Positions]:
    """Positions to train on and to evaluate on, limits applied."""
    training, held_out = reader.split(config.data.test_share)
    training = training[: config.data.limit] if config.data.limit else training
    if config.data.test_on_train:
        held_out = training
    held_out = held_out[: config.data.test_limit] if config.data.test_limit else held_out
    if not len(held_out):
        raise DatasetError(
            f"none of the {len(reader)} samples of {reader.path} is held out: raise data.test_share, render more, or "
            "set data.test_on_train"
        )
    return training, held_out


def cached_samples(config: TrainConfig, training: int, held_out: int, place: torch.device) -> int:
    """Samples that one place holds: host memory those of every process on this node. Only one process evaluates."""
    copies = config.device.devices if place.type == "cpu" else 1
    return copies * training + (0 if config.data.test_on_train else held_out)


def meta_modules(config: TrainConfig, system: System) -> dict[str, nn.Module]:
    """The modules of a training without their numbers."""
    with torch.device("meta"):
        return system.modules(config)


def parameter_count(module: nn.Module) -> int:
    """Numbers that are learnt."""
    return sum(p.numel() for p in module.parameters())


def working_bytes(config: TrainConfig, system: System, reader: SampleReader, accelerator: str) -> int:
    """About what training itself takes on one device: weights with their state, and the activations of a step.

    On a CPU of all processes together. Counted without computing anything, as if each module were called once.
    """
    numbers: list[int] = []

    def count(_: nn.Module, __: Any, output: object) -> None:
        if isinstance(output, Tensor):
            numbers.append(output.numel())

    modules = meta_modules(config, system)
    with torch.device("meta"):
        for name, inputs in system.inputs(config, reader).items():
            for module in modules[name].modules():
                if next(module.children(), None) is None:
                    module.register_forward_hook(count)
            modules[name](*inputs)
    on_cpu = accelerator == "cpu"
    activations = sum(numbers) * config.data.batch_size // (1 if on_cpu else config.processes)
    copies = config.device.devices if on_cpu else 1
    parameters = sum(parameter_count(module) for module in modules.values())
    # weights, gradients, two moments and an average; activations are kept, and have gradients and working space
    return 4 * (5 * parameters * copies + 2 * activations)
