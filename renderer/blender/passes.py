"""One scene, its images: input, labels, and what follows from them.

Every setting that an image depends on is stated here for every render, so that no render inherits one from another.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter

from renderer.backdrops.picture import backdrop_picture, paper_white
from renderer.blender.make_scene import BACKDROP, WORLD
from renderer.blender.scene import SceneBuilder
from renderer.errors import FormatError, MachineError
from renderer.format import exr
from renderer.head.pose import unposed
from renderer.labels import maps, panorama
from renderer.labels.camera import project, second_camera, unproject
from renderer.labels.maps import Box, Rays
from renderer.labels.pixel_filter import filtered
from renderer.labels.raster import Rasteriser
from renderer.labels.vertices import vertices_label
from renderer.parameters.params import Camera, Environment, SampleParams
from renderer.parameters.spec import RenderSpec
from renderer.sampling.draw import COMPANION_GRAY, neutral

Image = npt.NDArray[Any]

_SURFACE = ("depth", "normal", "albedo")  # of whatever is seen, so that hair and glasses count as they are
_PASSES = {
    "use_pass_z": "depth",
    "use_pass_normal": "normal",
    "use_pass_diffuse_color": "albedo",
    "use_pass_glossy_color": "albedo",
}
_SPREAD = 0.8  # of the pixel filter over what Cycles averaged; has the least error (docs/benchmarks.md)
_RAY_WORTH = 2.5  # samples: 25 rays cover outlines with less error than 64 samples (docs/benchmarks.md)
_BORDER_PX = 2  # pixels around the heads' bounding box, more than the filter's reach


class PassRenderer:
    """Renders the images of a sample. One per process.

    scratch: a folder for Blender's own files, best in memory. seconds: of the last sample, by pass.
    """

    def __init__(self, scene: SceneBuilder, spec: RenderSpec, threads: int, scratch: Path) -> None:
        self.builder, self.spec, self.scratch = scene, spec, scratch
        self.area = maps.load_face_area(scene.parts.model.mask_path)
        self.rasteriser = Rasteriser(scene.parts.picture)
        self.seconds: dict[str, float] = {}
        self._last_companion: tuple[Any, Image] | None = None  # what it shows, and the picture
        self._behind = bpy.data.scenes[BACKDROP]
        for one in (self.builder.scene, self._behind):
            self._static(one, threads)
        self._light = bpy.data.worlds[WORLD].cycles
        self._light.sample_map_resolution = spec.light_map  # left to itself it follows the panorama: up to seconds

    def _static(self, scene: bpy.types.Scene, threads: int) -> None:
        """Settings that hold for every render of this process."""
        render, cycles = scene.render, scene.cycles
        render.engine = "CYCLES"
        render.threads_mode, render.threads = "FIXED", threads
        render.use_persistent_data = False  # it changes pixels after visibility changes (docs/design/0003)
        render.use_compositing = render.use_sequencer = False
        render.resolution_percentage = 100
        render.use_motion_blur = False
        render.use_stamp = False
        render.use_file_extension = False
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
        cycles.denoising_quality = self.spec.denoise_quality.upper()
        cycles.denoising_use_gpu = False
        for name in _PASSES:
            setattr(scene.view_layers[0], name, False)

    # -- a sample --------------------------------------------------------------------------------------------------

    def render(self, params: SampleParams, wanted: tuple[str, ...]) -> tuple[dict[str, Image], dict[str, float]]:
        """Images by name, in the number formats of the archive, and what was measured on them."""
        self.seconds = {}
        with self._timed("scene"):
            self.builder.set_sample(params)
        rays = self._rays(params.camera, 0.0)
        images = self._picture(params, 0.0, rays, params.cycles_seed)
        images |= self._labels(rays, params, 0.0, wanted)
        if "vertices" in wanted:
            images["vertices"] = vertices_label(self.builder.parts, params.heads)
        measured = self._measure(images)
        if "view2" in wanted:
            yaw = params.second_camera_yaw_rad
            self.builder.set_camera(params.camera, yaw)
            rays = self._rays(params.camera, yaw)
            second = self._labels(rays, params, yaw, ())
            images |= {"view2": self._picture(params, yaw, rays, params.cycles_seed + 1)["input"]}
            images |= {"view2_uv": second["uv"], "view2_mask": second["mask"]}
        if "neutral" in wanted:
            images["neutral"] = self._companion(neutral(params, self.spec.neutral_light == "own"))
        return {name: images[name] for name in wanted_order(images, wanted)}, measured

    def _companion(self, plain: SampleParams) -> Image:
        """The picture of a companion before gray; samples of one subject may share it."""
        shown = plain.heads, plain.camera, plain.light, plain.environment, plain.cycles_seed
        if self._last_companion is None or self._last_companion[0] != shown:
            with self._timed("scene"):
                self.builder.set_sample(plain)
            rays = self._rays(plain.camera, 0.0)
            made = self._picture(plain, 0.0, rays, plain.cycles_seed)
            image = made["input"]
            if self.spec.neutral_light == "own":  # the surroundings give the light, and are not seen
                colour, opacity = np.split(made["foreground"], [3], axis=-1)
                image = np.clip(colour + (1 - opacity) * np.float16(COMPANION_GRAY), 0, None)
            self._last_companion = shown, image
        return self._last_companion[1]

    def _rays(self, camera: Camera, yaw_rad: float) -> Rays | None:
        """Rays through all pixels in which something is; None if nothing is."""
        box = self._box(camera, yaw_rad, [shown.part.vertices for shown in self.builder.shown])
        if box is None:
            return None
        with self._timed("rays"):
            return self.rasteriser.cast(self.builder.shown, camera, yaw_rad, box, self.spec.mask_grid, self.spec.size)

    def _picture(self, params: SampleParams, yaw_rad: float, rays: Rays | None, seed: int) -> dict[str, Image]:
        """`input` and `foreground`, half: linear radiance, heads and props path traced over the backdrop.

        Paths are traced where heads and props are, and the backdrop and the outlines have no noise.
        """
        image = self._behind_all(params, yaw_rad)
        foreground = np.zeros((*image.shape[:2], 4), np.float32)
        if rays is not None:
            grid = self.spec.mask_grid
            height, width = (n // grid for n in rays.opacity.shape)
            box = rays.row, rays.column, rays.row + height, rays.column + width
            colour, sampled = np.split(self._foreground(box, seed), [3], axis=-1)
            with self._timed("filter"):
                opacity = sampled
                if self.spec.samples_per_pixel <= _RAY_WORTH * grid**2:
                    # A few samples hit or miss an outline by chance, but the rays know where it runs. What the samples
                    # lack or have too much of has the colour of the things around
                    opacity = filtered(rays.opacity, grid)[..., None]
                    size = (3, 3, 1)
                    around = uniform_filter(colour, size) / np.maximum(uniform_filter(sampled, size), 1e-3)
                    colour += (opacity - sampled) * around
                part = (slice(box[0], box[2]), slice(box[1], box[3]))
                foreground[part] = np.concatenate([colour, opacity], axis=-1)
                image[part] = colour + (1.0 - opacity) * image[part]
        return {
            "input": np.clip(image, 0.0, 65504.0).astype(np.float16),
            "foreground": np.clip(foreground, [-65504.0] * 3 + [0.0], [65504.0] * 3 + [1.0]).astype(np.float16),
        }

    def _behind_all(self, params: SampleParams, yaw_rad: float) -> Image:
        """(H, W, 3): the surroundings, or the picture that stands before them; it turns with the camera."""
        e = params.environment
        if e.backdrop is None:
            return self.backdrop(e, params.camera, yaw_rad)
        with self._timed("backdrop"):
            catalog, panorama_of = self.builder.catalog, self.builder.images.panorama
            textures = list(catalog.textures.values())
            white = paper_white(e, params.light, panorama_of(e.name) if e.name else None)
            (width, height), side = self.spec.size, max(self.spec.size)
            picture = backdrop_picture(e.backdrop, side, textures, catalog.backdrops, panorama_of)
            left, top = (side - width) // 2, (side - height) // 2
            picture = picture[top : top + height, left : left + width]
        return picture * (white * np.float32(e.backdrop.gain))

    def backdrop(self, environment: Environment, camera: Camera, yaw_rad: float) -> Image:
        """(H, W, 3): the surroundings as the camera sees them, at four points of each pixel."""
        grid = 2
        width, height = (n * grid for n in self.spec.size)
        if environment.kind == "noise":
            fine = self.backdrop_by_cycles((width, height))
        elif environment.kind == "gray":
            fine = np.full((height, width, 3), np.asarray(environment.colour, np.float32) * environment.strength)
        else:
            with self._timed("backdrop"):
                picture = self.builder.images.panorama(environment.name)
                fine = panorama.backdrop(picture, environment, camera, yaw_rad, (width, height))
        with self._timed("filter"):
            return filtered(fine, grid)

    def backdrop_by_cycles(self, size: tuple[int, int]) -> Image:
        """(H, W, 3): the surroundings of the scene at pixel centres; any kind, in four times the time."""
        cycles = self._behind.cycles
        self._frame(self._behind, size)
        cycles.samples, cycles.seed, cycles.max_bounces, cycles.use_denoising = 1, 0, 0, False
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01  # all but a point: the ray through the centre
        self._light.sampling_method = "NONE"  # nothing is lit here, so no map of the light need be made
        channels = self._render(self._behind, "backdrop")
        return np.stack([channels[c] for c in "RGB"], axis=-1)

    def _foreground(self, box: Box, seed: int) -> Image:
        """(h, w, 4): heads and props in the box, colour times opacity and opacity.

        Cycles averages over (sub)pixels and denoises them; then its pixel filter is applied to them. So a sample counts
        for every pixel that it is near to, where Cycles' own filter draws samples for each pixel alone.
        """
        scene, grid = self.builder.scene, self.spec.oversample
        cycles = scene.cycles
        width, height = self.spec.size
        self._frame(scene, (width * grid, height * grid), tuple(edge * grid for edge in box))
        scene.render.film_transparent = True
        cycles.samples, cycles.seed = self.spec.samples_per_pixel // grid**2, seed
        cycles.max_bounces, cycles.transparent_max_bounces, cycles.min_transparent_bounces = 12, 8, 0
        cycles.use_denoising = self.spec.denoise
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 1.0
        self._light.sampling_method = "MANUAL"
        channels = self._render(scene, "input")
        image = np.stack([channels[c] for c in "RGBA"], axis=-1)
        row, column, bottom, right = box
        if image.shape[:2] != ((bottom - row) * grid, (right - column) * grid):
            raise FormatError(f"Blender rendered {image.shape[:2]} subpixels, {grid} to a pixel's side, of {box}")
        with self._timed("filter"):
            return filtered(image, grid, _SPREAD)

    def _labels(
        self, rays: Rays | None, params: SampleParams, yaw_rad: float, wanted: tuple[str, ...]
    ) -> dict[str, Image]:
        """UV and mask, and whatever else of `wanted` is seen along the same rays."""
        camera, grid = params.camera, self.spec.mask_grid
        counted = self.spec.hidden_face == "counted"
        skins = [shown.part.vertices for shown in self.builder.shown if shown.part.kind == "skin"]
        box = self._box(camera, yaw_rad, [skin[self.builder.parts.face_vertices] for skin in skins])
        rays = maps.nothing(grid) if rays is None or box is None else rays.cropped(box, grid)
        with self._timed("labels"):
            face = maps.face_rays(rays, self.area)
            bare = face & ~rays.occluded
            visible = maps.coverage(bare, grid)
            mask = maps.coverage(face, grid) if counted and rays.occluded.any() else visible
            face = face if counted else bare
        inside = maps.centre(face, grid)[..., None]
        uv = maps.centre(rays.uv, grid) * inside
        precision = np.float32 if self.spec.uv_precision == "float" else np.float16

        def whole(part: Image) -> Image:
            return maps.place(part, rays.row, rays.column, self.spec.size)

        images = {
            "uv": whole(uv.astype(precision)),
            "mask": whole(np.stack([mask, visible], axis=-1).astype(np.float16)),
        }
        if {"position", "camera_position"} & set(wanted):
            depth = whole(np.where(inside[..., 0], maps.centre(rays.depth, grid), 0.0))
            seen = unproject(depth, camera) * [1.0, -1.0, -1.0]  # y up, z to the viewer
            world = (seen + np.array([0.0, 0.0, camera.distance_m])) @ second_camera(yaw_rad)
            heads = whole(np.where(inside[..., 0], maps.centre(rays.head, grid), 0))
            images["camera_position"] = seen.astype(np.float32)
            images["position"] = _in_head_space(world, heads, params).astype(np.float32)
        return images | self._surface(tuple(name for name in _SURFACE if name in wanted))

    def _surface(self, wanted: tuple[str, ...]) -> dict[str, Image]:
        """Depth, normal and albedo at the pixels' centres, by Cycles: they depend on materials."""
        if not wanted:
            return {}
        scene = self.builder.scene
        cycles = scene.cycles
        self._frame(scene, self.spec.size)
        scene.render.film_transparent = False
        cycles.samples, cycles.seed, cycles.max_bounces, cycles.use_denoising = 1, 0, 0, False
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01  # all but a point: the ray through the centre
        cycles.transparent_max_bounces = cycles.min_transparent_bounces = 64  # through every card, no roulette
        layer = scene.view_layers[0]
        for name, label in _PASSES.items():
            setattr(layer, name, label in wanted)
        layer.pass_alpha_threshold = 0.5
        channels = self._render(scene, "surface", "OPEN_EXR_MULTILAYER")
        for name in _PASSES:
            setattr(layer, name, False)
        planes = {k.split(".", 1)[1]: v for k, v in channels.items()}  # "ViewLayer.Normal.X" -> "Normal.X"
        images: dict[str, Image] = {}
        if "depth" in wanted:
            images["depth"] = np.where(planes["Depth.Z"] < 1e9, planes["Depth.Z"], 0.0).astype(np.float32)[..., None]
        if "normal" in wanted:
            normal = np.stack([planes[f"Normal.{axis}"] for axis in "XYZ"], axis=-1)
            images["normal"] = _to_camera(normal).astype(np.float16)
        if "albedo" in wanted:
            colours = [np.stack([planes[f"{kind}Col.{c}"] for c in "RGB"], axis=-1) for kind in ("Diff", "Gloss")]
            images["albedo"] = np.clip(sum(colours), 0.0, 1.0).astype(np.float16)
        return images

    def _box(self, camera: Camera, yaw_rad: float, meshes: Sequence[Image]) -> Box | None:
        """Pixels around meshes of (V, 3) world vertices; None if they are out of the frame."""
        size = self.spec.size
        turn = second_camera(yaw_rad)
        corners = []
        for vertices in meshes:
            seen = project(vertices @ turn.T, camera, size)
            if (seen[:, 2] <= camera.distance_m * 0.05).any():
                return 0, 0, size[1], size[0]  # one reaches to the camera: the projection says nothing
            corners.append(seen[:, :2])
        if not corners:
            return None
        points = np.concatenate(corners)
        low = np.floor(points.min(axis=0)).astype(int) - _BORDER_PX
        high = np.ceil(points.max(axis=0)).astype(int) + _BORDER_PX
        column, row = (int(v) for v in np.clip(low, 0, size))
        right, bottom = (int(v) for v in np.clip(high, 0, size))
        return (row, column, bottom, right) if right > column and bottom > row else None

    # -- Blender ---------------------------------------------------------------------------------------------------

    def _frame(self, scene: bpy.types.Scene, size: tuple[int, int], box: tuple[int, ...] | None = None) -> None:
        """Width and height of the whole image, and the part of it (row, column, bottom, right) to be rendered."""
        render, (width, height) = scene.render, size
        render.resolution_x, render.resolution_y = size
        render.use_border = render.use_crop_to_border = box is not None
        if box is not None:
            row, column, bottom, right = box
            # Blender rounds down: a hundredth of a pixel more, so that no rounding reaches the pixel before
            render.border_min_x, render.border_max_x = (column + 0.01) / width, (right + 0.01) / width
            render.border_min_y, render.border_max_y = (height - bottom + 0.01) / height, (height - row + 0.01) / height

    def _render(self, scene: bpy.types.Scene, name: str, file_format: str = "OPEN_EXR") -> dict[str, Image]:
        """Render, and return the float32 channels of the result by name."""
        path = self.scratch / f"{name}.exr"
        settings = scene.render.image_settings
        settings.file_format, settings.color_mode = file_format, "RGBA"
        settings.color_depth, settings.exr_codec = "32", "NONE"
        scene.render.filepath = str(path)
        with self._timed(name):
            bpy.ops.render.render(scene=scene.name, write_still=True)
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
    from renderer.format.sample_format import image_names

    return [name for name in image_names(wanted) if name in images]


def _to_camera(vectors: Image) -> Image:
    """Blender's world to the first camera's space: x right, y up, z to the viewer."""
    return np.stack([vectors[..., 0], vectors[..., 2], -vectors[..., 1]], axis=-1)


def _in_head_space(world: Image, heads: npt.NDArray[np.int32], params: SampleParams) -> Image:
    """World to the space of the head that each pixel shows."""
    out = np.zeros(world.shape)
    for number, head in enumerate(params.heads, start=1):
        of_head = heads == number
        out[of_head] = unposed(world[of_head], head.pose)
    return out
