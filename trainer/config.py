"""What makes a training run: frozen dataclasses, read strictly from YAML and saved with the run.

An unknown key, a value of the wrong kind or out of range is a SpecError that names the file, the key and what would be
accepted. Fields left out take the defaults below, which are those of Ronkainen 2017, sections 3.5-3.7.

A schedule (`Ramp`) is written as a number, or as `[from, to]`: linear in the share of training that is done.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from renderer.errors import SpecError
from renderer.format.sample_format import CENTRE_U, CHANNELS
from renderer.strict import load_yaml

T = TypeVar("T")
MAX_SWEEP: Final = 20
BELOW_ONE: Final = 0.999999  # for decays: at 1 nothing would ever change


def ranged(default: Any, low: float, high: float, about: str) -> Any:
    """A field whose value, or each of whose numbers, lies in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def noted(default: Any, about: str) -> Any:
    """A field with its meaning."""
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Ramp:
    """A number that changes linearly while training goes on."""

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Value when `progress`, in [0, 1], of the training is done."""
        return self.start + (self.end - self.start) * min(max(progress, 0.0), 1.0)

    @property
    def used(self) -> bool:
        """Whether it is anything but 0 all the time."""
        return self.start > 0 or self.end > 0


# ---------------------------------------------------------------- data


@dataclass(frozen=True)
class DataConfig:
    """Which samples, and how they reach the network."""

    path: str = noted("", "data set folder, as `gen render` wrote it")
    images: tuple[str, ...] = noted(("input", "uv", "mask"), "images read per sample")
    test_share: float = ranged(0.1, 0.0, 0.9, "share of the keys held out, chosen by a hash of the key")
    limit: int = ranged(0, 0, 10**9, "use only the first LIMIT training samples; 0 = all")
    test_limit: int = ranged(1000, 0, 10**9, "evaluate on at most this many held-out samples; 0 = all")
    test_on_train: bool = noted(False, "evaluate on the training samples: for overfitting on purpose")
    cache: Literal["none", "memory", "device"] = noted("none", "stream from the tars, or hold all decoded samples")
    batch_size: int = ranged(40, 1, 65536, "samples per step over all processes")
    window: int = ranged(2000, 1, 10**9, "shuffle window in samples, after the shards are shuffled")
    workers: int = ranged(2, 0, 256, "decoding threads; 0 decodes in the training thread")
    max_bad: int = ranged(10, 0, 10**9, "bad samples skipped and reported before the run stops")


# ---------------------------------------------------------------- augmentation


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


STAGES: Final = tuple(f.name for f in fields(AugmentConfig) if f.name not in ("environments", "environment_height_px"))


# ---------------------------------------------------------------- network, loss, schedule


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
class ScheduleConfig:
    """How weights step, and how long. The second phase starts when the held-out error levels off (thesis 3.7).

    The error is UV error + 1 - mask IoU: the loss itself may mean something else from epoch to epoch (ramps).
    """

    optimiser: Literal["adam", "muon"] = noted(
        "adam", "muon: orthogonalised steps for kernels (trainer/training/optimisers.py), Adam for the rest"
    )
    lr: tuple[float, float] = ranged((1e-4, 1e-5), 0, 10, "learning rate of the two phases")
    beta1: tuple[float, float] = ranged((0.9, 0.99), 0, BELOW_ONE, "Adam's beta1 of the two phases")
    beta2: float = ranged(0.999, 0, BELOW_ONE, "Adam's beta2")
    plateau_epochs: int = ranged(5, 1, 10**6, "epochs without `plateau_gain` before the second phase")
    plateau_gain: float = ranged(0.01, 0, 1, "improvement of UV error + 1 - mask IoU that counts, relative")
    second_phase_at: float = ranged(1.0, 0, 1, "share of training at which the second phase starts at the latest")
    decay: Literal["step", "linear"] = noted(
        "step",
        "step: lr[1] all through the second phase; linear: from lr[0] at its start to lr[1] at the end of training",
    )
    max_samples: int = ranged(8_000_000, 1, 10**12, "training stops after this many samples")
    max_minutes: float = ranged(
        0.0,
        0,
        10**7,
        "or after this time, all sessions together; ramps then depend on the machine's load; 0 = no limit",
    )
    ema: float = ranged(0.0, 0, BELOW_ONE, "decay of the moving average of the weights per step; 0 = none")
    grad_clip: float = ranged(0.0, 0, 1e9, "largest gradient norm; 0 = none")


@dataclass(frozen=True)
class DeviceConfig:
    """Where and in which arithmetic."""

    accelerator: Literal["auto", "cpu", "cuda"] = noted("auto", "auto takes a GPU where there is one")
    devices: int = ranged(1, 1, 4096, "processes on this node")
    nodes: int = ranged(1, 1, 4096, "nodes")
    strategy: Literal["auto", "ddp", "ddp_spawn", "ddp_fork"] = noted("auto", "Fabric's strategy for many processes")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true"] = noted(
        "auto", "Fabric's precision; auto: bf16-mixed where the device computes bfloat16 in hardware, else 32-true"
    )
    channels_last: bool = noted(False, "N, H, W, C memory layout")
    compile: bool = noted(False, "torch.compile the network; on a CPU with the compiler g++, or that of CXX")
    threads: int = ranged(0, 0, 1024, "CPU threads of torch; 0 = torch's choice")


@dataclass(frozen=True)
class OutputConfig:
    """What a run leaves behind, and how often."""

    runs: str = noted("runs", "folder of the run directories")
    checkpoint_minutes: float = ranged(10.0, 0, 10**6, "between checkpoints; each epoch's end has one, too")
    checkpoint_steps: int = ranged(0, 0, 10**9, "or every so many steps; 0 = by time alone")
    keep_checkpoints: int = ranged(2, 1, 10**6, "older ones are removed")
    log_steps: int = ranged(50, 1, 10**9, "steps between lines in log.jsonl")
    evaluate_epochs: int = ranged(1, 1, 10**6, "epochs between evaluations")
    images: bool = noted(True, "write evaluation images")
    chosen: tuple[str, ...] = noted((), "keys of the held-out samples shown every time; empty = six by hash")
    photos: str = noted("", "folder of real photos, shown beside the synthetic ones")
    chosen_photos: tuple[str, ...] = noted((), "file names shown every time; empty = the first six")
    tensorboard: bool = noted(True, "write TensorBoard scalars")


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    name: str = noted("uvnet", "start of the run-ID")
    seed: int = ranged(0, 0, 2**31 - 1, "of weights, order and augmentation")
    start: str = noted("", "run directory or weights file to start from; empty = new weights from the seed")
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    device: DeviceConfig = DeviceConfig()
    output: OutputConfig = OutputConfig()


PATHS: Final = ("start", "data.path", "augment.environments", "output.runs", "output.photos")
"""Fields that name files or folders; empty ones stay empty."""


# ---------------------------------------------------------------- reading


def load_config(path: Path) -> TrainConfig:
    """Read a training spec. Raises SpecError on anything but a valid spec; a sweep is refused with a hint."""
    raw = load_yaml(path)
    if "base" in raw:
        raise SpecError(f"{path} is a sweep (it has `base`), not a single run: use `load_sweep`")
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], source: str) -> TrainConfig:
    """A TrainConfig from plain values. source: where they came from, for messages."""
    config = _build(TrainConfig, raw, "", source)
    _check(config, source)
    return config


def load_sweep(path: Path) -> list[TrainConfig]:
    """Read a sweep: `base` (a spec beside it), and `vary` (dotted key -> list of values, all combinations) or
    `runs` (a list of dotted key -> value). A plain spec is a sweep of one. At most `MAX_SWEEP` runs.

    Where there are several, each run's name gets the number of its combination, so that run-IDs tell them apart.
    """
    raw = load_yaml(path)
    if "base" not in raw:
        return [parse_config(raw, str(path))]
    if unknown := sorted(raw.keys() - {"base", "vary", "runs"}):
        raise SpecError(f"{path}: unknown keys {unknown}; a sweep has base, vary and runs")
    base_path = path.parent / str(raw["base"])
    base = load_config(base_path)
    runs = _combinations(raw, path)
    if len(runs) > MAX_SWEEP:
        raise SpecError(f"{path} makes {len(runs)} runs; at most {MAX_SWEEP} are allowed: split it")
    configs = []
    for number, values in enumerate(runs):
        config = override(base, values, f"{path} run {number}")
        configs.append(replace(config, name=f"{config.name}-{number:02d}") if len(runs) > 1 else config)
    return configs


def override(config: TrainConfig, values: Mapping[str, Any], source: str) -> TrainConfig:
    """The config with some fields replaced. values: dotted key -> value, for example {"data.batch_size": 8}."""
    tree = to_plain(config)
    for key, value in values.items():
        _set(tree, key, value, source)
    return parse_config(tree, source)


def absolute_paths(config: TrainConfig) -> TrainConfig:
    """The config with its paths made absolute: a run is resumed, looked at and queued from other working folders."""
    found = {key: attrgetter(key)(config) for key in PATHS}
    return override(config, {key: str(Path(path).absolute()) for key, path in found.items() if path}, "absolute paths")


def to_plain(config: Any) -> dict[str, Any]:
    """A config as plain values that `parse_config` reads back to an equal config."""
    plain: dict[str, Any] = _plain(asdict(config))
    return plain


def to_yaml(config: Any) -> str:
    """The whole config as YAML."""
    return yaml.safe_dump(to_plain(config), sort_keys=False, width=120)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"start", "end"}:  # a Ramp
            return value["start"] if value["start"] == value["end"] else [value["start"], value["end"]]
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _combinations(raw: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    vary, runs = raw.get("vary", {}), raw.get("runs", [{}])
    if not isinstance(vary, dict) or not all(isinstance(v, list) and v for v in vary.values()):
        raise SpecError(f"{path}: `vary` maps dotted keys to lists of values")
    if not isinstance(runs, list) or not runs or not all(isinstance(r, dict) for r in runs):
        raise SpecError(f"{path}: `runs` is a list of mappings from dotted keys to values")
    grids = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    return [{**run, **grid} for run in runs for grid in grids]


def _set(tree: dict[str, Any], key: str, value: Any, source: str) -> None:
    *path, last = key.split(".")
    node = tree
    for i, part in enumerate([*path, last]):
        if not isinstance(node, dict) or part not in node:
            known = list(node) if isinstance(node, dict) else []
            raise SpecError(f"{source}: no key {'.'.join([*path, last][: i + 1])!r}{_suggest(part, known)}")
        if i < len(path):
            node = node[part]
    node[last] = value


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys are {', '.join(known)}"


def _build(cls: type[T], raw: Any, where: str, source: str) -> T:
    if not isinstance(raw, Mapping):
        raise SpecError(f"{source}: {where or 'the spec'} must be a mapping, not {raw!r}")
    hints = get_type_hints(cls)
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = f"{where}.{key}" if where else str(key)
        if key not in known:
            raise SpecError(f"{source}: unknown key {name!r}{_suggest(str(key), list(known))}")
        values[key] = _convert(hints[key], value, name, source)
        _check_range(known[key].metadata, values[key], name, source)
    missing = [n for n, f in known.items() if n not in values and f.default is f.default_factory is MISSING]
    if missing:
        raise SpecError(f"{source}: {where or 'the spec'} lacks {', '.join(missing)}")
    return cls(**values)


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    """One value to the type of its field."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Ramp:
        ends = value if isinstance(value, (list, tuple)) else [value, value]
        if len(ends) != 2:
            raise SpecError(f"{source}: {name} must be a number or [from, to], not {value!r}")
        return Ramp(*(_convert(float, end, name, source) for end in ends))
    if isinstance(hint, type) and is_dataclass(hint):
        return _build(hint, value, name, source)
    if origin is Literal:
        if value not in args:
            raise SpecError(f"{source}: {name} is {value!r}; it must be one of {', '.join(map(repr, args))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or (args[-1] is not Ellipsis and len(value) != len(args)):
            wanted = "a list" if args[-1] is Ellipsis else f"a list of {len(args)} values"
            raise SpecError(f"{source}: {name} must be {wanted}, not {value!r}")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else args
        return tuple(_convert(kind, item, name, source) for kind, item in zip(kinds, value, strict=True))
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(args[0], value, name, source)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    hint_text = " (YAML reads 1e-4 as text; write 1.0e-4)" if hint is float and isinstance(value, str) else ""
    raise SpecError(f"{source}: {name} must be {hint.__name__}, not {value!r}{hint_text}")


def _check_range(metadata: Mapping[str, Any], value: Any, name: str, source: str) -> None:
    if "low" not in metadata:
        return
    numbers = value if isinstance(value, tuple) else (value.start, value.end) if isinstance(value, Ramp) else (value,)
    for number in numbers:
        if not (math.isfinite(number) and metadata["low"] <= number <= metadata["high"]):
            raise SpecError(f"{source}: {name} is {number}; it must lie in [{metadata['low']}, {metadata['high']}]")


def _check(config: TrainConfig, source: str) -> None:
    """What fields must satisfy together."""
    network, data = config.network, config.data
    if not re.fullmatch(r"[\w.-]+", config.name):  # it becomes part of a path
        raise SpecError(f"{source}: name is {config.name!r}; it may hold letters, digits, '_', '.' and '-'")
    if len(network.filter_sizes) != network.levels + 1:
        raise SpecError(
            f"{source}: network.filter_sizes has {len(network.filter_sizes)} entries; {network.levels} levels need "
            f"{network.levels + 1}"
        )
    if even := [k for k in network.filter_sizes if k % 2 == 0]:
        raise SpecError(f"{source}: network.filter_sizes must be odd, not {even}")
    if network.patch_size % network.fine_patch:
        raise SpecError(
            f"{source}: network.fine_patch must divide network.patch_size ({network.patch_size}), "
            f"{network.fine_patch} does not"
        )
    if unknown := sorted(set(data.images) - set(CHANNELS)):
        raise SpecError(f"{source}: data.images has unknown {unknown}; known are {', '.join(CHANNELS)}")
    for name in STAGES:
        stage = getattr(config.augment, name)
        for entry in fields(stage):
            value = getattr(stage, entry.name)
            if isinstance(value, tuple) and value[0] > value[1]:
                raise SpecError(f"{source}: augment.{name}.{entry.name} is {list(value)}; low end first")
    processes = config.device.devices * config.device.nodes
    if data.batch_size % processes:
        raise SpecError(f"{source}: data.batch_size {data.batch_size} does not divide among {processes} processes")
    if not any(getattr(config.loss, term).used for term in TERMS):
        raise SpecError(f"{source}: every weight in loss is 0")
