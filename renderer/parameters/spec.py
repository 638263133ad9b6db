"""Specs: what is randomised and how far, as frozen dataclasses that `renderer.strict` reads from YAML.

A knob is written as

    x: 3          a fixed value
    x: [1, 5]     uniform between 1 and 5 (`Uniform`)
    x: 40         for `Gauss` fields: zero mean, 99.9 % of the draws within ±40

Fields left out take the defaults below, which are those of `jobspecs/mixed.yaml`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from renderer.errors import SpecError
from renderer.format.sample_format import OPTIONAL_LABELS, frame_size
from renderer.parameters.limits import Gauss, Uniform, check_weights
from renderer.parameters.looks import ClothesSpec, SkinSpec
from renderer.parameters.shots import ShotSpec
from renderer.strict import knob, read

EXPRESSION_SETS: Final = (
    "rest", "neutral", "smile", "laugh", "speech", "surprise", "anger", "sadness", "disgust", "pout", "wink", "squint",
    "yawn", "random",
)  # fmt: skip
BACKDROPS: Final = ("world", "panorama", "photo", "plain", "clutter", "foliage", "room", "street")
MOST_RAYS: Final = 8192  # label rays or small pixels along a side of the image: 2 GiB per worker


@dataclass(frozen=True)
class RenderSpec:
    """Image size, quality and labels."""

    resolution: int | tuple[int, int] = knob(
        128, "side of the images, or [width, height]; framing goes by the width", 16, 1024, unit="pixels"
    )
    samples_per_pixel: int = knob(12, "Cycles samples of the input image; a multiple of oversample squared", 1, 65536)
    oversample: int = knob(1, "the input is rendered with so many pixels to a pixel's side, then filtered down", 1, 8)
    denoise: bool = knob(True, "OpenImageDenoise, guided by albedo and normals")
    denoise_quality: Literal["fast", "balanced", "high"] = knob("balanced", "OpenImageDenoise's; high takes longest")
    light_map: int = knob(
        512, "side of the map in which Cycles looks for an environment's lights", 4, 8192, unit="pixels"
    )
    mask_grid: int = knob(5, "label rays per pixel side; odd, so that the middle ray is the pixel centre", 1, 31)
    uv_precision: Literal["half", "float"] = knob("half", "number format of the UV image")
    labels: tuple[str, ...] = knob((), "labels beside the triplet", options=OPTIONAL_LABELS)
    hidden_face: Literal["counted", "excluded"] = knob(
        "counted", "is face behind hair, hats, glasses and props part of mask Y and of the UV?"
    )
    neutral_light: Literal["plain", "own"] = knob(
        "plain", "light of the label neutral: even and gray, or the input's light and surroundings"
    )
    device: Literal["CPU", "CUDA", "OPTIX", "HIP"] = knob("CPU", "Cycles device; all but CPU are not bit-repeatable")

    def __post_init__(self) -> None:
        """Labels in one order, each once; squares by their side: how a spec says it must not make another data set."""
        object.__setattr__(self, "labels", tuple(sorted(set(self.labels), key=OPTIONAL_LABELS.index)))
        if self.size[0] == self.size[1]:
            object.__setattr__(self, "resolution", self.size[0])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the images in pixels."""
        return frame_size(self.resolution)

    @property
    def area(self) -> float:
        """Of an image, in images of 128 x 128 pixels."""
        return math.prod(self.size) / 128**2

    def check(self) -> None:
        if self.mask_grid % 2 == 0:
            raise SpecError(f"mask_grid is {self.mask_grid}; it must be odd")
        subpixels = self.oversample**2
        if self.samples_per_pixel % subpixels:
            raise SpecError(
                f"samples_per_pixel is {self.samples_per_pixel}; with oversample {self.oversample} it must be a"
                f" multiple of {subpixels}"
            )
        for name, times, what in (
            ("mask_grid", self.mask_grid, "label rays"),
            ("oversample", self.oversample, "small pixels"),
        ):
            if (side := max(self.size) * times) > MOST_RAYS:
                raise SpecError(
                    f"resolution times {name} is {side}; it may be {MOST_RAYS} at most, or {what} do not fit into"
                    " memory: lower one of them"
                )


@dataclass(frozen=True)
class HeadsSpec:
    """How many heads an image shows."""

    empty_share: float = knob(0.02, "share of images without any head", 0, 1)
    several_share: float = knob(0.03, "share of images with more than one head", 0, 1)
    most: int = knob(3, "largest number of heads", 1, 6)
    company: Literal["row", "group"] = knob("row", "further heads: beside the first, or at any depth, looking about")
    statue_share: float = knob(0.0, "share of images with a head of stone, metal or plastic, which is no face", 0, 1)

    def check(self) -> None:
        if self.empty_share + self.several_share > 1:
            raise SpecError("empty_share and several_share add up to more than 1")


@dataclass(frozen=True)
class PoseSpec:
    """Rigid pose and size. Ronkainen 2017, section 3.3."""

    yaw_deg: Gauss = knob(Gauss(90), "turn to the side, 99.9 % limit", 0, 180)
    pitch_deg: Gauss = knob(Gauss(40), "nod, 99.9 % limit", 0, 90)
    roll_deg: Gauss = knob(Gauss(45), "tilt, 99.9 % limit", 0, 180)
    yaw_fixed_deg: float = knob(0.0, "added to every yaw", -180, 180)
    yaw_uniform_deg: Uniform = knob(Uniform(0, 0), "uniform part added to the yaw", -180, 180)
    away_share: float = knob(0.0, "share of heads turned by another 180 degrees: seen from behind", 0, 1)
    scale: Uniform = knob(Uniform(0.9, 1.1), "scale of each axis, drawn apart", 0.2, 5)
    yaws_deg: tuple[float, ...] = knob((), "one of these is added to the yaw; empty: none", -180, 180)
    pitches_deg: tuple[float, ...] = knob((), "one of these is added to the pitch; empty: none", -90, 90)
    in_turn: bool = knob(False, "take those lists in turn: sample after sample every pair of them, not a random one")

    def check(self) -> None:
        if self.in_turn and not (self.yaws_deg or self.pitches_deg):
            raise SpecError("in_turn is true, but there is nothing to take in turn: give yaws_deg or pitches_deg")


@dataclass(frozen=True)
class DeformSpec:
    """Blender's simple-deform modes and a Perlin noise displacement, in head space before the pose."""

    twist_deg: Uniform = knob(Uniform(-25, 25), "twist about the vertical axis", -180, 180)
    bend_deg: Uniform = knob(Uniform(-20, 20), "bend to the side", -180, 180)
    taper: Uniform = knob(Uniform(-0.25, 0.25), "taper towards the top", -1, 1)
    stretch: Uniform = knob(Uniform(-0.12, 0.12), "stretch along the vertical axis", -0.9, 2)
    noise_m: Uniform = knob(Uniform(0.0, 0.006), "amplitude of the noise displacement", 0, 0.1)
    noise_size_m: Uniform = knob(Uniform(0.03, 0.15), "feature size of the noise", 0.005, 10)


@dataclass(frozen=True)
class CameraSpec:
    """Lens and framing. The distance follows from focal length and fill."""

    focal_mm: Uniform = knob(Uniform(24, 135), "focal length on a 36 mm sensor", 5, 1000)
    fill: Uniform = knob(Uniform(0.5, 0.95), "height of the average head as a share of the frame's width", 0.02, 5)
    distance_m: Uniform = knob(Uniform(0, 0), "distance from the head, in place of `fill`; 0: by `fill`", 0, 100)
    shift: float = knob(1.0, "image shift; at 1, 99.9 % leave at most two thirds of the head out of the frame", 0, 3)
    shift_widths: float = knob(0.0, "added to the 99.9 % limit of that shift, in frame widths: for any head size", 0, 3)
    second_yaw_deg: Uniform = knob(
        Uniform(15, 45), "turn of the second camera about the vertical axis, for the label view2", -180, 180
    )
    second_side: Literal["random", "fixed", "faced"] = knob(
        "random", "where it stands: to either side, as the sign of second_yaw_deg says, or where the first head looks"
    )

    def check(self) -> None:
        if self.distance_m.low == 0 < self.distance_m.high:
            raise SpecError("distance_m starts at 0, inside the head; give a low end above 0, or 0 alone")


@dataclass(frozen=True)
class LightSpec:
    """One direct light, never behind the head."""

    sun_share: float = knob(0.8, "share of images with a direct light", 0, 1)
    direction: Literal["half_sphere", "angles"] = knob("half_sphere", "where it comes from: uniform, or two angles")
    elevation_deg: Uniform = knob(Uniform(-45, 45), "angle above the head, for `direction: angles`", -90, 90)
    azimuth_deg: Uniform = knob(Uniform(-65, 65), "angle to the viewer's right, for `direction: angles`", -90, 90)
    strength: Uniform = knob(Uniform(0.3, 4.0), "irradiance", 0, 100, unit="W/m2")
    angle_deg: Uniform = knob(Uniform(0.5, 25), "apparent size of the light: sharp to soft shadows", 0, 180)
    colour: float = knob(0.2, "saturation limit of the light's colour", 0, 1)


@dataclass(frozen=True)
class EnvironmentSpec:
    """Background and ambient light."""

    kinds: Mapping[str, float] = knob(
        {"hdri": 1.0}, "weights of the kinds of environment", 0, 1e6, options=("hdri", "noise", "gray")
    )
    scale: Uniform = knob(Uniform(0.6, 1.8), "scale of the texture about the viewing axis", 0.05, 20)
    rotate: bool = knob(True, "random rotation about three axes")
    strength: Uniform = knob(Uniform(0.4, 1.6), "factor on the radiance", 0, 100)
    noise_scale: Uniform = knob(Uniform(0.5, 8), "features of the noise environment", 0.01, 1000)
    rotate_about: Literal["any", "vertical"] = knob("any", "axes of that rotation; about the vertical, up stays up")
    backdrop: Mapping[str, float] = knob(
        {"world": 1.0}, "weights of what is seen behind: the surroundings, or a picture", 0, 1e6, options=BACKDROPS
    )
    backdrop_blur_share: float = knob(0.0, "share of those pictures that are out of focus", 0, 1)
    backdrop_blur: Uniform = knob(Uniform(0.004, 0.04), "radius of that blur, in picture heights", 0, 0.5)
    backdrop_stops: Uniform = knob(Uniform(-1, 1), "brighter than the scene's light makes it, powers of two", -8, 8)
    gray: Uniform = knob(Uniform(0.1, 0.6), "radiance of the gray environment at strength 1", 0, 100)

    def check(self) -> None:
        check_weights("kinds", self.kinds)
        check_weights("backdrop", self.backdrop)


@dataclass(frozen=True)
class SurfaceSpec:
    """Material of the head: texture, solid colour and face texture blended, then diffuse and glossy mixed."""

    kinds: Mapping[str, float] = knob(
        {"mixed": 1.0}, "weights of the kinds of surface", 0, 1e6, options=("mixed", "skin", "noise", "gray")
    )
    texture_scale: Uniform = knob(Uniform(1.0, 10.0), "repeats of the material texture per head height", 0.05, 1000)
    colour_mix: Uniform = knob(Uniform(0, 1), "0: material texture, 1: solid colour", 0, 1)
    face_mix: Uniform = knob(Uniform(0, 1), "0: the blend so far, 1: face texture", 0, 1)
    face_gamma: Uniform = knob(Uniform(1, 1), "exponent on the face texture's linear colours", 0.05, 20)
    face_saturation: Uniform = knob(Uniform(1, 1), "factor on the face texture's saturation", 0, 4)
    face_match: bool = knob(False, "draw skins more often that fit sex, age and ancestry")
    gloss_mix: Uniform = knob(Uniform(0, 0.6), "0: diffuse, 1: glossy", 0, 1)
    roughness: Uniform = knob(Uniform(0.1, 1.0), "roughness of the glossy part", 0, 1)
    subsurface_share: float = knob(0.05, "share of heads with subsurface scattering", 0, 1)
    flip_share: float = knob(0.5, "share of mirrored face textures", 0, 1)
    noise_scale: Uniform = knob(Uniform(2, 40), "features of the noise texture per head height", 0.01, 1000)

    def check(self) -> None:
        check_weights("kinds", self.kinds)


@dataclass(frozen=True)
class PcaSpec:
    """How many parameters an identity of principal components has. Goepfert et al. 2018 have 36 in all."""

    shape: int = knob(26, "parameters of the shape", 1, 50)
    texture: int = knob(10, "parameters of the skin texture", 1, 20)


@dataclass(frozen=True)
class IdentitySpec:
    """Who it is. `strength` 0 is the average head."""

    kind: Literal["sliders", "pca"] = knob(
        "sliders", "what it is made of: macros and sliders, or principal components of such heads and of the skins"
    )
    pca: PcaSpec = PcaSpec()
    given: tuple[tuple[float, ...], ...] = knob(
        (), "for `kind: pca`: the parameters of sample 0, 1, ..., in place of drawn ones", -4, 4
    )
    macros: bool = knob(True, "draw sex, age, weight, muscle and ancestry")
    age: Uniform = knob(Uniform(0.1, 1.0), "0 baby, 0.19 child, 0.5 young, 1 old", 0, 1)
    sliders: Uniform = knob(Uniform(6, 24), "how many shape sliders are moved", 0, 400)
    strength: Uniform = knob(Uniform(0.1, 0.7), "how far each of them is moved", 0, 2)
    asymmetric_share: float = knob(0.1, "share of paired sliders moved on one side only", 0, 1)

    def check(self) -> None:
        count = self.pca.shape + self.pca.texture
        if self.given and self.kind != "pca":
            raise SpecError("given holds parameters of `kind: pca`, and kind is 'sliders'")
        if wrong := next((q for q in self.given if len(q) != count), None):
            raise SpecError(f"given has {len(wrong)} parameters for a head; this spec's heads have {count}")


@dataclass(frozen=True)
class ExpressionSpec:
    """Facial expression; open and closed mouth split by lip distance."""

    open_share: float = knob(0.5, "share of open mouths", 0, 1)
    units: Uniform = knob(Uniform(0, 6), "how many expression units are active", 0, 52)
    strength: Uniform = knob(Uniform(0.1, 0.8), "activation of each", 0, 1.5)
    blink_share: float = knob(0.08, "share of closed eyes", 0, 1)
    gaze_deg: Gauss = knob(Gauss(35), "gaze to the side, 99.9 % limit; half of it up and down", 0, 60)
    sets: Mapping[str, float] = knob(
        {}, "weights of sets of units that go together; empty: independent units", 0, 1e6, options=EXPRESSION_SETS
    )
    set_strength: Uniform = knob(Uniform(0.4, 1.0), "factor on all units of a set", 0, 1.5)
    asymmetry: float = knob(0.0, "difference between the sides of a set, standard deviation as a share", 0, 1)
    uneven_blink_share: float = knob(0.0, "share of blinks that close one eye further than the other", 0, 1)
    lids_follow: float = knob(0.0, "how far the upper lids follow a gaze up or down; 1: as they do", 0, 2)
    gaze_distance_m: Uniform = knob(Uniform(0, 0), "where the eyes meet; 0: far away", 0, 100)

    def check(self) -> None:
        if self.sets:
            check_weights("sets", self.sets)
        if self.gaze_distance_m.low == 0 < self.gaze_distance_m.high:
            raise SpecError("gaze_distance_m starts at 0, in the eyes; give a low end above 0, or 0 alone")


@dataclass(frozen=True)
class InteriorSpec:
    """Eyes and mouth interior: shown, or black as in the thesis. Never part of the mask."""

    eyes_share: float = knob(0.6, "share of heads with visible eyes", 0, 1)
    mouth_share: float = knob(0.6, "share of heads with visible teeth and tongue", 0, 1)
    brows_share: float = knob(0.5, "share of heads with eyebrows", 0, 1)
    lashes_share: float = knob(0.3, "share of heads with lashes", 0, 1)


@dataclass(frozen=True)
class OccluderSpec:
    """Things in front of the face. They count as the spec's `render.hidden_face` says."""

    hair_share: float = knob(0.2, "share of heads with hair", 0, 1)
    hat_share: float = knob(0.04, "share of heads with a hat", 0, 1)
    glasses_share: float = knob(0.08, "share of heads with glasses", 0, 1)
    hand_share: float = knob(0.05, "share of images with a hand before the face", 0, 1)
    prop_share: float = knob(0.05, "share of images with another object before the face", 0, 1)
    mask_share: float = knob(0.0, "share of heads with a mask over nose and mouth", 0, 1)
    sunglasses_share: float = knob(0.0, "share of heads with sunglasses, in place of glasses", 0, 1)
    headwear_share: float = knob(0.0, "share of heads with a fitted hat, cap, hood or headscarf", 0, 1)
    strand_share: float = knob(0.0, "share of heads with hair whose hair is strands of many cuts, not a mesh", 0, 1)
    natural_hair_share: float = knob(0.0, "share of heads whose hair has a colour that fits ancestry and age", 0, 1)
    beard_share: float = knob(0.0, "share of grown men with a beard or moustache", 0, 1)
    wisps_share: float = knob(0.0, "share of heads with hair whose locks fall over the face", 0, 1)
    muffler_share: float = knob(0.0, "share of heads with a scarf over chin or mouth", 0, 1)
    headphones_share: float = knob(0.0, "share of heads with headphones", 0, 1)
    held_share: float = knob(0.0, "share of heads with a hand that holds a phone, cup or microphone at the face", 0, 1)
    touch_share: float = knob(0.0, "share of heads with a hand that touches the face", 0, 1)


@dataclass(frozen=True)
class AssetsSpec:
    """Own files beside the head pack's. Paths are folders; relative ones start at the spec's folder."""

    hdris: tuple[str, ...] = knob((), "folders of .exr or .hdr panoramas", path=True)
    textures: tuple[str, ...] = knob((), "folders of material images (.png, .jpg)", path=True)
    faces: tuple[str, ...] = knob((), "folders of face textures in canonical UV", path=True)
    backdrops: tuple[str, ...] = knob((), "folders of photographs for `backdrop: photo` (.jpg, .png)", path=True)
    only_own: bool = knob(False, "leave the pack's out where own folders are given")
    head: str = knob("", "folder of an own head model; empty: the pack's", path=True)


@dataclass(frozen=True)
class SequenceSpec:
    """Clips of smooth motion in place of single images: frame N % frames of clip N // frames is sample N."""

    frames: int = knob(0, "length of a clip; 0: every sample is an image of its own", 0, 100_000, unit="frames")
    swing_frames: float = knob(60, "frames that the quickest motion takes there and back", 2, 1e6)

    def check(self) -> None:
        if self.frames == 1:
            raise SpecError("frames is 1; a clip has at least 2 frames, and 0 means no clips")


@dataclass(frozen=True)
class GroupsSpec:
    """Samples of one subject in a row: samples N with the same N // of share identity, skin and hair of the first head.

    Pose, expression, clothes, what is worn beside hair and beard, light, surroundings and camera differ among them.
    """

    of: int = knob(1, "samples of each subject; 1: every sample is a subject of its own", 1, 1000)


@dataclass(frozen=True)
class Spec:
    """Everything a data set is, apart from its seed and count."""

    name: str = knob("mixed", "name of the spec")
    about: str = knob("", "one line for people")
    render: RenderSpec = RenderSpec()
    heads: HeadsSpec = HeadsSpec()
    pose: PoseSpec = PoseSpec()
    deform: DeformSpec = DeformSpec()
    camera: CameraSpec = CameraSpec()
    light: LightSpec = LightSpec()
    environment: EnvironmentSpec = EnvironmentSpec()
    surface: SurfaceSpec = SurfaceSpec()
    skin: SkinSpec = SkinSpec()
    identity: IdentitySpec = IdentitySpec()
    expression: ExpressionSpec = ExpressionSpec()
    interior: InteriorSpec = InteriorSpec()
    clothes: ClothesSpec = ClothesSpec()
    occluders: OccluderSpec = OccluderSpec()
    assets: AssetsSpec = AssetsSpec()
    sequence: SequenceSpec = SequenceSpec()
    groups: GroupsSpec = GroupsSpec()
    shot: ShotSpec = ShotSpec()

    def check(self) -> None:
        if self.shot.kinds and not self.sequence.frames:
            raise SpecError(f"shot.kinds is {list(self.shot.kinds)}, and sequence.frames 0: how long is a shot?")
        if self.groups.of > 1 and self.sequence.frames:
            raise SpecError(
                f"groups.of is {self.groups.of}, but samples are frames of clips of one subject each: set "
                "sequence.frames to 0, or groups.of to 1"
            )
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise SpecError(f"name is {self.name!r}; it becomes a folder: use letters, digits, '_', '.' and '-'")


def parse_spec(raw: Mapping[str, Any], source: str) -> Spec:
    """Plain values, as YAML or JSON give them, to a Spec; `source` names them in messages. Raises SpecError."""
    return read(Spec, raw, source)
