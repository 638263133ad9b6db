"""Fits what a head wears: thing after thing, each over the ones before it. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from renderer.head.mesh_kit import Floats, Ints
from renderer.head.model import HeadModel
from renderer.head.worn.kinds import KINDS
from renderer.head.worn.site import Fitted, Site, halves
from renderer.head.worn.surface import Surface
from renderer.parameters.params import Worn

CHEEK_PATCH_M: Final = 0.02  # of the cheek's picture, repeated over a hand


@dataclass(frozen=True)
class Fitter:
    """Knows the skin whose points `fit` is given: faces (F, 4), -1 as fourth corner of a triangle; corners (T, 3).

    outer: (F,) is it seen from outside? uvs: layer -> (F, 4, 2). rest: (V, 3) of the model's own shape, metres.
    """

    model: HeadModel
    faces: npt.NDArray[np.int32]
    corners: npt.NDArray[np.int32]
    outer: npt.NDArray[np.bool_]
    uvs: Mapping[str, npt.NDArray[np.float32]]
    rest: Floats

    def fit(self, things: Sequence[Worn], skin: Floats, eyes: Floats, ears: Floats) -> tuple[list[Fitted], Site]:
        """The things on a head, and the head with all of them on.

        skin: (V, 3) points with their expression, undeformed, metres. eyes, ears: (2, 3), right first.
        """
        surface = Surface(skin, self.corners)
        landmarks = self.model.landmarks_smooth(skin)
        site = Site(surface, surface.copy(), None, skin, self.faces, landmarks, eyes, ears)
        done = []
        for thing in things:
            kind = KINDS[thing.kind]
            made = kind.build(site, thing.shape)
            done.append(made)
            corners = halves(made.faces)
            if kind.solid:
                site.surface.cover(made.vertices, corners)
            if thing.kind == "hat":
                site = replace(site, hat=Surface(made.vertices, corners))
        return done, site

    def skin_uvs(self, pattern: Floats, faces: Ints) -> dict[str, npt.NDArray[np.float32]]:
        """UV layers (F, 4, 2) of other skin, a hand's: a patch of cheek over and over, mirrored where it repeats."""
        folded = np.abs((pattern[:, :2] / CHEEK_PATCH_M + 0.5) % 2 - 1) - 0.5
        return {
            layer: (middle + size * folded)[faces].astype(np.float32) for layer, (middle, size) in self._cheek.items()
        }

    @cached_property
    def _cheek(self) -> dict[str, tuple[Floats, float]]:
        """By UV layer: the middle of a patch of cheek, and its size."""
        points = self.model.landmarks_smooth(self.rest)
        outer = np.unique(self.faces[self.outer, :3])
        at = outer[np.linalg.norm(self.rest[outer] - points[[14, 35, 54]].mean(axis=0), axis=1).argmin()]
        face, corner = np.argwhere(self.faces == at)[0]
        quad = self.rest[self.faces[face]]
        length = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1).mean()
        patch = {}
        for layer, uv in self.uvs.items():
            side = np.linalg.norm(uv[face] - np.roll(uv[face], -1, axis=0), axis=1).mean()
            patch[layer] = (uv[face, corner].astype(np.float64), float(side / length * CHEEK_PATCH_M))
        return patch
