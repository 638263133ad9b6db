"""UV-net for use elsewhere: pictures of any size go in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.systems.uvnet.network import UVNet
from trainer.systems.uvnet.photo_network import OUTPUTS, PhotoNet
from trainer.training.system import Exportable


def exportable(network: UVNet | PhotoNet) -> Exportable:
    """ONNX takes any size; torch.export multiples of what the network halves."""
    step = network.config.multiple
    size, generator = 2 * step, torch.Generator().manual_seed(0)
    auto = torch.export.Dim.AUTO

    def pictures(*shapes: tuple[int, int, int]) -> list[tuple[Tensor, ...]]:
        return [(torch.rand(count, 3, height, width, generator=generator),) for count, height, width in shapes]

    # a size that the network halves evenly, and one that it does not
    any_size = pictures((1, size, size), (3, size + 5, 2 * size - 3))
    sides = {i: step * torch.export.Dim(name, min=2, max=1024) for i, name in ((2, "rows"), (3, "columns"))}
    return Exportable(
        module=network,
        inputs=any_size[::-1],  # the odd one is traced
        dynamic={"image": {0: auto, 2: auto, 3: auto}},
        outputs=("uv_masks",),
        about={
            "input": "N x 3 x H x W picture values (gamma 2.2) in [0, 1]",
            "output": list(OUTPUTS if isinstance(network, PhotoNet) else OUTPUTS[:4]),
        },
        fixed=Unpadded(network),
        fixed_inputs=pictures((2, 2 * step, 3 * step), (1, 4 * step, 2 * step)),
        fixed_dynamic={"image": {0: torch.export.Dim("batch"), **sides}},
    )


class Unpadded(nn.Module):
    """The network for sizes that it halves evenly: torch.export cannot keep padding that depends on the size."""

    def __init__(self, network: UVNet | PhotoNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network.unpadded(image)
