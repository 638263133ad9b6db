"""The config of UV-net: augmentation, network and loss. Defaults are those of Ronkainen 2017, sections 3.5-3.7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from renderer.errors import SpecError
from trainer.augmentation.config import AugmentConfig
from trainer.config import Ramp, noted, ranged
from trainer.training.config import TrainConfig


@dataclass(frozen=True)
class NetworkConfig:
    """UV-net. Feature counts: round(initial_features * feature_multiplier^level), times up_factor on the way up.

    The defaults are the network of Ronkainen 2017 exactly (docs/design/0204).
    """

    input_channels: int = ranged(3, 1, 64, "channels of the input")
    output_channels: int = ranged(4, 1, 64, "U, V, mask, occluded mask")
    levels: int = ranged(6, 1, 10, "times the resolution is halved")
    initial_features: int = ranged(32, 1, 1024, "features at full resolution")
    feature_multiplier: float = ranged(1.75, 0.5, 4, "growth per level")
    up_factor: float = ranged(1.25, 0.1, 4, "features on the way up per feature on the way down")
    filter_sizes: tuple[int, ...] = ranged((5, 5, 5, 5, 5, 3, 5), 1, 15, "per level; the last is the output layer's")
    down: Literal["pool", "stride"] = noted("pool", "max-pooling, or the second convolution with stride 2")
    batch_norm: bool = noted(False, "batch normalisation after each convolution but the transpose ones and the last")
    dilation: int = ranged(1, 1, 8, "dilation of the second convolution of each level")
    patch_size: int = ranged(1, 1, 16, "side of the squares of pixels that the levels take as one; 1: pixels")
    fine_patch: int = ranged(1, 1, 16, "side of the squares, within patches, that the last convolutions work on")
    fine_features: int = ranged(8, 1, 256, "features of those")

    def check(self) -> None:
        """What fields must satisfy together. Raises SpecError."""
        sizes, wanted = self.filter_sizes, self.levels + 1
        if len(sizes) != wanted:
            raise SpecError(f"filter_sizes has {len(sizes)} entries; {self.levels} levels need {wanted}")
        if even := [k for k in sizes if k % 2 == 0]:
            raise SpecError(f"filter_sizes must be odd, not {even}")
        if self.patch_size % self.fine_patch:
            raise SpecError(f"fine_patch must divide patch_size ({self.patch_size}), {self.fine_patch} does not")

    @property
    def multiple(self) -> int:
        """Sides of images that are multiples of this need no padding."""
        return int(self.patch_size * 2**self.levels)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms by name; 0 leaves a term out. Every term is a mean over the pixels of a sample."""

    uv: Ramp = ranged(Ramp(1, 1), 0, 1e6, "UV under the mask")
    mask: Ramp = ranged(Ramp(1, 1), 0, 1e6, "face area")
    occluded_mask: Ramp = ranged(Ramp(1, 1), 0, 1e6, "face area still visible")
    uv_dudx: Ramp = ranged(Ramp(1, 1), 0, 1e6, "dU/dx under the eroded mask")
    uv_dudy: Ramp = ranged(Ramp(1, 1), 0, 1e6, "dU/dy under the eroded mask")
    uv_dvdx: Ramp = ranged(Ramp(1, 1), 0, 1e6, "dV/dx under the eroded mask")
    uv_dvdy: Ramp = ranged(Ramp(1, 1), 0, 1e6, "dV/dy under the eroded mask")
    landmarks: Ramp = ranged(Ramp(0, 0), 0, 1e6, "UV at the 68 landmarks in view")
    face_present: Ramp = ranged(Ramp(0, 0), 0, 1e6, "largest mask value against whether there is a face")
    combine: Literal["sum", "mean"] = noted("sum", "total = sum or mean of the weighted terms")
    erosion_px: int = ranged(1, 1, 32, "radius of the erosion behind the eroded mask")
    overshoot: Literal["counts", "free"] = noted(
        "counts", "mask terms above 1 on the face and below 0 off it; counts: L1 as the thesis has it; free: 0"
    )
    balance: Ramp = ranged(
        Ramp(0, 0), 0, 1, "mask terms: 0 counts each pixel alike, 1 face and background alike, whatever their area"
    )


TERMS: Final = ("uv", "mask", "occluded_mask", "uv_dudx", "uv_dudy", "uv_dvdx", "uv_dvdy", "landmarks", "face_present")
"""Fields of `LossConfig` that weigh a term of the loss, in the order in which it is logged."""


@dataclass(frozen=True)
class UVNetConfig(TrainConfig):
    """A training of UV-net."""

    PATHS: ClassVar[tuple[str, ...]] = (*TrainConfig.PATHS, "augment.environments")

    name: str = noted("uvnet", "start of the run-ID")
    system: Literal["uvnet"] = noted("uvnet", "what is trained")
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()

    def check(self) -> None:
        super().check()
        if not any(getattr(self.loss, term).used for term in TERMS):
            raise SpecError("loss has no weight above 0")
