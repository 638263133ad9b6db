"""How this headforge came here, a git checkout or a wheel, and so how what is missing is installed."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "headforge"
ROOT: Final = Path(__file__).resolve().parent.parent
EXTRAS: Final = {  # module of another project -> the extra of ours that brings it
    "bpy": "render",
    "numba": "render",
    "psutil": "render",
    "submitit": "render",
    "matplotlib": "render",
    "torch": "train",
    "lightning_fabric": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "av": "apply",
    "cv2": "apply",
    "skimage": "apply",
    "trimesh": "apply",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "webdataset": "dev",
    "blenderproc": "bench",
}


def how_to_install(extra: str) -> str:
    """The command that brings an extra, for the end of a message."""
    if (ROOT / "Makefile").is_file():
        return "run `make setup`" if extra != "bench" else "run `.venv/bin/pip install -e '.[bench]'`"
    return f"run `pip install '{DISTRIBUTION}[{extra}]'`"


def missing(module: str | None) -> str | None:
    """What to say where an import failed; None for modules that no extra brings: that is a fault of ours."""
    name = (module or "").partition(".")[0]
    return f"{name} is not installed here: {how_to_install(EXTRAS[name])}" if name in EXTRAS else None


def installed_version() -> str | None:
    """Of the distribution; None where the code is only on the path, as in a cluster's snapshot."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
