"""3D landmarks of a face, read off its picture by a small network that gradients pass through.

It stands in the place of PRNet in Wang 2019: losses of landmarks reach the picture that was made. It is fitted to
inputs and what their records state, before the training of the frontal faces, and never changed by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import FormatError
from trainer.augmentation.draws import Draws
from trainer.data.minibatch import Minibatch
from trainer.data.pictures import picture_values
from trainer.data.reader import Array
from trainer.systems.frontal import frame

COUNT: Final = 68
INPUT_PX: Final = 64
PATCH: Final = 4  # side of the squares of pixels that are taken as one
DILATIONS: Final = (1, 2, 4, 1)  # of the residual blocks: together they see the whole face
GROUPS: Final = 8
ENLARGED, MOVED, DIMMED = 0.2, 0.08, 0.3  # by how much windows and brightness vary while it is fitted


def points_of(record: Mapping[str, Any]) -> Array:
    """(68, 3) float32 of the first head: pixels to the right and down, and towards the viewer, as far from the mean.

    Raises FormatError where the sample has no head.
    """
    try:
        pixels, depth = (np.asarray(record[name][0], float) for name in ("landmarks_px", "landmarks_depth_m"))
        focal_px = float(record["camera_matrix"][0][0])
    except (KeyError, IndexError):
        raise FormatError(
            f"sample {record.get('key')!r} shows no head: frontal faces need one in every picture, render a spec with "
            "heads.empty_share: 0"
        ) from None
    nearer = (depth.mean() - depth) * focal_px / depth.mean()
    points: Array = np.concatenate([pixels, nearer[:, None]], 1).astype(np.float32)
    return points


def shape_of(record: Mapping[str, Any]) -> Array:
    """(68, 3) float32 of the first head in head space: its landmarks without its pose. For after `points_of`."""
    return np.asarray(record["landmarks_m"][0], np.float32)


class LandmarkNet(nn.Module):
    """(N, 3, H, H) picture values in [0, 1] to (N, 68, 3) shares of the side; see `geometry.Landmarks`.

    Each landmark is the mean place under a heat map; its depth is the mean of a second map under the same heat.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        blocks = (
            nn.Sequential(
                nn.GroupNorm(GROUPS, features),
                nn.ReLU(),
                nn.Conv2d(features, features, 3, padding=dilation, dilation=dilation),
                nn.GroupNorm(GROUPS, features),
                nn.ReLU(),
                nn.Conv2d(features, features, 3, padding=1),
            )
            for dilation in DILATIONS
        )
        self.first = nn.Conv2d(3 * PATCH**2, features, 3, padding=1)
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Conv2d(features, 2 * COUNT, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        size = (INPUT_PX, INPUT_PX)
        x = F.interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)
        x = self.first(F.pixel_unshuffle((x - 0.5) * 4, PATCH))
        for block in self.blocks:
            x = x + block(x)
        heat, depth = self.last(F.relu(x)).float().flatten(2).chunk(2, 1)
        heat = heat.softmax(2)
        side = INPUT_PX // PATCH
        line = (torch.arange(side, device=heat.device) + 0.5) / side
        share = heat.unflatten(2, (side, side))
        column, row = (share.sum(2) * line).sum(2), (share.sum(3) * line).sum(2)
        z = (heat * depth).sum(2)
        return torch.stack([column, row, z - z.mean(1, keepdim=True)], 2)


def fit(
    network: LandmarkNet, batches: Iterable[Minibatch], seed: int, lr: float, steps: int, device: torch.device
) -> float:  # fmt: skip
    """Fit the network to minibatches of inputs, masks and `points`; returns the mean error of the last tenth.

    The error is an L1 distance in shares of the side. Half of the pictures have white beyond the face, as what is made
    of features has. Windows and brightness vary; all is a function of (seed, epoch, sample).
    """
    network.to(device).requires_grad_(True)
    optimiser = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    errors = []
    for batch in batches:
        pictures, truth = fitted_pictures(batch, seed)
        error = (network(pictures) - truth).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule.step()
        errors.append(error.detach())
    network.requires_grad_(False).cpu()
    return float(torch.stack(errors[-max(1, len(errors) // 10) :]).mean())


def fitted_pictures(batch: Minibatch, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, 64, 64) that the network is fitted to, and their landmarks (N, 68, 3)."""
    stored, points = batch.images["input"].float(), batch.vectors["points"]
    draws = Draws.for_samples(seed, batch.epoch, batch.positions, stored.device).fork("landmarks")
    windows = frame.windows_about(frame.boxes_of(points))
    side = windows[:, 2:3] - windows[:, :1]
    middle = (windows[:, :2] + windows[:, 2:]) / 2 + side * draws.uniform("move", 2, low=-MOVED, high=MOVED)
    half = side / 2 * (1 + draws.uniform("size", 1, low=-ENLARGED, high=ENLARGED))
    windows = torch.cat([middle - half, middle + half], 1)
    bare = draws.happens("bare", 0.5)[:, None, None, None]
    gain = 1 + draws.uniform("gain", 3, 1, 1, low=-DIMMED, high=DIMMED)
    pictures = picture_values(stored) * gain
    whitened = torch.where(bare & (batch.images["mask"][:, :1] == 0), torch.ones_like(pictures), pictures)
    return frame.crop(whitened.clamp(0, 1), windows, INPUT_PX), frame.in_window(points, windows)
