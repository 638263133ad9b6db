"""Pictures and numbers of kept objects where all are kept and where none is. Run as a script: JOB.json OUT.npz"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np

from renderer.blender import scene
from renderer.blender.passes import PassRenderer
from renderer.head.catalog import build_catalog
from renderer.head.pack import load_head
from renderer.head.parts import PartBuilder
from renderer.parameters.spec import parse_spec
from renderer.sampling.draw import draw

job = json.loads(Path(sys.argv[1]).read_text())
spec, pack = parse_spec(job["spec"], "the job"), Path(job["pack"])
model, catalog = load_head(pack), build_catalog(pack, spec)
results = {}
for name, kept in (("kept", scene.KEPT_OBJECTS), ("removed", 0)):
    scene.KEPT_OBJECTS = kept
    builder = scene.SceneBuilder(Path(job["blend"]), PartBuilder(model, catalog), catalog)
    renderer = PassRenderer(builder, spec.render, 1, Path(sys.argv[2]).parent)
    pictures, meshes = [], []
    for index in range(4):
        images, _ = renderer.render(draw(spec, job["seed"], index, catalog, model, job["tag"]), ())
        pictures.append(images["input"])
        meshes.append(len(bpy.data.meshes))
    results |= {f"pictures_{name}": pictures, f"meshes_{name}": meshes}
np.savez(sys.argv[2], **results)
