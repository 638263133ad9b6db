"""Speed of the projections at 256 x 256 on one core, as JSON lines. `gen bench visualise` prints them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from trainer.bench.timing import line
from trainer.uvmaps import textures
from trainer.uvmaps.grid import grid_lines, grid_points
from trainer.uvmaps.points import find_landmarks

SIZE = 256


def measure(work: Callable[[], object], seconds: float = 2.0) -> float:
    """Runs per second of CPU time on one core, the best of four rounds: other work only ever slows one down."""
    work()
    best = 0.0
    for _ in range(4):
        runs, start = 0, time.process_time()
        while time.process_time() - start < seconds / 4:
            work()
            runs += 1
        best = max(best, runs / (time.process_time() - start))
    return best


def lines() -> Iterator[str]:
    """One figure after the other."""
    torch.set_num_threads(1)
    centres = (torch.arange(SIZE) + 0.5) / SIZE
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    mask = (((x - 0.5) / 0.34) ** 2 + ((y - 0.5) / 0.45) ** 2 < 1).float()[None, None]  # a face that fills the frame
    uv = torch.stack([(x - 0.16) / 0.68, 1 - (y - 0.05) / 0.9])[None] * mask
    image, texture = torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 3, 1024, 1024)
    landmarks = torch.rand(68, 2) * 0.8 + 0.1
    works: dict[str, Callable[[], object]] = {
        "texture projection": lambda: textures.texture_projection(image, uv, mask, texture),
        "inverse texture projection": lambda: textures.inverse_texture_projection(image, uv, mask, SIZE),
        "grid lines": lambda: grid_lines(image, uv, mask),
        "grid points": lambda: grid_points(image, uv, mask),
        "68 landmarks": lambda: find_landmarks(uv, mask, landmarks),
    }
    with torch.no_grad():
        for name, work in works.items():
            yield line(name, measure(work), "frames/s", size=SIZE)
