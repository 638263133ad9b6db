"""Parameters become a scene. Decides nothing, draws nothing: it copies values.

Every object that a sample does not use is taken out of the scene, and every value that a sample depends on is set for
every sample, so that no sample inherits anything from the one before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Vector

from renderer.blender.images import PANORAMA_SPACE, Images
from renderer.blender.make_scene import CAMERA, SUN, WORLD
from renderer.blender.part_materials import PartMaterials, move
from renderer.head.catalog import Catalog
from renderer.head.parts import Part, PartBuilder, Shown, build_prop, triangles
from renderer.labels import panorama
from renderer.parameters.params import Camera, Environment, Light, SampleParams

KEPT_OBJECTS = 256  # things cut to one head have a mesh of their own in every sample: the oldest are removed


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
        self.images = Images(catalog.hdris)
        self._materials = PartMaterials(parts, catalog, self.images)
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
                self._show(Shown(part, number, head), self._materials.of_part(part, head, number))
        for number, prop in enumerate(params.props):
            part = build_prop(prop)
            self._show(Shown(part, number, None), self._materials.of_prop(part, prop, f"{number}.prop"))
        for number, statue in enumerate(params.statues):
            for part in self.parts.build(statue.head, bare=True):
                stone = replace(part, kind="statue", name=f"statue:{part.name}")
                self._show(Shown(stone, number, None), self._materials.of_prop(stone, statue, f"{number}.statue"))

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
        move(nodes["panorama"], scale=zoom, rotation=e.rotation_rad)
        move(nodes["noise"], scale=zoom * e.noise_scale, rotation=e.rotation_rad, location=e.noise_offset)
        nodes["panorama"].image = self.images.load(self.catalog.hdris[e.name], PANORAMA_SPACE) if e.name else None
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


def _mesh(name: str, part: Part) -> bpy.types.Mesh:
    """A mesh with the part's topology; vertices are set later.

    Quads are split here: Blender would choose diagonals by the first shape it sees and keep them for the others, which
    makes pixels depend on the samples before.
    """
    t = part.topology
    tri, corner = triangles(t)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(part.vertices))  # not from_pydata: its lists cost half a second where hair is strands
    mesh.loops.add(tri.size)
    mesh.polygons.add(len(tri))
    mesh.vertices.foreach_set("co", to_blender(part.vertices).ravel())
    mesh.loops.foreach_set("vertex_index", tri.astype(np.int32).ravel())
    mesh.polygons.foreach_set("loop_start", np.arange(0, tri.size, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
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
