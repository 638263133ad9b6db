"""Kind lite0: an encoder that has seen photographs, and maps as sums of principal maps of the training samples.

Positions are a matter of the whole picture: where its face is, how it is turned, who it is. So nothing is decoded place
by place. The encoder's maps of all views become one vector, the vector becomes a few dozen numbers, and these are
factors of principal maps. A head turned in space is linear in the entries of its rotation times its shape, which is why
so few maps reach so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import FormatError
from trainer.networks.lite0 import DEVIATION, FEATURES, MEAN, Lite0, published_lite0
from trainer.systems.position_map.config import IMAGENET, NetworkConfig
from trainer.training.checkpoint import read_weights, weights_file
from trainer.weights import NAME, SAFETENSORS

COARSE: Final = 2  # texels of a map for one of a principal map, across and down
KEPT: Final = (32, 64)  # features a place that the encoder's maps at 1/16 and at 1/32 are brought down to
WIDE: Final = 512  # length of the vector that factors are read from
SMALLEST: Final = 1e-4  # of the deviation along a principal map, by that along the first one


class Encoded(nn.Module):
    """(N, 3 or 6, S, S) picture values less 0.5 to (N, 3, S, S), what is added to the mean map in units of the side.

    The views of a sample pass the encoder one by one. `principal`: (K, 3, S / 2, S / 2), each as long as the training
    samples deviate along it, so that factors are of size 1.
    """

    principal: Tensor
    pixel_mean: Tensor
    pixel_deviation: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.frozen, side = list[nn.Module](), config.side_px // COARSE
        self.register_buffer("principal", torch.zeros(config.components, 3, side, side))
        self.register_buffer("pixel_mean", torch.tensor(MEAN).reshape(1, 3, 1, 1) - 0.5, persistent=False)
        self.register_buffer("pixel_deviation", torch.tensor(DEVIATION).reshape(1, 3, 1, 1), persistent=False)
        self.encoder = Lite0()
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in zip(FEATURES[-2:], KEPT, strict=True)
        )
        values = sum(kept * (config.side_px // parts) ** 2 for kept, parts in zip(KEPT, (16, 32), strict=True))
        views = config.channels // 3
        self.wide = nn.Sequential(nn.Linear(values * views, WIDE, bias=False), nn.LayerNorm(WIDE), nn.ReLU())
        self.factors = nn.Linear(WIDE, config.components)

    def freeze(self, stages: int) -> None:
        """Keep the stem and the first stages of the encoder as they are, statistics of their normalisation included."""
        self.frozen = [self.encoder.stem, *self.encoder.stages[:stages]] if stages else []
        for module in self.frozen:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but for what is frozen."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        views = pictures.reshape(-1, 3, *pictures.shape[2:])
        maps = self.encoder((views - self.pixel_mean) / self.pixel_deviation)
        narrow = [layer(found).flatten(1) for layer, found in zip(self.narrow, maps[-2:], strict=True)]
        vector = torch.cat(narrow, 1).reshape(len(pictures), -1)
        coarse = torch.tensordot(self.factors(self.wide(vector)).float(), self.principal, 1)
        return F.interpolate(coarse, scale_factor=float(COARSE), mode="bilinear", align_corners=False)


def principal_maps(deviations: Tensor, count: int) -> Tensor:
    """(count, 3, S / 2, S / 2) of deviations of maps from their mean, (N, 3, S, S) in units of the side.

    With fewer samples than `count` the last ones are zero.
    """
    coarse = F.avg_pool2d(deviations.float(), COARSE)
    flat = coarse.flatten(1)
    values, vectors = torch.linalg.eigh(flat.double() @ flat.T.double())
    chosen = values.argsort(descending=True)[:count]
    chosen = chosen[values[chosen] > values[-1] * SMALLEST**2]
    found = torch.zeros(count, flat.shape[1])
    found[: len(chosen)] = (vectors[:, chosen].T.float() @ flat) / len(flat) ** 0.5
    return found.reshape(count, *coarse.shape[1:])


def encoder_weights(source: str) -> Mapping[str, Tensor]:
    """What an encoder begins with. source: IMAGENET, `shipped`, or the run or weights of a UV-net of kind photo.

    Raises FormatError or DatasetError where the file holds no such encoder, AssetError where the published weights
    cannot be had.
    """
    if source == IMAGENET:
        return published_lite0()
    path = SAFETENSORS if source == NAME and not Path(source).exists() else weights_file(Path(source))
    start = "encoder."
    tensors, _, header = read_weights(path)
    found = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    wanted = {name: tensor.shape for name, tensor in Lite0().state_dict().items()}
    if header["system"] != "uvnet" or {name: tensor.shape for name, tensor in found.items()} != wanted:
        raise FormatError(f"encoder: {path} is no UV-net with network.kind photo, whose encoder could be taken")
    return {name: found[name] for name in wanted}  # files hold them by name, `load_published` takes them in order
