"""Seeded, tileable material textures, in place of the 70 photographed ones of Ronkainen 2017.

They are sRGB-coded, (256, 256, 3), row 0 at the top, and wrap around in both directions. Everything is computed in
float64 from `np.random.default_rng` and a crc32 of the name, and the PNG files are stored without compression, so that
neither the platform's zlib nor its mathematics library alters the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blend_assets.synthetic import cloth, mineral, nature
from blend_assets.synthetic.colours import Image
from renderer.progress import Progress

FAMILIES: dict[str, Callable[[np.random.Generator], Image]] = {
    "cloud": mineral.cloud,
    "marble": mineral.marble,
    "stone": mineral.stone,
    "brick": mineral.brick,
    "tiles": mineral.tiles,
    "terrazzo": mineral.terrazzo,
    "gravel": mineral.gravel,
    "crackle": mineral.crackle,
    "metal": mineral.metal,
    "rust": mineral.rust,
    "splatter": mineral.splatter,
    "water": mineral.water,
    "leather": cloth.leather,
    "weave": cloth.weave,
    "stripes": cloth.stripes,
    "dots": cloth.dots,
    "camouflage": cloth.camouflage,
    "plaid": cloth.plaid,
    "knit": cloth.knit,
    "ornament": cloth.ornament,
    "floral": cloth.floral,
    "geometric": cloth.geometric,
    "wood": nature.wood,
    "scales": nature.scales,
    "fur": nature.fur,
    "animal": nature.animal,
    "foliage": nature.foliage,
}

# The takes kept of each family, chosen by eye from a few dozen for variety of colour, contrast and frequency.
_TAKES: dict[str, tuple[int, ...]] = {
    "cloud": (1, 4, 5, 7, 13, 18, 22),
    "marble": (1, 4, 5, 6, 8),
    "wood": (1, 3, 6, 12, 17, 22),
    "stone": (1, 3, 4, 7),
    "leather": (1, 3, 5, 7),
    "scales": (1, 2, 5, 7),
    "weave": (1, 2, 7, 13, 21),
    "stripes": (2, 3, 4, 6, 8),
    "brick": (1, 3, 5, 7),
    "tiles": (1, 3, 4, 6, 7),
    "dots": (1, 2, 5, 7),
    "camouflage": (1, 3, 4, 7, 8),
    "rust": (1, 2, 3, 8),
    "fur": (1, 4, 5, 7),
    "terrazzo": (1, 4, 5, 7),
    "splatter": (1, 3, 6, 8),
    "plaid": (1, 2, 5, 6, 7),
    "animal": (3, 8, 10, 15, 5),
    "crackle": (1, 3, 4),
    "knit": (3, 5, 7, 8),
    "foliage": (2, 5, 7),
    "gravel": (1, 4, 5, 6),
    "metal": (2, 4, 7, 13, 21),
    "ornament": (1, 3, 4, 6),
    "floral": (1, 3, 5, 6),
    "geometric": (1, 2, 4, 6, 14, 21),
    "water": (1, 2, 6, 7),
}

TEXTURES: dict[str, tuple[str, int]] = {
    name: (family, zlib.crc32(name.encode()))
    for family, takes in _TAKES.items()
    for name in (f"{family}_{take:02d}" for take in takes)
}
"""Every texture by name: its family and its seed."""


def synthesise(name: str) -> NDArray[np.uint8]:
    """The texture NAME: (256, 256, 3) uint8, sRGB-coded, row 0 at the top, tileable in both directions.

    Raises KeyError, naming the known textures, if there is none of that name.
    """
    if name not in TEXTURES:
        raise KeyError(f"no texture {name!r}; known are {sorted(TEXTURES)}")
    family, seed = TEXTURES[name]
    image = FAMILIES[family](np.random.default_rng(seed))
    return np.asarray(np.floor(np.clip(image, 0, 1) * 255 + 0.5), dtype=np.uint8)


def png_bytes(image: NDArray[np.uint8]) -> bytes:
    """IMAGE, (H, W, 3) uint8, as a PNG of stored (uncompressed) blocks.

    Compressors differ between builds of zlib; stored blocks have one spelling, so a hash can be written down.
    """
    height, width, _ = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    blocks = [rows[i : i + 65535] for i in range(0, len(rows), 65535)]
    stored = b"".join(
        struct.pack("<BHH", k == len(blocks) - 1, len(block), len(block) ^ 0xFFFF) + block
        for k, block in enumerate(blocks)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_all(folder: Path) -> list[str]:
    """Write every texture to FOLDER/NAME.png, the same bytes on every machine.

    Returns the file names in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with Progress(len(TEXTURES), "texture", "synthesising") as bar:
        for name in TEXTURES:
            (folder / f"{name}.png").write_bytes(png_bytes(synthesise(name)))
            written.append(f"{name}.png")
            bar.update()
    return written
