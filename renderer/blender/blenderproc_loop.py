"""The plain loop once more, rendered by BlenderProc 2.8: what its users would get from the same scene.

Run as `python -m renderer.blender.blenderproc_loop JOB.json OUT.json`. BlenderProc keeps its defaults (its noise
threshold, the Intel denoiser on the input, persistent data, images through files that it reads back) except for the 64
samples per pixel and the bounces of our scene. It is used as a library on our bpy: `blenderproc run` would fetch a
Blender of its own. Only the benchmark starts this; BlenderProc is GPL and no dependency of headforge.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from renderer.blender.plain_loop import PlainLoop, main  # imports bpy, which brings the mathutils of the next ones

os.environ["OUTSIDE_OF_THE_INTERNAL_BLENDER_PYTHON_ENVIRONMENT_BUT_IN_RUN_SCRIPT"] = "1"  # lets it be imported
from blenderproc.python.renderer import RendererUtility
from blenderproc.python.utility.SetupUtility import SetupUtility


class BlenderProcLoop(PlainLoop):
    """Its three renders a sample, through BlenderProc."""

    def __init__(self, job: dict[str, Any], threads: int, samples: int = 64) -> None:
        super().__init__(job, threads, samples)
        RendererUtility.render_init()
        RendererUtility.set_cpu_threads(threads)
        RendererUtility.set_output_format("OPEN_EXR", 16, view_transform="Raw")
        self.builder.scene.render.use_file_extension = True
        self.builder.scene.frame_start, self.builder.scene.frame_end = 0, 1

    def shot(self, path: Path, samples: int, point: bool = False) -> dict[str, Any]:
        picture = path.stem == "input"
        self.set_filter(point)
        RendererUtility.set_max_amount_of_samples(samples)
        RendererUtility.set_noise_threshold(0.01 if picture else 0.0)
        RendererUtility.set_denoiser("INTEL" if picture else None)
        SetupUtility.setup_utility_paths(str(path.parent / "blenderproc"))
        name = path.stem
        image = RendererUtility.render(file_prefix=name, output_key=name, load_keys={name}, verbose=True)[name][0]
        return dict(zip("RGB", (image[..., c] for c in range(3)), strict=True))


if __name__ == "__main__":
    main(BlenderProcLoop)
