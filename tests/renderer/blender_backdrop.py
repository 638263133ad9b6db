"""Backdrops of a spec's samples, by `renderer.labels.panorama` and by Cycles. Run as a script: JOB.json OUT.npz"""

import json
import sys
from pathlib import Path

import numpy as np

from renderer.blender.passes import PassRenderer
from renderer.blender.scene import SceneBuilder
from renderer.head.catalog import build_catalog
from renderer.head.pack import load_head
from renderer.head.parts import PartBuilder
from renderer.labels.pixel_filter import filtered
from renderer.parameters.spec import parse_spec
from renderer.sampling.draw import draw

job = json.loads(Path(sys.argv[1]).read_text())
spec, pack = parse_spec(job["spec"], "the job"), Path(job["pack"])
model, catalog = load_head(pack), build_catalog(pack, spec)
builder = SceneBuilder(Path(job["blend"]), PartBuilder(model, catalog), catalog)
renderer = PassRenderer(builder, spec.render, 1, Path(sys.argv[2]).parent)
(width, height), ours, cycles = spec.render.size, [], []
for index in range(8):
    params = draw(spec, job["seed"], index, catalog, model, job["tag"])
    for yaw in (0.0, 0.4):
        builder.set_sample(params)
        builder.set_camera(params.camera, yaw)
        ours.append(renderer.backdrop(params.environment, params.camera, yaw))
        cycles.append(filtered(renderer.backdrop_by_cycles((2 * width, 2 * height)), 2))
np.savez(sys.argv[2], ours=ours, cycles=cycles)
