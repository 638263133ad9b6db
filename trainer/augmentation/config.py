"""Settings of augmentation: a dataclass for each stage. Those that `photo_config` declares are off by default.

Defaults are those of Ronkainen 2017, sections 3.5-3.7.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from renderer.errors import SpecError
from renderer.format.sample_format import CENTRE_U
from renderer.strict import knob
from trainer.augmentation.photo_config import (
    Background,
    Cutouts,
    Defocus,
    Gray,
    Jpeg,
    Motion,
    Pictures,
    Resolution,
    Saturation,
    SensorNoise,
    Shade,
    Sharpen,
    ToneCurve,
    Vignette,
    WhiteBalance,
    Window,
)
from trainer.ramp import Ramp


@dataclass(frozen=True)
class QuarterTurns:
    """Rotation by 0, 90, 180 or 270 degrees. Off, as in the thesis's final run."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(1, 1), "share of samples", 0, 1)


@dataclass(frozen=True)
class CropScale:
    """A random window of the image, turned and scaled to full size (thesis 4.5)."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(1, 1), "share of samples", 0, 1)
    scale: tuple[float, float] = knob((0.75, 1.25), "magnification, drawn log-uniformly", 0.1, 10)
    shift: float = knob(0.15, "largest shift as a share of the side", 0, 1)
    turn_deg: float = knob(0, "largest rotation, either way", 0, 180)


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged, in the image and in the UV frame."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.5, 0.5), "share of samples", 0, 1)
    centre_u: float = knob(CENTRE_U, "U of the face's midline; that of the frame hm08-frontal-1", 0, 1)


@dataclass(frozen=True)
class NoFace:
    """Samples without any face: a crop of an environment, all targets empty (thesis 4.5)."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.02, 0.02), "share of samples", 0, 1)


@dataclass(frozen=True)
class Occlusion:
    """Blobs cut from one environment, coloured by another, blended over the input (thesis 3.5)."""

    enabled: bool = knob(True, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.5, 0.5), "share of samples", 0, 1)
    cover: tuple[float, float] = knob((0.1, 0.6), "share of the image that the occluder covers", 0, 1)
    softness: tuple[float, float] = knob((0.02, 0.2), "width of the soft threshold, in image contrast", 0, 2)
    binary_share: float = knob(0.25, "share of the occluders with a hard edge (thesis 4.5)", 0, 1)
    oversample: int = knob(2, "masks are made this much larger and scaled down (thesis 4.5)", 1, 8)
    crop: tuple[float, float] = knob((0.05, 0.5), "side of a crop as a share of the environment's height", 0.001, 1)
    tries: int = knob(4, "crops tried until the cover is in range; then no occluder", 1, 100)


@dataclass(frozen=True)
class ChannelShuffle:
    """A random order of R, G, B."""

    enabled: bool = knob(True, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.5, 0.5), "share of samples", 0, 1)


@dataclass(frozen=True)
class Exposure:
    """Brightness in photographic stops, of the picture as rendered, or as a camera meters it."""

    enabled: bool = knob(True, "whether this stage is applied")
    share: Ramp = knob(Ramp(1, 1), "share of samples", 0, 1)
    stops: tuple[float, float] = knob((-1.0, 1.0), "factor 2^stops", -10, 10)
    metered: float = knob(0, "how much of the way to middle gray a camera goes before; 0: none, 1: all", 0, 1)


@dataclass(frozen=True)
class Gamma:
    """Exponent from linear light to picture values. Where off, or not drawn, `BASE_GAMMA`."""

    enabled: bool = knob(True, "whether this stage is applied")
    share: Ramp = knob(Ramp(1, 1), "share of samples", 0, 1)
    gamma: tuple[float, float] = knob((1.6, 2.8), "picture = light^(1/gamma)", 0.2, 10)


@dataclass(frozen=True)
class Contrast:
    """Contrast about the image's mean (thesis 4.5)."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.5, 0.5), "share of samples", 0, 1)
    factor: tuple[float, float] = knob((0.7, 1.3), "factor on the distance from the mean", 0, 10)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur (thesis 4.5)."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.3, 0.3), "share of samples", 0, 1)
    sigma_px: tuple[float, float] = knob((0.3, 1.5), "standard deviation in pixels", 0, 20)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise; each sample draws its own standard deviation between 0 and the limit."""

    enabled: bool = knob(True, "whether this stage is applied")
    share: Ramp = knob(Ramp(1, 1), "share of samples", 0, 1)
    limit: Ramp = knob(Ramp(0.1, 0.0), "largest standard deviation; ramped down to zero", 0, 1)


@dataclass(frozen=True)
class AugmentConfig:
    """The stages in the order in which they are applied; clipping and 256 levels follow, always.

    The order is that of a picture's making: what is before the camera, lens and sensor in linear light, and from
    `gamma` on what software makes of it.
    """

    environments: str = knob("", "folder of EXR environments for crops; empty = that of the head pack", path=True)
    environment_height_px: int = knob(256, "environments are scaled to this height", 16, 4096)
    pictures: Pictures = Pictures()
    quarter_turns: QuarterTurns = QuarterTurns()
    window: Window = Window()
    mirror: Mirror = Mirror()
    crop_scale: CropScale = CropScale()
    background: Background = Background()
    no_face: NoFace = NoFace()
    cutouts: Cutouts = Cutouts()
    occlusion: Occlusion = Occlusion()
    shade: Shade = Shade()
    channel_shuffle: ChannelShuffle = ChannelShuffle()
    vignette: Vignette = Vignette()
    defocus: Defocus = Defocus()
    motion: Motion = Motion()
    exposure: Exposure = Exposure()
    white_balance: WhiteBalance = WhiteBalance()
    sensor_noise: SensorNoise = SensorNoise()
    gamma: Gamma = Gamma()
    tone_curve: ToneCurve = ToneCurve()
    saturation: Saturation = Saturation()
    gray: Gray = Gray()
    contrast: Contrast = Contrast()
    blur: Blur = Blur()
    sharpen: Sharpen = Sharpen()
    noise: Noise = Noise()
    resolution: Resolution = Resolution()
    jpeg: Jpeg = Jpeg()

    def check(self) -> None:
        """Ranges begin with their low end; one stage alone moves the picture. Raises SpecError."""
        for name in STAGES:
            stage = getattr(self, name)
            for entry in fields(stage):
                value = getattr(stage, entry.name)
                if isinstance(value, tuple) and value[0] > value[1]:
                    raise SpecError(f"{name}.{entry.name} is {list(value)}; low end first")
        if self.window.enabled and self.crop_scale.enabled:
            raise SpecError("window does all that crop_scale does: set crop_scale.enabled or window.enabled to false")

    @property
    def side_px(self) -> int:
        """Side of what a network gets to see; 0: as stored."""
        return self.window.side_px if self.window.enabled else 0

    @property
    def needs_environments(self) -> bool:
        """Does a stage that is on cut from the small environments?"""
        return self.occlusion.enabled or self.no_face.enabled

    @property
    def needs_pictures(self) -> bool:
        """Does a stage that is on cut from the bank of pictures?"""
        return self.background.enabled or self.cutouts.enabled

    @property
    def needs_pieces(self) -> bool:
        """Does a stage that is on cut from other samples?"""
        return self.cutouts.enabled and self.cutouts.pieces_share > 0


_NO_STAGES: Final = ("environments", "environment_height_px", "pictures")
STAGES: Final = tuple(f.name for f in fields(AugmentConfig) if f.name not in _NO_STAGES)
