"""The training loop of any system, in a run directory that no other process trains.

`optimise` is the loop; `Training` is what it works with, and what it does between steps.
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric

from renderer.stopper import Stopper
from trainer.data.loader import Loader
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Cached, Streaming, open_source
from trainer.training.checkpoint import (
    checkpoints,
    load_start,
    named_checkpoint,
    save_checkpoint,
    save_weights,
    set_aside_after,
    step_of,
)
from trainer.training.checks import open_reader, parameter_count, splits
from trainer.training.config import TrainConfig
from trainer.training.log import Log
from trainer.training.run_dir import RunDir
from trainer.training.schedules import Moment
from trainer.training.state import (
    Progress,
    State,
    check_finite,
    checkpoint_state,
    make_average,
    restore,
    update_average,
)
from trainer.training.system import System, Task
from trainer.training.tester import Tester
from trainer.training.updates import Models, Step, Updates, collect, make_models, precision_of

T = TypeVar("T")
CHECK_STEPS_GPU: Final = 16  # to read a loss the CPU waits for the GPU; so it is done every few steps only


@dataclass(frozen=True)
class Outcome:
    """How `train` ended. state: "finished" or "interrupted" (by a signal; resume goes on)."""

    run: Path
    state: str
    step: int


def optimise(fabric: Fabric, config: TrainConfig, system: System, run: RunDir, checkpoint: str = "") -> Outcome:
    """Train until the end of the schedule or a signal. checkpoint: the one to go on from; empty: the newest."""
    training = set_up(fabric, config, system, run, checkpoint)
    progress, loader = training.state.progress, training.state.loader
    try:
        with stop_signals(training.main) as stop:
            while not training.over:
                for minibatch in loader:
                    training.step(minibatch)
                    stopping, saving = training.settle(stop)
                    if progress.step % config.output.log_steps == 0:
                        training.log_means()
                    if stopping:
                        return training.finish("interrupted", f"stopped by a signal at step {progress.step}")
                    if saving:
                        training.save()
                    if training.over:
                        break
                epoch_done = loader.batch == 0
                if training.over or (epoch_done and loader.epoch % config.output.evaluate_epochs == 0):
                    training.test()
                    training.save()
                training.clock = time.perf_counter()
        return training.finish("finished", f"finished after {progress.samples_seen} samples")
    except BaseException:
        training.log.status(progress, loader, "running")  # how far it got; the session says what ended it
        raise
    finally:
        training.close()


@dataclass
class Training:
    """A training at work in one process: its state, and what happens in a step and between steps."""

    fabric: Fabric
    config: TrainConfig
    system: System
    run: RunDir
    reader: SampleReader
    task: Task
    models: Models
    updates: Updates
    state: State
    tester: Tester
    log: Log
    bad: BadSamples
    unchecked: list[Step] = field(default_factory=list)  # steps whose losses and gradients nobody has read yet
    clock: float = 0.0  # up to when `progress.seconds` counts
    saved_at: float = 0.0

    @property
    def main(self) -> bool:
        """Whether this process evaluates and writes."""
        return self.fabric.global_rank == 0

    @property
    def over(self) -> bool:
        """Whether all of the training is done."""
        return self.state.progress.share(self.config.schedule) >= 1

    @property
    def check_steps(self) -> int:
        """How often the CPU may wait for the device."""
        return CHECK_STEPS_GPU if self.fabric.device.type == "cuda" else 1

    def step(self, minibatch: Minibatch) -> None:
        """One step of the system on one minibatch."""
        progress, schedule = self.state.progress, self.config.schedule
        if text := enter_phase(progress, self.config):
            self.log.event(progress, self.state.loader, text)
        seed_step(self.config.seed, progress.step, self.fabric.global_rank)
        self.unchecked.append(train_step(self.task, self.models, self.updates, minibatch, progress.moment(schedule)))
        for name, average in self.state.averages.items():
            update_average(average, self.state.modules[name], schedule.ema, progress.step)
        if len(self.unchecked) >= self.check_steps:
            collect(self.unchecked, self.state)
        progress.step += 1
        progress.samples_seen += self.config.data.batch_size

    def settle(self, stop: Callable[[], bool]) -> tuple[bool, bool]:
        """Whether to stop, and whether to save, after a step.

        Clocks and signals differ between processes: all of them do what the first one finds, or any of them where one
        has to stop. That makes them wait, so it is not done in every step.
        """
        progress, loader = self.state.progress, self.state.loader
        settling = self.fabric.world_size == 1 or progress.step % self.check_steps == 0 or loader.batch == len(loader)
        if settling:
            now = time.perf_counter()
            progress.seconds, self.clock = progress.seconds + now - self.clock, now
        stopping = settling and stop()
        self.log.tick(progress)
        saving = due(self.config, progress.step, self.saved_at if settling else math.inf)
        if settling and self.fabric.world_size > 1:
            stopping, saving = follow_first(self.fabric, progress, stopping, saving)
        return stopping, saving

    def log_means(self) -> None:
        """A line of the log with the means since the one before."""
        collect(self.unchecked, self.state)
        gather_sums(self.state.progress, self.fabric)
        self.log.train_line(self.state.progress, self.state.loader, self.updates.rates)
        self.log.bad_samples(self.state.progress, self.state.loader, self.bad)

    def test(self) -> None:
        """The first process tests; all learn what the plateau rule makes of it."""
        collect(self.unchecked, self.state)
        if self.main:
            check_finite(self.state)
            self.tester.run(self.state)
        share_plateau(self.state.progress, self.fabric)

    def save(self) -> None:
        """A checkpoint and the weights, once everything up to here is known to be finite."""
        collect(self.unchecked, self.state)
        progress = self.state.progress
        gather_sums(progress, self.fabric)
        if self.main:
            check_finite(self.state)
            weights = self.state.tested[self.system.exported].state_dict()
            save_weights(self.run.weights, weights, self.config, self.tester.header(progress))
            stored = checkpoint_state(self.state, self.config, self.reader)
            save_checkpoint(self.run.checkpoints, progress.step, stored, self.config.output.keep_checkpoints)
        self.fabric.barrier()
        self.saved_at = time.perf_counter()

    def finish(self, how: str, text: str) -> Outcome:
        """The last checkpoint and status of a session that ends in order."""
        self.save()
        self.tester.writer.wait()
        self.log.event(self.state.progress, self.state.loader, text)
        self.log.status(self.state.progress, self.state.loader, how, text)
        return Outcome(self.run.path, how, self.state.progress.step)

    def close(self) -> None:
        """What is under way is written."""
        self.log.bad_samples(self.state.progress, self.state.loader, self.bad)
        self.tester.writer.wait()
        self.log.close()


def train_step(task: Task, models: Models, updates: Updates, minibatch: Minibatch, now: Moment) -> Step:
    """One step of the system; what is to be looked at of it."""
    updates.begin(now)
    return updates.result(minibatch, task.step(models.wrapped, minibatch, now, updates))


# ---------------------------------------------------------------- set-up


def set_up(fabric: Fabric, config: TrainConfig, system: System, run: RunDir, checkpoint: str) -> Training:
    """Data, modules and optimisers of a training, as far as its checkpoint says that it is."""
    main, bad = fabric.global_rank == 0, BadSamples(config.data.max_bad)
    reader = open_reader(config, system)
    training, held_out = splits(config, reader)
    modules = system.modules(config)
    if main:
        counts = f"{len(training):,} samples, {len(held_out):,} held out"
        print(opening(fabric, config, parameter_count(modules[system.exported]), counts), file=sys.stderr, flush=True)
    source, test_source = open_sources(fabric, config, reader, training, held_out, bad)
    loader = Loader(
        source,
        training,
        config.data.batch_size,
        seed=config.seed,
        window=config.data.window,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    task = system.build(config, reader, fabric.device)
    found = start_point(fabric, run, checkpoint)
    if found is None:
        system.initialise(config, source, training, modules)
    models = make_models(fabric, config, modules, task.optimisers)
    if config.start and found is None:
        models.plain[system.exported].load_state_dict(load_start(config))
    averages = {name: make_average(models.plain[name]) for name in task.averaged} if config.schedule.ema else {}
    state = State(models.plain, models.optimisers, averages, loader, Progress(), fabric.strategy.precision)
    if found is not None:
        restore(state, found, config, reader)
        if not run.best_weights.is_file():  # they came after this checkpoint, and were set aside with those that did
            state.progress.lowest_score = math.inf
    if not main:  # the sums are those of all processes; only the first goes on with them
        state.progress.sums = dict.fromkeys(state.progress.sums, 0.0)
        state.progress.counts = dict.fromkeys(state.progress.counts, 0)
    log = Log(run, config, system, state.progress, precision_of(fabric), main)
    if found is not None:
        log.event(state.progress, loader, f"resumed from {found.name}")
    for module in models.wrapped.values():
        module.train()
    log.status(state.progress, loader, "running")
    tester = Tester(fabric, config, system, task, reader, test_source, held_out, run, log, bad)
    updates, now = Updates(fabric, models, task.optimisers), time.perf_counter()
    return Training(
        fabric, config, system, run, reader, task, models, updates, state, tester, log, bad, clock=now, saved_at=now
    )


def opening(fabric: Fabric, config: TrainConfig, parameters: int, samples: str) -> str:
    """The first line of a training: on what, with what, for how long."""
    schedule = config.schedule
    until = f"{schedule.max_samples:,} samples are seen"
    until += f" or {schedule.max_minutes:g} min are over" if schedule.max_minutes else ""
    return (
        f"{config.name}: {parameters:,} parameters on {fabric.world_size} x {fabric.device.type} in"
        f" {precision_of(fabric)}, {samples}; trains until {until}"
    )


def open_sources(
    fabric: Fabric,
    config: TrainConfig,
    reader: SampleReader,
    training: Positions,
    held_out: Positions,
    bad: BadSamples,
) -> tuple[Streaming | Cached, Streaming | Cached]:
    """Where samples to train on and to test on come from; only the first process tests."""
    data, main = config.data, fabric.global_rank == 0
    label = "decoding the training samples" if main else ""
    source = open_source(reader, training, data.cache, data.workers, bad, fabric.device, label)
    if not main or data.test_on_train:
        return source, source
    label = "decoding the held-out samples"
    return source, open_source(reader, held_out, data.cache, data.workers, bad, fabric.device, label)


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


# ---------------------------------------------------------------- between steps


def gather_sums(progress: Progress, fabric: Fabric) -> None:
    """The first process takes over what all of them have summed: a line of the log is the mean over all samples."""
    if fabric.world_size == 1:
        return
    names = sorted(progress.sums)
    mine = torch.tensor([[progress.sums[n], progress.counts[n]] for n in names], dtype=torch.float64)
    every: Any = fabric.all_gather(mine.to(fabric.device))
    total = every.sum(0).tolist() if fabric.global_rank == 0 else [[0.0, 0.0]] * len(names)
    progress.sums = {name: value for name, (value, _) in zip(names, total, strict=True)}
    progress.counts = {name: count for name, (_, count) in zip(names, total, strict=True)}


def enter_phase(progress: Progress, config: TrainConfig) -> str:
    """The second phase starts on a plateau or at a set share of the training; then a word on why, else nothing."""
    schedule, share = config.schedule, progress.share(config.schedule)
    late = share >= schedule.second_phase_at
    if progress.phase == 1 or not (late or progress.epochs_since_best >= schedule.plateau_epochs):
        return ""
    progress.phase, progress.second_phase_from = 1, share
    return "second phase: " + ("as scheduled" if late else "the held-out error levelled off")


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


def follow_first(fabric: Fabric, progress: Progress, stopping: bool, saving: bool) -> tuple[bool, bool]:
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
