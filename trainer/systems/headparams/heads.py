"""What parameters mean: heads of the principal components in the head pack that a data set was rendered with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from renderer.head.catalog import pack_folder
from renderer.head.pca import SPREAD, HeadPca, load_pca

TRAITS: Final = ("sex", "age", "african", "asian", "caucasian")


@dataclass(frozen=True)
class Heads:
    """basis_mm: (S, 3 V) how far the vertices move per shape parameter, on the device. pack: its folder."""

    pack: Path
    pca: HeadPca
    basis_mm: Tensor

    @property
    def shape(self) -> int:
        """How many parameters are of the shape; the others are of the texture."""
        return len(self.basis_mm)

    def traits(self, truth: Tensor) -> dict[str, Tensor]:
        """Sex, age and ancestry that heads of these parameters (N, P) have on average, (N,) in [0, 1] each."""
        q = truth[:, : self.shape].double().cpu().numpy()
        found = {name: np.array([self.pca.trait(name, row) for row in q]) for name in TRAITS if name in self.pca.traits}
        return {f"trait.{name}": torch.from_numpy(values) for name, values in found.items()}


def heads_of(info: Mapping[str, Any], device: torch.device) -> Heads | None:
    """Of a data set (its dataset.json); None where its parameters are not those of a head pack.

    Raises AssetError where the pack is not on this machine.
    """
    identity = info["spec"].get("identity", {})
    if identity.get("kind") != "pca":
        return None
    return heads_in(pack_folder(info), int(identity["pca"]["shape"]), device)


def heads_in(pack: Path, shape: int, device: torch.device) -> Heads:
    """Heads with so many parameters of the shape."""
    pca = load_pca(pack)
    moves = 1000 * SPREAD * pca.shape.deviation[:shape, None] * pca.shape.components[:shape].reshape(shape, -1)
    return Heads(pack, pca, torch.from_numpy(moves.astype(np.float32)).to(device))
