"""A training as processes: started, resumed, claimed by one session, and with a status whatever ends it."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from renderer.errors import HeadforgeError, MachineError
from renderer.strict import read, to_plain
from trainer.data.device import chosen_precision, precision_warning
from trainer.training.checkpoint import named_checkpoint
from trainer.training.checks import check, meta_modules, open_reader, parameter_count, resolve_accelerator, splits
from trainer.training.config import TrainConfig, absolute_paths
from trainer.training.loop import Outcome, by_the_first, optimise
from trainer.training.peers import Peers
from trainer.training.run_dir import RunDir, create_run
from trainer.training.system import System, described
from trainer.training.updates import precision_of


def train(config: TrainConfig, system: System) -> Outcome:
    """Start a new run. Raises a HeadforgeError for anything that `check` finds, before the run directory exists."""
    config = absolute_paths(config)
    check(config, system)
    return launch(make_fabric(config), config, system, None)


def resume(run: RunDir, config: TrainConfig, system: System, checkpoint: str = "") -> Outcome:
    """Go on with a run from its newest checkpoint. config: the one that it was started with.

    checkpoint: name of an older one to go on from; those after it are set aside.
    """
    run = RunDir(run.path.absolute())
    check(config, system, new=False)
    if checkpoint:
        named_checkpoint(run.checkpoints, checkpoint)
    return launch(make_fabric(config), config, system, run.path, checkpoint)


def make_fabric(config: TrainConfig) -> Fabric:
    """Device, precision and processes."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it notes, the first line of a training says
    device = config.device
    accelerator = resolve_accelerator(config)
    strategy = device.strategy
    if strategy == "auto" and config.processes > 1:
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


def launch(fabric: Fabric, config: TrainConfig, system: System, run_path: Path | None, checkpoint: str = "") -> Outcome:
    """Run `session` in every process. run_path: None for a new run."""
    try:
        path, state, step = fabric.launch(
            _launched,  # type: ignore[arg-type]
            to_plain(config),
            system,
            str(run_path) if run_path else None,
            checkpoint,
        )
    except (ProcessExitedException, ProcessRaisedException) as error:  # a process started from here tells it as text
        reason = str(error).strip().splitlines()[-1]
        raise HeadforgeError(f"a process of the training failed: {reason}; the run's status.json says more") from error
    return Outcome(Path(path), state, step)


def _launched(
    fabric: Fabric, plain: dict[str, Any], system: System, run_path: str | None, checkpoint: str
) -> tuple[str, str, int]:
    """`session` with arguments and result that Fabric can hand to other processes: it refuses frozen dataclasses."""
    config = read(system.config, plain, "the config")
    outcome = session(fabric, config, system, Path(run_path) if run_path else None, checkpoint)
    if torch.distributed.is_initialized():  # gloo's threads abort a process that ends while they still run
        torch.distributed.destroy_process_group()
    return str(outcome.run), outcome.state, outcome.step


def session(
    fabric: Fabric, config: TrainConfig, system: System, run_path: Path | None, checkpoint: str = ""
) -> Outcome:
    """One process of one run, from set-up to the end of training. Whatever ends it, the run's status says so."""
    main = fabric.global_rank == 0
    check_precision(fabric, config)
    tune(config, fabric.device)
    path = by_the_first(fabric, lambda: str(run_path or new_run(config, system).path))
    run = RunDir(Path(path))
    with ExitStack() as stack:

        def claim() -> None:
            stack.enter_context(run.locked())
            Peers.prepare(run.path)
            run.update_status("running", "setting up")

        by_the_first(fabric, claim)
        with Peers(run.path, fabric.global_rank, fabric.world_size, partial(failed, run, main)) as peers:
            try:
                return optimise(fabric, config, system, run, checkpoint)
            except BaseException as error:  # Ctrl-C and a lack of memory, too: a run that is over must not look alive
                text = str(error) if isinstance(error, HeadforgeError) else f"{type(error).__name__}: {error}"
                reason = peers.report(text.rstrip(": "))
                failed(run, main, reason, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
                raise


def failed(run: RunDir, main: bool, reason: str, state: str = "failed") -> None:
    """The last status of a run that ends before it is done. The first process alone writes it."""
    if main:
        run.update_status(state, reason)


def new_run(config: TrainConfig, system: System) -> RunDir:
    """Create the run directory and say what it is trained on."""
    reader = open_reader(config, system)
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
    parameters = parameter_count(meta_modules(config, system)[system.exported])
    return create_run(config, described(system), reader.info["tag"], data, parameters)


def tune(config: TrainConfig, device: torch.device) -> None:
    """Settings of this process that change how fast torch computes."""
    if config.device.threads:
        torch.set_num_threads(config.device.threads)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
