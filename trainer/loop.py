"""The training loop: from a config to a trained network in a run directory. Reads top to bottom.

`check` finds bad input before anything is created. `train` starts a run or resumes one, on one process or many.
"""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import Precision
from torch import Tensor, nn

from renderer.errors import DatasetError, HeadforgeError, MachineError, SpecError
from renderer.files import write_atomic
from renderer.progress import Progress as ProgressLine
from renderer.stopper import Stopper
from trainer import task as uv
from trainer.checkpoint import checkpoints, load_checkpoint, load_start, save_checkpoint, save_weights
from trainer.config import ScheduleConfig, TrainConfig, absolute_paths, parse_config, to_plain
from trainer.dataset import SampleReader
from trainer.evaluation import Evaluation, chosen_positions, evaluate, load_photo, photo_paths, sheet
from trainer.loader import BadSamples, Loader, Minibatch, Positions, Streaming, check_room, open_source
from trainer.network import UVNet, make_network, parameter_count
from trainer.optimiser import make_optimiser
from trainer.run_dir import RunDir, create_run, finite
from trainer.sheets import SheetWriter, sheet_name

CHECK_STEPS_GPU: Final = 16  # looking at a loss makes the CPU wait for the GPU; so it is done every few steps


class NonFiniteLossError(HeadforgeError):
    """The loss is NaN or infinite. Names the sample keys."""


@dataclass
class Progress:
    """How far a run is; everything here goes into its checkpoints."""

    step: int = 0
    samples_seen: int = 0
    seconds: float = 0.0
    phase: int = 0  # the second, 1, has settings of its own
    second_phase_from: float = 1.0  # share of the training that was done when it started
    best_score: float = math.inf
    epochs_since_best: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the terms since the last line of the log
    summed: int = 0  # samples in those sums

    def share(self, schedule: ScheduleConfig) -> float:
        """Share of the training that is done."""
        by_time = self.seconds / (schedule.max_minutes * 60) if schedule.max_minutes else 0.0
        return min(1.0, max(self.samples_seen / schedule.max_samples, by_time))


@dataclass(frozen=True)
class Plan:
    """What a run would do; `gen train --dry-run` prints it."""

    device: str
    parameters: int
    tag: str
    training_samples: int
    test_samples: int
    steps_per_epoch: int
    epochs: float
    bytes_decoded: int
    environments: int


@dataclass(frozen=True)
class Outcome:
    """How `train` ended. state: "finished" or "interrupted" (by a signal; resume goes on)."""

    run: Path
    state: str
    step: int


# ---------------------------------------------------------------- before training


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


def check_batch_norm(config: TrainConfig, accelerator: str) -> None:
    """Batch norm over the global minibatch, as one process has it, exists between GPUs only."""
    if config.network.batch_norm and processes(config) > 1 and accelerator == "cpu":
        raise SpecError(
            "network.batch_norm with several processes on CPUs: each would normalise by its own samples and train "
            "another network than one process does; set network.batch_norm to false, or device.devices and nodes to 1"
        )


def check_compiler(config: TrainConfig, accelerator: str) -> None:
    """torch.compile writes C++ for CPUs and would say so only at the first step."""
    compiler = os.environ.get("CXX", "g++")
    if config.device.compile and accelerator == "cpu" and shutil.which(compiler) is None:
        raise MachineError(
            f"device.compile on a CPU needs the C++ compiler {compiler}: install g++, name another one in CXX, or set "
            "device.compile to false"
        )


def processes(config: TrainConfig) -> int:
    """How many train together."""
    return config.device.devices * config.device.nodes


def open_reader(config: TrainConfig) -> SampleReader:
    """The data set of a config. Raises SpecError or DatasetError."""
    if not config.data.path:
        raise SpecError("data.path is empty: give the folder of a data set, or --data DATASET")
    return SampleReader(Path(config.data.path), uv.images_needed(config))


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


def check(config: TrainConfig, new: bool = True) -> Plan:
    """Everything that can be known to be wrong before training starts, as an error; else what the run would do.

    new: a new run, which may start from another's weights; one that is resumed has its own.
    """
    if new and config.start:
        load_start(Path(config.start), config.network)
    accelerator = resolve_accelerator(config)
    check_batch_norm(config, accelerator)
    check_compiler(config, accelerator)
    reader = open_reader(config)
    uv.check(config, reader)
    training, held_out = splits(config, reader)
    loader = Loader(
        Streaming(reader, 0, BadSamples(0), torch.device("cpu")),
        training,
        config.data.batch_size,
        seed=0,
        window=1,
    )
    if config.data.cache != "none":
        place = torch.device("cuda" if config.data.cache == "device" and accelerator == "cuda" else "cpu")
        check_room(reader, cached_samples(config, len(training), len(held_out), place), place)
    bank = uv.open_bank(config)
    for photo in photo_paths(config.output)[1]:
        load_photo(photo, (8, 8))
    chosen_positions(reader, held_out, config.output.chosen)
    return Plan(
        device=f"{config.device.nodes} x {config.device.devices} {accelerator}, {config.device.precision}",
        parameters=meta_parameters(config),
        tag=reader.info["tag"],
        training_samples=len(training),
        test_samples=len(held_out),
        steps_per_epoch=len(loader),
        epochs=config.schedule.max_samples / (len(loader) * config.data.batch_size),
        bytes_decoded=reader.bytes_per_sample * (len(training) + len(held_out)),
        environments=bank.count if bank else 0,
    )


def cached_samples(config: TrainConfig, training: int, held_out: int, place: torch.device) -> int:
    """Samples that one place holds: host memory those of every process on this node. Only one process evaluates."""
    copies = config.device.devices if place.type == "cpu" else 1
    return copies * training + (0 if config.data.test_on_train else held_out)


def meta_parameters(config: TrainConfig) -> int:
    """Parameters of the network, counted without making them."""
    with torch.device("meta"):
        return parameter_count(UVNet(config.network))


# ---------------------------------------------------------------- training


def train(config: TrainConfig) -> Outcome:
    """Start a new run. Raises a HeadforgeError for anything that `check` finds, before the run directory exists."""
    config = absolute_paths(config)
    check(config)
    return launch(make_fabric(config), config, None)


def resume(run_path: Path) -> Outcome:
    """Go on with a run from its newest checkpoint, with the config that it was started with."""
    run = RunDir(run_path)
    config = run.load_config()
    check(config, new=False)
    return launch(make_fabric(config), config, run.path)


def make_fabric(config: TrainConfig) -> Fabric:
    """Device, precision and processes."""
    device = config.device
    accelerator = resolve_accelerator(config)
    strategy = device.strategy
    if strategy == "auto" and processes(config) > 1:
        strategy = "ddp"
    with warnings.catch_warnings():  # a machine that has SLURM may well train outside it
        warnings.filterwarnings("ignore", message="The `srun` command is available")
        return Fabric(
            accelerator=accelerator,
            devices=device.devices,
            num_nodes=device.nodes,
            strategy=strategy,
            precision=device.precision,
        )


def launch(fabric: Fabric, config: TrainConfig, run_path: Path | None) -> Outcome:
    """Run `session` in every process. run_path: None for a new run."""
    path, state, step = fabric.launch(
        _launched,  # type: ignore[arg-type]
        to_plain(config),
        str(run_path) if run_path else None,
    )
    return Outcome(Path(path), state, step)


def _launched(fabric: Fabric, plain: dict[str, Any], run_path: str | None) -> tuple[str, str, int]:
    """`session` with arguments and result that Fabric can hand to other processes: it refuses frozen dataclasses."""
    outcome = session(fabric, parse_config(plain, "the config"), Path(run_path) if run_path else None)
    if torch.distributed.is_initialized():  # gloo's threads abort a process that ends while they still run
        torch.distributed.destroy_process_group()
    return str(outcome.run), outcome.state, outcome.step


def session(fabric: Fabric, config: TrainConfig, run_path: Path | None) -> Outcome:
    """One process of one run, from set-up to the end of training."""
    main = fabric.global_rank == 0
    tune(config, fabric.device)
    reader = open_reader(config)
    training, held_out = splits(config, reader)
    if main:
        print(opening(fabric, config, len(training), len(held_out)), file=sys.stderr, flush=True)
    if main and run_path is None:
        run_path = new_run(config, reader, len(training), len(held_out)).path
    run = RunDir(Path(fabric.broadcast(str(run_path))))
    with run.locked() if main else nullcontext():
        return optimise(fabric, config, run, reader, training, held_out)


def opening(fabric: Fabric, config: TrainConfig, training: int, held_out: int) -> str:
    """The first line of a training: on what, with what, for how long."""
    schedule, precision = config.schedule, fabric.strategy.precision.precision
    until = f"{schedule.max_samples:,} samples are seen"
    until += f" or {schedule.max_minutes:g} min are over" if schedule.max_minutes else ""
    return (
        f"{config.name}: {meta_parameters(config):,} parameters on {fabric.world_size} x {fabric.device.type} in"
        f" {precision}, {training:,} samples, {held_out:,} held out; trains until {until}"
    )


def optimise(
    fabric: Fabric, config: TrainConfig, run: RunDir, reader: SampleReader, training: Positions, held_out: Positions
) -> Outcome:
    """The training itself, of a run that is ours alone."""
    main = fabric.global_rank == 0

    # data
    data = config.data
    bad = BadSamples(data.max_bad)
    label = "decoding the training samples" if main else ""
    source = test_source = open_source(reader, training, data.cache, data.workers, bad, fabric.device, label)
    if main and not data.test_on_train:  # the others do not evaluate
        label = "decoding the held-out samples"
        test_source = open_source(reader, held_out, data.cache, data.workers, bad, fabric.device, label)
    loader = Loader(
        source,
        training,
        data.batch_size,
        seed=config.seed,
        window=data.window,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    task = uv.make_task(config, reader, fabric.device)

    # network and optimiser
    schedule = config.schedule
    model = make_model(fabric, config)
    plain_network, network, optimiser = model.plain, model.network, model.optimiser
    found = checkpoints(run.checkpoints)
    if config.start and not found:
        plain_network.load_state_dict(load_start(Path(config.start), config.network))
    ema = copy.deepcopy(plain_network).requires_grad_(False) if schedule.ema else None

    # state
    progress, precision = Progress(), fabric.strategy.precision
    if found:
        progress = restore(found[-1], config, reader, plain_network, optimiser, ema, loader, precision)
        if main:
            run.forget_after(progress.step)
    fabric.barrier()
    log = Log(run, config, progress, main)
    if found:
        log.event(progress, loader, f"resumed from {found[-1].name}")
    writer = SheetWriter(run.evaluation)
    chosen, photos = chosen_positions(reader, held_out, config.output.chosen), photo_paths(config.output)
    records: dict[int, dict[str, Any]] = {}
    unseen: list[tuple[Minibatch, Tensor]] = []  # steps whose loss has not been looked at yet
    check_steps = CHECK_STEPS_GPU if fabric.device.type == "cuda" else 1

    def save() -> None:
        look_at(unseen, progress, task)
        if main:
            weights = ema or plain_network
            save_weights(run.weights, weights.state_dict(), config.network, weights_header(run, reader))
            state = checkpoint_state(config, reader, plain_network, optimiser, ema, loader, progress, precision)
            save_checkpoint(run.checkpoints, progress.step, state, config.output.keep_checkpoints)
        fabric.barrier()

    def finish(state: str, text: str) -> Outcome:
        save()
        writer.wait()
        log.event(progress, loader, text)
        log.status(progress, loader, state, text)
        return Outcome(run.path, state, progress.step)

    network.train()
    log.status(progress, loader, "running")
    saved_at = clock = time.perf_counter()
    try:
        with stop_signals(main) as stop:
            while progress.share(schedule) < 1:
                for minibatch in loader:
                    set_phase(optimiser, schedule, progress, log, loader)
                    done = progress.share(schedule)
                    unseen.append((minibatch, train_step(fabric, model, task, config, minibatch, done)))
                    if ema is not None:
                        update_ema(ema, plain_network, schedule.ema, progress.step)
                    if len(unseen) >= check_steps:
                        look_at(unseen, progress, task)
                    progress.step += 1
                    progress.samples_seen += config.data.batch_size
                    # what depends on a clock or a signal, many processes settle together, and not in every step
                    settling = fabric.world_size == 1 or progress.step % check_steps == 0 or loader.batch == len(loader)
                    if settling:
                        now = time.perf_counter()
                        progress.seconds, clock = progress.seconds + now - clock, now
                    stopping = settling and stop()
                    log.tick(progress, schedule)
                    saving = due(config, progress.step, saved_at if settling else math.inf)
                    if settling and fabric.world_size > 1:
                        stopping, saving = agree(fabric, progress, stopping, saving)
                    if progress.step % config.output.log_steps == 0:
                        look_at(unseen, progress, task)
                        log.train_line(progress, loader, optimiser, schedule)
                        log.bad_samples(progress, loader, bad)
                    if stopping:
                        return finish("interrupted", f"stopped by a signal at step {progress.step}")
                    if saving:
                        save()
                        saved_at = time.perf_counter()
                    if progress.share(schedule) >= 1:
                        break
                epoch_done = loader.batch == 0
                if (epoch_done and loader.epoch % config.output.evaluate_epochs == 0) or progress.share(schedule) >= 1:
                    look_at(unseen, progress, task)
                    if main:
                        tested = ema or plain_network
                        for kind, occluded in (("test", False), ("test_occluded", True)):
                            if occluded and task.bank is None:
                                continue
                            with fabric.autocast():
                                result = evaluate(
                                    tested, task, test_source, held_out, records, data.batch_size, occluded
                                )
                            log.test_line(progress, loader, kind, result)
                            if not occluded:
                                note_plateau(progress, task.score(result.metrics), config)
                        if config.output.images:
                            number = epoch_number(loader)
                            with fabric.autocast():
                                tiles, rows = sheet(
                                    tested, task, reader, chosen, held_out, photos, number, fabric.device, bad
                                )
                            if rows:
                                log.sheet(rows, number, reader)
                                writer.write(np.stack(tiles), number)
                        log.bad_samples(progress, loader, bad)
                    share_plateau(progress, fabric)
                    save()
                    saved_at = time.perf_counter()
                clock = time.perf_counter()
        return finish("finished", f"finished after {progress.samples_seen} samples")
    except BaseException as error:  # Ctrl-C and a lack of memory, too: a run that is over must not look alive
        log.failed(progress, loader, error)
        raise
    finally:
        log.bad_samples(progress, loader, bad)
        writer.wait()
        log.close()


# ---------------------------------------------------------------- steps of the loop


def new_run(config: TrainConfig, reader: SampleReader, training: int, held_out: int) -> RunDir:
    """Create the run directory and say what it is trained on."""
    data = {
        "path": str(Path(config.data.path).resolve()),
        "tag": reader.info["tag"],
        "name": reader.info.get("name", ""),
        "index_sha256": reader.index_hash(),
        "uv_frame": reader.info["uv_frame"],
        "resolution": reader.info.get("resolution"),
        "training_samples": training,
        "test_samples": held_out,
    }
    return create_run(config, reader.info["tag"], data, meta_parameters(config))


def tune(config: TrainConfig, device: torch.device) -> None:
    """Settings of this process that change how fast torch computes."""
    if config.device.threads:
        torch.set_num_threads(config.device.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True


@dataclass(frozen=True)
class Model:
    """A network and its optimiser: plain, for their state, and as Fabric wraps them, for use."""

    plain: nn.Module
    network: Any
    optimiser: torch.optim.Optimizer
    fabric_optimiser: Any
    layout: torch.memory_format


def make_model(fabric: Fabric, config: TrainConfig) -> Model:
    """A new network from the seed, on the device, in the precision and layout of the config."""
    layout = torch.channels_last if config.device.channels_last else torch.contiguous_format
    plain = synchronised(make_network(config.network, config.seed), fabric).to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = make_optimiser(plain, config.schedule, config.device.precision)
    compiled: Any = torch.compile(plain) if config.device.compile else plain
    network, fabric_optimiser = fabric.setup(compiled, optimiser)
    return Model(plain, network, optimiser, fabric_optimiser, layout)


def train_step(
    fabric: Fabric, model: Model, task: uv.UVTask, config: TrainConfig, minibatch: Minibatch, progress: float
) -> Tensor:
    """Augment, predict, step. Returns the terms of each sample with the total as last row, (terms + 1, N)."""
    samples = task.training_samples(minibatch, progress)
    prediction = model.network(samples.input.contiguous(memory_format=model.layout))
    terms = task.loss_terms(prediction, samples, progress)
    total = task.total_loss(terms, progress)
    fabric.backward(total)
    if config.schedule.grad_clip:
        fabric.clip_gradients(model.network, model.fabric_optimiser, max_norm=config.schedule.grad_clip)
    model.fabric_optimiser.step()
    model.fabric_optimiser.zero_grad()
    return torch.stack([*terms.values(), total.expand(len(minibatch))]).detach()


def synchronised(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Many GPUs normalise by the global minibatch, as one process would. Names and values of the weights stay."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]
    return network


def look_at(unseen: list[tuple[Minibatch, Tensor]], progress: Progress, task: uv.UVTask) -> None:
    """Add the terms of past steps to the sums; stop the run if one is not finite, naming the samples.

    unseen: (minibatch, (terms, N) tensor with `total` as its last row) per step; emptied.
    """
    for minibatch, matrix in unseen:
        values = matrix.double().cpu()
        if not torch.isfinite(values).all():
            bad = (~torch.isfinite(values[:-1]).all(0)).nonzero().flatten().tolist()
            keys = [minibatch.keys[i] for i in bad] or minibatch.keys
            raise NonFiniteLossError(
                f"the loss is not finite at samples {', '.join(keys[:8])}{' ...' if len(keys) > 8 else ''} of epoch "
                f"{minibatch.epoch + 1}: look at them with `gen view`, lower schedule.lr, or set schedule.grad_clip; "
                "the last checkpoint is from before"
            )
        for name, row in zip([*task.term_names(), "loss"], values, strict=True):
            progress.sums[name] = progress.sums.get(name, 0.0) + float(row.sum())
        progress.summed += values.shape[1]
    unseen.clear()


def set_phase(
    optimiser: torch.optim.Optimizer, schedule: ScheduleConfig, progress: Progress, log: Log, loader: Loader
) -> None:
    """Learning rate and beta1 of the phase; the second starts on a plateau or at a set share of the training."""
    share = progress.share(schedule)
    late = share >= schedule.second_phase_at
    if progress.phase == 0 and (late or progress.epochs_since_best >= schedule.plateau_epochs):
        progress.phase, progress.second_phase_from = 1, share
        log.event(progress, loader, "second phase: " + ("as scheduled" if late else "the held-out error levelled off"))
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(schedule, progress)
        group["betas"] = (schedule.beta1[progress.phase], schedule.beta2)


def learning_rate(schedule: ScheduleConfig, progress: Progress) -> float:
    """Of the next step, in the phase that `progress` is in."""
    first, last = schedule.lr
    if progress.phase == 0 or schedule.decay == "step":
        return schedule.lr[progress.phase]
    left = (1 - progress.share(schedule)) / max(1 - progress.second_phase_from, 1e-9)
    return last + (first - last) * left


def note_plateau(progress: Progress, score: float, config: TrainConfig) -> None:
    """Count the epochs since the score (lower is better) last improved enough. Called after each evaluation."""
    if score < progress.best_score * (1 - config.schedule.plateau_gain):
        progress.best_score, progress.epochs_since_best = score, 0
    else:
        progress.epochs_since_best += config.output.evaluate_epochs


def share_plateau(progress: Progress, fabric: Fabric) -> None:
    """Only the first process evaluates; the others learn the outcome."""
    if fabric.world_size > 1:
        progress.best_score, progress.epochs_since_best = fabric.broadcast(
            (progress.best_score, progress.epochs_since_best)
        )


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average a little towards the weights and running statistics; early steps, when all is new, move it more.

    step: how many went before. Counters are copied.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(ema.state_dict().values(), network.state_dict().values(), strict=True))
    floating = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
    torch._foreach_lerp_([mine for mine, _ in floating], [theirs for _, theirs in floating], 1 - decay)
    for mine, theirs in pairs:
        if not mine.is_floating_point():
            mine.copy_(theirs)


def due(config: TrainConfig, step: int, saved_at: float) -> bool:
    """Is it time for a checkpoint?"""
    output = config.output
    by_step = output.checkpoint_steps and step % output.checkpoint_steps == 0
    by_time = output.checkpoint_minutes and time.perf_counter() - saved_at >= 60 * output.checkpoint_minutes
    return bool(by_step or by_time)


def agree(fabric: Fabric, progress: Progress, stopping: bool, saving: bool) -> tuple[bool, bool]:
    """All processes stop if one must; clocks and checkpoints go by the first process. Makes the CPUs wait."""
    first = fabric.global_rank == 0
    mine = [float(stopping), float(saving and first), progress.seconds * first]
    ours: Any = fabric.all_reduce(torch.tensor(mine, device=fabric.device), reduce_op="sum")
    stops, saves, progress.seconds = ours.tolist()
    return stops > 0, saves > 0


def stop_signals(main: bool) -> Stopper:
    """Ctrl-C, SIGTERM and SIGUSR1 (a SLURM time limit) ask the loop to save and end; one process says so."""
    words = "finishing the step in hand and saving a checkpoint" if main else ""
    return Stopper(lambda: words, (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))


def epoch_number(loader: Loader) -> int:
    """1 for the first epoch, from its first minibatch to its evaluation."""
    return loader.epoch + (1 if loader.batch else 0)


# ---------------------------------------------------------------- state


def checkpoint_state(
    config: TrainConfig,
    reader: SampleReader,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    ema: nn.Module | None,
    loader: Loader,
    progress: Progress,
    precision: Precision,
) -> dict[str, Any]:
    """Everything needed to go on as if nothing had happened. Augmentation has no state: see `trainer.draws`."""
    return {
        "network_config": to_plain(config.network),
        "index_sha256": reader.index_hash(),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "ema": ema.state_dict() if ema is not None else None,
        "loader": loader.state_dict(),
        "generator": torch.get_rng_state(),
        "progress": asdict(progress),
        "precision": precision.state_dict(),  # of "16-mixed" the scale of the gradients
    }


def restore(
    path: Path,
    config: TrainConfig,
    reader: SampleReader,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    ema: nn.Module | None,
    loader: Loader,
    precision: Precision,
) -> Progress:
    """The inverse of `checkpoint_state`. Raises FormatError or DatasetError where it does not belong to this run."""
    state = load_checkpoint(path, config.network)
    if state["index_sha256"] != reader.index_hash():
        raise DatasetError(
            f"{path} was trained on other shards than {reader.path} holds now: restore the data set, or start a new run"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    if ema is not None:
        ema.load_state_dict(state["ema"])
    loader.load_state_dict(state["loader"])
    torch.set_rng_state(state["generator"])
    if scaling := state.get("precision"):
        precision.load_state_dict(scaling)
    # checkpoints from before the plateau rule had a score hold a best loss instead; the rule then starts anew
    kept = {name: value for name, value in state["progress"].items() if name in Progress.__dataclass_fields__}
    return Progress(**kept)


def weights_header(run: RunDir, reader: SampleReader) -> dict[str, str]:
    return {"run_id": run.run_id, "uv_frame": reader.info["uv_frame"], "tag": reader.info["tag"]}


class Log:
    """Writes log.jsonl, status.json, TensorBoard scalars and progress on stderr; silent in other processes."""

    def __init__(self, run: RunDir, config: TrainConfig, progress: Progress, on: bool) -> None:
        self.run, self.on = run, on
        self.seconds_before, self.samples_before = progress.seconds, progress.samples_seen
        self.board: Any = None
        self.bar: ProgressLine | None = None
        if on:
            if config.output.tensorboard:
                from torch.utils.tensorboard import SummaryWriter

                # what a killed session wrote after its last checkpoint is written again
                self.board = SummaryWriter(str(run.tensorboard), purge_step=progress.samples_seen + 1)
            self.bar = ProgressLine(config.schedule.max_samples, "sample", "training").start()
            layout = {"columns": list(uv.COLUMNS), "rows_file": "rows.jsonl"}
            run.write_json(run.evaluation / "layout.json", layout)

    def line(self, kind: str, progress: Progress, loader: Loader, values: dict[str, Any]) -> None:
        if not self.on:
            return
        head = {"kind": kind, "epoch": epoch_number(loader), "step": progress.step}
        head |= {"samples_seen": progress.samples_seen, "seconds": round(progress.seconds, 3)}
        self.run.append({**head, **values})
        for name, value in _scalars(kind, values):
            if self.board is not None:
                self.board.add_scalar(name, value, progress.samples_seen)

    def event(self, progress: Progress, loader: Loader, text: str) -> None:
        self.line("event", progress, loader, {"text": text})

    def bad_samples(self, progress: Progress, loader: Loader, bad: BadSamples) -> None:
        """An event for each bad sample that was found since the last call."""
        for text in bad.news():
            self.event(progress, loader, text)

    def failed(self, progress: Progress, loader: Loader, error: BaseException) -> None:
        """The last status of a run that an exception ends; Ctrl-C is nobody's fault."""
        text = str(error) if isinstance(error, HeadforgeError) else f"{type(error).__name__}: {error}".rstrip(": ")
        self.status(progress, loader, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed", text)

    def train_line(
        self, progress: Progress, loader: Loader, optimiser: torch.optim.Optimizer, schedule: ScheduleConfig
    ) -> None:
        """Means since the last line; the sums start again."""
        means = {name: value / max(progress.summed, 1) for name, value in progress.sums.items()}
        progress.sums, progress.summed = {}, 0
        took = progress.seconds - self.seconds_before
        rate = (progress.samples_seen - self.samples_before) / took if took > 0 else 0.0
        group = optimiser.param_groups[0]
        values = {
            "lr": group["lr"],
            "beta1": group["betas"][0],
            "phase": progress.phase + 1,
            "progress": progress.share(schedule),
            "loss": means.pop("loss", math.nan),
            "terms": means,
            "samples_per_s": round(rate, 3),
        }
        self.line("train", progress, loader, values)
        self.status(progress, loader, "running")
        if self.bar is not None:
            self.bar.note = f"loss {values['loss']:.4f}"
        self.seconds_before, self.samples_before = progress.seconds, progress.samples_seen

    def tick(self, progress: Progress, schedule: ScheduleConfig) -> None:
        """A step is done. Where the clock decides, the total is what the samples up to now suggest."""
        if self.bar is None:
            return
        share = progress.share(schedule)
        if schedule.max_minutes and share:
            self.bar.total = max(progress.samples_seen, round(progress.samples_seen / share))
        self.bar.update(progress.samples_seen - self.bar.n)

    def test_line(self, progress: Progress, loader: Loader, kind: str, result: Evaluation) -> None:
        values = {"loss": result.loss, "terms": result.terms, "metrics": result.metrics, "samples": result.samples}
        self.line(kind, progress, loader, values)
        if not self.on:
            return
        path = self.run.evaluation / "splits.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        self.run.write_json(path, {**old, "epoch": epoch_number(loader), kind: result.splits})
        text = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items())
        print(f"epoch {epoch_number(loader)} {kind}: loss {result.loss:.4f}, {text}", flush=True)

    def sheet(self, rows: list[dict[str, Any]], number: int, reader: SampleReader) -> None:
        """What the rows of a sprite sheet show."""
        height, width = reader.shapes["input"][1:]
        layout = {"tile_px": width, "tile_height_px": height, "columns": list(uv.COLUMNS), "rows_file": "rows.jsonl"}
        self.run.write_json(self.run.evaluation / "layout.json", layout)
        entry = finite({"epoch": number, "file": sheet_name(number), "rows": rows})
        path = self.run.evaluation / "rows.jsonl"
        kept = (
            [line for line in path.read_text("utf-8").splitlines() if json.loads(line)["epoch"] < number]
            if path.exists()
            else []
        )
        write_atomic(path, "".join(f"{line}\n" for line in [*kept, json.dumps(entry)]).encode())

    def status(self, progress: Progress, loader: Loader, state: str, message: str = "") -> None:
        if self.on:
            values = {"state": state, "epoch": epoch_number(loader), "step": progress.step, "message": message}
            values |= {"samples_seen": progress.samples_seen, "seconds": round(progress.seconds, 3)}
            self.run.write_json(self.run.status, values)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
        if self.bar is not None:
            self.bar.close()


def _scalars(kind: str, values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{kind}/{name}/{inner}", v) for inner, v in value.items())
        elif isinstance(value, float):
            yield f"{kind}/{name}", value
