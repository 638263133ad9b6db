"""What a data set is rendered from: its spec, seed and assets, checked and ready on this machine. Never imports bpy."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

from renderer.commit import commit
from renderer.errors import MachineError, SpecError
from renderer.format.sample_format import (
    DRAW_VERSION,
    FORMAT_VERSION,
    RENDER_VERSION,
    UV_FRAME,
    dataset_tag,
    image_names,
)
from renderer.head.body import load_body
from renderer.head.catalog import Catalog, build_catalog, check_assets, lacking
from renderer.head.model import HeadModel
from renderer.head.pack import load_head
from renderer.head.pca import PCA_FILE, load_pca
from renderer.head.skin_layers import check_masks
from renderer.install import how_to_install, installed_version
from renderer.parameters.identity import spec_identity
from renderer.parameters.looks import SkinSpec
from renderer.parameters.spec import Spec
from renderer.run.pool import RenderJob
from renderer.strict import to_plain

BPY_VERSION: Final = "4.5"  # the LTS series whose pixels the tests and figures are about


@dataclass(frozen=True)
class RenderContext:
    """A data set about to be rendered: spec, seed, and the assets they draw from."""

    spec: Spec
    seed: int
    pack: Path
    blend: Path | None  # None: rendered elsewhere, where it is built
    model: HeadModel
    catalog: Catalog

    @property
    def identity(self) -> dict[str, Any]:
        """What pixels depend on; two data sets with one identity are the same data set."""
        return {
            "spec": spec_identity(self.spec),
            "seed": self.seed,
            "assets": self.catalog.identity(),
            "format_version": FORMAT_VERSION,
            "draw_version": DRAW_VERSION,
            "render_version": RENDER_VERSION,
            "bpy": BPY_VERSION,
        }

    @property
    def tag(self) -> str:
        return dataset_tag(self.identity)

    def info(self) -> dict[str, Any]:
        """Content of dataset.json."""
        render = self.spec.render
        return {
            "format_version": FORMAT_VERSION,
            "draw_version": DRAW_VERSION,
            "render_version": RENDER_VERSION,
            "made_by": made_by(),
            "name": self.spec.name,
            "tag": self.tag,
            "seed": self.seed,
            "spec": to_plain(self.spec),
            "assets": self.catalog.identity(),
            "uv_frame": UV_FRAME,
            "labels": list(render.labels),
            "images": list(image_names(render.labels)),
            "uv_precision": render.uv_precision,
            "resolution": to_plain(render)["resolution"],
            **({"fps": self.spec.shot.fps} if self.spec.shot.kinds else {}),
            "bit_repeatable": render.device == "CPU",
            "landmark_uv": np.asarray(self.model.landmarks_uv, np.float64).round(6).tolist(),
            "bpy": BPY_VERSION,
        }

    def job(self) -> RenderJob:
        if self.blend is None:
            raise MachineError("this data set was prepared for rendering elsewhere: no scene was built here")
        return RenderJob(self.spec, self.seed, self.tag, str(self.pack), str(self.blend))


def prepare(spec: Spec, seed: int, log: Callable[[str], None] = print, renders: bool = True) -> RenderContext:
    """Check this machine, get the assets, check them. Raises before anything is rendered.

    renders: whether this machine will. If not, bpy need not be here, and `RenderContext.blend` is None.
    """
    if renders:
        check_machine()
    if seed < 0:
        raise SpecError(f"seed is {seed}; it must not be negative")
    from blend_assets.build import ensure_pack

    pack = Path(spec.assets.head) if spec.assets.head else ensure_pack(log=log)
    model = load_head(pack)
    catalog = build_catalog(pack, spec, ensure_pack(log=log) if lacking(pack) else None)
    check_assets(catalog)
    for line in model.missing:
        log(f"head pack {pack.name} lacks {line}")
    _check_labels(spec, model)
    if spec.skin != SkinSpec():
        check_masks(model)
    if spec.clothes.share:
        load_body(pack, model)
    return RenderContext(spec, seed, pack, ensure_scene(log) if renders else None, model, catalog)


def check_machine() -> None:
    """Python and bpy are the ones that work. Raises MachineError."""
    if sys.version_info[:2] != (3, 11):
        raise MachineError(
            f"this is Python {platform.python_version()}; bpy needs 3.11: {how_to_install('render')} with that"
        )
    try:
        version = metadata.version("bpy")
    except metadata.PackageNotFoundError as error:
        raise MachineError(f"bpy is not installed here: {how_to_install('render')}") from error
    if not version.startswith(BPY_VERSION + "."):
        raise MachineError(f"bpy is {version}; this headforge needs {BPY_VERSION}.x: {how_to_install('render')}")


def _check_labels(spec: Spec, model: HeadModel) -> None:
    """Asking for what the head cannot give is an error before the first render."""
    if "neutral" in spec.render.labels and not model.units:
        raise SpecError(f"render.labels asks for 'neutral', but head {model.name!r} has no expression units")
    if spec.identity.kind == "pca":
        if not (model.folder / PCA_FILE).is_file():
            raise SpecError(f"identity.kind is 'pca', but head pack {model.folder} has no components ({PCA_FILE})")
        pca = load_pca(model.folder)
        for kind, wanted, basis in (
            ("shape", spec.identity.pca.shape, pca.shape),
            ("texture", spec.identity.pca.texture, pca.texture),
        ):
            if wanted > len(basis.components):
                raise SpecError(
                    f"identity.pca.{kind} is {wanted}; head pack {model.folder} has {len(basis.components)}"
                )


def ensure_scene(log: Callable[[str], None] = print) -> Path:
    """The scene file in the cache, built now if this version's is not there."""
    from renderer.files import cache_root

    folder = Path(__file__).parent.parent / "blender"
    source = b"".join((folder / name).read_bytes() for name in ("make_scene.py", "materials.py"))
    key = hashlib.sha256(source + metadata.version("bpy").encode()).hexdigest()[:12]
    final = cache_root() / f"scene-{key}.blend"
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        log(f"building the scene file {final}")
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".scene-") as work:
            built = Path(work) / "scene.blend"
            command = [sys.executable, "-m", "renderer.blender.make_scene", str(built)]
            result = subprocess.run(command, capture_output=True, text=True)
            if not built.exists():
                words = (result.stderr or result.stdout).strip().splitlines()
                raise MachineError(f"Blender could not build the scene; run `gen doctor`. Last words: {words[-1:]}")
            built.replace(final)
    return final


def made_by() -> dict[str, str]:
    """Version and commit of this headforge."""
    return {"headforge": installed_version() or "not installed", "commit": commit()}
