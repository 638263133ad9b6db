"""Parameters become a scene. Decides nothing, draws nothing: it copies values.

Every object that a sample does not use is taken out of the scene, and every value that a sample depends on is set for
every sample, so that no sample inherits anything from the one before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Vector

from renderer.blender.make_scene import CAMERA, SUN, WORLD
from renderer.errors import AssetError
from renderer.head.catalog import Catalog
from renderer.head.parts import Part, PartBuilder, Shown, build_prop, triangles
from renderer.head.pca import PCA_FACE, load_pca
from renderer.head.skin_layers import MOST, SkinPainter
from renderer.head.worn.kinds import KINDS, PATTERNS
from renderer.labels import panorama
from renderer.parameters.params import Camera, Environment, Head, Light, Prop, SampleParams, Statue, Vec3

PANORAMA_SPACE = "Linear Rec.709"
KEPT_PIXELS = 1 << 20  # panoramas with more are read again for every sample
KEPT_OBJECTS = 256  # things cut to one head have a mesh of their own in every sample: the oldest are removed

_PLAIN: Mapping[str, tuple[float, float, float]] = {
    "mouth": (0.25, 0.05, 0.05),
    "sockets": (0.5, 0.25, 0.2),
    "eyes": (0.75, 0.72, 0.7),
    "teeth": (0.8, 0.75, 0.65),
    "tongue": (0.5, 0.15, 0.15),
}


def to_blender(points: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """World (x right, y up, z to the camera) to Blender (x right, y into the image, z up); (V, 3)."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1).astype(np.float32)


class SceneBuilder:
    """Owns the open .blend. One per process."""

    def __init__(self, blend: Path, parts: PartBuilder, catalog: Catalog) -> None:
        bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
        self.scene = bpy.context.scene
        self.parts, self.catalog = parts, catalog
        self._objects: dict[str, bpy.types.Object] = {}
        self._materials: dict[str, bpy.types.Material] = {}
        self._images: dict[Path, bpy.types.Image] = {}
        self._panoramas: dict[Path, npt.NDArray[np.float16]] = {}
        self.shown: list[Shown] = []  # every part in the scene
        self.objects: list[bpy.types.Object] = []  # of them, in the same order

    # -- one sample ------------------------------------------------------------------------------------------------

    def set_sample(self, params: SampleParams) -> None:
        """Make the scene show this sample."""
        self._clear()
        self.set_camera(params.camera)
        self._set_light(params.light)
        self._set_environment(params.environment)
        for number, head in enumerate(params.heads):
            for part in self.parts.build(head):
                self._show(Shown(part, number, head), self._part_materials(part, head, number))
        for number, prop in enumerate(params.props):
            part = build_prop(prop)
            self._show(Shown(part, number, None), self._prop_materials(part, prop, f"{number}.prop"))
        for number, statue in enumerate(params.statues):
            for part in self.parts.build(statue.head, bare=True):
                stone = replace(part, kind="statue", name=f"statue:{part.name}")
                self._show(Shown(stone, number, None), self._prop_materials(stone, statue, f"{number}.statue"))

    def set_camera(self, camera: Camera, yaw_rad: float = 0.0) -> None:
        """The camera, turned about the head by `yaw_rad`."""
        obj, data = bpy.data.objects[CAMERA], bpy.data.cameras[CAMERA]
        data.type, data.sensor_fit = "PERSP", "HORIZONTAL"
        data.lens, data.sensor_width = camera.focal_mm, camera.sensor_mm
        # Blender's shift moves the frame, ours the image in it
        data.shift_x, data.shift_y = -camera.shift_x, -camera.shift_y
        data.clip_start, data.clip_end = 0.001, 1000.0
        data.dof.use_dof = False
        where = np.array([[camera.distance_m * math.sin(yaw_rad), 0.0, camera.distance_m * math.cos(yaw_rad)]])
        obj.location = to_blender(where)[0].tolist()
        obj.rotation_euler = (math.pi / 2, 0.0, yaw_rad)

    # -- light -----------------------------------------------------------------------------------------------------

    def _set_light(self, light: Light) -> None:
        obj, data = bpy.data.objects[SUN], bpy.data.lights[SUN]
        towards = Vector(to_blender(np.array([light.direction]))[0].tolist())
        obj.rotation_mode = "QUATERNION"
        obj.rotation_quaternion = towards.to_track_quat("Z", "Y")
        data.energy, data.angle, data.color = light.strength, light.angle_rad, light.colour
        obj.hide_render = not light.on

    def _set_environment(self, e: Environment) -> None:
        world = bpy.data.worlds[WORLD]
        nodes = world.node_tree.nodes
        zoom = panorama.zoom(e)
        _move(nodes["panorama"], scale=zoom, rotation=e.rotation_rad)
        _move(nodes["noise"], scale=zoom * e.noise_scale, rotation=e.rotation_rad, location=e.noise_offset)
        nodes["panorama"].image = self._image(self.catalog.hdris[e.name], PANORAMA_SPACE) if e.name else None
        nodes["colour"].outputs[0].default_value = (*e.colour, 1.0)
        nodes["kind_noise"].outputs[0].default_value = float(e.kind == "noise")
        nodes["kind_plain"].outputs[0].default_value = float(e.kind == "gray")
        nodes["strength"].outputs[0].default_value = e.strength
        self.scene.world = world

    # -- objects ---------------------------------------------------------------------------------------------------

    def _clear(self) -> None:
        for obj in self.objects:
            self.scene.collection.objects.unlink(obj)
            obj.hide_render = False
        self.objects, self.shown = [], []
        for key in list(self._objects)[: max(0, len(self._objects) - KEPT_OBJECTS)]:
            bpy.data.meshes.remove(self._objects.pop(key).data)  # and with it the object

    def _show(self, shown: Shown, materials: Sequence[bpy.types.Material]) -> None:
        part = shown.part
        obj = self._object(part, shown.number)
        mesh = obj.data
        mesh.attributes["position"].data.foreach_set("vector", to_blender(part.vertices).ravel())
        if part.topology.rest is not None:  # props of one topology differ in shape
            mesh.attributes["rest"].data.foreach_set("vector", to_blender(part.topology.rest).ravel())
        mesh.update()
        for slot, material in zip(obj.material_slots, materials, strict=True):
            slot.material = material
        self.scene.collection.objects.link(obj)
        self.objects.append(obj)
        self.shown.append(shown)

    def _object(self, part: Part, number: int) -> bpy.types.Object:
        key = f"{number}.{part.name}"
        if key not in self._objects:
            mesh = _mesh(key, part)
            slots = 1 if part.topology.slots is None else int(part.topology.slots.max()) + 1
            obj = bpy.data.objects.new(key, mesh)
            for _ in range(slots):
                mesh.materials.append(None)
            for slot in obj.material_slots:
                slot.link = "OBJECT"
        else:
            obj = self._objects.pop(key)
        self._objects[key] = obj  # in the order of their last use
        return obj

    # -- materials -------------------------------------------------------------------------------------------------

    def _part_materials(self, part: Part, head: Head, number: int) -> list[bpy.types.Material]:
        black, interior, kind = bpy.data.materials["black"], head.interior, part.kind
        if kind == "skin":
            mouth = self._plain(f"{number}.mouth", "mouth", _PLAIN["mouth"]) if interior.mouth else black
            sockets = self._plain(f"{number}.sockets", "sockets", _PLAIN["sockets"]) if interior.eyes else black
            return [self._skin(head, number), mouth, sockets]
        if kind == "body":
            return [self._copy(f"{number}.{_skin_kind(head)}", _skin_kind(head))]  # as the skin was set
        if kind == "clothes":
            return self._garment(part, head, number)
        if kind == "glasses":
            frame = self._plain(f"{number}.frame", "frame", head.wear.glasses_colour)
            lens = self._copy(f"{number}.lens", "lens")
            lens.node_tree.nodes["tint"].outputs[0].default_value = head.wear.lens_tint
            lens.node_tree.nodes["dark"].inputs["Color"].default_value = (*head.wear.lens_colour, 1.0)
            lens.node_tree.nodes["reflected"].inputs[0].default_value = head.wear.lens_mirror
            return [frame, lens]
        if kind == "fitted":
            return self._fitted_materials(part, head, number)
        shown = {"eyes": interior.eyes, "teeth": interior.mouth, "tongue": interior.mouth}.get(kind, True)
        if not shown:
            return [black]
        if ":" not in part.name:  # a part of the base mesh, which has no picture
            return [self._plain(f"{number}.bare.{kind}", "bare", _PLAIN[kind])]
        tint = {"hair": head.wear.hair_tint, "hat": head.wear.hat_tint, "brows": head.wear.hair_tint}.get(
            kind, (1.0, 1.0, 1.0)
        )
        return [self._card(part, kind, number, tint, interior.iris)]

    def _fitted_materials(self, part: Part, head: Head, number: int) -> list[bpy.types.Material]:
        """By slot of a fitted thing."""
        place = int(part.name.split(":")[1])
        thing = head.wear.fitted[place]
        made: dict[str, bpy.types.Material] = {}
        for slot in dict.fromkeys(KINDS[thing.kind].slots):
            if slot == "skin":
                made[slot] = self._skin(head, number)
                continue
            colours = (thing.second_colour if slot == "trim" else thing.colour, thing.second_colour)
            made[slot] = self._copy(f"{number}.fitted.{place}.{slot}", slot)
            nodes = made[slot].node_tree.nodes
            for name, colour in zip(("colour", "second_colour"), colours, strict=True):
                nodes[name].outputs[0].default_value = (*colour, 1.0)
            nodes["roughness"].outputs[0].default_value = thing.roughness
            if slot == "cloth":
                for pattern in PATTERNS[1:]:
                    nodes[f"{pattern}_on"].outputs[0].default_value = float(pattern == thing.pattern)
                    _move(nodes[pattern], scale=(1 / thing.pattern_m,) * 3)
        assert part.topology.slots is not None
        return [made[slot] for slot in KINDS[thing.kind].slots][: int(part.topology.slots.max()) + 1]

    def _prop_materials(self, part: Part, prop: Prop | Statue, key: str) -> list[bpy.types.Material]:
        material = self._copy(key, "prop")
        nodes = material.node_tree.nodes
        nodes["texture"].image = self._image(self.catalog.textures[prop.texture]) if prop.texture else None
        nodes["textured"].outputs[0].default_value = float(bool(prop.texture))
        nodes["colour"].outputs[0].default_value = (*prop.colour, 1.0)
        nodes["roughness"].outputs[0].default_value = prop.roughness
        count = 1 if part.topology.slots is None else int(part.topology.slots.max()) + 1
        return [material] * count

    def _skin(self, head: Head, number: int) -> bpy.types.Material:
        s, kind = head.surface, _skin_kind(head)
        material = self._copy(f"{number}.{kind}", kind)
        nodes = material.node_tree.nodes
        nodes["texture"].image = self._image(self.catalog.textures[s.texture]) if s.texture else None
        _move(
            nodes["texture"], scale=(s.texture_scale,) * 3, rotation=s.texture_rotation_rad, location=s.texture_offset
        )
        _move(nodes["noise"], scale=(s.noise_scale,) * 3, location=s.noise_offset)
        nodes["colour"].outputs[0].default_value = (*s.colour, 1.0)
        if s.face == PCA_FACE and head.identity.pca is not None:
            picture = load_pca(self.parts.model.folder).picture(head.identity.pca.texture_q)
            nodes["face"].image = self._canvas(f"{number}.face", picture[::-1] / np.float32(255), is_data=False)
            nodes["face_uv"].uv_map = "uv_skin"
            _move(nodes["face"], scale=(1.0, 1.0, 1.0))
        else:
            self._set_face(nodes, s.face, s.flip)
        for name, value in (
            ("noise_on", float(s.kind == "noise")),
            ("colour_mix", s.colour_mix if s.kind == "mixed" else float(s.kind != "noise")),
            ("face_mix", s.face_mix if s.face else 0.0),
            ("gloss_mix", s.gloss_mix),
            ("roughness", s.roughness),
            ("subsurface", s.subsurface),
            *((("face_gamma", s.face_gamma), ("face_saturation", s.face_saturation)) if kind != "skin" else ()),
        ):
            nodes[name].outputs[0].default_value = value
        if s.skin:
            layers = self._painter.paint(s.skin)
            relief = np.stack([layers.relief, layers.shine, 0 * layers.shine], axis=-1)
            for name, colours in (("layers", layers.factor / MOST), ("relief", relief)):
                nodes[name].image = self._canvas(f"{number}.{name}", colours)
        return material

    @cached_property
    def _painter(self) -> SkinPainter:
        return SkinPainter(self.parts.model)

    def _canvas(self, name: str, colours: npt.NDArray[np.float32], is_data: bool = True) -> bpy.types.Image:
        """An image of (H, W, 3) values from 0 to 1, the bottom row first; painted over from sample to sample.

        is_data: the values are no colours; else they are sRGB.
        """
        height, width, _ = colours.shape
        image = bpy.data.images.get(name) or bpy.data.images.new(name, width, height, is_data=is_data)
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = colours
        image.pixels.foreach_set(pixels.ravel())
        image.update()
        return image

    def _garment(self, part: Part, head: Head, number: int) -> list[bpy.types.Material]:
        """Materials of a garment and of its trim."""
        assert head.clothes is not None
        layer = int(part.name.split(":")[1])
        garment, materials = head.clothes.garments[layer], []
        assert part.topology.slots is not None
        slots = ("main", garment.colour), ("trim", garment.trim)
        for slot, colour in slots[: int(part.topology.slots.max()) + 1]:
            material = self._copy(f"{number}.{layer}.garment.{slot}", "garment")
            nodes = material.node_tree.nodes
            textured = garment.texture if slot == "main" or garment.trim == garment.colour else ""
            nodes["texture"].image = self._image(self.catalog.textures[textured]) if textured else None
            _move(nodes["texture"], scale=(garment.texture_scale,) * 3)
            nodes["textured"].outputs[0].default_value = float(bool(textured))
            nodes["colour"].outputs[0].default_value = (*colour, 1.0)
            nodes["roughness"].outputs[0].default_value = garment.roughness
            materials.append(material)
        return materials

    def _set_face(self, nodes: bpy.types.Nodes, name: str, flip: bool) -> None:
        if not name:
            nodes["face"].image = None
            location, scale = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        else:
            path, canonical = self.catalog.face_texture(name)
            nodes["face"].image = self._image(path)
            nodes["face_uv"].uv_map = "uv" if canonical else "uv_skin"
            location, scale = self.parts.mirror_map(canonical) if flip else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        _move(nodes["face"], scale=scale, location=location)

    def _card(self, part: Part, kind: str, number: int, tint: Vec3, iris: str) -> bpy.types.Material:
        material = self._copy(f"{number}.{kind}", kind)
        path = self.catalog.irises[iris] if kind == "eyes" else self.parts.picture(part)
        nodes = material.node_tree.nodes
        nodes["picture"].image = self._image(path)
        nodes["colour"].outputs[0].default_value = (*tint, 1.0)
        return material

    def _plain(self, key: str, kind: str, colour: Vec3) -> bpy.types.Material:
        material = self._copy(key, kind)
        material.node_tree.nodes["colour"].outputs[0].default_value = (*colour, 1.0)
        return material

    def _copy(self, key: str, kind: str) -> bpy.types.Material:
        """The material of one object: a copy of the kind's, made once."""
        if key not in self._materials:
            self._materials[key] = bpy.data.materials[kind].copy()
            self._materials[key].name = key
        return self._materials[key]

    def panorama(self, name: str) -> npt.NDArray[np.float32]:
        """(H, W, 3) radiance, the bottom row first."""
        path = self.catalog.hdris[name]
        if path not in self._panoramas:
            image = self._image(path, PANORAMA_SPACE)
            width, height = image.size
            pixels = np.empty(width * height * image.channels, np.float32)
            image.pixels.foreach_get(pixels)
            image.buffers_free()  # or Blender keeps what only we have read
            colours = pixels.reshape(height, width, image.channels)[..., :3]
            if width * height > KEPT_PIXELS:
                return np.ascontiguousarray(colours)
            self._panoramas[path] = np.clip(colours, 0.0, 65504.0).astype(np.float16)
        return self._panoramas[path].astype(np.float32)

    def _image(self, path: Path, colour_space: str = "sRGB") -> bpy.types.Image:
        if path not in self._images:
            image = bpy.data.images.load(str(path))
            if not image.size[0]:  # Blender would paint it magenta and say nothing
                raise AssetError(f"{path} cannot be decoded as an image: replace or remove it")
            image.colorspace_settings.name = colour_space
            image.alpha_mode = "CHANNEL_PACKED" if path.suffix.lower() == ".png" else "NONE"
            self._images[path] = image
        return self._images[path]


def _skin_kind(head: Head) -> str:
    """The material that a head's skin needs."""
    return "layered_skin" if head.surface.skin else "graded_skin" if head.surface.graded else "skin"


def _move(
    texture: bpy.types.Node,
    *,
    scale: Sequence[float] | npt.NDArray[np.float64],
    rotation: Vec3 = (0.0, 0.0, 0.0),
    location: Vec3 = (0.0, 0.0, 0.0),
) -> None:
    """Texture coordinates are scaled, then turned, then moved."""
    mapping = texture.texture_mapping
    mapping.vector_type = "POINT"
    mapping.scale, mapping.rotation, mapping.translation = scale, rotation, location


def _mesh(name: str, part: Part) -> bpy.types.Mesh:
    """A mesh with the part's topology; vertices are set later.

    Quads are split here: Blender would choose diagonals by the first shape it sees and keep them for the others, which
    makes pixels depend on the samples before.
    """
    t = part.topology
    tri, corner = triangles(t)
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(to_blender(part.vertices).tolist(), [], tri.tolist())
    for layer, values in t.uvs.items():
        data = mesh.uv_layers.new(name=layer, do_init=False).data
        data.foreach_set("uv", values.reshape(-1, 2)[corner.ravel()].astype(np.float32).ravel())
    if t.uvs:
        mesh.uv_layers["uv"].active_render = True
    if t.slots is not None:
        mesh.polygons.foreach_set("material_index", t.slots[corner[:, 0] // 4].astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(tri), bool))
    if t.rest is not None:
        mesh.attributes.new("rest", "FLOAT_VECTOR", "POINT")
    return mesh
