"""A known texture through a rendered UV map against Blender's own picture of it: the albedo label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renderer.format.dataset import open_dataset
from renderer.format.sample_format import PURE
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.limits import Uniform
from renderer.run.claim import claim
from renderer.run.context import prepare
from renderer.run.local import render_shards
from renderer.run.pool import PoolOptions
from trainer.uvmaps import textures

pytestmark = pytest.mark.blender


def face_texture(size: int = 512) -> np.ndarray:
    """(S, S, 3) bytes, V = 1 in row 0: waves from three to a dozen across the face, in all channels."""
    line = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(line, 1 - line)
    waves = [np.sin(20 * u + 6 * v), np.sin(25 * v) * np.cos(12 * u), np.sin(40 * u * v)]
    return (np.stack(waves, -1) * 80 + 140).round().astype(np.uint8)


def linear(srgb: torch.Tensor) -> torch.Tensor:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def test_a_known_texture_through_the_rendered_uv_map_is_the_albedo_render(head_pack: Path, tmp_path: Path) -> None:
    """Rendered in worker processes; the default projection, scaled up and down, and the plain look-up."""
    (tmp_path / "faces").mkdir()
    Image.fromarray(face_texture()).save(tmp_path / "faces" / "waves.png")
    spec = load_spec("smoke")
    spec = replace(
        spec,
        render=replace(spec.render, resolution=128, labels=("albedo",), uv_precision="float", samples_per_pixel=1),
        heads=replace(spec.heads, empty_share=0.0, several_share=0.0),
        surface=replace(
            spec.surface,
            kinds={"skin": 1.0},
            flip_share=0.0,
            subsurface_share=0.0,
            gloss_mix=Uniform(0.0, 0.0),  # Cycles takes a rough gloss for some per cent darker than its colour
        ),
        interior=replace(spec.interior, brows_share=0.0, lashes_share=0.0),
        occluders=replace(spec.occluders, glasses_share=0.0),  # a clear lens hides no face, but reflects a little
        assets=replace(spec.assets, faces=(str(tmp_path / "faces"),), only_own=True),
    )
    context = prepare(spec, 5, log=lambda text: None)
    claim(tmp_path / "out", context)
    render_shards(context, [(0, 4)], tmp_path / "out", tmp_path / "staging", PoolOptions(1, 1))
    texture = torch.from_numpy(face_texture()).permute(2, 0, 1)[None].float() / 255
    errors: dict[int, list[torch.Tensor]] = {1: [], 2: []}
    for shard, entry in open_dataset(tmp_path / "out").entries():
        planes = {name: shard.image(entry, name).astype(np.float32) for name in ("uv", "mask", "albedo")}
        uv, mask, albedo = (torch.from_numpy(p).permute(2, 0, 1)[None] for p in planes.values())
        clear = (mask[:, 1:] >= PURE).float()
        core = 1 - torch.nn.functional.max_pool2d(1 - clear, 3, 1, 1)  # the default's soft rim shows the picture below
        for (scale, found), counted in zip(errors.items(), (clear, core), strict=True):
            drawn = textures.texture_projection(torch.zeros_like(albedo), uv, clear, texture, scale)
            found.append((linear(drawn) - albedo).abs()[counted.expand_as(albedo) > 0])
    # Measured: 4e-5 and 3e-4 for the plain look-up, 0.0011 and 0.022 for the default, which averages 2 x 2
    for scale, median, most in ((1, 1e-4, 1e-3), (2, 0.002, 0.03)):
        every = torch.cat(errors[scale])
        assert len(every) > 10_000
        assert float(every.median()) < median and float(every.quantile(0.99)) < most
