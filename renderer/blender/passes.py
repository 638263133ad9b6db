"""One scene, its images: input, label rays, and what follows from them.

Every setting that an image depends on is stated here for every render, so that no render inherits one from another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from renderer import exr, geometry, labels
from renderer.blender.make_scene import WORLD
from renderer.blender.materials import VEIL_OPACITY
from renderer.blender.scene import SKIN_INDEX, SceneBuilder
from renderer.errors import FormatError, MachineError
from renderer.params import Camera, Deform, Environment, Expression, Light, Pose, SampleParams, Wear
from renderer.pixel_filter import filtered
from renderer.spec import RenderSpec

Image = npt.NDArray[Any]

_SURFACE = ("depth", "normal", "albedo")  # of whatever is seen, so that hair and glasses count as they are
_SPREAD = 0.6  # of the pixel filter over what Cycles averaged; has the least error (docs/benchmarks.md)
_BORDER_PX = 2  # pixels around the heads' bounding box, more than the filter's reach


class PassRenderer:
    """Renders the images of a sample. One per process.

    scratch: a folder for Blender's own files, best in memory. seconds: time spent, by pass, since the last `reset`.
    """

    def __init__(self, scene: SceneBuilder, spec: RenderSpec, threads: int, scratch: Path) -> None:
        self.builder, self.spec, self.scratch = scene, spec, scratch
        self.area = labels.load_face_area(scene.builder.model.mask_path)
        self.seconds: dict[str, float] = {}
        self._static(threads)

    def _static(self, threads: int) -> None:
        """Settings that hold for every render of this process."""
        scene = self.builder.scene
        render, cycles = scene.render, scene.cycles
        render.engine = "CYCLES"
        render.threads_mode, render.threads = "FIXED", threads
        render.use_persistent_data = False  # it changes pixels after visibility changes (docs/design/0003)
        render.use_compositing = render.use_sequencer = False
        render.resolution_percentage = 100
        render.film_transparent = False
        render.use_motion_blur = False
        render.use_stamp = False
        render.dither_intensity = 0.0
        scene.view_settings.view_transform = "Raw"
        scene.display_settings.display_device = "sRGB"
        cycles.device = _choose_device(self.spec.device)
        cycles.use_adaptive_sampling = False
        cycles.use_auto_tile = False
        cycles.use_light_tree = False
        cycles.diffuse_bounces, cycles.glossy_bounces, cycles.transmission_bounces = 4, 4, 12
        cycles.caustics_reflective = cycles.caustics_refractive = True
        cycles.sample_clamp_direct, cycles.sample_clamp_indirect = 0.0, 10.0
        cycles.blur_glossy = 1.0
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.denoising_prefilter = "NONE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.denoising_quality = "FAST"
        cycles.denoising_use_gpu = False
        light = bpy.data.worlds[WORLD].cycles
        light.sampling_method = "MANUAL"  # an automatic map follows the panorama's size and takes up to seconds
        light.sample_map_resolution = self.spec.light_map

    # -- a sample --------------------------------------------------------------------------------------------------

    def render(self, params: SampleParams, wanted: tuple[str, ...]) -> tuple[dict[str, Image], dict[str, float]]:
        """Images by name, in the number formats of the archive, and what was measured on them."""
        self.seconds = {}
        with self._timed("scene"):
            self.builder.set_sample(params)
        images = {"input": self.input_image(params.cycles_seed)}
        images |= self._labels(params, params.camera, 0.0, wanted)
        measured = self._measure(images)
        if "view2" in wanted:
            yaw = params.second_camera_yaw_rad
            self.builder.set_dark(False)
            self.builder.set_camera(params.camera, yaw)
            second = self._labels(params, params.camera, yaw, ())
            images |= {"view2": self.input_image(params.cycles_seed + 1)}
            images |= {"view2_uv": second["uv"], "view2_mask": second["mask"]}
        if "neutral" in wanted:
            with self._timed("scene"):
                self.builder.set_sample(neutral(params))
            images["neutral"] = self.input_image(params.cycles_seed)
        return {name: images[name] for name in wanted_order(images, wanted)}, measured

    def input_image(self, seed: int) -> Image:
        """(H, W, 3) half: linear radiance, path traced.

        Cycles averages over (small) pixels, denoises them, and we weigh them by its pixel filter: so a sample serves
        every pixel that it is near to, where Cycles' own filter draws samples for each pixel alone.
        """
        scene, cycles = self.builder.scene, self.builder.scene.cycles
        self.builder.set_dark(False)
        grid = self.spec.oversample
        self._frame(self.spec.resolution * grid)
        cycles.samples, cycles.seed = self.spec.samples_per_pixel // grid**2, seed
        cycles.max_bounces, cycles.transparent_max_bounces, cycles.min_transparent_bounces = 12, 8, 0
        cycles.use_denoising = self.spec.denoise
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 1.0
        layer = scene.view_layers[0]
        for name in ("uv", "object_index", "z", "normal", "position", "diffuse_color", "glossy_color"):
            setattr(layer, f"use_pass_{name}", False)
        channels = self._render("OPEN_EXR", "input")
        image = np.stack([channels[c] for c in "RGB"], axis=-1)
        with self._timed("filter"):
            image = filtered(image, grid, _SPREAD)
        return np.clip(image, 0.0, 65504.0).astype(np.float16)

    def _labels(
        self, params: SampleParams, camera: Camera, yaw_rad: float, wanted: tuple[str, ...]
    ) -> dict[str, Image]:
        """UV and mask, and whatever else of `wanted` comes from label rays."""
        grid, resolution = self.spec.mask_grid, self.spec.resolution
        counted = self.spec.hidden_face == "counted"
        self.builder.set_dark(True)
        rays = self._rays(camera, yaw_rad, grid, ("position",) if set(wanted) & {"position", "camera_position"} else ())
        with self._timed("filter"):
            face = labels.face_rays(rays, self.area)
            bare = face & ~rays.veiled
            visible = labels.coverage(bare, grid)
            mask = labels.coverage(face, grid) if counted and rays.veiled.any() else visible
            face = face if counted else bare
        inside = labels.centre(face, grid)[..., None]
        uv = labels.centre(rays.uv, grid) * inside
        precision = np.float32 if self.spec.uv_precision == "float" else np.float16

        def whole(part: Image) -> Image:
            return labels.place(part, rays.row, rays.column, resolution)

        images = {
            "uv": whole(uv.astype(precision)),
            "mask": whole(np.stack([mask, visible], axis=-1).astype(np.float16)),
        }
        if surface := tuple(name for name in _SURFACE if name in wanted):
            self.builder.set_dark(False)  # of whatever is seen, so nothing is a veil
            seen = self._rays(camera, yaw_rad, 1, surface).planes
            images |= {"depth": seen["depth"][..., None]} if "depth" in wanted else {}
            images |= {"normal": _to_camera(seen["normal"]).astype(np.float16)} if "normal" in wanted else {}
            images |= {"albedo": seen["albedo"].astype(np.float16)} if "albedo" in wanted else {}
        if "position" in wanted:
            heads = labels.centre(rays.head, grid)
            images["position"] = whole(
                _in_head_space(labels.centre(rays.planes["position"], grid), heads, params) * inside
            )
        if "camera_position" in wanted:
            world = _to_camera(labels.centre(rays.planes["position"], grid)).astype(np.float64)
            images["camera_position"] = whole(((world - [0, 0, camera.distance_m]) * inside).astype(np.float32))
        return images

    def _rays(self, camera: Camera, yaw_rad: float, grid: int, wanted: tuple[str, ...]) -> labels.Rays:
        """Shoot the label rays of the part of the image where anything of interest can be."""
        resolution = self.spec.resolution
        everything = bool(set(_SURFACE) & set(wanted))
        box = (0, 0, resolution, resolution) if everything else self._box(camera, yaw_rad)
        if box is None:
            return labels.nothing(grid)
        row, column, bottom, right = box
        scene, cycles = self.builder.scene, self.builder.scene.cycles
        self._frame(resolution * grid)
        render, side = scene.render, resolution * grid
        render.use_border = render.use_crop_to_border = True
        # A hundredth of a ray inwards, so that rounding in Blender cannot move the border to the next ray
        render.border_min_x, render.border_max_x = (column * grid + 0.01) / side, (right * grid + 0.01) / side
        render.border_min_y = (side - bottom * grid + 0.01) / side
        render.border_max_y = (side - row * grid + 0.01) / side
        cycles.samples, cycles.seed, cycles.max_bounces, cycles.use_denoising = 1, 0, 0, False
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01  # all but a point: the ray through the centre
        layer = scene.view_layers[0]
        layer.pass_alpha_threshold = 0.5
        cycles.transparent_max_bounces = cycles.min_transparent_bounces = 64  # through every veil, no roulette
        layer.use_pass_uv = layer.use_pass_object_index = True
        layer.use_pass_z, layer.use_pass_normal = "depth" in wanted, "normal" in wanted
        layer.use_pass_position = "position" in wanted
        layer.use_pass_diffuse_color = layer.use_pass_glossy_color = "albedo" in wanted
        channels = self._render("OPEN_EXR_MULTILAYER", "labels")
        planes = {k.split(".", 1)[1]: v for k, v in channels.items()}  # "ViewLayer.UV.U" -> "UV.U"
        index = planes["IndexOB.X"]
        expected = ((bottom - row) * grid, (right - column) * grid)
        if index.shape != expected:
            raise FormatError(f"Blender rendered {index.shape} label rays where {expected} were asked for")
        # An antialiased index would be a fraction; one sample cannot be
        head = np.maximum(np.rint(index).astype(np.int32) - SKIN_INDEX + 1, 0)
        extra: dict[str, Image] = {}
        if "depth" in wanted:
            extra["depth"] = np.where(planes["Depth.Z"] < 1e9, planes["Depth.Z"], 0.0).astype(np.float32)
        for name in ("normal", "position"):
            if name in wanted:
                extra[name] = np.stack([planes[f"{name.capitalize()}.{axis}"] for axis in "XYZ"], axis=-1)
        if "albedo" in wanted:
            colours = [np.stack([planes[f"{kind}Col.{c}"] for c in "RGB"], axis=-1) for kind in ("Diff", "Gloss")]
            extra["albedo"] = np.clip(sum(colours), 0.0, 1.0)
        veiled = planes["Combined.R"] > VEIL_OPACITY / 2
        return labels.Rays(row, column, head, veiled, np.stack([planes["UV.U"], planes["UV.V"]], axis=-1), extra)

    def _box(self, camera: Camera, yaw_rad: float) -> tuple[int, int, int, int] | None:
        """(row, column, bottom, right) in pixels around all face areas; None if they are out of the frame."""
        resolution = self.spec.resolution
        turn = geometry.second_camera(yaw_rad)
        corners = []
        for face in self.builder.faces:
            seen = geometry.project(face @ turn.T, camera, resolution)
            if (seen[:, 2] <= camera.distance_m * 0.05).any():
                return 0, 0, resolution, resolution  # a head reaches to the camera: the projection says nothing
            corners.append(seen[:, :2])
        if not corners:
            return None
        points = np.concatenate(corners)
        low = np.floor(points.min(axis=0)).astype(int) - _BORDER_PX
        high = np.ceil(points.max(axis=0)).astype(int) + _BORDER_PX
        column, row = (int(v) for v in np.clip(low, 0, resolution))
        right, bottom = (int(v) for v in np.clip(high, 0, resolution))
        return (row, column, bottom, right) if right > column and bottom > row else None

    # -- Blender ---------------------------------------------------------------------------------------------------

    def _frame(self, side: int) -> None:
        render = self.builder.scene.render
        render.resolution_x = render.resolution_y = side
        render.use_border = render.use_crop_to_border = False

    def _render(self, file_format: str, name: str) -> dict[str, Image]:
        """Render, and return the float32 channels of the result by name."""
        scene, path = self.builder.scene, self.scratch / f"{name}.exr"
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode = file_format, "RGB"
        settings.color_depth, settings.exr_codec = "32", "NONE"
        scene.render.filepath = str(path)
        scene.render.use_file_extension = False
        with self._timed(name):
            bpy.ops.render.render(write_still=True)
        with self._timed("read"):
            return exr.read_channels(path)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @staticmethod
    def _measure(images: dict[str, Image]) -> dict[str, float]:
        mask = images["mask"].astype(np.float32)
        share, visible = float(mask[..., 0].mean()), float(mask[..., 1].mean())
        return {
            "face_share": share,
            "visible_share": visible / share if share > 0 else 0.0,
            "luminance": float(images["input"].astype(np.float32).mean()),
        }


def _choose_device(kind: str) -> str:
    """Switch Cycles to the device of the spec. Raises MachineError, rather than falling back, where there is none."""
    if kind == "CPU":
        return "CPU"
    preferences = bpy.context.preferences.addons["cycles"].preferences
    try:
        preferences.compute_device_type = kind
        found = preferences.get_devices_for_type(kind)
    except (TypeError, ValueError):
        found = []
    if not found:
        raise MachineError(
            f"render.device is {kind}, but Blender finds no {kind} device here: use CPU, or another node"
        )
    for device in preferences.devices:
        device.use = device.type == kind
    return "GPU"


def wanted_order(images: dict[str, Image], wanted: tuple[str, ...]) -> list[str]:
    """Images to be stored: the triplet and the optional ones asked for."""
    from renderer.sample_format import image_names

    return [name for name in image_names(wanted) if name in images]


def neutral(params: SampleParams) -> SampleParams:
    """The companion of a sample: same identity and skin, frontal, at rest, bare, under plain light."""
    plain = Deform((1.0, 1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, (0.0, 0.0, 0.0), 0)
    heads = tuple(
        replace(
            head,
            expression=Expression({}, False, False, 0.0, 0.0),
            pose=Pose(0.0, 0.0, 0.0, (0.0, 0.0, 0.0)),
            deform=plain,
            wear=Wear(),
        )
        for head in params.heads[:1]
    )
    camera = replace(params.camera, focal_mm=85.0, distance_m=85.0 / 36.0 * 0.24 / 0.8, shift_x=0.0, shift_y=0.0)
    return replace(
        params,
        heads=heads,
        props=(),
        camera=camera,
        light=Light(False, (0.0, 0.0, 1.0), 0.0, 0.1, (1.0, 1.0, 1.0)),
        environment=Environment("gray", "", 1.0, (0.0, 0.0, 0.0), 1.0, False, (0.5, 0.5, 0.5), 1.0, (0.0, 0.0, 0.0)),
    )


def _to_camera(vectors: Image) -> Image:
    """Blender's world to the first camera's space: x right, y up, z to the viewer."""
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1)


def _in_head_space(points: Image, heads: npt.NDArray[np.int32], params: SampleParams) -> Image:
    """Blender's world to the space of the head that each pixel shows."""
    world = _to_camera(points).astype(np.float64)
    out = np.zeros(points.shape, np.float32)
    for number, head in enumerate(params.heads, start=1):
        of_head = heads == number
        out[of_head] = geometry.unposed(world[of_head], head.pose)
    return out


__all__ = ["PassRenderer", "neutral"]
