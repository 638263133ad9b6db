"""The standard pack: what it is made of, and where in the cache it lies. Light to import."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from blend_assets import landmarks
from renderer.files import cache_root

BUILDER_VERSION: Final = 12  # raise it whenever the same sources give another pack
MANIFEST: Final = Path(__file__).with_name("manifest.yaml")


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
