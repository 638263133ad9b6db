"""Run by test_point_cache.py: a mesh under Blender's mesh-cache modifier, its vertices frame by frame."""

import sys
from pathlib import Path

import bpy
import numpy as np

folder = Path(sys.argv[1])
stored = np.load(folder / "mesh.npz")
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
scene.render.fps = 30
mesh = bpy.data.meshes.new("head")
mesh.from_pydata(stored["rest"].tolist(), [], stored["faces"].tolist())
obj = bpy.data.objects.new("head", mesh)
scene.collection.objects.link(obj)
for kind in ("pc2", "mdd"):
    obj.modifiers.clear()
    modifier = obj.modifiers.new("cache", "MESH_CACHE")
    modifier.cache_format, modifier.filepath = kind.upper(), str(folder / f"head.{kind}")
    modifier.frame_start = 0.0
    frames = []
    for frame in range(3):
        scene.frame_set(frame)
        moved = obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        points = np.empty(3 * len(moved.vertices), np.float32)
        moved.vertices.foreach_get("co", points)
        frames.append(points.reshape(-1, 3))
    np.save(folder / f"{kind}.npy", np.stack(frames))
