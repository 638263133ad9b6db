"""The page of captured shots: a mesh that can be turned, and a slider for the frame. It opens from disk.

PAGE/index.html  capture.js  capture.css    copied from static/ beside this file
     three.min.js  CREDITS.txt              three.js
     shots.js  shot-NAME.js                 what there is to see, and the frames of each shot
"""

from __future__ import annotations

import base64
import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from blend_assets.browser import write_three
from renderer.errors import DatasetError
from trainer.systems.capture.mesh import Mesh
from trainer.systems.capture.shading import COLOURS, FULL_MM

STATIC: Final = Path(__file__).resolve().parent / "static"
MOST_FRAMES: Final = 600  # of a shot: 5,000 vertices take 40 kB a frame as text
LEVELS: Final = 65535  # of a coordinate: hundredths of a millimetre for a head


class Seen(Protocol):
    """What a page shows: `trainer.systems.capture.job.Captured`."""

    @property
    def shot(self) -> Any: ...
    @property
    def points(self) -> npt.NDArray[np.float64]: ...
    @property
    def errors(self) -> dict[str, npt.NDArray[np.float64]]: ...


def write(folder: Path, shots: Sequence[Seen], mesh: Mesh, log: Callable[[str], None] = print) -> None:
    """The page, whole, in place of an older one. Raises DatasetError where the folder holds something else, AssetError
    where three.js cannot be had."""
    if folder.exists() and not (folder / "shots.js").is_file():
        raise DatasetError(f"{folder} holds something that is no page of `gen capture`: choose another --out")
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        partial.mkdir(parents=True)
        write_three(partial, log)
        for file in STATIC.iterdir():
            shutil.copyfile(file, partial / file.name)
        about = {
            "shots": [{"name": s.shot.name, "kind": s.shot.kind, "frames": len(s.points)} for s in shots],
            "triangles": _encoded(mesh.triangles.astype("<u4")),
            "colours": (COLOURS / 255).round(4).tolist(),
            "full_mm": FULL_MM,
        }
        (partial / "shots.js").write_text(f"const ABOUT = {json.dumps(about)};\n", "utf-8")
        for number, captured in enumerate(shots):
            text = json.dumps(_frames(captured, mesh))
            (partial / f"shot-{number}.js").write_text(f"loaded({number}, {text});\n", "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _frames(captured: Seen, mesh: Mesh) -> dict[str, Any]:
    """The first frames of a shot, coordinates as 16-bit numbers between the bounds of all of them."""
    points, truth = captured.points[:MOST_FRAMES], captured.shot.truth
    every = [points] if truth is None else [points, truth[: len(points)]]
    low = np.min([one.min((0, 1)) for one in every], axis=0)
    step = np.maximum(np.max([one.max((0, 1)) for one in every], axis=0) - low, 1e-9) / LEVELS
    coded = [_encoded(np.round((one - low) / step).astype("<u2")) for one in every]
    moving = points[0, mesh.animated]
    middle = (moving.min(0) + moving.max(0)) / 2
    return {
        "middle": middle.tolist(),
        "radius": float(np.linalg.norm(moving - middle, axis=1).max()),
        "fps": captured.shot.fps,
        "frames": len(points),
        "low": low.tolist(),
        "step": step.tolist(),
        "points": coded[0],
        "truth": coded[1] if truth is not None else None,
        "rmse_mm": captured.errors["rmse_mm"][: len(points)].round(4).tolist() if captured.errors else None,
    }


def _encoded(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
