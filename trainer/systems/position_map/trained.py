"""A trained network of position maps, for photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from renderer.errors import AssetError, FormatError, SpecError
from trainer.data.device import device_named
from trainer.systems.position_map.network import PositionNet
from trainer.systems.runs import load_trained
from trainer.uvmaps.head_pose import pack_head


@dataclass(frozen=True)
class OnDevice:
    """Takes pictures on the CPU. side: of them. window: of a face's window in units of the larger side of its box."""

    network: PositionNet
    device: torch.device
    side: int
    window: float

    def __call__(self, pictures: Tensor) -> Tensor:
        """(N, 3, side, side) picture values in [0, 1] to (N, 3, side, side) maps in their pixels."""
        found: Tensor = self.network(pictures.to(self.device)).cpu()
        return found


def load(run_or_weights: Path, device: str = "cpu") -> OnDevice:
    """A network that maps faces of photos.

    Raises MachineError for a device that this machine lacks, SpecError for a network that takes the picture of a second
    camera, AssetError where its maps are of another head pack than this machine's, FormatError for no such weights.
    """
    place = device_named(device)
    found = load_trained(run_or_weights, only="position_map")
    network, header = found.module, found.header
    assert isinstance(network, PositionNet)
    if network.config.views == "taken":
        raise SpecError(f"{run_or_weights} takes a second camera's picture (network.views taken), which photos lack")
    if header.get("pack") != (here := Path(pack_head().folder).name):
        raise AssetError(f"{run_or_weights} gives maps of head pack {header.get('pack')!r}; this machine has {here}")
    try:
        window = float(header["window"])
    except (KeyError, ValueError):
        raise FormatError(f"the header of {run_or_weights} does not say how wide windows are") from None
    return OnDevice(network.to(place), place, network.config.side_px, window)
