"""Pieces of other samples: hair, hands, glasses, hats, clothes, everything that was rendered but the face.

The donors are a fixed set of training samples in memory, so that what a sample gets depends on its own draws alone and
not on who shares its minibatch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.augmentation.draws import Draws
from trainer.augmentation.light import log_uniform
from trainer.data.order import Positions, spread
from trainer.data.reader import SampleReader

IMAGES: Final = ("foreground", "mask")
MARGIN_PX: Final = 2  # around the face that is left out, too


@dataclass(frozen=True)
class DonorBank:
    """pieces: (K, 4, H, W) half floats: premultiplied R G B, and opacity."""

    pieces: Tensor

    def to(self, device: torch.device) -> DonorBank:
        return DonorBank(self.pieces.to(device))

    def placed(self, draws: Draws, targets: Tensor, scale: tuple[float, float], size: tuple[int, int]) -> Tensor:
        """One piece for each sample, (N, 4, H, W) float32, turned by any angle.

        targets: (N, 2) pixels x, y; some opaque pixel of the piece comes to lie there. scale: magnification.
        """
        chosen = self.pieces[draws.integers("donor", len(self.pieces))].float()
        height, width = chosen.shape[2:]
        passed = chosen[:, 3].flatten(1).cumsum(1)
        place = torch.searchsorted(passed, draws.uniform("pixel", 1) * passed[:, -1:], right=True)[:, 0]
        place = place.clamp(max=height * width - 1)
        source = torch.stack([place % width, place // width], 1) + 0.5
        turn = draws.uniform("turn", high=2 * math.pi)
        zoom = log_uniform(draws, "scale", scale) * (size[1] / width)
        flip = torch.where(draws.happens("flip", 0.5), -1.0, 1.0)
        x = torch.arange(size[1], device=turn.device) + 0.5 - targets[:, :1]
        y = torch.arange(size[0], device=turn.device) + 0.5 - targets[:, 1:]
        cosine, sine = ((f / zoom)[:, None, None] for f in (torch.cos(turn), torch.sin(turn)))
        across = (x[:, None] * cosine - y[:, :, None] * sine) * flip[:, None, None] + source[:, 0, None, None]
        down = x[:, None] * sine + y[:, :, None] * cosine + source[:, 1, None, None]
        grid = torch.stack([across / width, down / height], -1) * 2 - 1
        return F.grid_sample(chosen, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def load_donors(reader: SampleReader, positions: Positions, count: int) -> DonorBank:
    """Some of the samples at `positions` of a data set that stores `foreground`, evenly spread."""
    donors = SampleReader(reader.path, IMAGES)
    places = spread(positions, count)
    pieces = []
    for place in places.tolist():
        arrays = donors.read(place)
        face = torch.from_numpy(arrays["mask"][:1].astype(np.float32))[None]
        face = F.max_pool2d(face, 2 * MARGIN_PX + 1, stride=1, padding=MARGIN_PX)[0]
        pieces.append((torch.from_numpy(arrays["foreground"]).float() * (1 - face)).half())
    return DonorBank(torch.stack(pieces))
