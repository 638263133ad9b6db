"""Settings of the stages that make renderings look like photographs: a dataclass for each. All are off by default."""

from __future__ import annotations

from dataclasses import dataclass

from renderer.strict import knob
from trainer.ramp import Ramp


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory, from which backgrounds and the surfaces of occluders are cut."""

    folder: str = knob("", "folder of photographs, searched with its subfolders; empty: none", path=True)
    photographs: int = knob(256, "at most so many pictures of the folder", 0, 100_000)
    panoramas: int = knob(192, "views of the environments at their own resolution", 0, 100_000)
    procedural: int = knob(64, "pictures of overlapping shapes, and of plain walls", 0, 100_000)
    side_px: int = knob(192, "side of each in memory", 16, 4096)


@dataclass(frozen=True)
class Window:
    """The picture through windows like those of the face finder: near ones around a face, wide ones with small faces.

    Others lie beside faces, or on parts of them: hair, clothes, hands and cheeks alone are no faces for the face score.
    Perspective, aspect, turn, scale and place are one resampling of input, UV, masks and foreground. Beyond the border
    the picture is reflected, labels included, as far as no other background replaces it.
    """

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(1, 1), "share of samples; the others are shown whole", 0, 1)
    side_px: int = knob(0, "side of the result, in evaluations, too; 0: as stored", 0, 4096)
    faces: tuple[float, float] = knob((1.2, 1.6), "side of a near window in units of the face's larger side", 0.2, 100)
    shift: float = knob(0.1, "largest shift of a near window as a share of its side", 0, 1)
    wide_share: Ramp = knob(Ramp(0.25, 0.25), "share of the windows that are wide", 0, 1)
    wide_faces: tuple[float, float] = knob((1.6, 5.0), "side of a wide window; the face lies anywhere in it", 0.2, 100)
    beside_share: Ramp = knob(Ramp(0, 0), "share of the windows that lie anywhere in the picture, faces or not", 0, 1)
    beside_faces: tuple[float, float] = knob((0.25, 1.0), "side of those, in units as above", 0.05, 100)
    turn_deg: float = knob(30, "largest rotation, either way", 0, 180)
    any_turn_share: float = knob(0.1, "share of the windows that are turned by any angle", 0, 1)
    aspect: float = knob(0.1, "largest change of the aspect ratio, natural logarithm", 0, 1)
    perspective: float = knob(0.1, "largest change of scale from the middle to the edge", 0, 0.6)


@dataclass(frozen=True)
class Background:
    """Another picture behind what was rendered, through its coverage; needs the label `foreground`.

    Windows that look far beyond the stored picture always get one.
    """

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.7, 0.7), "share of samples", 0, 1)
    zoom: tuple[float, float] = knob((0.4, 1.0), "side of the part that is shown, as a share of the picture", 0.01, 1)
    stops: tuple[float, float] = knob((-1.5, 1.5), "brightness, factor 2^stops of the foreground's", -10, 10)
    blur_share: float = knob(0.3, "share of backgrounds out of focus", 0, 1)
    blur_px: tuple[float, float] = knob((0.5, 4.0), "their standard deviation in pixels", 0, 50)
    empty_share: float = knob(0.04, "share of them with nothing before it: no face", 0, 1)


@dataclass(frozen=True)
class Cutouts:
    """Occluders: random shapes before the picture, patches that lie on the face, and pieces of other samples.

    Mask and UV keep the whole face, the occluded mask loses what they hide, as with `occlusion`.
    """

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.4, 0.4), "share of samples", 0, 1)
    most: int = knob(2, "occluders in a sample, at most", 1, 10)
    pieces_share: float = knob(0.25, "share of pieces of other samples; above 0 needs the label `foreground`", 0, 1)
    on_face_share: float = knob(0.35, "share of the rest that follows the surface of the face, like a mask", 0, 1)
    size: tuple[float, float] = knob((0.15, 0.9), "sides of a shape in sides of the face", 0.01, 10)
    stops: tuple[float, float] = knob((-2.5, 1.0), "brightness, factor 2^stops of the face's", -10, 10)
    face_colour_share: float = knob(0.3, "share of shapes in the colour of the face that they hide", 0, 1)
    soft_px: tuple[float, float] = knob((0.5, 2.0), "width of the edge", 0.1, 100)
    donors: int = knob(64, "other samples held in memory, for pieces", 1, 100_000)
    piece_scale: tuple[float, float] = knob((0.6, 1.8), "magnification of a piece", 0.05, 20)


@dataclass(frozen=True)
class Shade:
    """Light and shadow that differ from place to place, with hard and soft edges."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.4, 0.4), "share of samples", 0, 1)
    stops: tuple[float, float] = knob((0.3, 2.5), "difference between light and shadow", 0, 10)
    wave: tuple[float, float] = knob((0.4, 3.0), "width of the pattern in sides of the picture", 0.05, 100)
    softness: tuple[float, float] = knob((0.02, 2.0), "width of the edges, in amplitudes of the pattern", 0.001, 100)
    tint: float = knob(0.15, "spread of the colour of the shadow in stops", 0, 5)


@dataclass(frozen=True)
class Vignette:
    """Corners darker than the middle."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.3, 0.3), "share of samples", 0, 1)
    stops: tuple[float, float] = knob((0.2, 1.5), "loss of light in the corners", 0, 10)


@dataclass(frozen=True)
class WhiteBalance:
    """The colour of all light, as a camera misjudges it."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.7, 0.7), "share of samples", 0, 1)
    warm: float = knob(0.6, "largest shift between blue and amber in stops, either way", 0, 5)
    green: float = knob(0.2, "largest shift between green and magenta in stops, either way", 0, 5)


@dataclass(frozen=True)
class Defocus:
    """Blur by a disc: the lens is focused elsewhere."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.12, 0.12), "share of samples", 0, 1)
    radius_px: tuple[float, float] = knob((0.5, 2.5), "radius of the disc", 0, 20)


@dataclass(frozen=True)
class Motion:
    """Blur along a straight line: camera or head moved while the shutter was open."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.12, 0.12), "share of samples", 0, 1)
    length_px: tuple[float, float] = knob((1.5, 7.0), "length of the line", 0, 40)


@dataclass(frozen=True)
class SensorNoise:
    """Noise of a sensor in linear light, where 1 is white: variance = shot x light + read^2."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.6, 0.6), "share of samples", 0, 1)
    shot: tuple[float, float] = knob((1e-5, 6e-3), "variance per unit of light, drawn log-uniformly", 1e-9, 1)
    read: tuple[float, float] = knob((3e-4, 1.5e-2), "standard deviation in the dark, drawn log-uniformly", 1e-9, 1)


@dataclass(frozen=True)
class ToneCurve:
    """A smooth rising curve between light and picture values, one for all channels and a little one for each."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.5, 0.5), "share of samples", 0, 1)
    bend: float = knob(0.5, "largest change of the slope, as a share of it", 0, 0.95)
    colours: float = knob(0.15, "the same for each channel apart: colour casts of shadows and lights", 0, 0.95)
    haze: float = knob(0.1, "largest value of black", 0, 0.9)


@dataclass(frozen=True)
class Saturation:
    """Distance of colours from gray."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.5, 0.5), "share of samples", 0, 1)
    factor: tuple[float, float] = knob((0.4, 1.5), "1: as it is, 0: gray", 0, 10)


@dataclass(frozen=True)
class Gray:
    """Pictures without colour."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.06, 0.06), "share of samples", 0, 1)


@dataclass(frozen=True)
class Sharpen:
    """Unsharp masking, with the halos that cameras make."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.3, 0.3), "share of samples", 0, 1)
    amount: tuple[float, float] = knob((0.2, 1.5), "factor on the difference from the blurred picture", 0, 10)
    sigma_px: tuple[float, float] = knob((0.5, 1.2), "standard deviation of that blur", 0.1, 20)


@dataclass(frozen=True)
class Resolution:
    """Made smaller and larger again, smoothly or in blocks: small faces in large pictures, small files."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.3, 0.3), "share of samples", 0, 1)
    factor: tuple[float, float] = knob((1.2, 4.0), "how much smaller, drawn log-uniformly", 1, 64)
    blocks_share: float = knob(0.15, "share of these that are enlarged in blocks", 0, 1)


@dataclass(frozen=True)
class Jpeg:
    """Compression of baseline JPEG: 8 x 8 cosine transform, chroma at half resolution, standard tables."""

    enabled: bool = knob(False, "whether this stage is applied")
    share: Ramp = knob(Ramp(0.6, 0.6), "share of samples", 0, 1)
    quality: tuple[float, float] = knob((25, 95), "as encoders count it, 1 to 100", 1, 100)
