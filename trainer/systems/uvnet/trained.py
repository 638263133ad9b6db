"""A trained UV-net, to be applied to pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from renderer.errors import FormatError
from renderer.format.sample_format import UV_FRAME
from trainer.data.device import device_named
from trainer.systems.runs import load_trained
from trainer.systems.uvnet.photo_network import PhotoNet
from trainer.uvmaps.finding import FOR_PHOTOGRAPHS, NETWORK_PX, Options

DEFAULT: Final = Options()


class OnDevice(nn.Module):
    """A network that computes on a device, while the pictures it takes and gives stay on the CPU.

    finder: how faces are best looked for with it.
    """

    def __init__(self, network: nn.Module, device: torch.device, finder: Options = DEFAULT) -> None:
        super().__init__()
        self.network, self.device, self.finder = network.to(device), device, finder

    def forward(self, picture: Tensor) -> Tensor:
        result: Tensor = self.network(picture.to(self.device)).cpu()
        return result


def load(run_or_weights: Path, device: str = "cpu") -> OnDevice:
    """A trained network that takes pictures on the CPU, wherever it computes itself.

    Raises MachineError for a device that this machine lacks, FormatError for weights of another UV frame or format
    version.
    """
    place = device_named(device)
    found = load_trained(run_or_weights, only="uvnet")
    network, header = found.module, found.header
    if header.get("uv_frame") != UV_FRAME:
        raise FormatError(
            f"{run_or_weights} was trained on UV frame {header.get('uv_frame')!r}; this headforge draws {UV_FRAME!r}"
        )
    return OnDevice(network, place, finder_of(network, header, run_or_weights))


def finder_of(network: nn.Module, header: Mapping[str, str], source: Path) -> Options:
    """What weights recommend: defaults of the kind of network, the size it was trained on, and `finder` of the header.

    Raises FormatError where the header holds nonsense.
    """
    options = FOR_PHOTOGRAPHS if isinstance(network, PhotoNet) else Options()
    options = replace(options, network_px=_input_px(header, source))
    try:
        return replace(options, **json.loads(header.get("finder", "{}")))
    except (TypeError, ValueError) as error:
        raise FormatError(f"{source} says of finding faces {header['finder']!r}, which is not understood") from error


def _input_px(header: Mapping[str, str], source: Path) -> int:
    text = header.get("input_px", str(NETWORK_PX))
    if not text.isdecimal() or not 8 <= int(text) <= 8192:
        raise FormatError(f"{source} says it was trained on pictures of {text!r} pixels; that is no size of a picture")
    return int(text)
