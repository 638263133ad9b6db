"""What may be drawn: the names of panoramas, textures, skins and proxies of a head pack, plus the user's folders."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from renderer.errors import AssetError
from renderer.spec import Spec

_IMAGES: Final = (".png", ".jpg", ".jpeg")
_PANORAMAS: Final = (".exr", ".hdr")
_MAGIC: Final = {
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".exr": (b"\x76\x2f\x31\x01",),
    ".hdr": (b"#?RADIANCE", b"#?RGBE"),
}


@dataclass(frozen=True)
class Catalog:
    """Name -> file for everything that is drawn by name; sorted, so that draws do not depend on the file system."""

    pack: Path
    hdris: Mapping[str, Path]
    textures: Mapping[str, Path]
    faces: Mapping[str, Path]  # skins of the pack
    own_faces: Mapping[str, Path]  # user's face textures, in canonical UV
    irises: Mapping[str, Path]
    teeth: Mapping[str, Path]
    brows: Mapping[str, Path]
    lashes: Mapping[str, Path]
    hair: Mapping[str, Path]
    hats: Mapping[str, Path]

    def face_texture(self, name: str) -> tuple[Path, bool]:
        """File of a face texture, and whether it is laid out in canonical UV."""
        return (self.own_faces[name], True) if name in self.own_faces else (self.faces[name], False)

    def identity(self) -> dict[str, Any]:
        """What tells this catalog from another: pack name, and content hashes of the user's files."""
        own = {
            f"{kind}/{name}": _sha(path)
            for kind in ("hdris", "textures", "own_faces")
            for name, path in getattr(self, kind).items()
            if not path.is_relative_to(self.pack)
        }
        return {"pack": self.pack.name, "own": own}


def build_catalog(pack: Path, spec: Spec) -> Catalog:
    """Everything the spec may draw from. Raises AssetError for folders or files that cannot be used."""
    own = spec.assets
    proxies = pack / "proxies"
    hdris = _merged(pack / "hdris", own.hdris, _PANORAMAS, own.only_own, "HDRI")
    textures = _merged(pack / "textures", own.textures, _IMAGES, own.only_own, "texture")
    faces = _files(pack / "skins", _IMAGES)
    own_faces = {f"own/{name}": path for folder in own.faces for name, path in _own(folder, _IMAGES, "face").items()}
    catalog = Catalog(
        pack=pack,
        hdris=hdris,
        textures=textures,
        faces={} if own.only_own and own_faces else faces,
        own_faces=own_faces,
        irises=_files(proxies / "eyes", (".png",)),
        teeth=_files(proxies / "teeth", (".npz",)),
        brows=_files(proxies / "eyebrows", (".npz",)),
        lashes=_files(proxies / "eyelashes", (".npz",)),
        hair=_files(proxies / "hair", (".npz",)),
        hats=_files(proxies / "hats", (".npz",)),
    )
    if not hdris or not textures:
        raise AssetError(
            f"head pack {pack} has {len(hdris)} HDRIs and {len(textures)} textures: run `gen assets build`"
        )
    for path in [*hdris.values(), *textures.values(), *faces.values(), *own_faces.values()]:
        check_image(path)
    return catalog


def check_image(path: Path) -> None:
    """Raises AssetError unless the file starts as its suffix says. A full decode is the render's business."""
    try:
        with path.open("rb") as file:
            start, end = file.read(16), file.seek(0, 2)
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror}") from error
    if end < 64 or not start.startswith(_MAGIC[path.suffix.lower()]):
        raise AssetError(f"{path} is not a {path.suffix.lower()[1:].upper()} image ({end} bytes): replace or remove it")


def _merged(
    folder: Path, own: tuple[str, ...], suffixes: tuple[str, ...], only_own: bool, what: str
) -> dict[str, Path]:
    mine = {f"own/{name}": path for item in own for name, path in _own(item, suffixes, what).items()}
    return mine if mine and only_own else {**_files(folder, suffixes), **mine}


def _own(folder: str, suffixes: tuple[str, ...], what: str) -> dict[str, Path]:
    path = Path(folder)
    if not path.is_dir():
        raise AssetError(f"{what} folder {folder!r} of the spec's assets section does not exist")
    files = _files(path, suffixes)
    if not files:
        raise AssetError(f"{what} folder {folder!r} of the spec's assets section holds no {' or '.join(suffixes)} file")
    return files


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in suffixes}


def _sha(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
