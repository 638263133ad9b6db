"""The networks of Wang 2019: features of a face to its frontal, neutral picture and a mask; and their critic.

`Decoder`: two fully connected layers, 5 x 5 maps, then stages of two residual blocks and an upsampling convolution;
each stage doubles the side and halves the features, down to R, G and B. `MaskDecoder`: two stages of the same make
from the maps at a quarter of the side. Counts of parameters: docs/design/0212.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renderer.errors import SpecError
from trainer.systems.frontal.appearance import Appearance, moved
from trainer.systems.frontal.config import BASE_PX, NetworkConfig
from trainer.systems.frontal.landmarks import LandmarkNet

MASK_STAGES: Final = 2
STEEPEST: Final = 0.98  # of tanh: what is white starts where a slope is left
OPEN: Final = 4.0  # bias of masks that start open
LEAK: Final = 0.2
SHRINKING: Final = (1, 1, 2, 2, 4, 4, 8, 8)  # features of the critic's layers, times those of the first


class Made(NamedTuple):
    """What the network makes of N features. S: the side of the pictures."""

    face: Tensor  # (N, 3, S, S) picture values in [0, 1], before the mask
    mask: Tensor  # (N, 1, S, S) in [0, 1]
    landmarks: Tensor  # (N, 68, 3) of `picture`, in shares of the side (`trainer.systems.frontal.geometry`)
    average: Tensor  # (3, S, S) the mean companion that the network has learnt with, on white: to compare with

    @property
    def picture(self) -> Tensor:
        """The face where the mask shows it, on white, (N, 3, S, S)."""
        return composite(self.face, self.mask)


def composite(face: Tensor, mask: Tensor) -> Tensor:
    """W F + (1 - W) white."""
    return mask * face + (1 - mask)


def active(x: Tensor) -> Tensor:
    """Leaky, as in the discriminator: of the three features of the last stage none may fall silent."""
    return F.leaky_relu(x, LEAK)


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))), which starts as x."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(active(self.first(active(x))))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """(N, features, s, s) to (N, outputs, 2 s, 2 s): two residual blocks, each pixel four times, a convolution."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(ResidualBlock(features), ResidualBlock(features))
        self.up = nn.Conv2d(features, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(F.interpolate(active(self.blocks(x)), scale_factor=2.0))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """(N, features) to the face, (N, 3, S, S) before tanh, and the maps that the mask is made of."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        counts = config.stage_features
        hidden = counts[0] * BASE_PX**2
        self.first = nn.Linear(config.encoder_features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.stages = nn.ModuleList(
            Stage(features, outputs) for features, outputs in zip(counts, (*counts[1:], 3), strict=True)
        )

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = active(self.second(active(self.first(features))))
        x = x.view(len(x), -1, BASE_PX, BASE_PX)
        for stage in self.stages[:-MASK_STAGES]:
            x = stage(x)
        quarter = x
        for stage in self.stages[-MASK_STAGES:]:
            x = stage(x)
        return x, quarter


class MaskDecoder(nn.Module):
    """Maps of a quarter of the side to the mask, (N, 1, S, S) in [0, 1]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        counts = (*config.stage_features[-MASK_STAGES:], 1)
        self.stages = nn.Sequential(*(Stage(counts[number], counts[number + 1]) for number in range(MASK_STAGES)))

    def forward(self, quarter: Tensor) -> Tensor:
        return torch.sigmoid(self.stages(quarter))


class FrontalNetwork(nn.Module):
    """(N, F) features of the encoder to what is `Made` of them.

    `landmarks` is fitted before, and stays as it is; the buffers are of the training samples. start: what is added to
    the decoder's face before tanh; 0, or the mean companion's where companions are learnt from. appearance: gives what
    is added in place of `start` where there are components, and moves the face into its shape.
    """

    mean_face: Tensor
    start: Tensor
    feature_mean: Tensor
    feature_spread: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Decoder(config)
        self.mask_decoder = MaskDecoder(config) if config.mask else None
        self.landmarks = LandmarkNet(config.landmark_features).requires_grad_(False)
        side, count = config.output_px, config.components
        self.appearance = Appearance(config.encoder_features, count, side) if count else None
        self.register_buffer("mean_face", torch.full((3, side, side), 0.5))
        self.register_buffer("start", torch.zeros_like(self.mean_face))
        self.register_buffer("feature_mean", torch.zeros(config.encoder_features))
        self.register_buffer("feature_spread", torch.ones(config.encoder_features))

    def forward(self, features: Tensor) -> Made:
        face, mask = self.decoded(features)
        return Made(face, mask, self.landmarks(composite(face, mask)), self.mean_face)

    def decoded(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Face (N, 3, S, S) and mask (N, 1, S, S). Raises SpecError for features of another size."""
        if features.dim() != 2 or features.shape[1] != self.config.encoder_features:
            wanted = self.config.encoder_features
            raise SpecError(f"the network takes features (N, {wanted}) of a face, not {tuple(features.shape)}")
        features = (features - self.feature_mean) / self.feature_spread
        face, quarter = self.decoder(features.to(self.decoder.first.weight.dtype))
        if self.appearance is None:
            face = (torch.tanh(face + self.start) + 1) / 2
        else:
            colours, flow = self.appearance(features)
            face = moved((torch.tanh(face + before_tanh(colours)) + 1) / 2, flow)
        mask = torch.ones_like(face[:, :1]) if self.mask_decoder is None else self.mask_decoder(quarter)
        return face, mask


def before_tanh(face: Tensor) -> Tensor:
    """What becomes the picture values of a face, but for those too close to black or white."""
    return torch.atanh((2 * face - 1).clamp(-STEEPEST, STEEPEST))


class Discriminator(nn.Module):
    """Faces (N, 3, S, S) in [0, 1] to (N, 1, S / 16, S / 16): 1 for what is real, -1 for what is made, place by place.

    Nine convolutions; every second of the first eight halves the side. The thesis prints stride 1 at the eighth, whose
    output is half as large.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        counts = [3, *(config.discriminator_features * factor for factor in SHRINKING)]
        layers: list[nn.Module] = []
        for number in range(len(SHRINKING)):
            stride = 2 if number % 2 else 1
            layers += [nn.Conv2d(counts[number], counts[number + 1], 3, stride, 1), nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(counts[-1], 1, 3, padding=1))

    def forward(self, face: Tensor) -> Tensor:
        return self.layers(face * 2 - 1)  # type: ignore[no-any-return]


def initialise(module: nn.Module, seed: int) -> None:
    """First weights from `seed` alone: He's, zero biases, and residual blocks that change nothing yet.

    Faces and masks start even, at 0.5, where tanh and sigmoid are steepest: drawn weights reach far into tanh, the
    white backdrop drives the rest there, and a face that is white all over has no gradient and stays so.
    Heat maps of landmarks start flat: where chance has made peaks, gradients find no way from one place to another.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, a=LEAK, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, ResidualBlock):
            nn.init.zeros_(part.second.weight)
        elif isinstance(part, LandmarkNet):
            nn.init.zeros_(part.last.weight)
        elif isinstance(part, (Decoder, MaskDecoder)):
            last = part.stages[-1]
            assert isinstance(last, Stage)
            nn.init.zeros_(last.up.weight)
