"""Checkpoints: all state of a run in one file, whole or not at all, read without running anybody's code.

A checkpoint is a dict of tensors and plain values, saved by torch and loaded with `weights_only=True`. Weights alone
go into safetensors, with the network's config, the UV frame and the run-ID in the header.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from renderer.errors import DatasetError, FormatError
from renderer.files import write_atomic
from trainer.config import NetworkConfig, parse_config, to_plain
from trainer.network import UVNet

CHECKPOINT_VERSION: Final = 1
WEIGHTS_VERSION: Final = 1


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write step-STEP.pt and remove all but the newest `keep`."""
    buffer = io.BytesIO()
    torch.save({"checkpoint_version": CHECKPOINT_VERSION, **state}, buffer)
    path = folder / f"step-{step:010d}.pt"
    write_atomic(path, buffer.getvalue())
    for old in checkpoints(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob("step-*.pt"))


def load_checkpoint(path: Path, network: NetworkConfig) -> dict[str, Any]:
    """Read a checkpoint made with the network config given, on the CPU.

    Raises FormatError if the file is damaged, holds anything but tensors and plain values, is of another version, or
    of another architecture.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DatasetError(f"there is no checkpoint {path}") from error
    except Exception as error:  # torch raises pickle, zip, runtime and other errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path} cannot be read as a checkpoint ({reason}); resume from an older one") from error
    if not isinstance(state, dict) or state.get("checkpoint_version") != CHECKPOINT_VERSION:
        raise FormatError(f"{path} is no checkpoint of version {CHECKPOINT_VERSION}")
    check_architecture(state["network_config"], network, path)
    return state


def check_architecture(found: Mapping[str, Any], wanted: NetworkConfig, source: Path) -> None:
    """Raise FormatError naming the fields in which a stored network config differs."""
    plain = to_plain(wanted)
    found = to_plain(NetworkConfig()) | dict(found)  # files from before a field existed have its default
    differing = [f"{k} {found.get(k)!r} there, {plain.get(k)!r} here" for k in plain if found.get(k) != plain[k]]
    if differing or found.keys() != plain.keys():
        raise FormatError(f"{source} is of another network architecture: {'; '.join(differing) or 'other fields'}")


def save_weights(path: Path, weights: Mapping[str, Tensor], network: NetworkConfig, about: Mapping[str, str]) -> None:
    """Weights as safetensors. about: run_id, uv_frame, ... for the header."""
    header = {"weights_version": str(WEIGHTS_VERSION), "network": json.dumps(to_plain(network)), **about}
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    write_atomic(path, safetensors.torch.save(tensors, header))


def read_weights(path: Path) -> tuple[dict[str, Tensor], NetworkConfig, dict[str, str]]:
    """Tensors, network config and header of a weights file. Raises FormatError if it is none of ours."""
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
        config = parse_config({"network": json.loads(header["network"])}, str(path)).network
    except (KeyError, ValueError) as error:
        raise FormatError(f"{path} does not say which network it is for: no `network` in its header") from error
    return tensors, config, header


def load_start(run_or_weights: Path, network: NetworkConfig) -> dict[str, Tensor]:
    """Weights that a new run is to start from. Raises FormatError if they are of another network."""
    path = weights_file(run_or_weights)
    tensors, found, _ = read_weights(path)
    check_architecture(to_plain(found), network, path)
    return tensors


def weights_file(run_or_weights: Path) -> Path:
    """The weights of a run directory; a weights file is its own."""
    return run_or_weights / "weights.safetensors" if run_or_weights.is_dir() else run_or_weights


def load_network(run_or_weights: Path) -> tuple[UVNet, dict[str, str]]:
    """The trained network of a run directory or a weights file, ready for inference, and the file's header."""
    path = weights_file(run_or_weights)
    tensors, config, header = read_weights(path)
    network = UVNet(config)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise FormatError(f"{path} does not fit the network its header describes: {error}") from error
    return network.eval().requires_grad_(False), header
