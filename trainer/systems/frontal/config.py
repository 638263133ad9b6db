"""The config of frontal faces. Defaults are those of Wang 2019: no pairs, and an adversary."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final, Literal

from renderer.errors import SpecError
from renderer.parameters.spec import Spec
from renderer.strict import knob
from trainer.training.config import DataConfig, OptimiserConfig, ScheduleConfig, TrainConfig

BASE_PX: Final = 5  # side of the maps that the fully connected layers make
FULL_FEATURES: Final = 3  # of the last stage at width 1, and of a picture; they double with each stage before it
MIN_STAGES: Final = 3


@dataclass(frozen=True)
class NetworkConfig:
    """Decoder, mask decoder, discriminator. The defaults are the tables of Wang 2019 (docs/design/0212)."""

    output_px: int = knob(320, "side of the face that is made: 5 times a power of 2", 40, 1280)
    width: int = knob(1, "features of the decoder's stages per feature of the thesis's at that size", 1, 16)
    mask: bool = knob(True, "an attention mask, with white where it is 0; false: the face fills the picture")
    components: int = knob(
        0, "of shapes and of colours of companions that faces start from; 0: none, as in the thesis", 0, 500
    )
    discriminator_features: int = knob(32, "of its first layer; they double three times", 1, 256)
    landmark_features: int = knob(64, "of the network that reads landmarks off faces; a multiple of 8", 8, 512)
    encoder: str = knob(
        "dlib", "what faces are encoded by: dlib, or an absolute path (ONNX, TorchScript, torch.export)"
    )
    encoder_features: int = knob(256, "numbers in the encoder's last layer without spatial extent", 1, 100_000)
    encoder_values: Literal["unit", "signed"] = knob("signed", "pictures for an own encoder: in [0, 1] or [-1, 1]")

    def check(self) -> None:
        stages = math.log2(self.output_px / BASE_PX)
        if not stages.is_integer() or stages < MIN_STAGES:
            sizes = ", ".join(str(BASE_PX * 2**n) for n in range(MIN_STAGES, MIN_STAGES + 6))
            raise SpecError(
                f"output_px is {self.output_px}; the decoder doubles maps of {BASE_PX} pixels: give {sizes}"
            )
        if self.landmark_features % 8:
            raise SpecError(f"landmark_features is {self.landmark_features}; it must be a multiple of 8")

    @property
    def stage_features(self) -> tuple[int, ...]:
        """Of the maps that each stage takes, from 5 x 5 on: 192, 96, 48, 24, 12, 6 for 320 pixels."""
        stages = round(math.log2(self.output_px / BASE_PX))
        return tuple(FULL_FEATURES * 2 ** (stages - number) * self.width for number in range(stages))


@dataclass(frozen=True)
class LandmarksConfig:
    """The small network that reads 3D landmarks off faces, fitted to inputs and their records before training."""

    run: str = knob("", "run, or weights file, whose landmark network is taken; empty: one is fitted", path=True)
    samples: int = knob(100_000, "seen while it is fitted", 1, 10**9)
    lr: float = knob(5e-3, "Adam's rate at its start; it falls to 0 along a cosine", 1e-8, 1)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; 0 leaves a term out. Lengths of landmarks are counted in pixels of a picture of 320."""

    texture: float = knob(1.0, "L1 to the input inside the mask, 14 landmarks of both in one place", 0, 1e6)
    landmarks: float = knob(0.02, "of the next four together", 0, 1e6)
    geometry: float = knob(160.0, "1 - cosine similarity of the distances between landmarks to the input's", 0, 1e6)
    symmetry: float = knob(1.0, "differences of mirrored landmarks in their distance to the middle", 0, 1e6)
    tilt: float = knob(1.0, "differences of mirrored landmarks in height", 0, 1e6)
    expression: float = knob(1.0, "distances between the inner lips", 0, 1e6)
    identity: float = knob(1.0, "1 - cosine similarity of the encoder's features to the input's", 0, 1e6)
    identity_share: float = knob(1.0, "of each minibatch that has this term: the encoder takes the most time", 0.01, 1)
    mask_area: float = knob(0.05, "mean of the mask to the power of `mask_power`", 0, 1e6)
    mask_power: float = knob(1.0, "exponent", 0.1, 10)
    mask_variation: float = knob(0.1, "total variation of the mask, per pixel", 0, 1e6)
    adversarial: float = knob(0.1, "least squares: what the discriminator says to 1; 0: there is none", 0, 1e6)
    l1: float = knob(0.0, "supervised: L1 to the companion", 0, 1e6)
    ssim: float = knob(0.0, "supervised: 1 - SSIM to the companion", 0, 1e6)

    def check(self) -> None:
        if not any(getattr(self, name) for name in ("texture", "identity", "l1", "ssim")):
            raise SpecError("texture, identity, l1 and ssim are all 0: nothing says whose face is to be made")

    @property
    def supervised(self) -> bool:
        """Whether companions are learnt from."""
        return bool(self.l1 or self.ssim)

    @property
    def used(self) -> dict[str, float]:
        """The weights above 0, by term."""
        skipped = ("landmarks", "identity_share", "mask_power")
        named = {field.name: float(getattr(self, field.name)) for field in fields(self) if field.name not in skipped}
        for name in ("geometry", "symmetry", "tilt", "expression"):
            named[name] *= self.landmarks
        return {name: weight for name, weight in named.items() if weight}


@dataclass(frozen=True)
class AdversaryConfig(OptimiserConfig):
    """How the discriminator steps, and what it is shown."""

    every: int = knob(4, "steps of the generator to one of the discriminator", 1, 1000)
    real: Literal["inputs", "companions"] = knob("inputs", "what it is to tell from what is made")


@dataclass(frozen=True)
class FrontalConfig(TrainConfig):
    """A training of frontal faces."""

    name: str = knob("frontal", "start of the run-ID")
    system: Literal["frontal"] = knob("frontal", "what is trained")
    network: NetworkConfig = NetworkConfig()
    landmarks: LandmarksConfig = LandmarksConfig()
    loss: LossConfig = LossConfig()
    adversary: AdversaryConfig = AdversaryConfig(lr=(1e-4, 1e-4), beta1=(0.5, 0.5), decay="constant")
    mean_samples: int = knob(1000, "training samples that the mean face and the spread of features are of", 2, 10**6)
    data: DataConfig = DataConfig(batch_size=16)
    schedule: ScheduleConfig = ScheduleConfig(lr=(1e-4, 1e-5), beta1=(0.5, 0.5), decay="cosine")

    def lacks(self, spec: Spec) -> str:
        if spec.heads.empty_share:
            return f"heads.empty_share is {spec.heads.empty_share}, and every picture must show a head: set it to 0"
        if "neutral" not in spec.render.labels:
            return "render.labels lacks neutral, the frontal companion that faces are measured against"
        return ""

    def target(self, spec: Spec) -> str:
        return "a frontal, neutral face"
