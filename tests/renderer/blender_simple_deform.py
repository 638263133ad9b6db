"""Run by test_render.py in a process of its own: Blender's SimpleDeform on points.npy, one file per mode."""

import sys
from pathlib import Path

import bpy
import numpy as np

folder = Path(sys.argv[1])
points = np.load(folder / "points.npy")
for mode, factor in {"twist": 0.7, "bend": 0.5, "taper": 0.3, "stretch": 0.2}.items():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    mesh = bpy.data.meshes.new("cloud")
    # head space (y up, z forward) to Blender (z up, -y forward)
    mesh.from_pydata(np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1).tolist(), [], [])
    thing = bpy.data.objects.new("cloud", mesh)
    bpy.context.scene.collection.objects.link(thing)
    modifier = thing.modifiers.new("deform", "SIMPLE_DEFORM")
    modifier.deform_method = mode.upper()
    modifier.deform_axis = "Y" if mode == "bend" else "Z"
    if mode in ("twist", "bend"):
        modifier.angle = factor
    else:
        modifier.factor = factor
    bpy.context.view_layer.update()
    moved = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).to_mesh()
    out = np.array([v.co for v in moved.vertices])
    np.save(folder / f"{mode}.npy", np.stack([out[:, 0], out[:, 2], -out[:, 1]], axis=1))
