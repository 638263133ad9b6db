"""Specs: what is randomised and how far, as frozen dataclasses read strictly from YAML (jobspecs/).

A knob is written as

    x: 3          a fixed value
    x: [1, 5]     uniform between 1 and 5 (`Uniform`)
    x: 40         for `Gauss` fields: zero mean, 99.9 % of the draws within ±40

An unknown key, a value of the wrong kind, out of range, or not finite is a SpecError that names the key, the file and
what would be accepted. Fields left out take the defaults below, which are those of `jobspecs/mixed.yaml`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, get_origin, get_type_hints

import yaml

from renderer.errors import SpecError, did_you_mean
from renderer.format.sample_format import OPTIONAL_LABELS

JOBSPECS: Final = Path(str(files("jobspecs")))  # a package of its own, so that it is found wherever it is installed
TRAININGS: Final = ("train_", "sweep_")  # names of jobspecs for the trainer
_LATER_KNOBS: Final = {  # knobs that came after sample format 1, whose defaults change nothing
    "camera": ("distance_m", "shift_widths"),
    "light": ("direction", "elevation_deg", "azimuth_deg"),
    "surface": ("face_gamma", "face_saturation"),
}
MOST_RAYS: Final = 8192  # label rays or small pixels along a side of the image: 2 GiB per worker


@dataclass(frozen=True)
class Uniform:
    """Uniform between `low` and `high`; equal ends are a fixed value."""

    low: float
    high: float


@dataclass(frozen=True)
class Gauss:
    """Zero-mean Gaussian, given by the limit within which 99.9 % of the draws fall (two-sided, docs/design/0002)."""

    limit: float


def knob(default: Any, low: float, high: float, about: str) -> Any:
    """A field with the closed range its value, or both ends of its range, must lie in."""
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def choice(default: Any, options: tuple[str, ...], about: str) -> Any:
    """A field whose value, or each of its values, is one of a few words."""
    return field(default=default, metadata={"options": options, "about": about})


def weights(options: tuple[str, ...], about: str) -> Any:
    """A mapping of some of the options to their weights; by default the first option alone."""
    return field(default_factory=lambda: {options[0]: 1.0}, metadata={"options": options, "about": about})


@dataclass(frozen=True)
class RenderSpec:
    """Image size, quality and labels."""

    resolution: int = knob(128, 16, 1024, "pixels per side")
    samples_per_pixel: int = knob(12, 1, 65536, "Cycles samples of the input image; a multiple of oversample squared")
    oversample: int = knob(1, 1, 8, "the input is rendered with so many pixels to a pixel's side, then filtered down")
    denoise: bool = field(default=True, metadata={"about": "OpenImageDenoise, guided by albedo and normals"})
    denoise_quality: str = choice("balanced", ("fast", "balanced", "high"), "OpenImageDenoise's; high takes longest")
    light_map: int = knob(512, 4, 8192, "side of the map in which Cycles looks for an environment's lights, in pixels")
    mask_grid: int = knob(5, 1, 31, "label rays per pixel side; odd, so that the middle ray is the pixel centre")
    uv_precision: str = choice("half", ("half", "float"), "number format of the UV image")
    labels: tuple[str, ...] = choice((), OPTIONAL_LABELS, "labels beside the triplet")
    hidden_face: str = choice(
        "counted", ("counted", "excluded"), "is face behind hair, hats, glasses and props part of mask Y and of the UV?"
    )
    device: str = choice("CPU", ("CPU", "CUDA", "OPTIX", "HIP"), "Cycles device; all but CPU are not bit-repeatable")

    def __post_init__(self) -> None:
        """Labels in one order, each once: how a spec lists them must not make another data set."""
        object.__setattr__(self, "labels", tuple(sorted(set(self.labels), key=OPTIONAL_LABELS.index)))


@dataclass(frozen=True)
class HeadsSpec:
    """How many heads an image shows."""

    empty_share: float = knob(0.02, 0, 1, "share of images without any head")
    several_share: float = knob(0.03, 0, 1, "share of images with more than one head")
    most: int = knob(3, 1, 6, "largest number of heads")


@dataclass(frozen=True)
class PoseSpec:
    """Rigid pose and size. Ronkainen 2017, section 3.3."""

    yaw_deg: Gauss = knob(Gauss(90), 0, 180, "turn to the side, 99.9 % limit")
    pitch_deg: Gauss = knob(Gauss(40), 0, 90, "nod, 99.9 % limit")
    roll_deg: Gauss = knob(Gauss(45), 0, 180, "tilt, 99.9 % limit")
    yaw_fixed_deg: float = knob(0.0, -180, 180, "added to every yaw")
    yaw_uniform_deg: Uniform = knob(Uniform(0, 0), -180, 180, "uniform part added to the yaw")
    scale: Uniform = knob(Uniform(0.9, 1.1), 0.2, 5, "scale of each axis, drawn apart")


@dataclass(frozen=True)
class DeformSpec:
    """Blender's simple-deform modes and a Perlin noise displacement, in head space before the pose."""

    twist_deg: Uniform = knob(Uniform(-25, 25), -180, 180, "twist about the vertical axis")
    bend_deg: Uniform = knob(Uniform(-20, 20), -180, 180, "bend to the side")
    taper: Uniform = knob(Uniform(-0.25, 0.25), -1, 1, "taper towards the top")
    stretch: Uniform = knob(Uniform(-0.12, 0.12), -0.9, 2, "stretch along the vertical axis")
    noise_m: Uniform = knob(Uniform(0.0, 0.006), 0, 0.1, "amplitude of the noise displacement")
    noise_size_m: Uniform = knob(Uniform(0.03, 0.15), 0.005, 10, "feature size of the noise")


@dataclass(frozen=True)
class CameraSpec:
    """Lens and framing. The distance follows from focal length and fill."""

    focal_mm: Uniform = knob(Uniform(24, 135), 5, 1000, "focal length on a 36 mm sensor")
    fill: Uniform = knob(Uniform(0.5, 0.95), 0.02, 5, "height of the average head as a share of the frame")
    distance_m: Uniform = knob(Uniform(0, 0), 0, 100, "distance from the head, in place of `fill`; 0: by `fill`")
    shift: float = knob(1.0, 0, 3, "image shift; at 1, 99.9 % leave at most two thirds of the head out of the frame")
    shift_widths: float = knob(0.0, 0, 3, "added to the 99.9 % limit of that shift, in frame widths: for any head size")


@dataclass(frozen=True)
class LightSpec:
    """One direct light, never behind the head."""

    sun_share: float = knob(0.8, 0, 1, "share of images with a direct light")
    direction: str = choice("half_sphere", ("half_sphere", "angles"), "where it comes from: uniform, or two angles")
    elevation_deg: Uniform = knob(Uniform(-45, 45), -90, 90, "angle above the head, for `direction: angles`")
    azimuth_deg: Uniform = knob(Uniform(-65, 65), -90, 90, "angle to the viewer's right, for `direction: angles`")
    strength: Uniform = knob(Uniform(0.3, 4.0), 0, 100, "irradiance in W/m2")
    angle_deg: Uniform = knob(Uniform(0.5, 25), 0, 180, "apparent size of the light: sharp to soft shadows")
    colour: float = knob(0.2, 0, 1, "saturation limit of the light's colour")


@dataclass(frozen=True)
class EnvironmentSpec:
    """Background and ambient light."""

    kinds: Mapping[str, float] = weights(("hdri", "noise", "gray"), "weights of the kinds of environment")
    scale: Uniform = knob(Uniform(0.6, 1.8), 0.05, 20, "scale of the texture about the viewing axis")
    rotate: bool = field(default=True, metadata={"about": "random rotation about three axes"})
    strength: Uniform = knob(Uniform(0.4, 1.6), 0, 100, "factor on the radiance")
    noise_scale: Uniform = knob(Uniform(0.5, 8), 0.01, 1000, "features of the noise environment")


@dataclass(frozen=True)
class SurfaceSpec:
    """Material of the head: texture, solid colour and face texture blended, then diffuse and glossy mixed."""

    kinds: Mapping[str, float] = weights(("mixed", "skin", "noise", "gray"), "weights of the kinds of surface")
    texture_scale: Uniform = knob(Uniform(1.0, 10.0), 0.05, 1000, "repeats of the material texture per head height")
    colour_mix: Uniform = knob(Uniform(0, 1), 0, 1, "0: material texture, 1: solid colour")
    face_mix: Uniform = knob(Uniform(0, 1), 0, 1, "0: the blend so far, 1: face texture")
    face_gamma: Uniform = knob(Uniform(1, 1), 0.05, 20, "exponent on the face texture's linear colours")
    face_saturation: Uniform = knob(Uniform(1, 1), 0, 4, "factor on the face texture's saturation")
    gloss_mix: Uniform = knob(Uniform(0, 0.6), 0, 1, "0: diffuse, 1: glossy")
    roughness: Uniform = knob(Uniform(0.1, 1.0), 0, 1, "roughness of the glossy part")
    subsurface_share: float = knob(0.05, 0, 1, "share of heads with subsurface scattering")
    flip_share: float = knob(0.5, 0, 1, "share of mirrored face textures")
    noise_scale: Uniform = knob(Uniform(2, 40), 0.01, 1000, "features of the noise texture per head height")


@dataclass(frozen=True)
class IdentitySpec:
    """Who it is. `strength` 0 is the average head."""

    macros: bool = field(default=True, metadata={"about": "draw sex, age, weight, muscle and ancestry"})
    age: Uniform = knob(Uniform(0.1, 1.0), 0, 1, "0 baby, 0.19 child, 0.5 young, 1 old")
    sliders: Uniform = knob(Uniform(6, 24), 0, 400, "how many shape sliders are moved")
    strength: Uniform = knob(Uniform(0.1, 0.7), 0, 2, "how far each of them is moved")
    asymmetric_share: float = knob(0.1, 0, 1, "share of paired sliders moved on one side only")


@dataclass(frozen=True)
class ExpressionSpec:
    """Facial expression; open and closed mouth split by lip distance."""

    open_share: float = knob(0.5, 0, 1, "share of open mouths")
    units: Uniform = knob(Uniform(0, 6), 0, 52, "how many expression units are active")
    strength: Uniform = knob(Uniform(0.1, 0.8), 0, 1.5, "activation of each")
    blink_share: float = knob(0.08, 0, 1, "share of closed eyes")
    gaze_deg: Gauss = knob(Gauss(35), 0, 60, "gaze to the side, 99.9 % limit; half of it up and down")


@dataclass(frozen=True)
class InteriorSpec:
    """Eyes and mouth interior: shown, or black as in the thesis. Never part of the mask."""

    eyes_share: float = knob(0.6, 0, 1, "share of heads with visible eyes")
    mouth_share: float = knob(0.6, 0, 1, "share of heads with visible teeth and tongue")
    brows_share: float = knob(0.5, 0, 1, "share of heads with eyebrows")
    lashes_share: float = knob(0.3, 0, 1, "share of heads with lashes")


@dataclass(frozen=True)
class OccluderSpec:
    """Things in front of the face. They count as the spec's `render.hidden_face` says."""

    hair_share: float = knob(0.2, 0, 1, "share of heads with hair")
    hat_share: float = knob(0.04, 0, 1, "share of heads with a hat")
    glasses_share: float = knob(0.08, 0, 1, "share of heads with glasses")
    hand_share: float = knob(0.05, 0, 1, "share of images with a hand before the face")
    prop_share: float = knob(0.05, 0, 1, "share of images with another object before the face")


@dataclass(frozen=True)
class AssetsSpec:
    """Own files beside the head pack's. Paths are folders; relative ones start at the spec's folder."""

    hdris: tuple[str, ...] = field(default=(), metadata={"about": "folders of .exr or .hdr panoramas"})
    textures: tuple[str, ...] = field(default=(), metadata={"about": "folders of material images (.png, .jpg)"})
    faces: tuple[str, ...] = field(default=(), metadata={"about": "folders of face textures in canonical UV"})
    only_own: bool = field(default=False, metadata={"about": "leave the pack's out where own folders are given"})
    head: str = field(default="", metadata={"about": "folder of an own head model; empty: the pack's"})


@dataclass(frozen=True)
class SequenceSpec:
    """Clips of smooth motion in place of single images: frame N % frames of clip N // frames is sample N."""

    frames: int = knob(0, 0, 100_000, "frames of a clip; 0: every sample is an image of its own")
    swing_frames: float = knob(60, 2, 1e6, "frames that the quickest motion takes there and back")


@dataclass(frozen=True)
class Spec:
    """Everything a data set is, apart from its seed and count."""

    name: str = field(default="mixed", metadata={"about": "name of the spec"})
    about: str = field(default="", metadata={"about": "one line for people"})
    render: RenderSpec = field(default_factory=RenderSpec)
    heads: HeadsSpec = field(default_factory=HeadsSpec)
    pose: PoseSpec = field(default_factory=PoseSpec)
    deform: DeformSpec = field(default_factory=DeformSpec)
    camera: CameraSpec = field(default_factory=CameraSpec)
    light: LightSpec = field(default_factory=LightSpec)
    environment: EnvironmentSpec = field(default_factory=EnvironmentSpec)
    surface: SurfaceSpec = field(default_factory=SurfaceSpec)
    identity: IdentitySpec = field(default_factory=IdentitySpec)
    expression: ExpressionSpec = field(default_factory=ExpressionSpec)
    interior: InteriorSpec = field(default_factory=InteriorSpec)
    occluders: OccluderSpec = field(default_factory=OccluderSpec)
    assets: AssetsSpec = field(default_factory=AssetsSpec)
    sequence: SequenceSpec = field(default_factory=SequenceSpec)


# ---------------------------------------------------------------- reading


def jobspec_path(source: str | Path, prefix: str = "") -> Path:
    """The file, or that of the jobspec of this name; it may not exist. A folder that is named like one is neither."""
    path = Path(source)
    if not path.is_file() and path.suffix == "" and len(path.parts) == 1:
        path = JOBSPECS / f"{prefix}{path.name.removeprefix(prefix)}.yaml"
    return path


def find_jobspec(source: str | Path, kind: str, names: list[str], prefix: str = "") -> Path:
    """The file that `source` names. kind: what it should be, for the message. Raises SpecError if there is none."""
    path = jobspec_path(source, prefix)
    if not path.is_file():
        meant = did_you_mean(Path(source).stem.removeprefix(prefix), names)
        give = f"{meant} Give" if meant else ": give"
        raise SpecError(f"no {kind} {str(source)!r}{give} a YAML file or one of {', '.join(names)}")
    return path


def load_spec(source: str | Path) -> Spec:
    """A spec by file or by the name of a jobspec ("mixed"). Raises SpecError."""
    path = find_jobspec(source, "spec", spec_names())
    try:
        raw = yaml.load(path.read_text(), Loader=UniqueKeyLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise SpecError(f"{path} must hold a mapping of sections such as 'pose:', it holds {type(raw).__name__}")
    return resolved(parse_spec(raw, str(path)), path.parent)


def resolved(spec: Spec, base: Path) -> Spec:
    """The spec with its asset folders as absolute paths; relative ones start at `base`."""

    def absolute(folders: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str((base / folder).resolve()) for folder in folders)

    a = spec.assets
    head = str((base / a.head).resolve()) if a.head else ""
    own = replace(a, hdris=absolute(a.hdris), textures=absolute(a.textures), faces=absolute(a.faces), head=head)
    return replace(spec, assets=own)


def spec_names() -> list[str]:
    """Names of the specs that come with headforge (not those of clusters, trainings and sweeps)."""
    return [name for name in _jobspecs() if not name.startswith(("cluster_", *TRAININGS))]


def training_names() -> list[str]:
    """Names of the trainings and sweeps that come with headforge."""
    return [name for name in _jobspecs() if name.startswith(TRAININGS)]


def _jobspecs() -> list[str]:
    return sorted(p.stem for p in JOBSPECS.glob("*.yaml"))


def parse_spec(raw: Mapping[str, Any], source: str) -> Spec:
    """A mapping, as YAML gives it, to a Spec; `source` names it in errors."""
    spec: Spec = parse_section(Spec, raw, source, "")
    if spec.render.mask_grid % 2 == 0:
        raise SpecError(f"{source}: render.mask_grid is {spec.render.mask_grid}; it must be odd")
    subpixels = spec.render.oversample**2
    if spec.render.samples_per_pixel % subpixels:
        raise SpecError(
            f"{source}: render.samples_per_pixel is {spec.render.samples_per_pixel}; with render.oversample"
            f" {spec.render.oversample} it must be a multiple of {subpixels}"
        )
    for knob_name, what in (("mask_grid", "label rays"), ("oversample", "small pixels")):
        if (side := spec.render.resolution * getattr(spec.render, knob_name)) > MOST_RAYS:
            raise SpecError(
                f"{source}: render.resolution times render.{knob_name} is {side}; it may be {MOST_RAYS} at most, or"
                f" {what} do not fit into memory: lower one of them"
            )
    if not re.fullmatch(r"\w[\w.-]*", spec.name):
        raise SpecError(f"{source}: name is {spec.name!r}; it becomes a folder: use letters, digits, '_', '.' and '-'")
    if spec.camera.distance_m.low == 0 < spec.camera.distance_m.high:
        raise SpecError(f"{source}: camera.distance_m starts at 0, inside the head; give a low end above 0, or 0 alone")
    if spec.heads.empty_share + spec.heads.several_share > 1:
        raise SpecError(f"{source}: heads.empty_share and heads.several_share add up to more than 1")
    if spec.sequence.frames == 1:
        raise SpecError(f"{source}: sequence.frames is 1; a clip has at least 2 frames, and 0 means no clips")
    return spec


def to_plain(spec: Spec) -> dict[str, Any]:
    """The inverse of `parse_spec`: plain values for JSON and YAML, every field spelled out."""

    def plain(value: Any) -> Any:
        if isinstance(value, Uniform):
            return [float(value.low), float(value.high)]
        if isinstance(value, Gauss):
            return float(value.limit)
        if is_dataclass(value):  # a default written as 1 and a parsed 1.0 must give one data set tag
            hints = get_type_hints(type(value))
            items = ((f.name, getattr(value, f.name)) for f in fields(value))
            return {name: float(item) if hints[name] is float else plain(item) for name, item in items}
        if isinstance(value, Mapping):
            return dict(value)
        return list(value) if isinstance(value, tuple) else value

    result: dict[str, Any] = plain(spec)
    return result


def spec_identity(spec: Spec) -> dict[str, Any]:
    """What of a spec makes its data set another one: `to_plain`, without clips where there are none.

    What came after sample format 1 is left out at rest, so that older data sets keep tag, keys and split.
    """
    plain, rest = to_plain(spec), to_plain(Spec())
    if not spec.sequence.frames:
        del plain["sequence"]
    for section, names in _LATER_KNOBS.items():
        for name in names:
            if plain[section][name] == rest[section][name]:
                del plain[section][name]
    return plain


class UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader keeps the last of two equal keys in silence; a spec must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_section(kind: Any, raw: Any, source: str, prefix: str) -> Any:
    """A mapping to a frozen dataclass, strictly: SpecError on what that does not know. `prefix`: the keys' path."""
    if raw is None:
        raw = {}
    if not isinstance(raw, Mapping):
        raise SpecError(f"{source}: {prefix.rstrip('.')!r} must be a mapping, it is {raw!r}")
    hints, known = get_type_hints(kind), {f.name: f for f in fields(kind)}
    for key in raw:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise SpecError(f"{source}: unknown key '{prefix}{key}'; {hint}")
    values = {name: _value(hints[name], raw[name], known[name].metadata, source, f"{prefix}{name}") for name in raw}
    return kind(**values)


def _value(kind: Any, raw: Any, meta: Mapping[str, Any], source: str, name: str) -> Any:
    if is_dataclass(kind) and kind not in (Uniform, Gauss):
        return parse_section(kind, raw, source, f"{name}.")
    if kind is Uniform:
        ends = raw if isinstance(raw, list) else [raw, raw]
        if len(ends) != 2:
            raise SpecError(f"{source}: {name} is {raw!r}; give a number or [low, high]")
        low, high = (_number(end, meta, source, name) for end in ends)
        if low > high:
            raise SpecError(f"{source}: {name} is [{low:g}, {high:g}]; the low end is above the high end")
        return Uniform(low, high)
    if kind is Gauss:
        return Gauss(_number(raw, meta, source, name))
    if kind is float:
        return _number(raw, meta, source, name)
    if kind is int:
        number = _number(raw, meta, source, name)
        if number != int(number):
            raise SpecError(f"{source}: {name} is {raw!r}; it must be a whole number")
        return int(number)
    if kind is bool:
        if not isinstance(raw, bool):
            raise SpecError(f"{source}: {name} is {raw!r}; it must be true or false")
        return raw
    if kind is str:
        if not isinstance(raw, str):
            raise SpecError(f"{source}: {name} is {raw!r}; it must be a text")
        return _option(raw, meta, source, name)
    if get_origin(kind) is tuple:
        if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
            raise SpecError(f"{source}: {name} is {raw!r}; it must be a list of texts")
        return tuple(_option(item, meta, source, name) for item in raw)
    if not isinstance(raw, Mapping) or not raw:
        raise SpecError(f"{source}: {name} is {raw!r}; give weights such as {{{meta['options'][0]}: 1}}")
    shares = {_option(k, meta, source, name): _number(v, {"low": 0, "high": 1e6}, source, name) for k, v in raw.items()}
    if sum(shares.values()) <= 0:
        raise SpecError(f"{source}: the weights of {name} add up to nothing")
    return shares


def _number(raw: Any, meta: Mapping[str, Any], source: str, name: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise SpecError(f"{source}: {name} is {raw!r}; it must be a number")
    if not math.isfinite(raw) or not meta["low"] <= raw <= meta["high"]:
        raise SpecError(f"{source}: {name} is {raw!r}; it must lie within {meta['low']:g} and {meta['high']:g}")
    return float(raw)


def _option(raw: Any, meta: Mapping[str, Any], source: str, name: str) -> Any:
    options = meta.get("options")
    if options and raw not in options:
        raise SpecError(f"{source}: {name} is {raw!r}; it must be one of {', '.join(options)}")
    return raw


__all__ = ["Gauss", "Spec", "Uniform", "load_spec", "parse_spec", "spec_identity", "spec_names", "to_plain"]
