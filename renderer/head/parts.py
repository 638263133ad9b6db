"""A head as a list of meshes: skin, eyes, teeth, tongue, brows, lashes, hair, hat, glasses. numpy only.

A part's topology is fixed and named; only its vertices change from sample to sample. Parts come out in world space,
deformed and posed, ready to be handed to Blender or to a ray caster.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.head.catalog import Catalog
from renderer.head.deform import deformed, vertical_extent
from renderer.head.dress import Dresser
from renderer.head.glasses import Glasses, glasses
from renderer.head.model import HEAD_HEIGHT_M, HeadModel, SubdividedPart
from renderer.head.pca import rest_vertices
from renderer.head.pose import Points, euler_matrix, posed
from renderer.head.props import PROPS
from renderer.head.proxy import load_proxy, proxy_vertices
from renderer.head.worn.fitting import Fitter
from renderer.head.worn.kinds import KINDS
from renderer.head.worn.site import Site
from renderer.head.worn.strands import tucked
from renderer.parameters.params import Head, Pose, Prop, Vec3

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

SKIN_SLOTS: Final = ("skin", "mouth", "sockets")
NOSE_BRIDGE: Final = 27  # of the 68 landmarks: the highest one of the nose
SHAPES_KEPT: Final = 8  # more than the heads of a sample

WORN: Final = frozenset({"hair", "hat", "glasses", "fitted", "clothes"})
"""Kinds of part that occlude the face; props do, too."""

PROXY_FOLDERS: Final = {
    "eyes": "eyes",
    "teeth": "teeth",
    "tongue": "tongue",
    "brows": "eyebrows",
    "lashes": "eyelashes",
    "hair": "hair",
    "hat": "hats",
}
"""Kind of part -> kind of bound mesh in the head pack."""


@dataclass(frozen=True)
class Topology:
    """What stays the same about a part.

    faces: (F, 4), -1 as fourth corner of a triangle. uvs: layer name -> (F, 4, 2). slots: (F,) material slot.
    rest: (V, 3) coordinates that textures stick to, in head heights.
    """

    faces: Ints
    uvs: Mapping[str, Floats] = field(default_factory=dict)
    slots: Ints | None = None
    rest: Floats | None = None


@dataclass(frozen=True)
class Part:
    """One mesh of a head or prop."""

    kind: str  # skin, eyes, teeth, tongue, brows, lashes, hair, hat, glasses, fitted, body, clothes, prop, statue
    name: str  # tells topologies apart; parts of one name have one topology
    topology: Topology
    vertices: Floats  # (V, 3) world, metres


@dataclass(frozen=True)
class Shown:
    """A part in a scene. number: of its head or prop, from 0. head: None for a prop or statue."""

    part: Part
    number: int
    head: Head | None


@dataclass(frozen=True)
class Shape:
    """A head evaluated: vertices in head space, metres, before the pose. Shared, so read-only.

    neutral, expressed: (V, 3) of the identity at rest and with its expression. deformed: (V, 3), as rendered. skin:
    (V1, 3) of the subdivided skin, deformed. low, high: vertical extent that the deformation is measured against.
    """

    neutral: Points
    expressed: Points
    deformed: Points
    skin: Points
    low: float
    high: float


class PartBuilder:
    """Builds parts from parameters; keeps what does not change between samples."""

    def __init__(self, model: HeadModel, catalog: Catalog) -> None:
        self.model, self.catalog = model, catalog
        sub = model.subdivided("skin")
        cap, self._neck_ring = _neck_cap(sub.faces)
        self.skin = self._skin_topology(sub, cap)
        self._proxy = lru_cache(maxsize=None)(partial(load_proxy, model))
        self._recent: deque[tuple[Any, Shape]] = deque(maxlen=SHAPES_KEPT)
        self.skin_vertices = np.unique(model.faces[model.part_faces("skin")])  # of the pack, before subdivision
        self._base_parts = {
            name: _compact(model.faces[model.part_faces(name)])
            for name in ("eye_l", "eye_r", "teeth_upper", "teeth_lower", "tongue")
        }

        corners = self.skin.uvs["uv"].reshape(-1, 2)
        in_area = ((corners >= 0) & (corners <= 1)).all(axis=1).reshape(-1, 4).any(axis=1)
        around = self.skin.faces[in_area]
        self.face_vertices = np.unique(around[around >= 0])  # skin vertices that the face area can touch
        self._skin_mirror = skin_mirror(sub, model.regions.index("face"))

    def _skin_topology(self, sub: SubdividedPart, cap: Ints) -> Topology:
        """The subdivided skin, closed below by `cap`."""
        regions = self.model.regions
        slots = np.zeros(len(sub.faces) + len(cap), np.int32)
        region = np.concatenate([sub.region, np.full(len(cap), regions.index("neck"), np.uint8)])
        slots[region == regions.index("mouth")] = SKIN_SLOTS.index("mouth")
        slots[region == regions.index("socket")] = SKIN_SLOTS.index("sockets")
        off = np.full((len(cap), 4, 2), -1.0, np.float32)
        return Topology(
            faces=np.concatenate([sub.faces, cap]),
            uvs={"uv": np.concatenate([sub.uv, off]), "uv_skin": np.concatenate([sub.uv_skin, 0 * off])},
            slots=slots,
            rest=(self._smooth(self.model.vertices) / HEAD_HEIGHT_M).astype(np.float32),
        )

    def mirror_map(self, canonical: bool) -> tuple[Vec3, Vec3]:
        """(location, scale) of the UV mapping that mirrors a face texture about the middle of the face."""
        return ((1.0, 0.0, 0.0), (-1.0, 1.0, 1.0)) if canonical else self._skin_mirror

    def picture(self, part: Part) -> Path:
        """The picture on a bound mesh."""
        kind, name = part.name.split(":", 1)
        return next(iter(self._proxy(PROXY_FOLDERS[kind], name).textures.values()))

    def shape(self, head: Head) -> Shape:
        """A head evaluated. The last few are remembered: meshes, record and checks of a sample need the same ones."""
        key = (head.identity, head.expression, head.deform)
        for known, shape in self._recent:
            if known == key:
                return shape
        neutral = rest_vertices(self.model, head.identity)
        expressed = self.model.expressed(neutral, head.expression.units)
        low, high = vertical_extent(expressed[self.skin_vertices], head.deform)
        moved = deformed(expressed, head.deform, low, high)
        shape = Shape(neutral, expressed, moved, self._smooth(moved), low, high)
        for points in (shape.expressed, shape.deformed, shape.skin):
            points.flags.writeable = False
        self._recent.append((key, shape))
        return shape

    def landmarks(self, head: Head) -> Points:
        """(68, 3) landmarks in the world: on the skin as it is rendered."""
        return posed(self.model.landmarks_smooth(self.shape(head).skin), head.pose)

    def build(self, head: Head, *, bare: bool = False) -> list[Part]:
        """Every part of a head; `bare` leaves out what it wears."""
        shape = self.shape(head)
        fitted, site = self._fitted(head, shape) if head.wear.fitted and not bare else ([], None)
        added = [self._bound(head, shape, *names, site) for names in self._proxies(head, bare)]
        if head.wear.glasses is not None and not bare:
            added.append(self._glasses(head, shape))
        added += fitted
        kinds = {part.kind for part in added}
        base = [] if "eyes" in kinds else ["eye_l", "eye_r"]
        base += [] if "teeth" in kinds else ["teeth_upper", "teeth_lower", "tongue"]
        if head.clothes is not None:
            added += self._dressed(head, shape)
        skin = Part("skin", "skin", self.skin, self.skin_points(head).astype(np.float32))
        return [skin, *(self._base_part(name, shape, head.pose) for name in base), *added]

    def skin_points(self, head: Head) -> Points:
        """(V1, 3) skin in the world, metres; faces are `skin.faces`. With a body, the neck bends towards it."""
        shape = self.shape(head)
        if head.clothes is None:
            return posed(shape.skin, head.pose)
        return self._dresser.skin(shape.skin, head, shape.low, shape.high)

    @cached_property
    def _dresser(self) -> Dresser:
        return Dresser(self.model, self._smooth(self.model.vertices))

    def _dressed(self, head: Head, shape: Shape) -> list[Part]:
        """The bare part of the body and the garments."""
        parts = []
        for cloth in self._dresser.clothes(head, shape.low, shape.high):
            rest = (cloth.rest / HEAD_HEIGHT_M).astype(np.float32)
            topology = Topology(cloth.faces, cloth.uvs, cloth.slots, rest)
            parts.append(Part(cloth.name.split(":")[0], cloth.name, topology, cloth.vertices.astype(np.float32)))
        return parts

    def _smooth(self, vertices: Points) -> Points:
        """Points of the skin mesh: the subdivided ones, then the middle of the neck's lower edge."""
        points = self.model.subdivided("skin").points(vertices)
        return np.concatenate([points, points[self._neck_ring].mean(axis=0, keepdims=True)])

    def _proxies(self, head: Head, bare: bool) -> list[tuple[str, str]]:
        """(kind of part, name) of every bound mesh of this head, in a fixed order."""
        i, w = head.interior, head.wear
        names = {
            "eyes": "HighPolyEyes" if self.catalog.irises else "",
            "teeth": i.teeth,
            "tongue": "tongue01" if i.teeth else "",
            "brows": i.brows,
            "lashes": i.lashes,
            "hair": "" if bare else w.hair,
            "hat": "" if bare else w.hat,
        }
        return [(kind, name) for kind, name in names.items() if name]

    def _bound(self, head: Head, shape: Shape, kind: str, name: str, site: Site | None) -> Part:
        proxy = self._proxy(PROXY_FOLDERS[kind], name)
        points = proxy_vertices(self.model, proxy, shape.expressed, shape.neutral)
        if kind == "hair" and site is not None:
            points = tucked(site, points)
        return _added(kind, f"{kind}:{name}", Topology(proxy.faces, {"uv": proxy.uv}), points, head, shape)

    def _glasses(self, head: Head, shape: Shape) -> Part:
        assert head.wear.glasses is not None
        base = shape.expressed
        ears = base[list(self.model.info["origin_vertices"])]
        bridge = self.model.landmarks(base)[NOSE_BRIDGE]
        mesh = glasses(Glasses(**head.wear.glasses), eye_centres=self._eyes(base), nose_bridge=bridge, ears=ears)
        faces = _minus_one(mesh.faces)
        name = f"glasses:{len(mesh.vertices)}:{len(faces)}:{zlib.crc32(faces.tobytes()):x}"
        topology = Topology(faces, slots=mesh.part.astype(np.int32))
        return _added("glasses", name, topology, mesh.vertices.astype(np.float64), head, shape)

    def _fitted(self, head: Head, shape: Shape) -> tuple[list[Part], Site]:
        """What is fitted to the head, and the head with all of it on."""
        base = shape.expressed
        ears = base[sorted(self.model.info["origin_vertices"], key=lambda v: float(self.model.vertices[v, 0]))]
        things, site = self._fitter.fit(head.wear.fitted, self._smooth(base), self._eyes(base), ears)
        parts = []
        for number, (thing, made) in enumerate(zip(head.wear.fitted, things, strict=True)):
            faces, rest = _minus_one(made.faces), made.pattern.astype(np.float32)
            uvs = {}
            if "skin" in KINDS[thing.kind].slots:
                uvs, rest = self._fitter.skin_uvs(made.pattern, made.faces), rest / HEAD_HEIGHT_M
            name = f"fitted:{number}:{thing.kind}:{len(made.vertices)}:{zlib.crc32(faces.tobytes()):x}"
            topology = Topology(faces, uvs, made.slots, rest)
            parts.append(_added("fitted", name, topology, made.vertices, head, shape))
        return parts, site

    @cached_property
    def _fitter(self) -> Fitter:
        skin = self.skin
        assert skin.slots is not None
        outer = skin.slots == SKIN_SLOTS.index("skin")
        return Fitter(self.model, skin.faces, triangles(skin)[0], outer, skin.uvs, self._smooth(self.model.vertices))

    def _eyes(self, vertices: Points) -> Points:
        """(2, 3) centres of the eyes, the right one first."""
        return np.stack([vertices[self._base_parts[name][1]].mean(axis=0) for name in ("eye_r", "eye_l")])

    def _base_part(self, name: str, shape: Shape, pose: Pose) -> Part:
        topology, used = self._base_parts[name]
        kind = {"eye_l": "eyes", "eye_r": "eyes", "tongue": "tongue"}.get(name, "teeth")
        return Part(kind, name, topology, _world(shape.deformed[used], pose))


def build_prop(prop: Prop) -> Part:
    """A prop's mesh in the world."""
    _, build = PROPS[prop.kind]
    vertices, faces, part = build(prop.shape)
    world = vertices * prop.scale @ euler_matrix(prop.rotation_rad).T + np.asarray(prop.position_m)
    quads = _minus_one(faces)
    name = f"prop:{prop.kind}:{len(vertices)}:{zlib.crc32(quads.tobytes()):x}"
    topology = Topology(quads, slots=part.astype(np.int32), rest=(vertices / HEAD_HEIGHT_M).astype(np.float32))
    return Part("prop", name, topology, world.astype(np.float32))


def triangles(topology: Topology) -> tuple[Ints, Ints]:
    """(T, 3) triangles and the (T, 3) corner of the quad that each vertex comes from."""
    quad = topology.faces[:, 3] >= 0
    first = np.array([0, 1, 2])
    second = np.array([0, 2, 3])
    corners = np.concatenate([np.tile(first, (len(topology.faces), 1)), np.tile(second, (int(quad.sum()), 1))])
    face = np.concatenate([np.arange(len(topology.faces)), np.flatnonzero(quad)])
    return np.take_along_axis(topology.faces[face], corners, axis=1), np.stack([face, face, face], 1) * 4 + corners


def _added(kind: str, name: str, topology: Topology, points: Points, head: Head, shape: Shape) -> Part:
    """Part of points in head space on the undeformed head, moved with the head."""
    return Part(kind, name, topology, _world(deformed(points, head.deform, shape.low, shape.high), head.pose))


def _world(points: Points, pose: Pose) -> Floats:
    return posed(points, pose).astype(np.float32)


def _neck_cap(faces: Ints) -> tuple[Ints, Ints]:
    """Triangles (-1 as fourth corner) that close the neck below, about a new last vertex; and the ring of the edge.

    Without it a camera below a raised chin looks into the head and sees the face from behind.
    """
    start, end = faces.ravel().astype(np.int64), np.roll(faces, -1, axis=1).ravel()
    count = int(faces.max()) + 1
    single = ~np.isin(start * count + end, end * count + start)  # edges that no neighbour passes the other way
    border = np.stack([start[single], end[single]], axis=1).astype(np.int32)
    middle = np.full(len(border), count, np.int32)
    cap = np.stack([border[:, 1], border[:, 0], middle, np.full(len(border), -1, np.int32)], axis=1)
    return cap, np.unique(border)


def skin_mirror(sub: SubdividedPart, face: int) -> tuple[Vec3, Vec3]:
    """(location, scale) that mirrors skin UVs about the middle of the face. face: number of its region.

    The canonical frame is mirrored by U -> 1 - U; the skin frame is the same chart, scaled and turned by a quarter.
    """
    of_face = sub.region == face
    canonical, skin = sub.uv[of_face].reshape(-1, 2), sub.uv_skin[of_face].reshape(-1, 2)
    ones = np.column_stack([canonical, np.ones(len(canonical))])
    affine, *_ = np.linalg.lstsq(ones, skin, rcond=None)  # skin = [U, V, 1] @ affine
    axis = int(np.abs(affine[0]).argmax())  # the axis of the skin frame along which U runs
    offset = float(2 * affine[2, axis] + affine[0, axis] + 2 * 0.5 * affine[1, axis])
    location, scale = [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]
    location[axis], scale[axis] = offset, -1.0
    return (location[0], location[1], location[2]), (scale[0], scale[1], scale[2])


def _minus_one(faces: npt.NDArray[Any]) -> Ints:
    quads = faces.astype(np.int32)
    quads[quads[:, 3] == quads[:, 2], 3] = -1
    return quads


def _compact(faces: Ints) -> tuple[Topology, npt.NDArray[np.int64]]:
    """Faces renumbered over the vertices they use."""
    used, inverse = np.unique(faces[faces >= 0], return_inverse=True)
    renumbered = np.full_like(faces, -1)
    renumbered[faces >= 0] = inverse
    return Topology(renumbered), used
