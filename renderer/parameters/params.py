"""Parameters of one sample: everything that makes it what it is, settled before Blender is touched.

Angles are radians, lengths metres, colours linear RGB. Head space and conventions: `renderer.format.sample_format`.
The camera is on +Z of the world, looks along -Z with +Y up; a head without pose stands at the origin and faces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

RGB = tuple[float, float, float]
Vec3 = tuple[float, float, float]


def later(rest: Any) -> Any:
    """Declare a field that came after sample format 1: at `rest` it changes nothing, and records leave it out."""
    return field(default=rest, metadata={"later": True})


@dataclass(frozen=True)
class PcaIdentity:
    """Parameters of principal components (`renderer.head.pca`): of the shape first, then of the skin texture."""

    q: tuple[float, ...]  # each in [-1, 1] where drawn
    shape: int  # how many of them are the shape's

    @property
    def shape_q(self) -> tuple[float, ...]:
        return self.q[: self.shape]

    @property
    def texture_q(self) -> tuple[float, ...]:
        return self.q[self.shape :]


@dataclass(frozen=True)
class Identity:
    """Shape of the head at rest: macros and sliders, or principal components, which also make its skin texture."""

    macros: Mapping[str, float]  # sex, age, weight, muscle, african, asian, caucasian, ... each in [0, 1]
    sliders: Mapping[str, float]  # slider name -> [-1, 1]
    pca: PcaIdentity | None = later(None)


@dataclass(frozen=True)
class Expression:
    """Activation of the face units, gaze included."""

    units: Mapping[str, float]
    mouth_open: bool  # by lip distance, not by the weight of `jawOpen`
    blink: bool
    gaze_yaw_rad: float  # positive: to the subject's left
    gaze_pitch_rad: float  # positive: up


@dataclass(frozen=True)
class Pose:
    """p_world = position + Rz(roll) Rx(-pitch) Ry(yaw) p_head."""

    yaw_rad: float  # positive: the face turns to the viewer's right
    pitch_rad: float  # positive: the face looks up
    roll_rad: float  # positive: counter-clockwise in the image
    position_m: Vec3
    away: bool = later(False)  # is half a turn of the yaw drawn apart, so that the head is seen from behind?


@dataclass(frozen=True)
class Deform:
    """Scale, Blender's simple-deform modes about the vertical axis, noise; applied in this order in head space."""

    scale: Vec3
    twist_rad: float
    bend_rad: float
    taper: float
    stretch: float
    noise_m: float
    noise_size_m: float
    noise_offset_m: Vec3
    noise_seed: int


@dataclass(frozen=True)
class Skin:
    """Layers over the face texture, `renderer.head.skin_layers`. Amounts are 0 for none."""

    melanin: float  # optical density; negative: lighter than the texture
    blood: float  # optical density; negative: paler
    flush: float
    mottle: float
    pores: float
    gloss: float
    freckles: float
    moles: int
    stubble: float
    lips: float
    lip_colour: RGB  # factor
    lids: float
    lid_colour: RGB  # factor
    brows: float
    seed: int  # where spots and patterns are


@dataclass(frozen=True)
class Surface:
    """Material of the skin."""

    kind: str  # mixed, skin, noise or gray
    texture: str
    texture_scale: float
    texture_rotation_rad: Vec3
    texture_offset: Vec3
    colour: RGB
    colour_mix: float
    face: str  # face texture: a skin of the pack, a user's image, "pca" for the identity's own, or "" for none
    face_mix: float
    flip: bool
    gloss_mix: float
    roughness: float
    subsurface: float
    noise_scale: float
    noise_offset: Vec3
    face_gamma: float = later(1.0)  # exponent on the face texture's linear colours
    face_saturation: float = later(1.0)  # factor on its saturation
    skin: Skin | None = later(None)

    @property
    def graded(self) -> bool:
        """Are the face texture's colours changed?"""
        return (self.face_gamma, self.face_saturation) != (1.0, 1.0)


@dataclass(frozen=True)
class Interior:
    """Eyes, teeth, tongue: shown or black."""

    eyes: bool
    mouth: bool
    iris: str  # texture name, "" where the pack has none
    teeth: str
    brows: str  # "" for none
    lashes: str  # "" for none


@dataclass(frozen=True)
class Worn:
    """A thing fitted to the head, see `renderer.head.worn.kinds`."""

    kind: str
    shape: Mapping[str, Any]
    colour: RGB
    second_colour: RGB  # of its pattern and trim
    pattern: str  # one of renderer.head.worn.kinds.PATTERNS
    pattern_m: float  # size of the pattern
    roughness: float


@dataclass(frozen=True)
class Wear:
    """What a head wears. Empty names and None mean nothing."""

    hair: str = ""
    hair_tint: RGB = (1.0, 1.0, 1.0)
    hat: str = ""
    hat_tint: RGB = (1.0, 1.0, 1.0)
    glasses: Mapping[str, Any] | None = None
    glasses_colour: RGB = (0.02, 0.02, 0.02)
    lens_tint: float = 0.0
    lens_colour: RGB = later((0.01, 0.01, 0.01))  # of what a tinted lens does not let through
    lens_mirror: float = later(0.06)  # share of light that a lens reflects
    fitted: tuple[Worn, ...] = later(())


@dataclass(frozen=True)
class Garment:
    """One piece of clothing, `renderer.head.garments`."""

    kind: str  # of its pattern
    colour: RGB
    trim: RGB  # of its border along the neckline
    texture: str  # "" for plain colour
    texture_scale: float  # repeats per head height
    roughness: float
    thickness_m: float
    folds_m: float
    seed: int  # of its folds


@dataclass(frozen=True)
class Clothes:
    """The body below a head, and what it wears, the innermost first. Angles are in the world, as those of `Pose`."""

    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    arms_rad: tuple[float, float]  # by what the left and the right arm are lowered
    garments: tuple[Garment, ...]


@dataclass(frozen=True)
class Head:
    """One head."""

    identity: Identity
    expression: Expression
    pose: Pose
    deform: Deform
    surface: Surface
    interior: Interior
    wear: Wear
    clothes: Clothes | None = later(None)


@dataclass(frozen=True)
class Prop:
    """A hand or another thing between the camera and the first head."""

    kind: str
    shape: Mapping[str, Any]
    position_m: Vec3  # in the world
    rotation_rad: Vec3  # Euler angles XYZ
    scale: float
    colour: RGB
    roughness: float
    texture: str  # "" for plain colour


@dataclass(frozen=True)
class Statue:
    """A head that counts as none: labels of faces leave it out."""

    head: Head  # its shape and pose
    colour: RGB
    roughness: float
    texture: str  # "" for plain colour


@dataclass(frozen=True)
class Camera:
    """Pinhole with square pixels; the image plane is shifted as by a shift lens."""

    focal_mm: float
    sensor_mm: float
    distance_m: float  # of the camera from the world's origin, along +Z
    shift_x: float  # of the image content to the right, in frame widths
    shift_y: float  # of the image content upwards, in frame widths


@dataclass(frozen=True)
class Light:
    """Direct light; `direction` points from the head to the light."""

    on: bool
    direction: Vec3
    strength: float
    angle_rad: float
    colour: RGB


@dataclass(frozen=True)
class Backdrop:
    """A picture behind everything, where the camera would see the surroundings otherwise. They still give the light."""

    kind: str  # panorama, photo, or a made-up one of `renderer.backdrops.picture`
    name: str  # of the panorama or photograph; "" for made-up ones
    seed: int  # of made-up ones
    across: tuple[float, float]  # where in the panorama or photograph, [0, 1]
    zoom: float  # 0: as much of it as fits, 1: pixel for pixel
    mirror: bool
    blur: float  # radius of the disc that a point becomes, in picture heights
    gain: float  # factor on the radiance that fits the light


@dataclass(frozen=True)
class Environment:
    """Surroundings: light and background."""

    kind: str  # hdri, noise or gray
    name: str  # of the panorama
    scale: float
    rotation_rad: Vec3
    strength: float
    mirror: bool
    colour: RGB  # of the gray environment or ambient light, and tint of the noise
    noise_scale: float
    noise_offset: Vec3
    backdrop: Backdrop | None = later(None)


@dataclass(frozen=True)
class SampleParams:
    """One sample, whole."""

    index: int
    seed: int
    key: str
    spec: str
    camera: Camera
    light: Light
    environment: Environment
    heads: tuple[Head, ...]
    props: tuple[Prop, ...]
    cycles_seed: int
    second_camera_yaw_rad: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    statues: tuple[Statue, ...] = later(())


def to_record(params: SampleParams) -> dict[str, Any]:
    """Plain nested values for JSON."""
    record: dict[str, Any] = _plain(params)
    return record


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        stored = (f for f in fields(value) if not (f.metadata.get("later") and getattr(value, f.name) == f.default))
        return {f.name: _plain(getattr(value, f.name)) for f in stored}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def flat_knobs(params: SampleParams) -> dict[str, float | str | bool]:
    """Every knob of the sample and of its first head under one dotted name, for histograms and splits."""
    flat: dict[str, float | str | bool] = {"heads": len(params.heads), "props": len(params.props)}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                add(f"{prefix}.{key}", item)
        elif isinstance(value, (list, tuple)):
            for axis, item in zip("xyzw", value, strict=False):
                add(f"{prefix}.{axis}", item)
        elif isinstance(value, (bool, int, float, str)):
            flat[prefix] = value

    for name in ("camera", "light", "environment"):
        add(name, _plain(getattr(params, name)))
    if params.heads:
        head = _plain(params.heads[0])
        for thing in head["wear"].pop("fitted", ()):
            flat[f"wear.fitted.{thing['kind']}"] = True
        head["wear"]["glasses"] = head["wear"]["glasses"] is not None
        for name in ("pose", "deform", "surface", "interior", "wear"):
            add(name, head[name])
        add("identity", head["identity"]["macros"])
        expression = head["expression"]
        add("expression", {k: v for k, v in expression.items() if k != "units"})
        flat["expression.units"] = len(expression["units"])
        flat["mouth_open"] = expression["mouth_open"]
    if params.props:
        flat["prop"] = params.props[0].kind
    if params.statues:
        flat["statues"] = len(params.statues)
    return flat
