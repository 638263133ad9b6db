"""Builds the scene file: camera, sun, world, materials. Run as `python -m renderer.blender.make_scene OUT.blend`.

The file holds no head: meshes come from parameters. It can be opened in Blender to look at the node trees.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

from renderer.blender import materials

CAMERA, SUN, WORLD, BACKDROP = "camera", "sun", "surroundings", "backdrop"


def build() -> None:
    """Replace whatever is open by the scene."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.name = "headforge"
    scene.render.engine = "CYCLES"
    camera = bpy.data.objects.new(CAMERA, bpy.data.cameras.new(CAMERA))
    sun = bpy.data.objects.new(SUN, bpy.data.lights.new(SUN, "SUN"))
    for obj in (camera, sun):
        scene.collection.objects.link(obj)
    scene.camera = camera
    scene.world = materials.world(WORLD)
    backdrop = bpy.data.scenes.new(BACKDROP)  # what the camera sees behind everything: the surroundings alone
    backdrop.collection.objects.link(camera)
    backdrop.camera, backdrop.world = camera, scene.world
    materials.skin("skin")
    materials.skin("graded_skin", graded=True)
    materials.skin("layered_skin", graded=True, layered=True)
    materials.plain("mouth", 0.3)
    materials.plain("sockets", 0.6)
    materials.plain("frame", 0.3)
    materials.plain("bare", 0.3)
    materials.black("black")
    materials.card("eyes", 0.12)
    materials.card("teeth", 0.1)
    materials.card("tongue", 0.08)
    materials.card("brows", 0.0)
    materials.card("lashes", 0.0)
    materials.card("hair", 0.06)
    materials.card("hat", 0.02)
    materials.lens("lens")
    materials.prop("prop")
    materials.cloth("cloth")
    materials.trim("plain")
    materials.trim("trim")
    materials.strands("strands")
    materials.garment("garment")


def main() -> None:
    out = Path(sys.argv[1])
    build()
    bpy.ops.wm.save_as_mainfile(filepath=str(out), compress=True)


if __name__ == "__main__":
    main()
