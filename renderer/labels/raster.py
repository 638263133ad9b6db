"""Label rays without Blender: the head that each ray hits, its UV and depth there, and the light that is let through.

A rasteriser over triangles in the camera's space. For the ray d from the origin, the three triple products of d with
two corners each have the same sign inside a triangle, are proportional to the barycentric coordinates of the hit, and
are exactly opposite for two triangles that share an edge, so that no ray slips through between them. Nothing is
projected: triangles that reach behind the camera need no clipping. (Olano and Greer, Triangle scan conversion using 2D
homogeneous coordinates, 1997.)

It draws a face in a tenth of the time that Cycles takes for the same labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.compiled import compiled
from renderer.format.sample_format import frame_size
from renderer.head.parts import WORN, Part, Shown, triangles
from renderer.labels.camera import Resolution, at_unit_depth, second_camera
from renderer.labels.maps import Box, Rays
from renderer.parameters.params import Camera

PAINTED = frozenset({"brows", "lashes"})  # belong to the face: no hole in the mask
OCCLUDERS = WORN | {"prop"}
NEAR_M = 0.001  # what is nearer to the camera is not seen
OPAQUE = 0.5  # what is worn or held hides the face from a ray if it lets less light through

_ATTENUATES = -1  # in place of a head's number: the triangles let rays pass, weakened
_SOLID = np.full((1, 1), 255, np.uint8)

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Mesh:
    """A topology in triangles. triangles: (T, 3). uv: (T, 3, 2) of the layer `uv`. slots: (T,)."""

    triangles: npt.NDArray[np.int32]
    uv: npt.NDArray[np.float64]
    slots: npt.NDArray[np.int32]


class Rasteriser:
    """Casts label rays; keeps the meshes and pictures that it has seen.

    picture: the path of the picture on a part that is a card.
    """

    def __init__(self, picture: Callable[[Part], Path]) -> None:
        self._picture = picture
        self._meshes: dict[str, Mesh] = {}
        self._alpha = lru_cache(maxsize=64)(_alpha)

    def cast(
        self, scene: Sequence[Shown], camera: Camera, yaw_rad: float, box: Box, grid: int, resolution: Resolution
    ) -> Rays:
        """grid x grid rays through every pixel of the box, from the camera turned by `yaw_rad` about the origin.

        What is worn or held weakens a ray and lets it pass to the face; brows and lashes belong to the face.
        """
        row, column, bottom, right = box
        size = ((bottom - row) * grid, (right - column) * grid)
        depth, head = np.full(size, np.inf), np.zeros(size, np.int32)
        uv, transmittance = np.zeros((*size, 2), np.float32), np.ones(size, np.float32)
        turn = second_camera(yaw_rad)
        step = camera.sensor_mm / camera.focal_mm / (frame_size(resolution)[0] * grid)
        left, top = at_unit_depth(column + 0.5 / grid, row + 0.5 / grid, camera, resolution)

        def draw(shown: Shown, which: npt.NDArray[np.bool_] | slice, number: int, opacity: Bytes) -> None:
            mesh = self._mesh(shown.part)
            points = shown.part.vertices.astype(np.float64) @ turn.T - [0.0, 0.0, camera.distance_m]
            chosen = mesh.triangles[which], mesh.uv[which]
            _draw(points, *chosen, number, opacity, left, top, step, depth, head, uv, transmittance)

        def attenuate(kinds: frozenset[str]) -> None:
            for shown in scene:
                if shown.part.kind in kinds:
                    for slot, opacity in enumerate(self._opacities(shown)):
                        draw(shown, self._mesh(shown.part).slots == slot, _ATTENUATES, opacity)

        for shown in scene:
            if shown.part.kind not in OCCLUDERS | PAINTED:
                draw(shown, slice(None), shown.number + 1 if shown.part.kind == "skin" else 0, _SOLID)
        attenuate(OCCLUDERS)
        occluded = transmittance < OPAQUE
        attenuate(PAINTED)
        opacity = np.where(np.isfinite(depth), np.float32(1.0), 1 - transmittance)
        return Rays(row, column, head, occluded, uv, depth.astype(np.float32), opacity)

    def _opacities(self, shown: Shown) -> list[Bytes]:
        """By material slot: (H, W) opacity in 255ths over UV, V = 0 in row 0, of a part that lets light through."""
        part = shown.part
        if part.kind in ("hair", "hat", *PAINTED):
            return [self._alpha(self._picture(part))]
        if part.kind == "glasses":
            assert shown.head is not None
            tint, mirror = shown.head.wear.lens_tint, shown.head.wear.lens_mirror
            return [_SOLID, np.full((1, 1), round(255 * (mirror + (1 - mirror) * tint)), np.uint8)]
        return [_SOLID] * (int(self._mesh(part).slots.max()) + 1)

    def _mesh(self, part: Part) -> Mesh:
        if part.name not in self._meshes:
            corners, of_quad = triangles(part.topology)
            uv = np.zeros((*corners.shape, 2))
            if "uv" in part.topology.uvs:
                uv[:] = part.topology.uvs["uv"].reshape(-1, 2)[of_quad]
            slots = part.topology.slots
            of_triangle = np.zeros(len(corners), np.int32) if slots is None else slots[of_quad[:, 0] // 4]
            self._meshes[part.name] = Mesh(corners, uv, of_triangle)
        return self._meshes[part.name]


def _alpha(path: Path) -> Bytes:
    with Image.open(path) as image:
        return np.ascontiguousarray(np.asarray(image.convert("RGBA").getchannel("A"))[::-1])


@compiled
def _look_up(picture: Any, u: float, v: float) -> float:
    """Bilinear; what lies beyond the edges counts as its nearest neighbour inside."""
    height, width = picture.shape
    x, y = u * width - 0.5, v * height - 0.5
    left, low = math.floor(x), math.floor(y)
    fx, fy = x - left, y - low
    c0, c1 = min(max(int(left), 0), width - 1), min(max(int(left) + 1, 0), width - 1)
    r0, r1 = min(max(int(low), 0), height - 1), min(max(int(low) + 1, 0), height - 1)
    below = picture[r0, c0] * (1.0 - fx) + picture[r0, c1] * fx
    above = picture[r1, c0] * (1.0 - fx) + picture[r1, c1] * fx
    return float(below * (1.0 - fy) + above * fy)


@compiled
def _draw(
    points: Any,  # (V, 3) in the camera's space: x right, y up, z to the viewer
    corners: Any,  # (T, 3)
    corner_uv: Any,  # (T, 3, 2)
    number: int,  # written to `head` where a triangle is nearest; _ATTENUATES: weaken the rays instead
    opacity: Any,  # (H, W), 255ths over UV, of triangles that attenuate
    left: float,  # x at z = -1 of the first ray
    top: float,  # y at z = -1 of the first ray
    step: float,  # from ray to ray at z = -1
    depth: Any,
    head: Any,
    uv: Any,
    transmittance: Any,
) -> None:
    rows, columns = depth.shape
    for t in range(len(corners)):
        i, j, k = corners[t, 0], corners[t, 1], corners[t, 2]
        a = (points[i, 0], points[i, 1], points[i, 2])
        b = (points[j, 0], points[j, 1], points[j, 2])
        c = (points[k, 0], points[k, 1], points[k, 2])
        if min(a[2], b[2], c[2]) > -NEAR_M:
            continue
        first_row, last_row, first_column, last_column = 0, rows - 1, 0, columns - 1
        if max(a[2], b[2], c[2]) < -NEAR_M:  # before the camera as a whole: its rectangle of rays, and a hair around
            xa, xb, xc = -a[0] / a[2], -b[0] / b[2], -c[0] / c[2]
            ya, yb, yc = -a[1] / a[2], -b[1] / b[2], -c[1] / c[2]
            first_column = max(first_column, math.ceil((min(xa, xb, xc) - left) / step - 1e-6))
            last_column = min(last_column, math.floor((max(xa, xb, xc) - left) / step + 1e-6))
            first_row = max(first_row, math.ceil((top - max(ya, yb, yc)) / step - 1e-6))
            last_row = min(last_row, math.floor((top - min(ya, yb, yc)) / step + 1e-6))
            if first_row > last_row or first_column > last_column:
                continue
        ax, ay, az = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
        bx, by, bz = c[1] * a[2] - c[2] * a[1], c[2] * a[0] - c[0] * a[2], c[0] * a[1] - c[1] * a[0]
        cx, cy, cz = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
        volume = a[0] * ax + a[1] * ay + a[2] * az
        for row in range(first_row, last_row + 1):
            y = top - row * step
            for column in range(first_column, last_column + 1):
                if number == _ATTENUATES and transmittance[row, column] == 0.0:
                    continue  # hair is many strands deep, and nothing changes behind the first that is opaque
                x = left + column * step
                wa, wb, wc = x * ax + y * ay - az, x * bx + y * by - bz, x * cx + y * cy - cz
                if not ((wa >= 0 and wb >= 0 and wc >= 0) or (wa <= 0 and wb <= 0 and wc <= 0)):
                    continue
                total = wa + wb + wc
                if total == 0.0:
                    continue  # seen edge on
                away = volume / total
                if not NEAR_M < away < depth[row, column]:
                    continue
                u = (wa * corner_uv[t, 0, 0] + wb * corner_uv[t, 1, 0] + wc * corner_uv[t, 2, 0]) / total
                v = (wa * corner_uv[t, 0, 1] + wb * corner_uv[t, 1, 1] + wc * corner_uv[t, 2, 1]) / total
                if number == _ATTENUATES:
                    transmittance[row, column] *= 1.0 - _look_up(opacity, u, v) / 255
                else:
                    depth[row, column] = away
                    head[row, column] = number
                    uv[row, column, 0], uv[row, column, 1] = u, v
