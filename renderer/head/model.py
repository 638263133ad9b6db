"""The head model: a mesh with UV layers, a linear shape basis and landmarks. numpy and scipy only.

blend_assets/README.md describes every array of the head pack that it is read from. Everything is linear before the last
step:

    vertices = base + sum_t weight_t * target_t,   then the whole head is moved so that the midpoint of the ears of the
    *identity* (without expression) is the origin.

Head space: right-handed, metres, +X to the subject's left, +Y up, +Z out of the face. Weights come from macros (sex,
age, ...: products of piecewise linear functions), sliders (two-sided identity targets, -1..1) and units (expressions,
0..1). Sums run in a fixed order without BLAS, so results do not depend on threads or machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from renderer.errors import AssetError, SpecError

HEAD_HEIGHT_M: Final = 0.24  # chin to crown of the average head, the measure of `camera.fill`
IDENTITIES_KEPT: Final = 8  # more than the heads of a sample
DENSE_SHARE: Final = 0.5  # targets that move more than this share of the vertices are summed as whole arrays

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
_Values = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class SubdividedPart:
    """One Catmull-Clark level of a part; constant topology for a pack.

    operator: (V1, V) CSR on the pack's vertices; faces (F1, 4) index the V1 points; region (F1,); uv (F1, 4, 2)
    canonical; uv_skin (F1, 4, 2). UVs are interpolated linearly.
    """

    operator: sp.csr_matrix
    faces: Ints
    region: npt.NDArray[np.uint8]
    uv: npt.NDArray[np.float32]
    uv_skin: npt.NDArray[np.float32]

    def points(self, vertices: Floats) -> Floats:
        """(V1, 3) smooth points of (V, 3) pack vertices."""
        return np.asarray(self.operator @ vertices)


@dataclass(frozen=True)
class HeadModel:
    """A loaded head pack. Vertices are V, faces F, targets T; arrays are read-only by convention."""

    folder: Path
    info: Mapping[str, Any]
    vertices: Floats
    faces: Ints
    face_part: npt.NDArray[np.uint8]
    face_region: npt.NDArray[np.uint8]
    uv: npt.NDArray[np.float32]
    uv_skin: npt.NDArray[np.float32]
    mirror: Ints
    target_indptr: npt.NDArray[np.int64]
    target_index: Ints
    target_delta: npt.NDArray[Any]
    landmarks_uv: npt.NDArray[np.float32]
    landmarks_tri: Ints
    landmarks_bary: Floats
    landmarks_tri1: Ints
    landmarks_bary1: Floats
    lip_upper: Ints
    lip_lower: Ints
    parts1: Mapping[str, SubdividedPart] = field(repr=False)

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name of the head; UV frames of different heads must not be mixed."""
        return str(self.info["name"])

    @property
    def parts(self) -> tuple[str, ...]:
        """Names that `face_part` indexes."""
        return tuple(self.info["parts"])

    @property
    def regions(self) -> tuple[str, ...]:
        """Names that `face_region` indexes."""
        return tuple(self.info["regions"])

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Names of the expression units."""
        return tuple(t["name"] for t in self.info["targets"] if t["kind"] == "expression")

    @cached_property
    def sliders(self) -> tuple[str, ...]:
        """Names of the identity sliders; `slider_info` tells their targets and mirror."""
        return tuple(s["name"] for s in self.info["sliders"])

    @cached_property
    def slider_info(self) -> Mapping[str, Mapping[str, str | None]]:
        """Per slider: neg and pos target (or None) and the slider of the other side of the face (or None)."""
        return {s["name"]: s for s in self.info["sliders"]}

    @cached_property
    def macro_defaults(self) -> Mapping[str, float]:
        """Macro parameters and their values for the average adult."""
        return {n: float(p["default"]) for n, p in self.info["macros"]["parameters"].items()}

    @property
    def missing(self) -> tuple[str, ...]:
        """What the asset build could not get, in words; empty for a complete pack."""
        return tuple(self.info.get("missing", ()))

    def part_faces(self, part: str) -> npt.NDArray[np.intp]:
        """Indices into `faces` of one part."""
        return np.flatnonzero(self.face_part == self.parts.index(part))

    def subdivided(self, part: str = "skin") -> SubdividedPart:
        """One Catmull-Clark level of a part; raises AssetError where the pack holds none."""
        try:
            return self.parts1[part]
        except KeyError:
            raise AssetError(f"head {self.name!r} has no subdivided {part!r}; it has {sorted(self.parts1)}") from None

    # -- weights ---------------------------------------------------------------------------------------------------

    @cached_property
    def _target_number(self) -> Mapping[str, int]:
        return {t["name"]: i for i, t in enumerate(self.info["targets"])}

    @cached_property
    def _macro_targets(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        return tuple((i, tuple(t["factors"])) for i, t in enumerate(self.info["targets"]) if t["kind"] == "macro")

    def macro_weights(self, macros: Mapping[str, float]) -> dict[int, float]:
        """Weights by target number of the macro parameters; what is not given has its default.

        Ancestry parameters are weights: they are scaled to sum to 1 (all 0 means equal shares).
        Raises SpecError for an unknown parameter or a value out of range.
        """
        table = self.info["macros"]
        values = dict(self.macro_defaults)
        for name, value in macros.items():
            if name not in values:
                raise SpecError(f"unknown macro {name!r}; known are {sorted(values)}")
            low, high = table["parameters"][name]["low"], table["parameters"][name]["high"]
            if not low <= value <= high:
                raise SpecError(f"macro {name!r} is {value}, allowed is {low} to {high}")
            values[name] = float(value)
        for group in table["normalised"]:
            total = math.fsum(values[n] for n in group)
            for n in group:
                values[n] = values[n] / total if total > 0 else 1 / len(group)
        factor = {
            word: float(np.interp(values[f["parameter"]], *np.transpose(f["knots"])))
            for word, f in table["factors"].items()
        }
        weights: dict[int, float] = {}
        for number, words in self._macro_targets:
            weight = math.prod(factor[w] for w in words)
            if weight != 0.0:
                weights[number] = weight
        return weights

    def slider_weights(self, sliders: Mapping[str, float]) -> dict[int, float]:
        """Weights by target number of identity sliders; a negative value drives the slider's neg target.

        Raises SpecError for an unknown slider, a value that is not finite, or the side of a slider that has no target.
        """
        weights: dict[int, float] = {}
        for name, value in sliders.items():
            info = self.slider_info.get(name)
            if info is None:
                raise SpecError(f"unknown identity slider {name!r}; `gen assets list` names them")
            if not math.isfinite(value):
                raise SpecError(f"identity slider {name!r} is {value}")
            if value == 0.0:
                continue
            target = info["pos"] if value > 0 else info["neg"]
            if target is None:
                raise SpecError(f"identity slider {name!r} is one-sided: {value} has no target")
            weights[self._target_number[target]] = abs(float(value))
        return weights

    def unit_weights(self, units: Mapping[str, float]) -> dict[int, float]:
        """Weights by target number of expression units. Raises SpecError for an unknown or non-finite one."""
        weights: dict[int, float] = {}
        for name, value in units.items():
            number = self._target_number.get(name)
            if number is None or self.info["targets"][number]["kind"] != "expression":
                raise SpecError(f"unknown expression unit {name!r}; known are {list(self.units)}")
            if not math.isfinite(value):
                raise SpecError(f"expression unit {name!r} is {value}")
            if value != 0.0:
                weights[number] = float(value)
        return weights

    # -- shapes ----------------------------------------------------------------------------------------------------

    def identity_vertices(
        self, macros: Mapping[str, float] | None = None, sliders: Mapping[str, float] | None = None
    ) -> Floats:
        """(V, 3) vertices without expression, in metres, the origin midway between this identity's ears.

        The last few identities are remembered: a sample's draw, its meshes and its record ask for the same ones. The
        array is read-only.
        """
        return self._identity(tuple(sorted((macros or {}).items())), tuple(sorted((sliders or {}).items())))

    @cached_property
    def _identity(self) -> Callable[[_Values, _Values], Floats]:
        @lru_cache(maxsize=IDENTITIES_KEPT)
        def identity(macros: _Values, sliders: _Values) -> Floats:
            out = self.vertices.copy()
            self._add(out, self.macro_weights(dict(macros)))
            self._add(out, self.slider_weights(dict(sliders)))
            out -= out[list(self.info["origin_vertices"])].mean(axis=0)
            out.flags.writeable = False
            return out

        return identity

    def expressed(self, vertices: Floats, units: Mapping[str, float]) -> Floats:
        """(V, 3) identity vertices with expression units added; the origin stays where it is."""
        out = vertices.copy()
        self._add(out, self.unit_weights(units))
        return out

    def evaluate(
        self,
        macros: Mapping[str, float] | None = None,
        sliders: Mapping[str, float] | None = None,
        units: Mapping[str, float] | None = None,
    ) -> Floats:
        """(V, 3) float64 vertices of an identity with an expression."""
        return self.expressed(self.identity_vertices(macros, sliders), units or {})

    @cached_property
    def _targets(self) -> list[tuple[npt.NDArray[np.intp] | None, npt.NDArray[np.float32] | Floats]]:
        """Per target: (vertex indices, deltas (n, 3)), or (None, deltas (V, 3)) if it moves most vertices."""
        step = float(self.info["target_step_m"])
        out: list[tuple[npt.NDArray[np.intp] | None, npt.NDArray[np.float32] | Floats]] = []
        for start, end in zip(self.target_indptr[:-1], self.target_indptr[1:], strict=True):
            index = self.target_index[start:end]
            delta = self.target_delta[start:end].astype(np.float64) * step
            if len(index) > DENSE_SHARE * len(self.vertices):
                dense = np.zeros(self.vertices.shape, np.float32)
                dense[index] = delta
                out.append((None, dense))
            else:
                out.append((index.astype(np.intp), delta))
        return out

    @cached_property
    def target_matrix(self) -> sp.csr_matrix:
        """(V, 3 T) sparse: what each target at weight 1 adds to each vertex, in metres; column 3 t + axis."""
        count, targets = len(self.vertices), len(self.target_indptr) - 1
        number = np.repeat(np.arange(targets), np.diff(self.target_indptr))
        columns = number[:, None] * 3 + np.arange(3)
        rows = np.repeat(self.target_index, 3)
        values = self.target_delta.astype(np.float64).ravel() * float(self.info["target_step_m"])
        return sp.csr_matrix((values, (rows, columns.ravel())), shape=(count, 3 * targets))

    def _add(self, out: Floats, weights: Mapping[int, float]) -> None:
        """Add weighted targets in the order of their numbers."""
        targets = self._targets
        scratch = np.empty_like(out)
        for number in sorted(weights):
            index, delta = targets[number]
            if index is None:
                np.multiply(delta, weights[number], out=scratch)
                out += scratch
            else:
                out[index] += delta * weights[number]  # indices of a target are unique

    # -- what hangs on the surface ---------------------------------------------------------------------------------

    def landmarks(self, vertices: Floats) -> Floats:
        """(68, 3) landmarks on the base mesh of (V, 3) vertices, iBUG order, subject's right first."""
        return np.asarray(np.einsum("lkc,lk->lc", vertices[self.landmarks_tri], self.landmarks_bary))

    def landmarks_smooth(self, points: Floats) -> Floats:
        """(68, 3) landmarks on the subdivided skin; points: (V1, 3) from `subdivided("skin").points(vertices)`."""
        return np.asarray(np.einsum("lkc,lk->lc", points[self.landmarks_tri1], self.landmarks_bary1))

    def lip_gap(self, vertices: Floats) -> float:
        """Mean distance in metres of three pairs of points on the lips' inner edges; about 2 mm if shut."""
        return _gap(vertices[self.lip_upper], vertices[self.lip_lower])

    def expressed_lip_gap(self, vertices: Floats, units: Mapping[str, float]) -> float:
        """`lip_gap` of `expressed(vertices, units)`, to the last bit, from the few vertices of the lips alone."""
        lips = vertices[self._lips]
        for number, weight in sorted(self.unit_weights(units).items()):
            lips += self._lip_deltas[number] * weight
        return _gap(*np.split(lips, 2))

    @cached_property
    def _lips(self) -> Ints:
        return np.concatenate([self.lip_upper, self.lip_lower])

    @cached_property
    def _lip_deltas(self) -> list[npt.NDArray[np.float32] | Floats]:
        """Per target: (len(_lips), 3) what it adds to the lips' vertices at weight 1."""
        out: list[npt.NDArray[np.float32] | Floats] = []
        for index, delta in self._targets:
            if index is None:
                out.append(delta[self._lips])
            else:
                moved = np.zeros(self.vertices.shape)
                moved[index] = delta
                out.append(moved[self._lips])
        return out

    @cached_property
    def neutral_lip_gap(self) -> float:
        """`lip_gap` of the average adult (default macros) without expression, in metres."""
        return self.lip_gap(self.identity_vertices())

    def proxy_names(self, kind: str) -> tuple[str, ...]:
        """Names of the bound meshes of a kind (eyes, teeth, tongue, eyebrows, eyelashes, hair, hats)."""
        return tuple(p["name"] for p in self.info["proxies"] if p["kind"] == kind)

    def skins(self) -> tuple[Mapping[str, Any], ...]:
        """Skin textures in the frame of `uv_skin`: {name, file, age, ancestry, sex, ...}; may be empty."""
        return tuple(self.info["skins"])

    def hdris(self) -> tuple[Mapping[str, Any], ...]:
        """Environment maps: {name, file, width, height, licence, credit, ...}; may be empty."""
        return tuple(self.info["hdris"])

    def path(self, relative: str) -> Path:
        """A file of the pack; raises AssetError if it is not there."""
        path = self.folder / relative
        if not path.is_file():
            raise AssetError(f"{path} is missing: run `gen assets build`")
        return path

    @property
    def mask_path(self) -> Path:
        """Frontal-face mask, 8 bit, 1024 x 1024, canonical UV with V = 1 in row 0; the border is at one half."""
        return self.path(str(self.info["face_mask"]))


def _gap(upper: Floats, lower: Floats) -> float:
    return float(np.linalg.norm(upper - lower, axis=1).mean())
