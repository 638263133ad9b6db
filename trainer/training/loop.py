"""The training loop: from a config to a trained network in a run directory. Reads top to bottom.

`check` finds bad input before anything is created. `train` starts a run or resumes one, on one process or many.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from renderer.errors import DatasetError, HeadforgeError, MachineError, SpecError
from renderer.files import write_atomic
from renderer.progress import Progress as ProgressLine
from renderer.stopper import Stopper
from renderer.strict import read, to_plain
from trainer.data.device import chosen_precision, precision_warning
from trainer.data.loader import BadSamples, Cached, Loader, Minibatch, Positions, Streaming, check_room, open_source
from trainer.data.reader import SampleReader
from trainer.systems.uvnet import system as uv
from trainer.systems.uvnet.config import UVNetConfig as TrainConfig
from trainer.systems.uvnet.network import UVNet, make_network, parameter_count
from trainer.training.checkpoint import (
    checkpoints,
    load_start,
    named_checkpoint,
    save_checkpoint,
    save_weights,
    set_aside_after,
    step_of,
)
from trainer.training.config import ScheduleConfig, absolute_paths
from trainer.training.gradients import gives_up, norm_and_clip, scaler_of
from trainer.training.optimisers import make_optimiser
from trainer.training.peers import Peers
from trainer.training.run_dir import RunDir, create_run, finite
from trainer.training.sprites import SheetWriter, sheet_name
from trainer.training.state import (
    NonFiniteError,
    Progress,
    State,
    check_finite,
    checkpoint_state,
    make_average,
    restore,
    update_average,
)
from trainer.training.validation import Evaluation, chosen_positions, evaluate, load_photo, photo_paths, sheet

T = TypeVar("T")
CHECK_STEPS_GPU: Final = 16  # looking at a loss makes the CPU wait for the GPU; so it is done every few steps


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
        beside = working_bytes(config, reader) if accelerator == place.type else 0
        check_room(reader, cached_samples(config, len(training), len(held_out), place), place, beside)
    bank = uv.open_bank(config)
    for photo in photo_paths(config.output)[1]:
        load_photo(photo, (8, 8))
    chosen_positions(reader, held_out, config.output.chosen)
    wanted = config.device.precision
    precision = chosen_precision(wanted, accelerator) + (" (auto)" if wanted == "auto" else "")
    return Plan(
        device=f"{config.device.nodes} x {config.device.devices} {accelerator}, {precision}",
        warning=precision_warning(wanted, accelerator),
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


def working_bytes(config: TrainConfig, reader: SampleReader) -> int:
    """About what training itself takes on one device: weights with their state, and the activations of a step.

    On a CPU of all processes together. Counted without computing anything.
    """
    numbers: list[int] = []

    def count(_: nn.Module, __: Any, output: Tensor) -> None:
        numbers.append(output.numel())

    with torch.device("meta"):
        network = UVNet(config.network)
        for module in network.modules():
            if next(module.children(), None) is None:
                module.register_forward_hook(count)
        network(torch.empty(config.data.batch_size, *reader.shapes["input"]))
    on_cpu = resolve_accelerator(config) == "cpu"
    activations = sum(numbers) // (1 if on_cpu else processes(config))
    copies = config.device.devices if on_cpu else 1
    # weights, gradients, two moments and an average; activations are kept, and have gradients and working space
    return 4 * (5 * parameter_count(network) * copies + 2 * activations)


# ---------------------------------------------------------------- training


def train(config: TrainConfig) -> Outcome:
    """Start a new run. Raises a HeadforgeError for anything that `check` finds, before the run directory exists."""
    config = absolute_paths(config)
    check(config)
    return launch(make_fabric(config), config, None)


def resume(run_path: Path, checkpoint: str = "") -> Outcome:
    """Go on with a run from its newest checkpoint, with the config that it was started with.

    checkpoint: name of an older one to go on from; those after it are set aside.
    """
    run = RunDir(run_path.absolute())
    config = run.load_config()
    check(config, new=False)
    if checkpoint:
        named_checkpoint(run.checkpoints, checkpoint)
    return launch(make_fabric(config), config, run.path, checkpoint)


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
            precision=chosen_precision(device.precision, accelerator),  # type: ignore[arg-type]
        )


def precision_of(fabric: Fabric) -> str:
    """What is computed in: Fabric's name for it."""
    return str(fabric.strategy.precision.precision)


def check_precision(fabric: Fabric, config: TrainConfig) -> None:
    """Say what an unsuitable precision costs. Raises MachineError where `auto` means another one than elsewhere."""
    mine, first = precision_of(fabric), fabric.broadcast(precision_of(fabric))
    if mine != first:
        raise MachineError(
            f"device.precision 'auto' is {mine} on this node and {first} on the first: set it to '32-true', or train "
            "on nodes of one kind"
        )
    warning = precision_warning(config.device.precision, resolve_accelerator(config))
    if warning and fabric.global_rank == 0:
        print(warning, file=sys.stderr, flush=True)


def launch(fabric: Fabric, config: TrainConfig, run_path: Path | None, checkpoint: str = "") -> Outcome:
    """Run `session` in every process. run_path: None for a new run."""
    try:
        path, state, step = fabric.launch(
            _launched,  # type: ignore[arg-type]
            to_plain(config),
            str(run_path) if run_path else None,
            checkpoint,
        )
    except (
        ProcessExitedException,
        ProcessRaisedException,
    ) as error:  # of a process that was started from here, as text
        reason = str(error).strip().splitlines()[-1]
        raise HeadforgeError(f"a process of the training failed: {reason}; the run's status.json says more") from error
    return Outcome(Path(path), state, step)


def _launched(fabric: Fabric, plain: dict[str, Any], run_path: str | None, checkpoint: str) -> tuple[str, str, int]:
    """`session` with arguments and result that Fabric can hand to other processes: it refuses frozen dataclasses."""
    outcome = session(fabric, read(TrainConfig, plain, "the config"), Path(run_path) if run_path else None, checkpoint)
    if torch.distributed.is_initialized():  # gloo's threads abort a process that ends while they still run
        torch.distributed.destroy_process_group()
    return str(outcome.run), outcome.state, outcome.step


def session(fabric: Fabric, config: TrainConfig, run_path: Path | None, checkpoint: str = "") -> Outcome:
    """One process of one run, from set-up to the end of training. Whatever ends it, the run's status says so."""
    main = fabric.global_rank == 0
    check_precision(fabric, config)
    tune(config, fabric.device)
    path = by_the_first(fabric, lambda: str(run_path or new_run(config).path))
    run = RunDir(Path(path))
    with ExitStack() as stack:

        def claim() -> None:
            stack.enter_context(run.locked())
            Peers.prepare(run.path)
            run.update_status("running", "setting up")

        by_the_first(fabric, claim)
        with Peers(run.path, fabric.global_rank, fabric.world_size, partial(failed, run, main)) as peers:
            try:
                return optimise(fabric, config, run, checkpoint)
            except BaseException as error:  # Ctrl-C and a lack of memory, too: a run that is over must not look alive
                text = str(error) if isinstance(error, HeadforgeError) else f"{type(error).__name__}: {error}"
                reason = peers.report(text.rstrip(": "))
                failed(run, main, reason, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise


def opening(fabric: Fabric, config: TrainConfig, training: int, held_out: int) -> str:
    """The first line of a training: on what, with what, for how long."""
    schedule, precision = config.schedule, precision_of(fabric)
    until = f"{schedule.max_samples:,} samples are seen"
    until += f" or {schedule.max_minutes:g} min are over" if schedule.max_minutes else ""
    return (
        f"{config.name}: {meta_parameters(config):,} parameters on {fabric.world_size} x {fabric.device.type} in"
        f" {precision}, {training:,} samples, {held_out:,} held out; trains until {until}"
    )


def by_the_first(fabric: Fabric, action: Callable[[], T]) -> T:
    """What one process does for all of them. They get its result, or its error: none waits for one that has failed."""
    outcome: tuple[Any, Exception | None] = (None, None)
    if fabric.global_rank == 0:
        try:
            outcome = (action(), None)
        except Exception as error:
            outcome = (None, error)
    shared: tuple[T, Exception | None] = fabric.broadcast(outcome)
    if shared[1] is not None:
        raise shared[1]
    return shared[0]


def failed(run: RunDir, main: bool, reason: str, state: str = "failed") -> None:
    """The last status of a run that ends before it is done. The first process alone writes it."""
    if main:
        run.update_status(state, reason)


def optimise(fabric: Fabric, config: TrainConfig, run: RunDir, checkpoint: str = "") -> Outcome:
    """The training itself, of a run that is ours alone."""
    main = fabric.global_rank == 0

    # data
    data, bad = config.data, BadSamples(config.data.max_bad)
    reader = open_reader(config)
    training, held_out = splits(config, reader)
    if main:
        print(opening(fabric, config, len(training), len(held_out)), file=sys.stderr, flush=True)
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

    # network, optimiser, and how far they are
    schedule = config.schedule
    model = make_model(fabric, config)
    found = start_point(fabric, run, checkpoint)
    if config.start and found is None:
        model.plain.load_state_dict(load_start(Path(config.start), config.network))
    average = make_average(model.plain) if schedule.ema else None
    state = State(model.plain, model.optimiser, average, loader, Progress(), fabric.strategy.precision)
    if found is not None:
        restore(state, found, config, reader)
        if not run.best_weights.is_file():  # they came after this checkpoint, and were set aside with those that did
            state.progress.lowest_score = math.inf
    progress = state.progress
    if not main:
        progress.sums, progress.summed = {}, 0  # those of all processes, which only the first goes on with
    log = Log(run, config, progress, precision_of(fabric), main)
    if found is not None:
        log.event(progress, loader, f"resumed from {found.name}")
    writer = SheetWriter(run.evaluation)
    evaluator = Evaluator(fabric, config, task, reader, test_source, held_out, run, log, writer, bad)
    unseen: list[Step] = []  # steps whose loss and gradient have not been looked at yet
    check_steps = CHECK_STEPS_GPU if fabric.device.type == "cuda" else 1

    def save() -> None:
        look_at(unseen, state, task)
        gather_sums(progress, fabric)
        if main:
            check_finite(state)
            header = weights_header(run, reader, progress)
            save_weights(run.weights, state.tested.state_dict(), config.network, header)
            stored = checkpoint_state(state, config, reader)
            save_checkpoint(run.checkpoints, progress.step, stored, config.output.keep_checkpoints)
        fabric.barrier()

    def finish(how: str, text: str) -> Outcome:
        save()
        writer.wait()
        log.event(progress, loader, text)
        log.status(progress, loader, how, text)
        return Outcome(run.path, how, progress.step)

    model.network.train()
    log.status(progress, loader, "running")
    saved_at = clock = time.perf_counter()
    try:
        with stop_signals(main) as stop:
            while progress.share(schedule) < 1:
                for minibatch in loader:
                    set_phase(model.optimiser, schedule, progress, log, loader)
                    seed_step(config.seed, progress.step, fabric.global_rank)
                    done = progress.share(schedule)
                    unseen.append(Step(minibatch, *train_step(fabric, model, task, config, minibatch, done)))
                    if average is not None:
                        update_average(average, model.plain, schedule.ema, progress.step)
                    if len(unseen) >= check_steps:
                        look_at(unseen, state, task)
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
                        look_at(unseen, state, task)
                        gather_sums(progress, fabric)
                        log.train_line(progress, loader, model.optimiser, schedule)
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
                    look_at(unseen, state, task)
                    if main:
                        check_finite(state)
                        evaluator.run(state)
                    share_plateau(progress, fabric)
                    save()
                    saved_at = time.perf_counter()
                clock = time.perf_counter()
        return finish("finished", f"finished after {progress.samples_seen} samples")
    except BaseException:
        log.status(progress, loader, "running")  # how far it got; `session` says what ended it
        raise
    finally:
        log.bad_samples(progress, loader, bad)
        writer.wait()
        log.close()


# ---------------------------------------------------------------- steps of the loop


def new_run(config: TrainConfig) -> RunDir:
    """Create the run directory and say what it is trained on."""
    reader = open_reader(config)
    training, held_out = splits(config, reader)
    data = {
        "path": str(Path(config.data.path).resolve()),
        "tag": reader.info["tag"],
        "name": reader.info.get("name", ""),
        "index_sha256": reader.index_hash(),
        "uv_frame": reader.info["uv_frame"],
        "resolution": reader.info.get("resolution"),
        "training_samples": len(training),
        "test_samples": len(held_out),
    }
    return create_run(config, reader.info["tag"], data, meta_parameters(config))


def start_point(fabric: Fabric, run: RunDir, checkpoint: str) -> Path | None:
    """The checkpoint that every process goes on from: the newest, or the one named, and what came later is set aside.

    None for a new run.
    """

    def choose() -> str:
        found = checkpoints(run.checkpoints)
        if checkpoint:
            found = [named_checkpoint(run.checkpoints, checkpoint)]
            set_aside_after(found[0], run.best_weights)
        if found:
            run.forget_after(step_of(found[-1]))
        return found[-1].name if found else ""

    name = by_the_first(fabric, choose)
    return run.checkpoints / name if name else None


def seed_step(seed: int, step: int, rank: int) -> None:
    """Randomness of the network itself (dropout, noise), on every device, as a function of seed, step and process.

    So a resumed run draws what it would have drawn, and no process draws what another does.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


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
    optimiser = make_optimiser(plain, config.schedule, precision_of(fabric))
    compiled: Any = torch.compile(plain) if config.device.compile else plain
    network, fabric_optimiser = fabric.setup(compiled, optimiser)
    return Model(plain, network, optimiser, fabric_optimiser, layout)


def train_step(
    fabric: Fabric, model: Model, task: uv.UVTask, config: TrainConfig, minibatch: Minibatch, progress: float
) -> tuple[Tensor, Tensor]:
    """Augment, predict, step.

    Returns the terms of each sample with the total as last row, (terms + 1, N), and the norm of the gradient, a scalar.
    """
    samples = task.training_samples(minibatch, progress)
    prediction = model.network(samples.input.contiguous(memory_format=model.layout))
    terms = task.loss_terms(prediction, samples, progress)
    total = task.total_loss(terms, progress)
    fabric.backward(total)
    norm = norm_and_clip(model.optimiser, config.schedule.grad_clip, scaler_of(fabric.strategy.precision))
    model.fabric_optimiser.step()
    model.fabric_optimiser.zero_grad()
    return torch.stack([*terms.values(), total.expand(len(minibatch))]).detach(), norm


def synchronised(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Many GPUs normalise by the global minibatch, as one process would. Names and values of the weights stay."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-any-return, no-untyped-call]
    return network


@dataclass(frozen=True)
class Step:
    """What is to be looked at of a step. terms: (terms + 1, N), the total as last row. norm: of its gradient."""

    minibatch: Minibatch
    terms: Tensor
    norm: Tensor


def look_at(unseen: list[Step], state: State, task: uv.UVTask) -> None:
    """Add the terms of past steps to the sums; stop the run if one is not finite, or a gradient, naming the samples.

    unseen: emptied. A gradient that overflows half precision is no error: its scaler skips the step and scales less.
    """
    scaler, progress = scaler_of(state.precision), state.progress
    for step in unseen:
        minibatch, values = step.minibatch, step.terms.double().cpu()
        if not torch.isfinite(values).all():
            bad = (~torch.isfinite(values[:-1]).all(0)).nonzero().flatten().tolist()
            raise not_finite("the loss", [minibatch.keys[i] for i in bad] or minibatch.keys, minibatch)
        if not math.isfinite(float(step.norm)) and (scaler is None or gives_up(scaler)):
            raise not_finite("the gradient", minibatch.keys, minibatch)
        for name, row in zip([*task.term_names(), "loss"], values, strict=True):
            progress.sums[name] = progress.sums.get(name, 0.0) + float(row.sum())
        progress.summed += values.shape[1]
    unseen.clear()


def not_finite(what: str, keys: list[str], minibatch: Minibatch) -> NonFiniteError:
    """The error that names the samples; of a whole minibatch all, since any of them may be the one."""
    return NonFiniteError(
        f"{what} is not finite at samples {', '.join(keys)} of epoch {minibatch.epoch + 1}: look at them with "
        "`gen view`, lower schedule.lr, or set schedule.grad_clip; the last checkpoint is from before"
    )


def gather_sums(progress: Progress, fabric: Fabric) -> None:
    """The first process takes over what all of them have summed: a line of the log is the mean over all samples."""
    if fabric.world_size == 1:
        return
    names = sorted(progress.sums)
    mine = torch.tensor([progress.summed, *(progress.sums[n] for n in names)], dtype=torch.float64)
    every: Any = fabric.all_gather(mine.to(fabric.device))
    total = every.sum(0).tolist() if fabric.global_rank == 0 else [0.0] * (len(names) + 1)
    progress.summed, progress.sums = int(total[0]), dict(zip(names, total[1:], strict=True))


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


# ---------------------------------------------------------------- evaluation and the log


def weights_header(run: RunDir, reader: SampleReader, progress: Progress) -> dict[str, str]:
    """What weights are of: `gen apply` scales faces to the size they were trained on."""
    size = max(reader.shapes["input"][1:])
    about = {"run_id": run.run_id, "uv_frame": reader.info["uv_frame"], "tag": reader.info["tag"]}
    return about | {"input_px": str(size), "step": str(progress.step)}


@dataclass
class Evaluator:
    """The first process's look at the held-out samples, with everything that it needs."""

    fabric: Fabric
    config: TrainConfig
    task: uv.UVTask
    reader: SampleReader
    source: Streaming | Cached
    held_out: Positions
    paths: RunDir
    log: Log
    writer: SheetWriter
    bad: BadSamples
    records: dict[int, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chosen = chosen_positions(self.reader, self.held_out, self.config.output.chosen)
        self.photos = photo_paths(self.config.output)

    def run(self, state: State) -> None:
        """Measure, log, keep the best weights, and draw. Losses are weighted as those of training are now."""
        progress, loader, tested = state.progress, state.loader, state.tested
        self.log.doing("evaluating")
        done, size = progress.share(self.config.schedule), self.config.data.batch_size
        for kind, occluded in (("test", False), ("test_occluded", True)):
            if occluded and self.task.bank is None:
                continue
            result = evaluate(
                tested, self.task, self.source, self.held_out, self.records, size, occluded, done, self.fabric.autocast
            )
            self.log.test_line(progress, loader, kind, result)
            if not occluded:
                score = self.task.score(result.metrics)
                note_plateau(progress, score, self.config)
                self.keep_best(state, score)
        if self.config.output.images:
            number, device = epoch_number(loader), self.fabric.device
            tiles, rows = sheet(
                tested,
                self.task,
                self.reader,
                self.chosen,
                self.held_out,
                self.photos,
                number,
                device,
                self.bad,
                self.fabric.autocast,
            )
            if rows:
                self.log.sheet(rows, number, self.reader)
                self.writer.write(np.stack(tiles), number)
        self.log.bad_samples(progress, loader, self.bad)

    def keep_best(self, state: State, score: float) -> None:
        """Weights whose score (lower is better) no earlier ones had, beside the last."""
        if score < state.progress.lowest_score:
            state.progress.lowest_score = score
            about = weights_header(self.paths, self.reader, state.progress) | {"score": f"{score:.6g}"}
            save_weights(self.paths.best_weights, state.tested.state_dict(), self.config.network, about)


class Log:
    """Writes log.jsonl, status.json, TensorBoard scalars and progress on stderr; silent in other processes."""

    def __init__(self, run: RunDir, config: TrainConfig, progress: Progress, precision: str, on: bool) -> None:
        self.run, self.precision, self.on = run, precision, on
        self.seconds_before, self.samples_before = progress.seconds, progress.samples_seen
        self.board: Any = None
        self.bar: ProgressLine | None = None
        self.loss_note = ""
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
            self.loss_note = f"loss {values['loss']:.4f}"
        self.seconds_before, self.samples_before = progress.seconds, progress.samples_seen

    def doing(self, words: str) -> None:
        """What stands at the end of the progress line until the next step."""
        if self.bar is not None:
            self.bar.note = words

    def tick(self, progress: Progress, schedule: ScheduleConfig) -> None:
        """A step is done. Where the clock decides, the total is what the samples up to now suggest."""
        if self.bar is None:
            return
        share = progress.share(schedule)
        if schedule.max_minutes and share:
            self.bar.total = max(progress.samples_seen, round(progress.samples_seen / share))
        self.bar.update(progress.samples_seen - self.bar.n, self.loss_note)

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
            values |= {"precision": self.precision}
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
