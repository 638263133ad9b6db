"""What may be drawn: the names of panoramas, textures, skins and proxies of a head pack, plus the user's folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from renderer.errors import AssetError, FormatError
from renderer.files import cache_root, file_sha256
from renderer.format import exr
from renderer.head.pack import check_hashes, pack_content
from renderer.parameters.spec import Spec

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
    backdrops: Mapping[str, Path] = field(default_factory=dict)  # user's photographs
    fallback_pack: Path | None = None  # the standard pack, for the panoramas or textures that an own head lacks

    @property
    def packs(self) -> tuple[Path, ...]:
        return (self.pack,) if self.fallback_pack is None else (self.pack, self.fallback_pack)

    def face_texture(self, name: str) -> tuple[Path, bool]:
        """File of a face texture, and whether it is laid out in canonical UV."""
        return (self.own_faces[name], True) if name in self.own_faces else (self.faces[name], False)

    def identity(self) -> dict[str, Any]:
        """What tells this catalog from another: packs by name and content, content hashes of the user's files."""
        fallback = {"lender": pack_content(self.fallback_pack)} if self.fallback_pack else {}
        own = {f"{kind}/{name}": _sha(path) for kind, name, path in self.own_files()}
        return {"pack": self.pack.name, "content": pack_content(self.pack), "own": own, **fallback}

    def own_files(self) -> list[tuple[str, str, Path]]:
        """(kind, name, file) of what the user adds."""
        return [
            (kind, name, path)
            for kind in ("hdris", "textures", "own_faces", "backdrops")
            for name, path in getattr(self, kind).items()
            if not any(path.is_relative_to(pack) for pack in self.packs)
        ]


def check_assets(catalog: Catalog) -> None:
    """Hash every file of the packs and decode every file of the user's.

    Raises AssetError: a file that is gone or cut short would give other pixels under the same tag, or fail sample by
    sample hours later.
    """
    for pack in catalog.packs:
        if problems := check_hashes(pack):
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise AssetError(
                f"head pack {pack} is not sound: {'; '.join(problems[:3])}{more}; run `gen assets build --force`,"
                " or seal_pack for an own one"
            )
    for _, _, path in catalog.own_files():
        decode(path)


def build_catalog(pack: Path, spec: Spec, standard: Path | None = None) -> Catalog:
    """Everything the spec may draw by name. Raises AssetError for folders or files that cannot be used.

    standard: the standard pack, for the panoramas or textures that an own pack lacks.
    """
    own = spec.assets
    proxies = pack / "proxies"
    fallback = _fallback_pack(pack, standard)
    hdris = _merged(_source(pack, fallback, "hdris"), own.hdris, _PANORAMAS, own.only_own, "HDRI")
    textures = _merged(_source(pack, fallback, "textures"), own.textures, _IMAGES, own.only_own, "texture")
    faces = _files(pack / "skins", _IMAGES)
    own_faces = _own(own.faces, _IMAGES, "face")
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
        backdrops=_own(own.backdrops, _IMAGES, "backdrop"),
        fallback_pack=fallback,
    )
    if spec.environment.backdrop.get("photo") and not catalog.backdrops:
        raise AssetError("environment.backdrop asks for photographs: name their folders in assets.backdrops")
    if not hdris or not textures:
        raise AssetError(
            f"head pack {pack} has {len(hdris)} HDRIs and {len(textures)} textures: run `gen assets build`"
        )
    for path in [
        *hdris.values(),
        *textures.values(),
        *faces.values(),
        *own_faces.values(),
        *catalog.backdrops.values(),
    ]:
        check_image(path)
    return catalog


def check_image(path: Path) -> None:
    """Raises AssetError unless the file starts as its suffix says; `decode` reads it whole."""
    try:
        with path.open("rb") as file:
            start, end = file.read(16), file.seek(0, 2)
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror}") from error
    if end < 64 or not start.startswith(_MAGIC[path.suffix.lower()]):
        raise AssetError(f"{path} is not a {path.suffix.lower()[1:].upper()} image ({end} bytes): replace or remove it")


def decode(path: Path) -> None:
    """Read an image to its last pixel. Raises AssetError where that fails."""
    try:
        if path.suffix.lower() == ".exr":
            if any(np.isnan(plane).any() for plane in exr.read_channels(path).values()):
                raise ValueError("it holds values that are no numbers")
        elif path.suffix.lower() == ".hdr":
            _walk_radiance(path.read_bytes())
        else:
            with Image.open(path) as image:
                image.load()
    except (OSError, ValueError, IndexError, SyntaxError, FormatError, Image.DecompressionBombError) as error:
        raise AssetError(f"{path} cannot be decoded ({error}): replace or remove it") from error


def _walk_radiance(data: bytes) -> None:
    """Follow the run lengths of a Radiance picture to its end; ValueError or IndexError where it is cut or garbled.

    Neither Pillow nor OpenEXR reads the format, and OpenCV is not on render nodes. No pixel is needed here.
    """
    header, _, rest = data.partition(b"\n\n")
    size, _, body = rest.partition(b"\n")
    words = size.split()
    if b"FORMAT=32-bit_rle_rgbe" not in header or len(words) != 4 or words[0] not in (b"-Y", b"+Y"):
        raise ValueError("its header is not that of a Radiance picture")
    height, width = int(words[1]), int(words[3])
    at, line = 0, bytes((2, 2, width >> 8 & 255, width & 255))
    if not body.startswith(line):  # flat pixels; the old run lengths are not written by anything of this century
        if len(body) < 4 * width * height:
            raise ValueError("it is cut short")
        return
    for _ in range(height):
        if body[at : at + 4] != line:
            raise ValueError("it is cut short")
        at += 4
        for _ in range(4):
            done = 0
            while done < width:
                count = body[at]
                at += 2 if count > 128 else 1 + count
                done += count - 128 if count > 128 else count
                if count == 0 or done > width:
                    raise ValueError("its run lengths are garbled")
    if at > len(body):
        raise ValueError("it is cut short")


def pack_folder(info: Mapping[str, Any]) -> Path:
    """The head pack that a data set (its dataset.json) was rendered with. Raises AssetError where it is not here."""

    own = info["spec"]["assets"]["head"]
    folder = Path(own) if own else cache_root() / info["assets"]["pack"]
    if not (folder / "files.json").exists():
        raise AssetError(f"head pack {folder} is not on this machine")
    return folder


def lacking(pack: Path) -> tuple[str, ...]:
    """Which of `hdris` and `textures` a pack has no files of: the standard pack's are drawn instead."""
    kinds = {"hdris": _PANORAMAS, "textures": _IMAGES}
    return tuple(kind for kind, suffixes in kinds.items() if not _files(pack / kind, suffixes))


def _fallback_pack(pack: Path, standard: Path | None) -> Path | None:
    """The standard pack, if this one lacks panoramas or textures. Raises AssetError where it is not here."""
    if not (gaps := lacking(pack)):
        return None
    if standard is None:
        raise AssetError(f"head pack {pack} has no {' and no '.join(gaps)} of its own: run `gen assets build`")
    return standard if standard.resolve() != pack.resolve() else None


def _source(pack: Path, fallback: Path | None, kind: str) -> Path:
    return fallback / kind if fallback is not None and kind in lacking(pack) else pack / kind


def _merged(
    folder: Path, own: tuple[str, ...], suffixes: tuple[str, ...], only_own: bool, what: str
) -> dict[str, Path]:
    mine = _own(own, suffixes, what)
    return mine if mine and only_own else {**_files(folder, suffixes), **mine}


def _own(folders: tuple[str, ...], suffixes: tuple[str, ...], what: str) -> dict[str, Path]:
    """Files of the user's folders by the name they are drawn and recorded under, which must be theirs alone."""
    found: dict[str, Path] = {}
    for folder in folders:
        if not Path(folder).is_dir():
            raise AssetError(f"{what} folder {folder!r} of the spec's assets section does not exist")
        files = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in suffixes)
        if not files:
            words = " or ".join(suffixes)
            raise AssetError(f"{what} folder {folder!r} of the spec's assets section holds no {words} file")
        for path in files:
            if (other := found.setdefault(f"own/{path.stem}", path)) != path:
                raise AssetError(f"{what} files {other} and {path} have one name, {path.stem!r}: rename one of them")
    return found


def _files(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in suffixes}


def _sha(path: Path) -> str:
    about = path.stat()
    return _sha_of(path, about.st_mtime_ns, about.st_size)


@cache
def _sha_of(path: Path, mtime_ns: int, size: int) -> str:
    """Hash of a file; asked for often, as the data set's tag depends on it."""
    return file_sha256(path)[:16]
