"""Point caches: the vertices of a mesh, frame by frame, as animation programs exchange them. numpy only.

`.pc2` (3ds Max, Blender): little-endian; a header of 32 bytes with the number of points and frames, then single
precision x, y, z. `.mdd` (LightWave, Blender): big-endian; numbers of frames and points, the time of each frame in
seconds, then x, y, z. Neither holds faces: the mesh that a cache moves has as many vertices, in the same order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.errors import FormatError
from renderer.files import write_atomic

Floats = npt.NDArray[np.float32]

_PC2: Final = struct.Struct("<12siiffi")  # signature, version, points, first frame, frames per sample, samples
_PC2_SIGNATURE: Final = b"POINTCACHE2\0"
_MDD: Final = struct.Struct(">ii")  # frames, points


@dataclass(frozen=True)
class PointCache:
    """points: (frames, V, 3) float32. fps: frames per second; None where the file does not tell."""

    points: Floats
    fps: float | None


def read_point_cache(path: Path) -> PointCache:
    """A cache of either kind, by the ending of its name. Raises FormatError."""
    try:
        return READERS[path.suffix.lower()](path)
    except KeyError:
        raise FormatError(f"{path} is no point cache: its name must end in {' or '.join(READERS)}") from None


def read_pc2(path: Path) -> PointCache:
    """Raises FormatError where the file is no whole .pc2."""
    data = _bytes(path)
    if len(data) < _PC2.size or not data.startswith(_PC2_SIGNATURE):
        raise FormatError(f"{path} is no .pc2 file: it does not begin with POINTCACHE2")
    _, _, points, _, _, frames = _PC2.unpack_from(data)
    return PointCache(_points(path, data, _PC2.size, frames, points, "<f4"), None)


def write_pc2(path: Path, points: npt.NDArray[Any]) -> None:
    """points: (frames, V, 3). One sample a frame, the first at frame 0; whole or not at all."""
    header = _PC2.pack(_PC2_SIGNATURE, 1, points.shape[1], 0.0, 1.0, len(points))
    write_atomic(path, header + points.astype("<f4").tobytes())


def read_mdd(path: Path) -> PointCache:
    """Raises FormatError where the file is no whole .mdd."""
    data = _bytes(path)
    frames, points = _MDD.unpack_from(data) if len(data) >= _MDD.size else (0, 0)
    start = _MDD.size + 4 * max(frames, 0)
    found = _points(path, data, start, frames, points, ">f4")
    times = np.frombuffer(data, ">f4", frames, _MDD.size).astype(np.float64)
    lasts = float(times[-1] - times[0])
    return PointCache(found, (frames - 1) / lasts if lasts > 0 else None)


def write_mdd(path: Path, points: npt.NDArray[Any], fps: float) -> None:
    """points: (frames, V, 3). The first frame at 0 seconds; whole or not at all."""
    times = (np.arange(len(points)) / fps).astype(">f4")
    write_atomic(path, _MDD.pack(*points.shape[:2]) + times.tobytes() + points.astype(">f4").tobytes())


READERS: Final[dict[str, Callable[[Path], PointCache]]] = {".pc2": read_pc2, ".mdd": read_mdd}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"cannot read {path}: {error.strerror}") from error


def _points(path: Path, data: bytes, start: int, frames: int, points: int, dtype: str) -> Floats:
    """The positions after a header, which must fill the file."""
    if frames < 1 or points < 1 or len(data) != start + 12 * frames * points:
        raise FormatError(
            f"{path} has {len(data)} bytes and says it holds {frames} frames of {points} points: it is cut short or is"
            f" no {path.suffix} file"
        )
    found: Floats = np.frombuffer(data, dtype, 3 * frames * points, start).astype(np.float32)
    if not np.isfinite(found).all():
        raise FormatError(f"{path} holds positions that are not finite")
    return found.reshape(frames, points, 3)
