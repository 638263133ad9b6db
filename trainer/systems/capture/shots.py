"""What `gen capture` reads: shots out of videos with their point caches, or of a data set, as gray frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from renderer.errors import DatasetError, FormatError, SpecError
from renderer.format.folder import DATASET_FILE
from renderer.format.point_cache import read_point_cache
from renderer.format.sample_format import key_index
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming
from trainer.data.video import Frames
from trainer.systems.capture.config import CaptureConfig, NetworkConfig
from trainer.systems.capture.frames import as_gray, reduced
from trainer.systems.capture.metrics import kind_of
from trainer.systems.capture.system import CaptureSystem, CaptureTask, fps_of
from trainer.systems.runs import Trained

Bytes = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float32]
RATE_TOLERANCE: Final = 0.005  # of a frame rate: 29.97 passes for 30
AT_ONCE: Final = 50


@dataclass(frozen=True)
class Shot:
    """frames: (F, views, H, W) bytes, as the network takes them. truth: (F, V, 3) metres, where it is known."""

    name: str
    kind: str
    fps: float
    frames: Bytes
    truth: Points | None = None

    def batches(self) -> Iterable[Tensor]:
        """(N, views, H, W) in [0, 1]."""
        for start in range(0, len(self.frames), AT_ONCE):
            yield torch.from_numpy(self.frames[start : start + AT_ONCE]).float() / 255


# ---------------------------------------------------------------- videos


def video_shot(trained: Trained, video: Path, second: Path | None, cache: Path | None) -> Shot:
    """A video, that of a second camera, and the point cache that is true of both.

    Raises SpecError for a network that needs more, FormatError where sizes, rates, lengths or vertices do not agree.
    """
    network = config_of(trained).network
    if network.kind == "connected":
        raise SpecError(f"{video}: a network of kind 'connected' needs landmarks, which videos lack: name a data set")
    if (network.views == 2) != (second is not None):
        needs = "a second one with --second" if network.views == 2 else "no --second"
        raise SpecError(f"{video}: the network takes {network.views} camera{'s' * (network.views - 1)}: give {needs}")
    fps = float(trained.header["fps"])
    views = [gray_video(path, network, fps) for path in (video, *([second] if second else []))]
    if len({len(view) for view in views}) > 1:
        raise FormatError(f"{video} has {len(views[0])} frames, {second} has {len(views[1])}: both must show one shot")
    frames = np.stack(views, 1)
    return Shot(
        video.stem, "videos", fps, frames, None if cache is None else true_points(cache, video, len(frames), network)
    )


def gray_video(path: Path, network: NetworkConfig, fps: float) -> Bytes:
    """(F, H, W). Raises FormatError for a video of another size or frame rate."""
    source = Frames(str(path), max_side=10**6)
    seen: list[Bytes] = []
    for frame in source:
        if not seen:
            height, width = frame.shape[:2]
            if not network.reduction(width, height):
                raise FormatError(
                    f"{path} is {width} x {height}, the network takes {network.size}: crop and scale it as the training"
                    " footage was"
                )
            if abs(source.rate - fps) > RATE_TOLERANCE * fps:
                raise FormatError(
                    f"{path} has {source.rate:g} frames per second, the network was trained at {fps:g}: convert it, as"
                    f" with ffmpeg -i {path.name} -r {fps:g}"
                )
        gray = as_gray(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255)
        seen.append(to_levels(reduced(gray, network.width_px))[0])
    if source.problem:
        raise FormatError(source.problem)
    return np.stack(seen)


def to_levels(gray: Tensor) -> Bytes:
    """Picture values in [0, 1] to bytes."""
    return (gray.clamp(0, 1) * 255).round().byte().numpy()


def true_points(cache: Path, video: Path, frames: int, network: NetworkConfig) -> Points:
    """(F, V, 3). Raises FormatError for a cache of another length or mesh than the video's."""
    points = read_point_cache(cache).points
    if points.shape[1] != network.vertices:
        raise FormatError(
            f"{cache} holds {points.shape[1]} vertices, the network was trained on a mesh of {network.vertices}"
        )
    if len(points) != frames:
        raise FormatError(f"{cache} has {len(points)} frames, {video} has {frames}: they are not of one shot")
    return points


# ---------------------------------------------------------------- data sets


def is_dataset(path: Path) -> bool:
    return (path / DATASET_FILE).is_file()


def dataset_shots(trained: Trained, folder: Path, wanted: Sequence[int], held_out: float | None) -> Iterable[Shot]:
    """Shots of a data set, one after the other. wanted: their numbers; none: those held out of `held_out`, or all.

    Raises SpecError for a shot that is not there, FormatError for a data set of another mesh, size or frame rate.
    """
    system, config = CaptureSystem(), config_of(trained)
    needs = system.needs(config)
    reader = SampleReader(folder, needs.images, needs.vectors)
    check_fits(trained, reader)
    task = system.build(config, reader, torch.device("cpu"), training=False)
    length = reader.dataset.clip_frames or 1
    positions = np.arange(len(reader)) if held_out is None or wanted else reader.split(held_out)[1]
    numbers = [key_index(reader.keys[int(p)]) // length for p in positions]
    there = set(numbers)
    if missing := sorted(set(wanted) - there):
        raise SpecError(f"--shot {missing[0]}: {folder} has shots {min(there)} to {max(there)}")
    for number, group in groupby(zip(numbers, positions.tolist(), strict=True), key=lambda pair: pair[0]):
        if not wanted or number in wanted:
            yield _read(task, reader, number, np.array([position for _, position in group]))


def config_of(trained: Trained) -> CaptureConfig:
    """Of weights that `load_trained` found to be of this system."""
    assert isinstance(trained.config, CaptureConfig)
    return trained.config


def check_fits(trained: Trained, reader: SampleReader) -> None:
    """Raises FormatError where a data set is of another mesh, frame rate or size than the weights."""
    config = config_of(trained)
    theirs, network = CaptureSystem().header(config, reader), config.network
    if theirs["topology"] != trained.header["topology"]:
        raise FormatError(
            f"{reader.path} is of another mesh ({theirs['topology']}) than the network was trained on"
            f" ({trained.header['topology']}): train one on its actor"
        )
    if theirs["fps"] != trained.header["fps"]:
        raise FormatError(f"{reader.path} has {theirs['fps']} frames per second, the network's {trained.header['fps']}")
    height, width = reader.shapes["input"][1:]
    if not network.reduction(width, height):
        raise FormatError(f"frames of {reader.path} are {width} x {height}, the network takes {network.size}")


def _read(task: CaptureTask, reader: SampleReader, number: int, positions: npt.NDArray[Any]) -> Shot:
    source, frames, truth = Streaming(reader, 1, BadSamples(0, "none"), torch.device("cpu")), [], []
    groups = [positions[start : start + AT_ONCE] for start in range(0, len(positions), AT_ONCE)]
    for batch in source.batches(groups, epoch=0):
        frames.append(to_levels(task.frames(batch)))
        truth.append(task.truth(batch).numpy())
    if not frames:
        raise DatasetError(f"shot {number} of {reader.path} holds no frame")
    kind = kind_of(reader.params(int(positions[0])))
    return Shot(f"shot-{number:03d}", kind, fps_of(reader.info), np.concatenate(frames), np.concatenate(truth))
