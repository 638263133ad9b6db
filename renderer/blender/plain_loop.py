"""The loop to beat: the same samples, three renders each with stock settings and 64 samples per pixel.

Run as `python -m renderer.blender.plain_loop JOB.json OUT.json`. It is what one writes first: one process, all threads,
Blender's defaults, an input render, a UV render and a mask render by emission materials, EXR files by Blender. The
scene is the same.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from blend_assets.standard import find_pack
from renderer.blender.make_scene import SUN
from renderer.blender.scene import SceneBuilder
from renderer.format import exr
from renderer.head.catalog import build_catalog
from renderer.head.pack import load_head
from renderer.head.parts import PartBuilder
from renderer.labels.raster import OCCLUDERS, PAINTED
from renderer.parameters.spec import parse_spec
from renderer.sampling.draw import draw


class PlainLoop:
    """Three renders a sample, as the thesis did."""

    def __init__(self, job: dict[str, Any], threads: int, samples: int = 64) -> None:
        self.spec = parse_spec(job["spec"], "the job")
        pack = Path(job["pack"])
        self.job, self.samples = job, samples
        self.model, self.catalog = load_head(pack), build_catalog(pack, self.spec, find_pack())
        self.builder = SceneBuilder(Path(job["blend"]), PartBuilder(self.model, self.catalog), self.catalog)
        self.emit = {kind: self._emission(kind) for kind in ("uv", "mask", "black")}
        self.dark = bpy.data.worlds.new("dark")
        self.dark.use_nodes = False
        self.dark.color = (0.0, 0.0, 0.0)
        scene = self.builder.scene
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
        scene.render.resolution_x, scene.render.resolution_y = self.spec.render.size
        scene.render.resolution_percentage = 100
        scene.view_settings.view_transform = "Raw"
        scene.cycles.use_adaptive_sampling = False
        scene.cycles.use_denoising = False
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode = "OPEN_EXR", "RGB"
        settings.color_depth, settings.exr_codec = "16", "ZIP"
        scene.render.use_file_extension = False

    def _emission(self, kind: str) -> bpy.types.Material:
        material = bpy.data.materials.new(f"plain.{kind}")
        material.use_nodes = True
        tree = material.node_tree
        tree.nodes.clear()
        out, emission = tree.nodes.new("ShaderNodeOutputMaterial"), tree.nodes.new("ShaderNodeEmission")
        tree.links.new(emission.outputs[0], out.inputs["Surface"])
        emission.inputs["Strength"].default_value = 0.0 if kind == "black" else 1.0
        if kind != "black":
            uv = tree.nodes.new("ShaderNodeUVMap")
            uv.uv_map = "uv"
            if kind == "uv":
                tree.links.new(uv.outputs[0], emission.inputs["Color"])
            else:
                picture = tree.nodes.new("ShaderNodeTexImage")
                picture.image = bpy.data.images.load(str(self.model.mask_path))
                picture.image.colorspace_settings.name = "Non-Color"
                picture.extension = "CLIP"
                step = tree.nodes.new("ShaderNodeMath")
                step.operation = "GREATER_THAN"
                step.inputs[1].default_value = 0.5
                tree.links.new(uv.outputs[0], picture.inputs["Vector"])
                tree.links.new(picture.outputs["Color"], step.inputs[0])
                tree.links.new(step.outputs[0], emission.inputs["Color"])
        return material

    def shot(self, path: Path, samples: int, point: bool = False) -> dict[str, Any]:
        scene = self.builder.scene
        scene.cycles.samples = samples
        self.set_filter(point)
        scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        return exr.read_channels(path)

    def set_filter(self, point: bool) -> None:
        """The stock pixel filter, or one that samples pixel centres."""
        cycles = self.builder.scene.cycles
        cycles.pixel_filter_type = "BOX" if point else "BLACKMAN_HARRIS"
        cycles.filter_width = 0.01 if point else 1.5

    def dress(self, kind: str) -> None:
        """Every part black but the skin's face, which shows UV or mask. What is worn is hidden, as for mask Y."""
        self.builder.scene.world = self.dark
        bpy.data.objects[SUN].hide_render = True
        for obj, shown in zip(self.builder.objects, self.builder.shown, strict=True):
            obj.hide_render = shown.part.kind in OCCLUDERS | PAINTED
            for number, slot in enumerate(obj.material_slots):
                slot.material = self.emit[kind if shown.part.kind == "skin" and number == 0 else "black"]

    def sample(self, index: int, folder: Path, mask_samples: int | None = None) -> dict[str, Any]:
        params = draw(self.spec, self.job["seed"], index, self.catalog, self.model, self.job["tag"])
        self.builder.set_sample(params)
        # the reference must not begin with the samples that it judges
        self.builder.scene.cycles.seed = params.cycles_seed + (self.samples > 64)
        channels = self.shot(folder / "input.exr", self.samples)
        images = {"input": np.stack([channels[c] for c in "RGB"], -1)}
        self.dress("uv")
        channels = self.shot(folder / "uv.exr", 1, point=True)
        images["uv"] = np.stack([channels["R"], channels["G"]], -1)
        self.dress("mask")
        images["mask"] = self.shot(folder / "mask.exr", mask_samples or self.samples)["R"]
        return images


def main(kind: type[PlainLoop] = PlainLoop) -> None:
    job = json.loads(Path(sys.argv[1]).read_text())
    out, folder = Path(sys.argv[2]), Path(sys.argv[1]).parent
    start = time.perf_counter()
    loop = kind(job, job["threads"], job["samples"])
    if job["save"]:  # for image errors: keep the pixels
        for index in job["indices"]:
            np.savez(folder / f"{job['save']}-{index}.npz", **loop.sample(index, folder))
    else:
        for index in job["indices"]:
            loop.sample(index, folder)
    out.write_text(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
