"""Builds the head pack from the source packages. numpy, scipy, Pillow and OpenEXR; no Blender.

The pack is finished or absent: it is built in a temporary folder beside its place and renamed, with `files.json`
(hashes of all files) written last. Equal sources give equal bytes. Two builds at the same time do not disturb each
other: the second to finish keeps the first one's pack.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blend_assets.contents import Sources, write_json, write_pack
from blend_assets.fetch import Log, fetch
from blend_assets.standard import find_pack, manifest, pack_folders
from renderer.errors import AssetError
from renderer.files import cache_root, file_sha256
from renderer.head.pack import PACK_FORMAT, check_hashes
from renderer.progress import Progress


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
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "files.json"
    }
    write_json(folder / "files.json", {"format": PACK_FORMAT, "files": files})


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
