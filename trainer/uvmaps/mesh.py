"""A fitted head as a textured mesh, OBJ or glTF.

Frame of both files: head space, right-handed, Y up, +Z out of the face, +X to the subject's left, in metres, as glTF
demands; the origin lies midway between the ears. V of the texture is 1 in the picture's first row, as everywhere here.
trimesh (MIT) writes the files; it is imported when the first mesh is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from renderer.errors import MachineError, SpecError
from renderer.files import write_atomic
from renderer.head.model import HeadModel
from renderer.install import how_to_install
from renderer.labels.maps import load_face_area, look_up

if TYPE_CHECKING:
    from trimesh import Trimesh

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
PARTS: Final = ("visible", "face", "head")
"""Triangles to keep: those of the face that the picture shows, of the whole frontal face, or all of the skin."""

SUFFIXES: Final = (".obj", ".glb")
HEADER: Final = "headforge: metres, Y up, +Z out of the face"
HALVES: Final = np.array([[0, 1, 2], [0, 2, 3]])  # corners of a quad that make its two triangles


def textured_mesh(
    head: HeadModel,
    vertices: Floats,
    texture: npt.NDArray[np.uint8],
    part: str = "face",
    seen: Bools | None = None,
    frame: Literal["uv", "uv_skin"] = "uv",
) -> Trimesh:
    """The skin of a head with its texture, UVs and normals, smooth as it is rendered.

    vertices: (V, 3) of the head model. texture: (S, T, 3) sRGB. part: one of `PARTS`; seen: (S', T') which texels the
    picture shows, for "visible". frame: the texture's. Raises SpecError for another part, MachineError where
    trimesh is missing.
    """
    trimesh = check(part)
    skin = head.subdivided("skin")
    faces = skin.faces[:, HALVES].reshape(-1, 3)
    uv = skin.uv[:, HALVES].reshape(-1, 3, 2).astype(np.float64)
    points = skin.points(vertices)
    normals = trimesh.Trimesh(points, faces, process=False).vertex_normals  # of the whole skin, so rims stay smooth
    kept = _kept(head, uv, part, seen)
    shown = uv if frame == "uv" else skin.uv_skin[:, HALVES].reshape(-1, 3, 2).astype(np.float64)
    corners = np.column_stack([faces[kept].reshape(-1), shown[kept].reshape(-1, 2).clip(0, 1)])
    unique, index = np.unique(corners, axis=0, return_inverse=True)  # a vertex on a seam of the chart has several UVs
    chosen = unique[:, 0].astype(np.intp)
    return mesh_of(points[chosen], index.reshape(-1, 3), unique[:, 1:], texture, normals[chosen])


def mesh_of(
    points: npt.NDArray[Any],
    triangles: npt.NDArray[Any],
    uv: npt.NDArray[Any],
    texture: npt.NDArray[np.uint8],
    normals: npt.NDArray[Any] | None = None,
) -> Trimesh:
    """Any mesh with a texture, as `write_mesh` takes it.

    points: (K, 3). triangles: (T, 3) of K. uv: (K, 2). texture: (S, T', 3) sRGB. normals: (K, 3); by default those of
    the mesh. Raises MachineError where trimesh is missing.
    """
    trimesh = _trimesh()
    material = trimesh.visual.material.PBRMaterial(
        name="face", baseColorTexture=Image.fromarray(texture), metallicFactor=0.0, roughnessFactor=1.0
    )
    visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    mesh: Trimesh = trimesh.Trimesh(points, triangles, vertex_normals=normals, visual=visual, process=False)
    return mesh


def _kept(head: HeadModel, uv: Floats, part: str, seen: Bools | None) -> Bools:
    """(F,) which triangles (F, 3, 2) belong to the part: those whose three corners do."""
    if part == "head":
        return np.ones(len(uv), bool)
    inside = look_up(load_face_area(head.mask_path), uv)
    if part == "visible" and seen is not None:
        inside &= look_up(seen, uv)
    return np.asarray(inside.all(1))


def write_mesh(mesh: Trimesh, path: Path) -> list[Path]:
    """NAME.obj with NAME.mtl and NAME.png, or NAME.glb, which holds everything. Returns the files written."""
    if path.suffix == ".glb":
        files: dict[str, bytes] = {path.name: _trimesh().exchange.gltf.export_glb(mesh, include_normals=True)}
    elif path.suffix == ".obj":
        files = _obj_files(mesh, path)
    else:
        raise SpecError(f"cannot write a mesh as {path.name}: known are {', '.join(SUFFIXES)}")
    for name, data in files.items():
        write_atomic(path.with_name(name), data)
    return [path.with_name(name) for name in files]


def _obj_files(mesh: Any, path: Path) -> dict[str, bytes]:
    """Named after the mesh, so that many fit into one folder."""
    material = mesh.visual.material.to_simple()
    material.name = path.stem
    material.diffuse = [255, 255, 255, 255]  # viewers multiply it into the texture; the default is a dark gray
    mesh = mesh.copy(include_cache=True)  # with the normals, which would be computed anew without the neighbours
    mesh.visual.material = material
    text, extra = _trimesh().exchange.obj.export_obj(
        mesh, include_normals=True, return_texture=True, mtl_name=f"{path.stem}.mtl", header=HEADER
    )
    return {path.name: text.encode(), **extra}


def check(part: str) -> Any:
    """The library, if meshes of this part can be made. Raises SpecError and MachineError as `textured_mesh`."""
    if part not in PARTS:
        raise SpecError(f"unknown part {part!r} of a mesh; known are {', '.join(PARTS)}")
    return _trimesh()


def _trimesh() -> Any:
    try:
        import trimesh
        import trimesh.exchange.gltf
        import trimesh.exchange.obj
        import trimesh.visual.material
    except ImportError as error:
        raise MachineError(f"meshes need trimesh: {how_to_install('apply')}") from error
    return trimesh
