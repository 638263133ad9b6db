"""A head's body and clothes as meshes in the world: the neck between both, bare skin, garments. numpy and scipy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from renderer.head.body import NECK, NECK_AXIS_Z_M, articulated, headness, load_body
from renderer.head.deform import deformed
from renderer.head.garments import PATTERNS, bare, shell, worn
from renderer.head.mesh_kit import smoothstep
from renderer.head.model import HeadModel
from renderer.head.pose import Points
from renderer.head.shells import Shell, normals
from renderer.parameters.params import Head

_TUCK_M: Final = 0.006  # the body's skin goes under the head's at the neck
_TUCK_HEIGHTS_M: Final = (-0.185, -0.16)  # on the average head

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


class Cloth(NamedTuple):
    """A mesh of the body. faces: (F, 4), -1 as fourth corner of a triangle. slots: (F,). rest: (V, 3) metres."""

    name: str  # body:..., or clothes:LAYER:KIND
    faces: Ints
    uvs: Mapping[str, Floats]
    slots: Ints
    rest: Points
    vertices: Points  # (V, 3) world, metres


class Dresser:
    """Dresses heads; keeps garments as they are cut. Raises AssetError where the head pack has no body."""

    def __init__(self, model: HeadModel, skin_rest: Points) -> None:
        """skin_rest: (V1, 3) points of the head's skin on the base shape."""
        self.model, self.body = model, load_body(Path(model.folder), model)
        sub = model.subdivided("skin")
        neck = sub.region == model.regions.index("neck")
        on_head = np.zeros(len(skin_rest), bool)
        on_head[sub.faces[~neck]] = True
        front = np.unravel_index(skin_rest[sub.faces[neck]][..., 1:].sum(axis=-1).argmax(), (int(neck.sum()), 4))
        self._throat = {"uv": np.full(2, -1.0, np.float32), "uv_skin": sub.uv_skin[neck][front]}
        self._skin_share = np.where(on_head, 1.0, headness(skin_rest))
        low, high = _TUCK_HEIGHTS_M
        radius = np.hypot(self.body.rest[:, 0], self.body.rest[:, 2] - NECK_AXIS_Z_M)
        on_neck = smoothstep((self.body.rest[:, 1] - low) / (high - low)) * (1 - smoothstep((radius - 0.075) / 0.025))
        self._tuck = _TUCK_M * on_neck
        self._last: tuple[Any, Points, Points] = (None, np.empty(0), np.empty(0))
        self._shell = lru_cache(maxsize=None)(self._cut)
        self._bare = lru_cache(maxsize=None)(self._bare_faces)

    def skin(self, points: Points, head: Head, low: float, high: float) -> Points:
        """(V1, 3) skin of a head in head space, deformed, to the world: its neck bends towards the body."""
        assert head.clothes is not None
        _, pivot = self._at_rest(head, low, high)
        return articulated(points, self._skin_share, pivot, head.pose, head.clothes)

    def clothes(self, head: Head, low: float, high: float) -> Iterator[Cloth]:
        """The bare part of the body, if any, then the garments from the inner to the outer one.

        low, high: vertical extent that the head's deformation is measured against.
        """
        assert head.clothes is not None
        body, clothes = self.body, head.clothes
        at_rest, pivot = self._at_rest(head, low, high)
        points = body.points(at_rest, clothes.arms_rad)
        away = normals(points, body.faces)

        def placed(mesh: Points, rest: Points) -> Points:
            return articulated(deformed(mesh, head.deform, low, high), headness(rest), pivot, head.pose, clothes)

        faces = self._bare(tuple(g.kind for g in clothes.garments))
        if len(faces):
            skin = placed(points - away * self._tuck[:, None], body.rest)
            name = "body:" + ":".join(sorted({g.kind for g in clothes.garments}))
            uvs = {layer: np.tile(uv, (len(faces), 4, 1)) for layer, uv in self._throat.items()}  # one colour, no face
            yield Cloth(name, faces, uvs, np.zeros(len(faces), np.int32), body.rest, skin)
        for number, garment in enumerate(clothes.garments):
            cut, rest = self._shell(garment.kind)
            made = worn(cut, body, points, away, garment.thickness_m, garment.folds_m, garment.seed)
            yield Cloth(f"clothes:{number}:{garment.kind}", cut.faces, {}, cut.slots, rest, placed(made, rest))

    def _at_rest(self, head: Head, low: float, high: float) -> tuple[Points, Points]:
        """The body's vertices at rest, and the point about which its neck turns."""
        key = (head.identity, head.deform)
        if self._last[0] != key:
            at_rest = self.body.at_rest(self.model, head.identity)
            joint = at_rest[self.body.joints[NECK]].mean(axis=0, keepdims=True)
            self._last = key, at_rest, deformed(joint, head.deform, low, high)[0]
        return self._last[1], self._last[2]

    def _cut(self, kind: str) -> tuple[Shell, Points]:
        """A garment and where its points are on the average body."""
        cut = shell(self.body, PATTERNS[kind])
        rest = np.asarray(cut.rows @ self.body.rest)
        return cut, rest + cut.up[:, None] * (0.0, 1.0, 0.0)

    def _bare_faces(self, kinds: tuple[str, ...]) -> Ints:
        return self.body.faces[bare(self.body, [PATTERNS[kind] for kind in kinds])]
