"""Reads head packs: folders with `head.npz`, `head.json` and, written last, `files.json` with the hashes of the others.

blend_assets/README.md describes every array. This module and `proxy` are the only readers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from renderer.errors import AssetError
from renderer.files import file_sha256
from renderer.head.model import HeadModel, SubdividedPart

PACK_FORMAT: Final = 1


def check_hashes(folder: Path, names: Sequence[str] | None = None) -> list[str]:
    """Compare files of a pack (all by default) with files.json; return one line per difference."""
    try:
        listed: Mapping[str, Mapping[str, Any]] = json.loads((folder / "files.json").read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        return [f"{folder / 'files.json'} cannot be read ({error})"]
    problems = []
    for name in sorted(listed) if names is None else names:
        path = folder / name
        if name not in listed:
            problems.append(f"{path} is not listed in files.json")
        elif not path.is_file():
            problems.append(f"{path} is missing")
        elif file_sha256(path) != listed[name]["sha256"]:
            problems.append(f"{path} has been changed")
    return problems


def pack_content(pack: Path) -> str:
    """16 hex digits for what a pack holds, by its list of hashes. Raises AssetError where it has none."""
    try:
        files = json.loads((pack / "files.json").read_bytes())["files"]
        listed = sorted(f"{name} {about['sha256']}\n" for name, about in files.items())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AssetError(f"{pack / 'files.json'} cannot be read ({error}): run `gen assets build --force`") from error
    return hashlib.sha256("".join(listed).encode()).hexdigest()[:16]


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an .npz; AssetError if it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise AssetError(f"{path} cannot be read ({error}): run `gen assets build`") from error


def load_head(folder: Path | str) -> HeadModel:
    """Load a head pack, after checking head.npz and head.json against files.json.

    Raises AssetError if anything is missing, changed, of another format, or inconsistent.
    """
    folder = Path(folder)
    if problems := check_hashes(folder, ("head.json", "head.npz")):
        raise AssetError(f"head pack {folder} is not sound: {'; '.join(problems)}; run `gen assets build --force`")
    info: dict[str, Any] = json.loads((folder / "head.json").read_text("utf-8"))
    if info.get("format") != PACK_FORMAT:
        raise AssetError(f"{folder / 'head.json'}: format {info.get('format')!r}, this version reads {PACK_FORMAT}")
    data = read_npz(folder / "head.npz")
    try:
        head = assemble(folder, info, data)
    except KeyError as error:
        raise AssetError(f"head pack {folder} lacks {error}: see blend_assets/README.md for the interface") from None
    _check_shapes(head)
    return head


def assemble(folder: Path, info: Mapping[str, Any], data: Mapping[str, npt.NDArray[Any]]) -> HeadModel:
    """HeadModel from the arrays; KeyError if one is missing."""
    count = len(data["vertices"])
    parts1 = {}
    for part in info["subdivided"]:
        key = f"sub_{part}_"
        matrix = (data[key + "data"].astype(np.float64), data[key + "indices"], data[key + "indptr"])
        rows = len(data[key + "indptr"]) - 1
        parts1[part] = SubdividedPart(
            sp.csr_matrix(matrix, shape=(rows, count)), data[key + "faces"], data[key + "region"],
            data[key + "uv"], data[key + "uv_skin"],
        )  # fmt: skip
    plain = ("faces", "face_part", "face_region", "uv", "uv_skin", "mirror", "target_indptr", "target_index")
    more = ("target_delta", "landmarks_uv", "landmarks_tri", "landmarks_tri1", "lip_upper", "lip_lower")
    exact = ("vertices", "landmarks_bary", "landmarks_bary1")  # sums of them run in double precision
    arrays = {name: data[name] for name in (*plain, *more)} | {name: data[name].astype(np.float64) for name in exact}
    return HeadModel(folder=folder, info=info, parts1=parts1, **arrays)


def _check_shapes(head: HeadModel) -> None:
    """AssetError where arrays of a pack disagree with each other."""
    n_faces, n_vertices, n_targets = len(head.faces), len(head.vertices), len(head.info["targets"])
    wanted: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("faces", head.faces.shape, (n_faces, 4)),
        ("face_part", head.face_part.shape, (n_faces,)),
        ("face_region", head.face_region.shape, (n_faces,)),
        ("uv", head.uv.shape, (n_faces, 4, 2)),
        ("uv_skin", head.uv_skin.shape, (n_faces, 4, 2)),
        ("target_indptr", head.target_indptr.shape, (n_targets + 1,)),
        ("landmarks_tri", head.landmarks_tri.shape, (68, 3)),
    ]
    for name, got, want in wanted:
        if got != want:
            raise AssetError(f"head pack {head.folder}: {name} has shape {got}, expected {want}")
    for name, index in (("faces", head.faces), ("target_index", head.target_index)):
        if index.size and (index.min() < -1 or index.max() >= n_vertices):
            raise AssetError(f"head pack {head.folder}: {name} points outside the {n_vertices} vertices")
    if not np.isfinite(head.vertices).all():
        raise AssetError(f"head pack {head.folder}: vertices are not finite")
