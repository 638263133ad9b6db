"""What a sample must be, known without Blender: heads and geometry from its record, and labels compared with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from blend_assets.standard import find_pack
from renderer.errors import AssetError
from renderer.format.sample_format import DRAW_VERSION, PURE, RENDER_VERSION
from renderer.head.catalog import build_catalog, pack_folder
from renderer.head.pack import load_head
from renderer.head.parts import PartBuilder, triangles
from renderer.labels import maps
from renderer.labels.camera import project, second_camera
from renderer.labels.record import sample_record
from renderer.labels.vertices import vertices_problem
from renderer.parameters.from_record import head_from_record
from renderer.parameters.params import Camera
from renderer.parameters.spec import parse_spec
from renderer.sampling.draw import draw

_POINTS = 400  # skin points that are projected per sample
_HIDDEN_PX = 6.0  # what hides a point must lie so near to it in the image
_ENOUGH = 20  # points that a verdict about a sample needs
UV_TOLERANCE_PX = 0.25  # a sound map is within 0.1; beyond the median, points may hide behind other parts of the face
# Of the face points that are turned to the camera and not hidden, so many must be where the labels say
AGREE_SHARE = 0.5


@dataclass(frozen=True)
class Agreement:
    """How a UV map and a mask fit the points of a head that is known to be there."""

    expected: int  # points of the face area that are turned to the camera, within the frame
    covered: int  # those of them that the mask touches
    pure: int  # those of them that lie in pure face, and that no nearer part of it hides
    near: int  # those of `pure` whose UV is within about six pixels of where the map shows it
    errors: Any  # (n,) errors in pixels where the map is smooth


class Reference:
    """What a sample must be, known without Blender: its record is drawn again, its geometry built and projected.

    Where a point of the skin is visible, the UV map must show the point's own UV at the pixel it falls on. The error is
    the distance in pixels to the position that has this UV, by the map's own gradient.
    Raises AssetError where the assets of the data set are not on this machine.
    """

    def __init__(self, info: dict[str, Any]) -> None:

        folder = pack_folder(info)
        self.info, self.spec = info, parse_spec(info["spec"], "dataset.json")
        self.model, self.catalog = load_head(folder), build_catalog(folder, self.spec, find_pack())
        if changed := [k for k, v in self.catalog.identity().items() if info["assets"].get(k, v) != v]:
            raise AssetError(f"the assets on this machine are not those of the data set: {', '.join(changed)} differ")
        self.builder = PartBuilder(self.model, self.catalog)
        skin = self.builder.skin
        at = np.full((len(skin.rest if skin.rest is not None else ()), 2), -1.0)
        at[skin.faces[skin.faces >= 0]] = skin.uvs["uv"].reshape(-1, 2)[(skin.faces >= 0).ravel()]
        inside = np.flatnonzero(((at > 0.02) & (at < 0.98)).all(axis=1))
        inside = inside[maps.look_up(maps.load_face_area(self.model.mask_path), at[inside])]
        self.face_points, self.face_uv = inside, cKDTree(at[inside])
        self.points = inside[:: max(1, len(inside) // _POINTS)]
        self.uv = at[self.points]
        corners = triangles(skin)[0]
        self.triangles = corners[np.isin(corners, self.points).any(axis=1)]  # those about the chosen points

    def problems(self, record: dict[str, Any], images: dict[str, Any], errors: list[float]) -> Iterable[str]:
        """Where a sample is not what (spec, seed, index) and geometry give. Adds median UV errors to `errors`."""
        yield from self.record_problems(record, images)
        heads = tuple(head_from_record(head) for head in record["heads"])
        if "vertices" in images and (found := vertices_problem(images["vertices"], self.builder, heads)):
            yield found
        yield from self.uv_problems(record, images, errors)

    def record_problems(self, record: dict[str, Any], images: dict[str, Any]) -> Iterable[str]:
        """Where the stored record differs from one made anew from (spec, seed, index)."""

        if self.not_redrawn:
            return
        index, seed, tag = record["index"], self.info["seed"], self.info["tag"]
        params = draw(self.spec, seed, index, self.catalog, self.model, tag)
        fresh = sample_record(params, self.spec, self.builder, record["measured"], images)
        if found := next(_differences(record, fresh), ""):
            yield f"the record is not what (spec, seed, index) gives: {found}"

    @property
    def not_redrawn(self) -> str:
        """Why records cannot be made anew: other code made them, which may well have been right; empty: they can."""
        here = {"draw_version": DRAW_VERSION, "render_version": RENDER_VERSION}
        other = [f"{k} {self.info.get(k, 'not stated')} (here {v})" for k, v in here.items() if self.info.get(k) != v]
        return f"records were not drawn again, as other code made them: {', '.join(other)}" if other else ""

    def skin(self, head: dict[str, Any]) -> Any:
        """(V, 3) skin vertices in the world, metres, of one of a record's heads; faces are `builder.skin.faces`."""
        return self.builder.skin_points(head_from_record(head))

    def uv_problems(self, record: dict[str, Any], images: dict[str, Any], errors: list[float]) -> Iterable[str]:
        """Where UV and mask, also of a second view, disagree with the geometry. Adds median errors to `errors`."""
        views = {"": 0.0} | ({"view2_": record["second_camera_yaw_rad"]} if "view2_uv" in images else {})
        for view, yaw_rad in views.items():
            uv, face = images[f"{view}uv"].astype(np.float64), images[f"{view}mask"][..., 0]
            found = self.agreement(record, uv, face, yaw_rad)
            if found is None:
                continue
            if len(found.errors):
                errors.append(float(np.median(found.errors)))
            yield from _uv_problems(found, view, self.info["spec"]["render"]["hidden_face"] == "counted")

    def agreement(self, record: dict[str, Any], uv: Any, face: Any, yaw_rad: float = 0.0) -> Agreement | None:
        """Labels of a view against points of the head nearest to the camera, which no other hides; None: no face."""
        if not record["heads"]:
            return None
        camera, turn = Camera(**record["camera"]), second_camera(yaw_rad)
        height, width = uv.shape[:2]
        size = width, height
        nearest = max(record["heads"], key=lambda head: float(turn[2] @ head["pose"]["position_m"]))
        if nearest["pose"].get("away"):
            return None  # the rim of a face seen from behind lies behind ears and neck, which are no points of it
        skin = self.skin(nearest) @ turn.T
        pixels = project(skin[self.points], camera, size)
        column, row = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
        c, r = np.floor(column).astype(int), np.floor(row).astype(int)
        within = (c >= 0) & (r >= 0) & (c < width - 1) & (r < height - 1) & (pixels[:, 2] > 0)
        within &= self._faces_camera(skin, camera)
        c, r, fx, fy = c[within], r[within], (column - c)[within, None], (row - r)[within, None]
        want = self.uv[within]
        corners = [uv[r, c], uv[r, c + 1], uv[r + 1, c], uv[r + 1, c + 1]]
        cover = np.stack([face[r, c], face[r, c + 1], face[r + 1, c], face[r + 1, c + 1]])
        pure = (cover >= PURE).all(axis=0)
        du = (corners[1] - corners[0]) * (1 - fy) + (corners[3] - corners[2]) * fy
        dv = (corners[2] - corners[0]) * (1 - fx) + (corners[3] - corners[1]) * fx
        here = (
            corners[0] * (1 - fx) * (1 - fy) + corners[1] * fx * (1 - fy)
            + corners[2] * (1 - fx) * fy + corners[3] * fx * fy
        )  # fmt: skip
        determinant = du[:, 0] * dv[:, 1] - du[:, 1] * dv[:, 0]
        scale = np.maximum(np.abs(du).max(axis=1), np.abs(dv).max(axis=1))
        # A point whose UV is far from what its pixels show is hidden behind another part of the face. The yardstick
        # comes from the geometry: with its own slopes a map of noise would excuse itself
        yardstick = 6 * maps.spread(want) / max(maps.spread(pixels[within, :2]), 1.0)
        off_by = np.abs(want - here).max(axis=1)
        pure &= ~self._hidden(skin, camera, pixels[within], here, size, np.where(off_by < yardstick, 0.0, yardstick))
        near = pure & (off_by < yardstick)
        # At creases and grazing angles the map has no useful gradient
        good = pure & (off_by < 6 * scale) & (np.abs(determinant) > 0.05 * scale**2) & (scale > 0) & (scale < 0.08)
        off, a, b, d = (want - here)[good], du[good], dv[good], determinant[good]
        x = (off[:, 0] * b[:, 1] - off[:, 1] * b[:, 0]) / d
        y = (a[:, 0] * off[:, 1] - a[:, 1] * off[:, 0]) / d
        covered = (cover > 0).any(axis=0)
        return Agreement(len(c), int(covered.sum()), int(pure.sum()), int(near.sum()), np.hypot(x, y))

    def _hidden(self, skin: Any, camera: Camera, pixels: Any, here: Any, size: tuple[int, int], yardstick: Any) -> Any:
        """Which points the head itself hides: the part of the face that the map shows there lies there, and nearer.

        pixels: (n, 3) column, row and depth of the points. here: (n, 2) the UV shown. yardstick: (n,) six pixels in UV;
        0: not asked.
        """
        distance, shown = self.face_uv.query(np.nan_to_num(here))
        where = project(skin[self.face_points[shown]], camera, size)
        off_px = np.hypot(*(where[:, :2] - pixels[:, :2]).T)
        return (distance < yardstick) & (off_px < _HIDDEN_PX) & (where[:, 2] < pixels[:, 2])

    def _faces_camera(self, skin: Any, camera: Camera) -> Any:
        """Which of the chosen points lie on skin that is turned to the camera."""
        corners = skin[self.triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # as long as the area
        smooth = np.stack(
            [np.bincount(self.triangles.ravel(), np.repeat(normals[:, axis], 3), len(skin)) for axis in range(3)],
            axis=1,
        )[self.points]
        towards = np.array([0.0, 0.0, camera.distance_m]) - skin[self.points]
        lengths = np.linalg.norm(smooth, axis=1) * np.linalg.norm(towards, axis=1)
        return (smooth * towards).sum(axis=1) > 0.2 * lengths


def _uv_problems(found: Agreement, view: str, counted: bool) -> Iterable[str]:
    """What an agreement says against a sample, in words. counted: the mask spans face behind occluders, too."""
    if counted and found.expected >= _ENOUGH and found.covered < AGREE_SHARE * found.expected:
        yield f"the {view}mask holds {found.covered} of {found.expected} points where the geometry has the face"
    if found.pure >= _ENOUGH and found.near < AGREE_SHARE * found.pure:
        yield f"{view}UV fits the geometry at {found.near} of {found.pure} points only"
    if len(found.errors) >= _ENOUGH and (error := float(np.median(found.errors))) > UV_TOLERANCE_PX:
        yield f"{view}UV disagrees with the geometry by {error:.2f} pixels (median); {UV_TOLERANCE_PX} is allowed"


def _differences(stored: Any, fresh: Any, name: str = "") -> Iterator[str]:
    """Where a stored record differs from a fresh one. What it lacks does not count: older headforges wrote less.

    Numbers may differ in the last digits, as they do between CPUs.
    """
    if isinstance(stored, dict) and isinstance(fresh, dict):
        for key, value in stored.items():
            where = f"{name}.{key}" if name else key
            yield from _differences(value, fresh[key], where) if key in fresh else [f"{where} is not a parameter"]
    elif isinstance(stored, list) and isinstance(fresh, list) and len(stored) == len(fresh):
        for number, (a, b) in enumerate(zip(stored, fresh, strict=True)):
            yield from _differences(a, b, f"{name}.{number}")
    elif isinstance(stored, float) and isinstance(fresh, (int, float)):
        if not math.isclose(stored, fresh, rel_tol=1e-6, abs_tol=2e-3 if name.startswith("landmarks") else 1e-9):
            yield f"{name} is {stored!r}, not {fresh!r}"
    elif stored != fresh or type(stored) is not type(fresh):
        yield f"{name} is {stored!r}, not {fresh!r}"
