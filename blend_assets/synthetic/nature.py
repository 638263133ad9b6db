"""Wood, fur, scales, coats and leaves: one function a family of textures, from a generator to an image. numpy only."""

from __future__ import annotations

import numpy as np

from blend_assets.synthetic.colours import Image, loud, mix, mottle, near, palette, per_cell, ramp, relief
from blend_assets.synthetic.fields import (
    SIZE_PX,
    X,
    Y,
    cells,
    equalised,
    noise,
    sample,
    smoothstep,
    streaks,
    turing,
    warp,
    wrap,
)


def wood(rng: np.random.Generator) -> Image:
    """Sawn wood: contours of stretched noise as growth rings, fibres, and sometimes planks."""
    bases = (
        [(0.08, 0.45, 0.85), (0.06, 0.6, 0.5)],
        [(0.05, 0.7, 0.5), (0.03, 0.8, 0.22)],
        [(0.1, 0.3, 0.95), (0.09, 0.5, 0.72)],
        [(0.01, 0.65, 0.45), (0.02, 0.75, 0.2)],
        [(0.55, 0.25, 0.6), (0.57, 0.35, 0.3)],
        [(0.09, 0.12, 0.55), (0.08, 0.15, 0.25)],
    )[int(rng.integers(6))]
    pale, dark = near(rng, bases)
    planks = (0, 0, 3, 4, 5)[int(rng.integers(5))]
    shift_x, shift_y, tone, gap = (np.zeros(X.shape) for _ in range(4))
    if planks:
        row = np.floor(X * planks).astype(np.int64)
        shift_x, shift_y = rng.random(planks)[row], rng.random(planks)[row]
        tone = rng.normal(0, 0.12, planks)[row]
        edge = np.asarray(np.abs(X * planks % 1 - 0.5) * 2, dtype=np.float64)
        joint = np.asarray(np.abs(wrap(Y - rng.random(planks)[row])) * SIZE_PX, dtype=np.float64)
        gap = np.maximum(smoothstep(edge, 1 - 0.02 * planks, 0.03), 1 - smoothstep(joint, 1.2, 1.5))
    x, y = X + shift_x, Y + shift_y
    rings = sample(noise(rng, 4.6, 1.0, 60.0, (1.0, rng.uniform(3.5, 7.0))), x, y)
    phase = rings * rng.uniform(2.5, 5.0) % 1.0
    ring = np.where(phase < 0.8, phase / 0.8, (1 - phase) / 0.2) ** 1.7
    fibre = sample(noise(rng, 0.9, 4.0, 128.0, (1.0, 18.0)), x, y)
    image = mix(pale, dark, np.asarray(np.clip(0.85 * ring + 0.16 * fibre + tone, 0, 1.2)))
    pores = smoothstep(sample(noise(rng, 0.2, 20.0, 128.0, (1.0, 9.0)), x, y), 1.9, 0.5)
    return mottle(rng, mix(mix(image, dark * 0.6, 0.6 * pores), dark * 0.25, gap), 0.04)


def scales(rng: np.random.Generator) -> Image:
    """Overlapping rows of scales, feathers or shingles."""
    n = 2 * int(rng.integers(3, 8))
    colours = (
        palette(rng, 4)
        if rng.random() < 0.6
        else near(rng, [(0.4, 0.3, 0.2), (0.3, 0.4, 0.45), (0.12, 0.5, 0.6), (0.12, 0.3, 0.9)])
    )
    iridescent = ramp(equalised(noise(rng, 3.0)), loud(rng, 4))
    best = np.full(X.shape, -1.0)
    number = np.zeros(X.shape, dtype=np.int64)
    radius, pointed = rng.uniform(0.62, 0.7), rng.uniform(1.5, 2.4)
    for back in (1, 0):  # the row above laps over this one
        row = np.floor(Y * n).astype(np.int64) - back
        column = np.floor(X * n - 0.5 * (row % 2)).astype(np.int64)
        u = X * n - 0.5 * (row % 2) - column - 0.5
        v = Y * n - row
        reach = 1.85 * np.clip(1 - (np.abs(u) / radius) ** pointed, 0, 1) ** (1 / pointed)
        inside = (v < reach) & (best < 0)
        best = np.where(inside, v / np.maximum(reach, 0.05), best)
        number = np.where(inside, (row % n) * n + column % n, number)
    t = np.clip(best, 0, 1)
    image = per_cell(rng, number, n * n, colours[1:3], 0.1)
    image = mix(image, iridescent, np.full(X.shape, rng.choice([0.0, 0.35, 0.7])))
    image = mix(image * 0.2, image * 1.1, np.asarray(np.clip(1.25 * t**1.2, 0, 1)))
    image = mix(image, colours[3], np.asarray(0.75 * smoothstep(t, 0.9, 0.12)))
    return mottle(rng, image, 0.05)


def fur(rng: np.random.Generator) -> Image:
    """Hair, fur or dry grass: streaks along a slowly turning direction."""
    angle = rng.uniform(0, 6.28) + rng.uniform(0.2, 0.9) * noise(rng, 4.0, 1.0, 6.0)
    grain = noise(rng, 0.3, 12.0, 128.0)
    strands = streaks(angle, int(rng.integers(8, 22)), grain)
    patches = noise(rng, 3.0)
    t = equalised(strands + rng.choice([0.3, 1.2]) * patches)
    coats = (
        [(0.07, 0.6, 0.12), (0.07, 0.6, 0.35), (0.08, 0.5, 0.6), (0.1, 0.35, 0.85)],
        [(0.1, 0.1, 0.2), (0.1, 0.08, 0.55), (0.1, 0.05, 0.8), (0.1, 0.03, 0.97)],
        [(0.2, 0.7, 0.1), (0.25, 0.7, 0.3), (0.23, 0.65, 0.5), (0.17, 0.55, 0.75)],
        [(0.02, 0.8, 0.15), (0.04, 0.8, 0.45), (0.06, 0.75, 0.7), (0.09, 0.6, 0.9)],
    )
    pick = int(rng.integers(6))
    image = ramp(t, near(rng, coats[pick]) if pick < 4 else palette(rng, 4, rng.uniform(0.6, 1.0)))
    return relief(image, np.asarray(0.12 * strands), 0.5)


def animal(rng: np.random.Generator) -> Image:
    """Zebra, tiger, leopard, giraffe or invented coats, with short hair over them."""
    kind = int(rng.integers(4))
    hair = streaks(1.4 + 0.4 * noise(rng, 4.0, 1.0, 5.0), 6, noise(rng, 0.3, 20.0, 128.0))
    invented = rng.random() < 0.3
    if kind == 0:  # zebra
        ground, ink = near(rng, [(0.1, 0.08, 0.95), (0.1, 0.2, 0.08)])
        mark = smoothstep(sample(turing(rng, rng.uniform(6, 9), (1.0, 1.7), 0.0), *warp(rng, 0.03, 4.0)), 0.0, 0.5)
        marks = [(mark, ink)]
    elif kind == 1:  # tiger
        ground, ink = near(rng, [(0.08, 0.75, 0.85), (0.05, 0.5, 0.1)])
        mark = smoothstep(turing(rng, rng.uniform(7, 11), (1.9, 1.0), -0.2), 0.3, 0.5)
        marks = [(mark, ink)]
    elif kind == 2:  # leopard: broken rings round tan hearts
        ground, ink, heart = near(rng, [(0.1, 0.5, 0.88), (0.06, 0.6, 0.14), (0.08, 0.65, 0.62)])
        n = int(rng.integers(7, 11))
        x, y = warp(rng, 0.012, 3.4, 4.0)
        first, _, number = cells(rng, n, 0.75, 2.0, x, y)
        size = rng.uniform(0.27, 0.42, n * n)[number]
        inside = smoothstep(size - first, 0.0, 0.06)
        ring = smoothstep(0.09 - np.abs(first - size + 0.06), 0.0, 0.05) * smoothstep(noise(rng, 2.5, 6.0), -0.6, 0.4)
        marks = [(inside, heart), (np.asarray(ring), ink)]
    else:  # giraffe
        ink, ground = near(rng, [(0.07, 0.7, 0.48), (0.1, 0.3, 0.92)])
        x, y = warp(rng, 0.01, 4.0, 3.0)
        first, second, number = cells(rng, int(rng.integers(4, 8)), 0.85, 2.0, x, y)
        marks = [(smoothstep(second - first, 0.13, 0.06), ink)]
    if invented:
        ground, *inks = loud(rng, len(marks) + 1)
        marks = [(mark, colour) for (mark, _), colour in zip(marks, inks, strict=True)]
    image = np.broadcast_to(ground, (*X.shape, 3)) * (1 + 0.12 * noise(rng, 3.0)[..., None])
    for mark, colour in marks:
        image = mix(image, colour, mark)
    return np.asarray(image * (1 + 0.1 * hair[..., None]), dtype=np.float64)


def foliage(rng: np.random.Generator) -> Image:
    """Fallen or growing leaves, one over another, each with its rib."""
    schemes = (
        [(0.28, 0.7, 0.25), (0.25, 0.65, 0.45), (0.2, 0.6, 0.65)],
        [(0.02, 0.8, 0.45), (0.07, 0.85, 0.75), (0.12, 0.75, 0.8)],
        [(0.92, 0.4, 0.9), (0.97, 0.55, 0.8), (0.1, 0.1, 0.97)],
    )
    pick = int(rng.integers(4))
    colours = palette(rng, 3) if pick == 3 else near(rng, schemes[pick], 0.06)
    image = np.broadcast_to(colours[0] * 0.25, (*X.shape, 3)).copy()
    size = rng.uniform(0.07, 0.13)
    count = int(1.6 / size**2)
    slim, main = rng.uniform(0.35, 0.6), rng.uniform(0, 6.28)
    half = int(np.ceil(size * 1.25 * SIZE_PX))
    dy, dx = np.mgrid[-half : half + 1, -half : half + 1] / SIZE_PX
    for k in range(count):
        angle = main + rng.normal(0, 1.2)
        scale = size * rng.uniform(0.6, 1.2)
        u = (dx * np.cos(angle) + dy * np.sin(angle)) / scale
        v = (dy * np.cos(angle) - dx * np.sin(angle)) / scale + 0.12 * (u * u - 0.3) * rng.normal()
        outline = slim * np.clip(1 - u * u, 0, 1) * (1 - 0.25 * u)
        inside = smoothstep(outline - np.abs(v), 0.0, 2.0 / scale / SIZE_PX)
        tone = (0.45 + 0.6 * k / count) * (1 + 0.1 * rng.normal())
        colour = colours[int(rng.integers(3))] * tone
        rib = np.maximum(1 - np.abs(v) / 0.045, 0.35 * (np.cos(24 * (u - 1.2 * np.abs(v))) > 0.75))
        leaf = colour * (1 + 0.3 * np.clip(rib, 0, 1) - 0.25 * np.sign(v) * 0.5)[..., None]
        px = int(rng.integers(SIZE_PX)) + np.arange(-half, half + 1)
        py = int(rng.integers(SIZE_PX)) + np.arange(-half, half + 1)
        at = np.ix_(py % SIZE_PX, px % SIZE_PX)
        shade = np.roll(inside, (4, 3), (0, 1)) * 0.45
        image[at] *= (1 - shade)[..., None]
        image[at] = image[at] + (leaf - image[at]) * inside[..., None]
    return mottle(rng, image, 0.05)
