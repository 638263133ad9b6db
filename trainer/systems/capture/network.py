"""Networks from a frame to vertices: the convolutional one of Laine et al. 2017 and the fully connected baseline.

Both end in 160 numbers and a linear layer of 3 V, which can begin as the PCA of the training meshes. Inside, lengths
are millimetres: squared errors of metres are so small that Adam's epsilon would count.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from trainer.systems.capture.config import NetworkConfig

MM: Final = 1000.0


class CaptureNet(nn.Module):
    """Frames (N, views, H, W), gray picture values in [0, 1], to vertices (N, V, 3) in metres, head space.

    Buffers: mean, deviation (views, 1, 1) whiten every frame alike; average (V, 3) is the mean of the training meshes
    in metres; explained is the share of their variance that the first weights of the output layer hold; triangles
    (F, 3) are those of the mesh, animated (V,) says which vertices expressions move.
    """

    mean: Tensor
    deviation: Tensor
    average: Tensor
    explained: Tensor
    triangles: Tensor
    animated: Tensor

    def __init__(self, config: NetworkConfig, features: nn.Module, count: int, dropout: float) -> None:
        super().__init__()
        self.vertices = config.vertices
        self.features = features
        self.drop = nn.Dropout(dropout)
        self.coefficients = nn.Linear(count, config.components)
        self.output = nn.Linear(config.components, 3 * config.vertices)
        self.register_buffer("mean", torch.zeros(config.views, 1, 1))
        self.register_buffer("deviation", torch.ones(config.views, 1, 1))
        self.register_buffer("average", torch.zeros(config.vertices, 3))
        self.register_buffer("explained", torch.zeros(()))
        self.register_buffer("triangles", torch.zeros((0, 3), dtype=torch.int32))
        self.register_buffer("animated", torch.ones(config.vertices, dtype=torch.bool))

    def forward(self, frames: Tensor, wanted: Literal["vertices", "average"] = "vertices") -> Tensor:
        """wanted: vertices; or the mean of the training meshes in place of each."""
        if wanted == "average":
            return self.average.expand(len(frames), -1, -1)
        white = (frames - self.mean) / self.deviation
        found = self.coefficients(self.drop(self.features(white)))
        device = "cpu" if frames.is_meta else frames.device.type  # where only shapes are asked for, nothing is cast
        with torch.autocast(device, enabled=False):  # eight bits of bfloat16 are half a millimetre here
            moved = self.output(found.float())
        vertices: Tensor = moved.unflatten(1, (self.vertices, 3)) / MM
        return vertices

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """The number of triangles is not known before."""
        if (stored := state_dict.get(f"{prefix}triangles")) is not None:
            self.triangles = self.triangles.new_empty(stored.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ImagePca(nn.Module):
    """Whitened frames (N, 1, H, W) to coefficients of unit variance (N, K). Buffers, not weights: nothing is learnt."""

    average: Tensor
    basis: Tensor

    def __init__(self, pixels: int, components: int) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(pixels))
        self.register_buffer("basis", torch.zeros(components, pixels))

    def forward(self, frames: Tensor) -> Tensor:
        return (frames.flatten(1) - self.average) @ self.basis.T


def convolutions(config: NetworkConfig) -> nn.Sequential:
    """Pairs of 3 x 3 convolutions with ReLU, the first of each with stride 2."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((config.views, *config.features)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def flattened(config: NetworkConfig) -> int:
    """Features after the convolutions."""
    height, width = config.height_px, config.width_px
    for _ in config.features:
        height, width = (height + 1) // 2, (width + 1) // 2
    return config.features[-1] * height * width


def connected(config: NetworkConfig) -> nn.Sequential:
    """Image PCA and hidden layers with ReLU."""
    layers: list[nn.Module] = [ImagePca(config.width_px * config.height_px, config.image_components)]
    for before, after in itertools.pairwise((config.image_components, *config.hidden)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


def make_network(config: NetworkConfig, seed: int) -> CaptureNet:
    """A new network with He-normal weights and zero biases (He et al. 2015)."""
    if config.kind == "convolutional":
        network = CaptureNet(config, convolutions(config), flattened(config), config.dropout)
    else:
        network = CaptureNet(config, connected(config), config.hidden[-1], config.dropout)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            linear = module in (network.coefficients, network.output)
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if linear else "relu", generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return network
