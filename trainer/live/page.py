"""The page that runs a UV-net in the browser: one folder of plain files for any web server.

    PAGE/index.html  *.js  *.css           copied from trainer/live/static/ and, what they share, trainer/viewer/static/
         network.onnx                      the weights
         network.json                      how to find faces with them, where the landmarks lie, examples
         example-*.jpg                     pictures to begin with
         ort/                              onnxruntime-web

Browsers read networks over http alone, so that the page does not open from disk: `gen live` serves it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from PIL import Image

from blend_assets.browser import write_runtime
from renderer.errors import AssetError, DatasetError
from renderer.files import write_atomic
from renderer.format.sample_format import CENTRE_U
from trainer.augmentation.mirror import GUESS_UV_ERROR
from trainer.data.pictures import read_picture
from trainer.systems import runs
from trainer.systems.uvnet import trained
from trainer.uvmaps.finding import Options, options_of
from trainer.uvmaps.head_pose import landmark_uv
from trainer.viewer.page import STATIC as VIEWER

STATIC: Final = Path(__file__).resolve().parent / "static"
SHARED: Final = ("viewer.css", "page.js")
ABOUT: Final = "network.json"  # by it a page of ours is known
EXAMPLE_PX: Final = 1280
SEARCH_PX: Final = 640  # longest side of the largest level: more takes seconds
Log = Callable[[str], None]


def build(weights: Path, out: Path, examples: Sequence[Path] = (), log: Log = print) -> Path:
    """Write the page of a run's weights, or of a weights file, into `out`, which then appears whole. Returns `out`.

    examples: photos; none: scikit-image's astronaut. Raises FormatError for weights of another system, AssetError
    where onnxruntime-web, the head pack or the example cannot be had, DatasetError where `out` holds something else.
    """
    if out.exists() and not is_page(out):
        raise DatasetError(f"{out} holds something that is no page of `gen live`: choose another --out")
    options = options_of(trained.load(weights))
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        name = _network(weights, partial / "network.onnx", log)
        about = {
            "name": name,
            "finder": finder(options),
            "landmark_uv": landmark_uv().double().numpy().round(6).tolist(),
            "examples": [_example(path, partial, n) for n, path in enumerate(examples or [astronaut()])],
        }
        write(partial, about, log)
        if out.exists():
            shutil.rmtree(out)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _network(weights: Path, out: Path, log: Log) -> str:
    """Write the network as ONNX: that beside the weights file, as `gen export` leaves it, else a new one. Its name."""
    beside = weights.with_suffix(".onnx")
    if weights.is_file() and beside.is_file():
        shutil.copyfile(beside, out)
        return beside.stem
    with tempfile.TemporaryDirectory() as folder:
        log("exporting the network as ONNX")
        (exported,) = runs.export(weights, Path(folder), ("onnx",))
        shutil.move(exported.path, out)
        return exported.path.stem


def write(folder: Path, about: dict[str, Any], log: Log = print) -> None:
    """All files of a page but `network.onnx` and the examples. about: what `network.json` holds."""
    version = write_runtime(folder / "ort", log)
    for file in (*STATIC.iterdir(), *(VIEWER / name for name in SHARED)):
        shutil.copyfile(file, folder / file.name)
    write_atomic(folder / ABOUT, json.dumps(about | {"runtime": version}, allow_nan=False).encode())


def finder(options: Options) -> dict[str, Any]:
    """How the page looks for faces: the options of `trainer.uvmaps.finding`, with less of a search."""
    return asdict(options) | {
        "search_px": min(options.search_px, SEARCH_PX),
        "centre_u": CENTRE_U,
        "guess_uv_error": GUESS_UV_ERROR,
    }


def is_page(path: Path) -> bool:
    """Is this an empty folder, or a page that was made here? Only these are ever replaced."""
    return path.is_dir() and ((path / ABOUT).is_file() or not any(path.iterdir()))


def astronaut() -> Path:
    """The portrait of Eileen Collins that comes with scikit-image (NASA, public domain)."""
    import skimage

    found = Path(skimage.__file__).parent / "data" / "astronaut.png"
    if not found.is_file():
        raise AssetError(f"scikit-image has no {found.name} here: name a photo with --example")
    return found


def _example(path: Path, folder: Path, number: int) -> dict[str, str]:
    name = f"example-{number}.jpg"
    Image.fromarray(read_picture(path, EXAMPLE_PX)).save(folder / name, quality=92)
    return {"file": name, "title": path.stem}
