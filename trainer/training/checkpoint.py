"""Checkpoints: all state of a run in one file, whole or not at all, read without running anybody's code.

A checkpoint is a dict of tensors and plain values, saved by torch and loaded with `weights_only=True`. Weights alone
go into safetensors; the header has the system's name, its config as far as it decides their shape, and the run-ID.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from renderer.errors import DatasetError, FormatError, SpecError
from renderer.files import sync_folder
from trainer.training.config import TrainConfig

CHECKPOINT_VERSION: Final = 2
WEIGHTS_VERSION: Final = 2


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write step-STEP.pt, straight to the disk, and remove all but the newest `keep`."""
    path = folder / f"step-{step:010d}.pt"
    with written_atomically(path) as partial:
        torch.save({"checkpoint_version": CHECKPOINT_VERSION, **state}, partial)
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """A name to write to; the file appears at `path`, whole and for good, once the block has ended well."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("step-*.pt"))


def load_checkpoint(path: Path, config: TrainConfig) -> dict[str, Any]:
    """Read a checkpoint of that config, on the CPU.

    Raises FormatError if the file is damaged, holds anything but tensors and plain values, is of another version, or
    of another system or architecture.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DatasetError(f"there is no checkpoint {path}") from error
    except Exception as error:  # torch raises pickle, zip, runtime and other errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path} cannot be read as a checkpoint ({reason}){_older(path)}") from error
    if not isinstance(state, dict) or state.get("checkpoint_version") != CHECKPOINT_VERSION:
        raise FormatError(f"{path} is no checkpoint of version {CHECKPOINT_VERSION}")
    check_architecture(state["system"], state["architecture"], config, path)
    return state


def step_of(path: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(path.stem.removeprefix("step-"))


def _older(path: Path) -> str:
    """How to go on without a checkpoint."""
    older = [p.stem for p in checkpoints(path.parent) if p.name < path.name]
    return (
        f"; go on from an older one: gen train --resume RUN --from {older[-1]}" if older else "; it is the oldest one"
    )


def named_checkpoint(folder: Path, name: str) -> Path:
    """The checkpoint that a user names: step-0000001234, with or without its suffix, or 1234. Raises SpecError."""
    stem = Path(name).name.removesuffix(".pt").removeprefix("step-")
    path = folder / f"step-{int(stem):010d}.pt" if stem.isdecimal() else folder / name
    found = checkpoints(folder)
    if path not in found:
        have = ", ".join(p.stem for p in found) or "none"
        raise SpecError(f"--from {name}: there is no such checkpoint in {folder}; there are: {have}")
    return path


def set_aside_after(checkpoint: Path, best_weights: Path) -> None:
    """Move the checkpoints after this one, and best weights from after it, into the folder `set-aside` beside it."""
    aside = checkpoint.parent / "set-aside"
    later = [path for path in checkpoints(checkpoint.parent) if path.name > checkpoint.name]
    if best_weights.is_file() and int(read_weights(best_weights)[2]["step"]) > step_of(checkpoint):
        later.append(best_weights)
    for path in later:
        aside.mkdir(exist_ok=True)
        path.replace(aside / path.name)


def check_architecture(system: str, found: Mapping[str, Any], wanted: TrainConfig, source: Path) -> None:
    """Raise FormatError naming the fields in which stored weights are of another network."""
    if system != wanted.system:
        raise FormatError(f"{source} is of the system {system!r}, not {wanted.system!r}")
    there, here = flat(type(wanted)().architecture()) | flat(found), flat(wanted.architecture())  # older: defaults
    names = sorted(there.keys() | here.keys())
    differing = [f"{n} {there.get(n)!r} there, {here.get(n)!r} here" for n in names if there.get(n) != here.get(n)]
    if differing:
        raise FormatError(f"{source} is of another network architecture: {'; '.join(differing)}")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one of dotted keys."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves


def save_weights(path: Path, weights: Mapping[str, Tensor], config: TrainConfig, about: Mapping[str, str]) -> None:
    """Weights of the exported module as safetensors. about: run_id, tag, ... for the header."""
    header = {
        "weights_version": str(WEIGHTS_VERSION),
        "system": config.system,
        "architecture": json.dumps(config.architecture()),
        **about,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with written_atomically(path) as partial:
        safetensors.torch.save_file(tensors, partial, header)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """Tensors, architecture and header of a weights file. Raises FormatError if it is none of ours.

    The architecture holds the sections of a config that the shapes of the tensors depend on.
    """
    if not path.is_file():
        raise DatasetError(f"there are no weights at {path}")
    try:
        with safe_open(path, "pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise FormatError(f"{path} is not a safetensors file: {error}") from error
    if header.get("weights_version") != str(WEIGHTS_VERSION):
        raise FormatError(f"{path} holds no headforge weights of version {WEIGHTS_VERSION}")
    try:
        architecture: dict[str, Any] = dict(json.loads(header["architecture"]))
        header["system"]
    except (KeyError, ValueError) as error:
        raise FormatError(
            f"{path} does not say what it is for: no `system` and `architecture` in its header"
        ) from error
    return tensors, architecture, header


def load_start(config: TrainConfig) -> dict[str, Tensor]:
    """Weights that a new run is to start from. Raises FormatError if they are of another network."""
    path = weights_file(Path(config.start))
    tensors, architecture, header = read_weights(path)
    check_architecture(header["system"], architecture, config, path)
    return tensors


def weights_file(run_or_weights: Path) -> Path:
    """The weights of a run directory; a weights file is its own."""
    return run_or_weights / "weights.safetensors" if run_or_weights.is_dir() else run_or_weights
