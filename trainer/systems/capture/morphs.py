"""An animated mesh as glTF 2.0: morph targets whose weights move, in one .glb file that viewers and Blender open."""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer[Any]]
TOLERANCE_M: Final = 1e-6
_FLOAT, _UINT32 = 5126, 5125  # glTF's names of types
_VERTICES, _INDICES = 34962, 34963  # and of what a buffer is for
_JSON, _BIN = 0x4E4F534A, 0x004E4942  # kinds of chunks


def morph_targets(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Base (V, 3), targets (K, V, 3) and weights (F, K) with points (F, V, 3) = base + weights x targets.

    As few targets as leave no vertex further off than `TOLERANCE_M`: principal components of the frames. A network's
    output layer makes all meshes of 160, so hardly more are needed however long a shot is. Weights lie in [-1, 1].
    """
    base = points.mean(0)
    moves = (points - base).reshape(len(points), -1)
    vectors = np.linalg.eigh(moves @ moves.T)[1][:, ::-1]
    for count in (*(2**n for n in range(1, 12) if 2**n < len(points)), len(points)):
        weights = vectors[:, :count]
        targets = weights.T @ moves
        if np.abs(moves - weights @ targets).max() <= TOLERANCE_M:
            break
    largest = np.abs(weights).max(0)
    return base, (targets * largest[:, None]).reshape(count, *base.shape), weights / largest


def animated_glb(points: Floats, triangles: Ints, fps: float) -> bytes:
    """points: (F, V, 3) metres, Y up. triangles: (F', 3)."""
    base, targets, weights = morph_targets(points)
    file = _File()
    times = np.arange(len(points), dtype="<f4") / np.float32(fps)
    place = file.add(base.astype("<f4"), "VEC3", _VERTICES, bounds=True)
    corners = file.add(triangles.astype("<u4").reshape(-1), "SCALAR", _INDICES)
    moved = [{"POSITION": file.add(target.astype("<f4"), "VEC3", _VERTICES, bounds=True)} for target in targets]
    sampler = {
        "input": file.add(times, "SCALAR", None, bounds=True),
        "output": file.add(weights.astype("<f4").reshape(-1), "SCALAR", None),
        "interpolation": "LINEAR",
    }
    mesh = {"attributes": {"POSITION": place}, "indices": corners, "targets": moved}
    return file.glb(
        {
            "scene": 0,
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "head"}],
            "meshes": [{"primitives": [mesh], "weights": [0.0] * len(targets)}],
            "animations": [
                {"channels": [{"sampler": 0, "target": {"node": 0, "path": "weights"}}], "samplers": [sampler]}
            ],
        }
    )


class _File:
    """Arrays as accessors of one buffer."""

    def __init__(self) -> None:
        self.data = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: npt.NDArray[Any], kind: str, target: int | None, bounds: bool = False) -> int:
        """The number of its accessor. Every array is of 4-byte numbers, so all begin where glTF wants them to."""
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        self.views.append(view | ({"target": target} if target else {}))
        self.data += array.tobytes()
        number = _UINT32 if array.dtype.kind == "u" else _FLOAT
        accessor = {"bufferView": len(self.views) - 1, "componentType": number, "count": len(array), "type": kind}
        if bounds:
            rows = array.reshape(len(array), -1)
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def glb(self, scene: dict[str, Any]) -> bytes:
        """The whole file."""
        about = {"asset": {"version": "2.0", "generator": "headforge"}, **scene}
        about |= {"buffers": [{"byteLength": len(self.data)}], "bufferViews": self.views, "accessors": self.accessors}
        text = json.dumps(about).encode()
        text += b" " * (-len(text) % 4)
        chunks = b"".join(
            struct.pack("<II", len(part), kind) + part for part, kind in ((text, _JSON), (self.data, _BIN))
        )
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
