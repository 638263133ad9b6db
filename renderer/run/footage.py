"""Own footage as a data set: videos of shots with their point caches, checked against each other.

A folder holds one mesh (`.obj`) and for each shot a video and a cache of its name (`.pc2`, `.mdd`). Caches are in
metres and stabilised, as the label `vertices` is. Sample N of the data set is frame N % L of shot N // L, where L is
the length of the longest shot: each shot is a clip and a shard of its own, and may end early.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from renderer.errors import DatasetError, FormatError
from renderer.files import file_sha256, make_folder, write_atomic
from renderer.format.dataset import write_index
from renderer.format.folder import DATASET_FILE, read_info
from renderer.format.point_cache import READERS, read_point_cache
from renderer.format.sample_format import FORMAT_VERSION, UV_FRAME, dataset_tag, sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample
from renderer.parameters.spec import parse_spec
from renderer.run.claim import check_folder
from renderer.run.context import made_by
from renderer.strict import to_plain

GAMMA: Final = 2.2  # linear light to picture values, as the trainer has it: frames come back as they were
RATE_TOLERANCE: Final = 0.005  # of a frame rate: 29.97 passes for 30
SIZES_M: Final = (0.05, 1.0)  # of what is a head in metres
VIDEOS: Final = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


class Video(Protocol):
    """Frames of a video, (H, W, 3) bytes; rate and problem are known once they were read."""

    rate: float
    problem: str

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]: ...


Opener = Callable[[Path], Video]


@dataclass(frozen=True)
class Mesh:
    """What a Wavefront file says: (V, 3) metres, (F, 4) corners with -1 as the fourth of a triangle."""

    vertices: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Shot:
    """Files of a shot, and what was found in them."""

    video: Path
    cache: Path
    frames: int
    size: tuple[int, int]  # width, height
    fps: float


@dataclass(frozen=True)
class Footage:
    """Shots that fit together. Sample N is frame N % `longest` of shot N // `longest`."""

    mesh: Mesh
    shots: tuple[Shot, ...]
    hashes: tuple[str, ...]  # of the mesh, then of videos and caches in turn

    @property
    def longest(self) -> int:
        return max(shot.frames for shot in self.shots)

    @property
    def frames(self) -> int:
        return sum(shot.frames for shot in self.shots)

    def info(self, name: str) -> dict[str, Any]:
        """Content of dataset.json."""
        shot = self.shots[0]
        spec = parse_spec({"name": name, "sequence": {"frames": self.longest}}, "own footage")
        starts = [number * self.longest for number in range(len(self.shots))]
        return {
            "format_version": FORMAT_VERSION,
            "made_by": made_by(),
            "name": name,
            "tag": dataset_tag({"footage": self.hashes}),
            "seed": 0,
            "spec": to_plain(spec),
            "assets": {"pack": "none", "own": {}},
            "uv_frame": UV_FRAME,
            "labels": ["vertices"],
            "images": ["input", "vertices"],
            "uv_precision": "half",
            "resolution": shot.size[0] if shot.size[0] == shot.size[1] else list(shot.size),
            "fps": shot.fps,
            "bit_repeatable": True,
            "mesh": {"vertices": len(self.mesh.vertices), "faces": self.mesh.faces.tolist()},
            "shots": [[start, start + one.frames] for start, one in zip(starts, self.shots, strict=True)],
        }


def read_footage(folder: Path, opened: Opener, progress: Callable[[int], object] = lambda frames: None) -> Footage:
    """Check a folder of footage; every frame is decoded once. Raises DatasetError and FormatError, one line each."""
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder}")
    meshes = sorted(folder.glob("*.obj"))
    if len(meshes) != 1:
        raise DatasetError(f"{folder} has {len(meshes)} .obj files; one has to say which mesh the caches move")
    mesh = read_obj(meshes[0])
    videos = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEOS]
    if not videos:
        raise DatasetError(f"{folder} holds no video ({', '.join(VIDEOS)})")
    shots = tuple(_read_shot(video, mesh, opened, progress) for video in videos)
    for shot in shots[1:]:
        for what, own, first in (("size", shot.size, shots[0].size), ("frame rate", shot.fps, shots[0].fps)):
            if own != first:
                raise FormatError(f"{shot.video} has {what} {own}, {shots[0].video} has {first}: all must be alike")
    files = [meshes[0], *(file for shot in shots for file in (shot.video, shot.cache))]
    return Footage(mesh, shots, tuple(file_sha256(file) for file in files))


def _read_shot(video: Path, mesh: Mesh, opened: Opener, progress: Callable[[int], object]) -> Shot:
    caches = [video.with_suffix(suffix) for suffix in READERS if video.with_suffix(suffix).is_file()]
    if len(caches) != 1:
        raise DatasetError(f"{video} has {len(caches)} point caches of its name; one ({', '.join(READERS)}) is needed")
    cache, frames, source = read_point_cache(caches[0]), 0, opened(video)
    size = (0, 0)
    for picture in source:
        size, frames = (picture.shape[1], picture.shape[0]), frames + 1
        progress(1)
    if source.problem:
        raise FormatError(source.problem)
    if cache.points.shape[1] != len(mesh.vertices):
        raise FormatError(
            f"{caches[0]} moves {cache.points.shape[1]} vertices, the mesh has {len(mesh.vertices)}: it is of another"
            " mesh"
        )
    if len(cache.points) != frames:
        raise FormatError(f"{caches[0]} has {len(cache.points)} frames, {video} has {frames}: they are not of one shot")
    if cache.fps is not None and abs(cache.fps - source.rate) > RATE_TOLERANCE * source.rate:
        raise FormatError(f"{caches[0]} has {cache.fps:g} frames per second, {video} has {source.rate:g}")
    extent = float(np.ptp(cache.points[0], axis=0).max())
    if not SIZES_M[0] <= extent <= SIZES_M[1]:
        raise FormatError(f"{caches[0]} shows a mesh of {extent:g} m: no head; caches must be in metres")
    return Shot(video, caches[0], frames, size, source.rate)


def read_obj(path: Path) -> Mesh:
    """Vertices and faces of a Wavefront file, in their order; libraries split vertices at seams of textures.

    Polygons of more than four corners become fans of triangles. Raises FormatError.
    """
    vertices: list[list[float]] = []
    faces: list[list[int]] = []
    try:
        for line in path.read_text("utf-8", "replace").splitlines():
            kind, *words = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in words[:3]])
            elif kind == "f":
                faces += _quads([int(word.split("/")[0]) for word in words], len(vertices))
        mesh = Mesh(np.array(vertices).reshape(-1, 3), np.array(faces, np.int32).reshape(-1, 4))
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read as a Wavefront mesh: {error}") from error
    if not len(mesh.faces) or not -1 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices):
        raise FormatError(f"{path} is no mesh: it has {len(mesh.vertices)} vertices, and faces that do not fit them")
    return mesh


def _quads(corners: list[int], so_far: int) -> Iterable[list[int]]:
    """Corners as Wavefront counts them, from 1 or back from the last vertex."""
    own = [corner - 1 if corner > 0 else so_far + corner for corner in corners]
    if len(own) == 4:
        return [own]
    return [[own[0], own[i], own[i + 1], -1] for i in range(1, len(own) - 1)]


def write_footage(
    footage: Footage, out: Path, opened: Opener, progress: Callable[[int], object] = lambda frames: None
) -> None:
    """Write the data set; shards that are there already stay. Raises DatasetError where `out` holds another one."""
    info = footage.info(out.resolve().name)
    check_folder(out)
    if (out / DATASET_FILE).exists() and read_info(out)["tag"] != info["tag"]:
        raise DatasetError(f"{out} holds another data set; choose another --out")
    make_folder(out)
    write_atomic(out / DATASET_FILE, json.dumps(info, indent=1, sort_keys=True).encode())
    for number, (shot, (start, stop)) in enumerate(zip(footage.shots, info["shots"], strict=True)):
        write_shard(out, start, stop, info["tag"], _samples(shot, number, start, info, opened, progress))
    write_index(out)


def _samples(
    shot: Shot, number: int, start: int, info: dict[str, Any], opened: Opener, progress: Callable[[int], object]
) -> Iterator[EncodedSample]:
    points = read_point_cache(shot.cache).points
    for frame, picture in enumerate(opened(shot.video)):
        key = sample_key(info["tag"], start + frame)
        images = {
            "input": ((picture / np.float32(255)) ** GAMMA).astype(np.float16),
            "vertices": points[frame][None],
        }
        record = {
            "format_version": FORMAT_VERSION,
            "key": key,
            "index": start + frame,
            "resolution": info["resolution"],
            "source": {"shot": shot.video.stem, "sha256": hashlib.sha256(picture.tobytes()).hexdigest()[:16]},
            "extra": {"clip": number, "frame": frame, "kind": "footage"},
            "knobs": {},
            "measured": {"luminance": round(float(images["input"].astype(np.float32).mean()), 6)},
        }
        yield encode_sample(start + frame, key, images, record)
        progress(1)
