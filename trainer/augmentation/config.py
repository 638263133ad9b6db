"""Settings of augmentation: a dataclass for each stage.

Defaults are those of Ronkainen 2017, sections 3.5-3.7.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from renderer.errors import SpecError
from renderer.format.sample_format import CENTRE_U
from trainer.config import Ramp, noted, ranged


@dataclass(frozen=True)
class QuarterTurns:
    """Rotation by 0, 90, 180 or 270 degrees. Off, as in the thesis's final run."""

    enabled: bool = False
    share: Ramp = ranged(Ramp(1, 1), 0, 1, "share of samples")


@dataclass(frozen=True)
class CropScale:
    """A random window of the image, turned and scaled to full size (thesis 4.5)."""

    enabled: bool = False
    share: Ramp = ranged(Ramp(1, 1), 0, 1, "share of samples")
    scale: tuple[float, float] = ranged((0.75, 1.25), 0.1, 10, "magnification, drawn log-uniformly")
    shift: float = ranged(0.15, 0, 1, "largest shift as a share of the side")
    turn_deg: float = ranged(0, 0, 180, "largest rotation, either way")


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged, in the image and in the UV frame."""

    enabled: bool = False
    share: Ramp = ranged(Ramp(0.5, 0.5), 0, 1, "share of samples")
    centre_u: float = ranged(CENTRE_U, 0, 1, "U of the face's midline; that of the frame hm08-frontal-1")


@dataclass(frozen=True)
class NoFace:
    """Samples without any face: a crop of an environment, all targets empty (thesis 4.5)."""

    enabled: bool = False
    share: Ramp = ranged(Ramp(0.02, 0.02), 0, 1, "share of samples")


@dataclass(frozen=True)
class Occlusion:
    """Blobs cut from one environment, coloured by another, blended over the input (thesis 3.5)."""

    enabled: bool = True
    share: Ramp = ranged(Ramp(0.5, 0.5), 0, 1, "share of samples")
    cover: tuple[float, float] = ranged((0.1, 0.6), 0, 1, "share of the image that the occluder covers")
    softness: tuple[float, float] = ranged((0.02, 0.2), 0, 2, "width of the soft threshold, in image contrast")
    binary_share: float = ranged(0.25, 0, 1, "share of the occluders with a hard edge (thesis 4.5)")
    oversample: int = ranged(2, 1, 8, "masks are made this much larger and scaled down (thesis 4.5)")
    crop: tuple[float, float] = ranged((0.05, 0.5), 0.001, 1, "side of a crop as a share of the environment's height")
    tries: int = ranged(4, 1, 100, "crops tried until the cover is in range; then no occluder")


@dataclass(frozen=True)
class ChannelShuffle:
    """A random order of R, G, B."""

    enabled: bool = True
    share: Ramp = ranged(Ramp(0.5, 0.5), 0, 1, "share of samples")


@dataclass(frozen=True)
class Exposure:
    """Brightness in photographic stops."""

    enabled: bool = True
    share: Ramp = ranged(Ramp(1, 1), 0, 1, "share of samples")
    stops: tuple[float, float] = ranged((-1.0, 1.0), -10, 10, "factor 2^stops")


@dataclass(frozen=True)
class Gamma:
    """Exponent from linear light to picture values. Where off, or not drawn, `BASE_GAMMA`."""

    enabled: bool = True
    share: Ramp = ranged(Ramp(1, 1), 0, 1, "share of samples")
    gamma: tuple[float, float] = ranged((1.6, 2.8), 0.2, 10, "picture = light^(1/gamma)")


@dataclass(frozen=True)
class Contrast:
    """Contrast about the image's mean (thesis 4.5)."""

    enabled: bool = False
    share: Ramp = ranged(Ramp(0.5, 0.5), 0, 1, "share of samples")
    factor: tuple[float, float] = ranged((0.7, 1.3), 0, 10, "factor on the distance from the mean")


@dataclass(frozen=True)
class Blur:
    """Gaussian blur (thesis 4.5)."""

    enabled: bool = False
    share: Ramp = ranged(Ramp(0.3, 0.3), 0, 1, "share of samples")
    sigma_px: tuple[float, float] = ranged((0.3, 1.5), 0, 20, "standard deviation in pixels")


@dataclass(frozen=True)
class Noise:
    """Gaussian noise; each sample draws its own standard deviation between 0 and the limit."""

    enabled: bool = True
    share: Ramp = ranged(Ramp(1, 1), 0, 1, "share of samples")
    limit: Ramp = ranged(Ramp(0.1, 0.0), 0, 1, "largest standard deviation; ramped down to zero")


@dataclass(frozen=True)
class AugmentConfig:
    """The stages in the order in which they are applied; clipping and 256 levels follow, always."""

    environments: str = noted("", "folder of EXR environments for crops; empty = that of the head pack")
    environment_height_px: int = ranged(256, 16, 4096, "environments are scaled to this height")
    quarter_turns: QuarterTurns = QuarterTurns()
    mirror: Mirror = Mirror()
    crop_scale: CropScale = CropScale()
    no_face: NoFace = NoFace()
    occlusion: Occlusion = Occlusion()
    channel_shuffle: ChannelShuffle = ChannelShuffle()
    exposure: Exposure = Exposure()
    gamma: Gamma = Gamma()
    contrast: Contrast = Contrast()
    blur: Blur = Blur()
    noise: Noise = Noise()

    def check(self) -> None:
        """Ranges begin with their low end. Raises SpecError."""
        for name in STAGES:
            stage = getattr(self, name)
            for entry in fields(stage):
                value = getattr(stage, entry.name)
                if isinstance(value, tuple) and value[0] > value[1]:
                    raise SpecError(f"{name}.{entry.name} is {list(value)}; low end first")


STAGES: Final = tuple(f.name for f in fields(AugmentConfig) if f.name not in ("environments", "environment_height_px"))
