"""The config of UV-net: augmentation, network and loss. Defaults are those of Ronkainen 2017, sections 3.5-3.7."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from renderer.errors import SpecError
from renderer.strict import knob
from trainer.augmentation.config import AugmentConfig
from trainer.ramp import Ramp
from trainer.training.config import TrainConfig

PHOTO_LEVELS: Final = 4  # of the decoder for photographs; the encoder halves once more


@dataclass(frozen=True)
class NetworkConfig:
    """UV-net. Feature counts: round(initial_features * feature_multiplier^level), times up_factor on the way up.

    The defaults are the network of Ronkainen 2017 exactly (docs/design/0204).
    """

    kind: Literal["uvnet", "photo"] = knob(
        "uvnet",
        "photo: an encoder that may start from ImageNet and a light decoder, with a face score; of the other knobs it "
        "takes decoder_features alone",
    )
    decoder_features: tuple[int, ...] = knob(
        (96, 64, 48, 32), "kind photo: features at 1/16, 1/8, 1/4 and 1/2 of the resolution", 4, 1024
    )
    levels: int = knob(6, "times the resolution is halved", 1, 10)
    initial_features: int = knob(32, "features at full resolution", 1, 1024)
    feature_multiplier: float = knob(1.75, "growth per level", 0.5, 4)
    up_factor: float = knob(1.25, "features on the way up per feature on the way down", 0.1, 4)
    filter_sizes: tuple[int, ...] = knob((5, 5, 5, 5, 5, 3, 5), "per level; the last is the output layer's", 1, 15)
    down: Literal["pool", "stride"] = knob("pool", "max-pooling, or the second convolution with stride 2")
    batch_norm: bool = knob(False, "batch normalisation after each convolution but the transpose ones and the last")
    dilation: int = knob(1, "dilation of the second convolution of each level", 1, 8)
    patch_size: int = knob(1, "side of the squares of pixels that the levels take as one; 1: pixels", 1, 16)
    fine_patch: int = knob(1, "side of the squares, within patches, that the last convolutions work on", 1, 16)
    fine_features: int = knob(8, "features of those", 1, 256)

    def check(self) -> None:
        """What fields must satisfy together. Raises SpecError."""
        if len(self.decoder_features) != PHOTO_LEVELS:
            raise SpecError(f"decoder_features has {len(self.decoder_features)} entries; it needs {PHOTO_LEVELS}")
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
        return int(self.patch_size * 2**self.levels) if self.kind == "uvnet" else 2 ** (PHOTO_LEVELS + 1)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms by name; 0 leaves a term out. Every term is a mean over the pixels of a sample."""

    uv: Ramp = knob(Ramp(1, 1), "UV under the mask", 0, 1e6)
    mask: Ramp = knob(Ramp(1, 1), "face area", 0, 1e6)
    occluded_mask: Ramp = knob(Ramp(1, 1), "face area still visible", 0, 1e6)
    uv_dudx: Ramp = knob(Ramp(1, 1), "dU/dx under the eroded mask", 0, 1e6)
    uv_dudy: Ramp = knob(Ramp(1, 1), "dU/dy under the eroded mask", 0, 1e6)
    uv_dvdx: Ramp = knob(Ramp(1, 1), "dV/dx under the eroded mask", 0, 1e6)
    uv_dvdy: Ramp = knob(Ramp(1, 1), "dV/dy under the eroded mask", 0, 1e6)
    landmarks: Ramp = knob(Ramp(0, 0), "UV at the 68 landmarks in view", 0, 1e6)
    face_present: Ramp = knob(Ramp(0, 0), "largest mask value against whether there is a face", 0, 1e6)
    face_score: Ramp = knob(Ramp(0, 0), "face score against whether there is a face: cross entropy; kind photo", 0, 1e6)
    masks: Literal["l1", "entropy"] = knob("l1", "how mask terms count; entropy: cross entropy, of kind photo alone")
    combine: Literal["sum", "mean"] = knob("sum", "total = sum or mean of the weighted terms")
    erosion_px: int = knob(1, "radius of the erosion behind the eroded mask", 1, 32)
    overshoot: Literal["counts", "free"] = knob(
        "counts", "mask terms above 1 on the face and below 0 off it; counts: L1 as the thesis has it; free: 0"
    )
    balance: Ramp = knob(
        Ramp(0, 0), "mask terms: 0 counts each pixel alike, 1 face and background alike, whatever their area", 0, 1
    )


TERMS: Final = (
    "uv", "mask", "occluded_mask", "uv_dudx", "uv_dudy", "uv_dvdx", "uv_dvdy", "landmarks", "face_present",
    "face_score",
)  # fmt: skip
"""Fields of `LossConfig` that weigh a term of the loss, in the order in which it is logged."""


@dataclass(frozen=True)
class UVNetConfig(TrainConfig):
    """A training of UV-net."""

    name: str = knob("uvnet", "start of the run-ID")
    system: Literal["uvnet"] = knob("uvnet", "what is trained")
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    pretrained: bool = knob(False, "kind photo: the encoder starts from weights of ImageNet, fetched once by name")
    frozen_stages: int = knob(0, "kind photo: of the encoder, keep their first weights; it has 6", 0, 6)
    loss: LossConfig = LossConfig()

    def check(self) -> None:
        super().check()
        of_photo = {
            "pretrained": self.pretrained,
            "frozen_stages": self.frozen_stages > 0,
            "loss.face_score": self.loss.face_score.used,
            "loss.masks: entropy": self.loss.masks == "entropy",
        }
        if self.network.kind != "photo" and (wrong := [name for name, used in of_photo.items() if used]):
            raise SpecError(f"{', '.join(wrong)} needs network.kind: photo")
        if not any(getattr(self.loss, term).used for term in TERMS):
            raise SpecError("loss has no weight above 0")


def as_uvnet(config: TrainConfig, what: str) -> UVNetConfig:
    """The config of a UV-net. what: works with no other system. Raises SpecError."""
    if not isinstance(config, UVNetConfig):
        raise SpecError(f"{what} works with the system 'uvnet' alone, {config.name} is of {config.system!r}")
    return config
