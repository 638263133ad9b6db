"""Stone, metal, paint and water: one function a family of textures, from a generator to an image. numpy only."""

from __future__ import annotations

import numpy as np

from blend_assets.synthetic.colours import Image, hsv, loud, mix, mottle, near, palette, per_cell, ramp, relief
from blend_assets.synthetic.fields import SIZE_PX, X, Y, blur, cells, equalised, noise, sample, smoothstep, warp, wrap


def cloud(rng: np.random.Generator) -> Image:
    """1/f^beta noise in a random colour basis, as the thesis's own noise images."""
    beta = rng.uniform(1.2, 3.0)
    basis = rng.normal(0, 1, (3, 3))
    basis /= np.linalg.norm(basis, axis=0)
    waves = np.stack([noise(rng, beta + rng.uniform(-0.4, 0.4)) for _ in range(3)], axis=-1)
    return np.asarray(rng.uniform(0.35, 0.6, 3) + rng.uniform(0.16, 0.26) * waves @ basis, dtype=np.float64)


def marble(rng: np.random.Generator) -> Image:
    """Polished marble: veins where warped noise crosses zero."""
    x, y = warp(rng, rng.uniform(0.04, 0.1), 4.2)
    body = equalised(sample(noise(rng, 3.3), x, y))
    image = ramp(body, palette(rng, 4, rng.uniform(0.3, 0.9)))
    vein_colours = palette(rng, 2)[int(rng.integers(2))]
    for width in (0.25, 0.1, 0.06):
        vein = np.exp(-np.abs(sample(noise(rng, 3.4, 1.5), x, y)) / width)
        image = mix(image, vein_colours, np.asarray(vein * smoothstep(noise(rng, 3.0), 0.2, 1.5) * 0.85))
    return mottle(rng, image, 0.025)


def stone(rng: np.random.Generator) -> Image:
    """Cobbles or flagstones in mortar."""
    n = int(rng.integers(4, 9))
    x, y = warp(rng, rng.uniform(0.006, 0.012), 3.2, 3.0)
    first, second, number = cells(rng, n, rng.uniform(0.6, 0.95), rng.choice([1.6, 2.0, 3.0]), x, y)
    gap = second - first
    colours = palette(rng, 4, 0.45) if rng.random() < 0.6 else near(rng, [(0.09, 0.2, 0.6), (0.6, 0.1, 0.45)])
    image = per_cell(rng, number, n * n, colours, 0.14)
    inside = smoothstep(gap, 0.14, 0.1)
    dome = np.sqrt(np.clip(gap, 0, 0.7)) + 0.05 * noise(rng, 2.2, 3.0)
    image = relief(mottle(rng, image, 0.12, 1.4), np.asarray(dome), 0.9)
    mortar = mottle(rng, np.broadcast_to(hsv(0.09, 0.12, rng.choice([0.18, 0.75])), image.shape), 0.12, 0.6)
    return mix(mortar, image, inside)


def brick(rng: np.random.Generator) -> Image:
    """A brick wall in running bond, every brick of its own colour and wear."""
    columns, rows = ((3, 6), (4, 8), (4, 10), (6, 12), (2, 6))[int(rng.integers(5))]
    wx, wy = warp(rng, 0.0025, 1.6, 4.0)
    iy = np.floor(wy * rows).astype(np.int64)
    offset = 0.5 * (iy % 2) + rng.uniform(-0.08, 0.08, rows)[iy % rows]
    ix = np.floor(wx * columns + offset).astype(np.int64)
    fx, fy = (wx * columns + offset) % 1, wy * rows % 1
    margin = np.minimum(np.minimum(fx, 1 - fx) * SIZE_PX / columns, np.minimum(fy, 1 - fy) * SIZE_PX / rows)
    inside = smoothstep(margin, rng.uniform(1.6, 2.8), 1.6)
    colours = (
        near(rng, [(0.02, 0.65, 0.62), (0.04, 0.6, 0.5), (0.0, 0.55, 0.38), (0.05, 0.45, 0.7)])
        if rng.random() < 0.5
        else palette(rng, 4, 0.5)
    )
    image = per_cell(rng, (iy % rows) * columns + ix % columns, rows * columns, colours, 0.12)
    height = np.asarray(0.6 * smoothstep(margin, 3, 5) + 0.12 * noise(rng, 1.2, 6.0))
    mortar = np.broadcast_to(hsv(0.1, 0.08, rng.uniform(0.35, 0.85)), image.shape)
    image = mix(mottle(rng, mortar, 0.07, 0.4), mottle(rng, image, 0.1), inside)
    return relief(image, height, 0.7)


def tiles(rng: np.random.Generator) -> Image:
    """Glazed tiles: checker, hexagons, diamonds or a small mosaic, with grout."""
    kind = int(rng.integers(4))
    n = 2 * int(rng.integers(2, 5))
    colours = loud(rng, 5) if kind == 3 else palette(rng, 2, 1.0)
    if kind == 1:  # hexagons: nearest of two interleaved grids
        ny = round(n / 1.732)
        best, second, number = np.full(X.shape, 9.0), np.full(X.shape, 9.0), np.zeros(X.shape, dtype=np.int64)
        for k in range(2):
            for oy in (-1, 0, 1):
                for ox in (-1, 0, 1):
                    ix = np.floor(X * n + 0.5 * k).astype(np.int64) + ox
                    iy = np.floor(Y * ny + 0.5 * k).astype(np.int64) + oy
                    d = np.hypot(X * n - (ix + 0.5 - 0.5 * k), (Y * ny - (iy + 0.5 - 0.5 * k)) * n / ny)
                    closer = d < best
                    second = np.where(closer, best, np.minimum(second, d))
                    best = np.where(closer, d, best)
                    number = np.where(closer, 2 * ((iy % ny) * n + ix % n) + k, number)
        margin, count = (second - best) * SIZE_PX / n / 2, 2 * n * ny
    else:
        u, v = (X + Y, X - Y) if kind == 2 else (X, Y)
        m = 2 * n if kind == 3 else n
        ix, iy = np.floor(u * m).astype(np.int64) % m, np.floor(v * m + 1e-6).astype(np.int64) % m
        fx, fy = np.abs(u * m % 1 - 0.5), np.abs((v * m + 1e-6) % 1 - 0.5)
        margin = (0.5 - np.maximum(fx, fy)) * SIZE_PX / m
        number, count = (iy * m + ix, m * m) if kind == 3 else ((ix + iy) % 2 + 2 * (iy * m + ix), 2 * m * m)
    if kind in (0, 2):
        tone = 1 + 0.06 * rng.standard_normal((count, 1))
        image = np.asarray(colours[np.arange(count) % 2] * tone)[number]
    else:
        image = per_cell(rng, number, count, colours, 0.08)
    swirl = noise(rng, 3.0)
    image = image * (1 + 0.07 * swirl[..., None])
    edge = 0.8 if kind == 3 else 1.6
    height = np.asarray(smoothstep(margin, 2 * edge, 3 * edge))
    grout = np.broadcast_to(hsv(0.1, 0.05, rng.choice([0.2, 0.6, 0.9])), image.shape)
    return relief(mix(mottle(rng, grout, 0.06), image, smoothstep(margin, edge, 1.2)), height, 0.4)


def terrazzo(rng: np.random.Generator) -> Image:
    """Chips of coloured stone in a ground of cement."""
    ground = near(rng, [(0.1, 0.08, 0.85), (0.1, 0.05, 0.25), (rng.random(), 0.4, 0.7)])[int(rng.integers(3))]
    image = mottle(rng, np.broadcast_to(ground, (*X.shape, 3)), 0.04, 0.6)
    colours = loud(rng, 5) if rng.random() < 0.6 else palette(rng, 5)
    for n in (30, 16, 9)[: int(rng.integers(2, 4))]:
        first, second, number = cells(rng, n, 1.0, rng.choice([1.2, 2.0]))
        kept = rng.random(n * n)[number] < 0.5
        chip = smoothstep(second - first, rng.uniform(0.2, 0.4), 0.06 * n / 16) * kept
        stones = per_cell(rng, number, n * n, colours, 0.12)
        image = mix(image, mottle(rng, stones, 0.07), np.asarray(chip))
    return image


def gravel(rng: np.random.Generator) -> Image:
    """Pebbles, sand or grit of mixed stones."""
    n = int(rng.integers(5, 16))
    image = np.broadcast_to(hsv(0.09, 0.25, 0.15), (*X.shape, 3))
    height = np.zeros_like(X)
    colours = (
        near(rng, [(0.09, 0.25, 0.75), (0.06, 0.35, 0.5), (0.6, 0.08, 0.5), (0.1, 0.1, 0.9), (0.02, 0.3, 0.35)])
        if rng.random() < 0.6
        else palette(rng, 5)
    )
    for m in (2 * n, n):
        first, second, number = cells(rng, m, 1.0, 2.0, *warp(rng, 0.12 / m, 3.4, m / 2))
        stones = per_cell(rng, number, m * m, colours, 0.15)
        kept = np.ones_like(X) if m == 2 * n else (rng.random(m * m) < 0.6)[number]
        inside = smoothstep(second - first, 0.16, 0.12) * kept
        image = mix(image * (1 - 0.4 * inside[..., None]), stones, np.asarray(inside))
        height = np.asarray(np.where(inside > 0.5, np.sqrt(np.clip(second - first, 0, 0.8)), height * 0.5))
    return relief(mottle(rng, image, 0.1, 0.8), blur(height, 0.8), 0.8)


def crackle(rng: np.random.Generator) -> Image:
    """Dried mud, old glaze or cooling lava: plates apart along dark or glowing cracks."""
    n = int(rng.integers(4, 8))
    x, y = warp(rng, 0.01, 3.4, 4.0)
    first, second, _ = cells(rng, n, 1.0, 2.0, x, y)
    fine_first, fine_second, _ = cells(rng, 3 * n, 1.0, 2.0, x, y)
    coarse, fine = second - first, fine_second - fine_first
    lava = rng.random() < 0.4
    plate = ramp(
        equalised(noise(rng, 2.0)),
        near(rng, [(0.03, 0.3, 0.08), (0.05, 0.25, 0.25)]) if lava else palette(rng, 3, 0.4),
    )
    height = np.asarray(
        smoothstep(coarse, 0.08, 0.14) * (0.6 + 0.4 * smoothstep(fine, 0.1, 0.2)) + 0.04 * noise(rng, 1.4, 4)
    )
    image = relief(mottle(rng, plate, 0.1), height, 0.7)
    image = mix(image * 0.45, image, smoothstep(fine, 0.07, 0.1))
    if lava:
        glow = near(rng, [(0.0, 0.95, 0.55), (0.05, 0.95, 1.0), (0.13, 0.6, 1.0)])
        heat = np.clip(1 - coarse / 0.22, 0, 1)
        return mix(image, ramp(np.asarray(heat), glow), smoothstep(heat, 0.35, 0.6))
    return mix(image * 0.15, image, smoothstep(coarse, 0.06, 0.06))


def metal(rng: np.random.Generator) -> Image:
    """Brushed, hammered or tread-plate metal."""
    kind = int(rng.integers(3))
    base = near(rng, [(0.58, 0.06, 0.7), (0.11, 0.55, 0.8), (0.05, 0.5, 0.7), (0.6, 0.15, 0.35)])[int(rng.integers(4))]
    sheen = 1 + 0.16 * noise(rng, 4.0, 1.0, 6.0)
    image = np.broadcast_to(base, (*X.shape, 3)) * sheen[..., None]
    if kind == 0:
        hairlines = noise(rng, 0.5, 2.0, 128.0, (25.0, 1.0))
        return np.asarray(image * (1 + 0.16 * hairlines)[..., None], dtype=np.float64)
    if kind == 1:
        first, _, _ = cells(rng, int(rng.integers(9, 18)), 0.9)
        return mottle(rng, relief(image, blur(np.asarray(first), 1.2), 1.1), 0.03)
    n = 2 * int(rng.integers(3, 7))
    ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
    fx, fy = X * n % 1 - 0.5, Y * n % 1 - 0.5
    sign = np.where((ix + iy) % 2 == 0, 1.0, -1.0)
    u, v = (fx + sign * fy) / 1.414, (fy - sign * fx) / 1.414
    bump = blur(1 - smoothstep(np.hypot(u / 0.5, v / 0.16), 1.0, 0.5), 0.8)
    worn = mottle(rng, image * (0.75 + 0.3 * bump)[..., None], 0.07)
    return relief(worn, bump, 0.8)


def rust(rng: np.random.Generator) -> Image:
    """Painted or bare metal eaten by rust or patina, with pits and a flaking edge."""
    green = rng.random() < 0.35
    eaten = near(
        rng,
        [(0.42, 0.45, 0.35), (0.45, 0.4, 0.6), (0.47, 0.3, 0.78)]
        if green
        else [(0.03, 0.7, 0.2), (0.05, 0.85, 0.5), (0.08, 0.85, 0.72)],
    )
    metal = near(rng, [(0.06, 0.6, 0.5)])[0] if green else palette(rng, 3)[int(rng.integers(1, 3))]
    x, y = warp(rng, 0.015, 3.0, 4.0)
    where = sample(noise(rng, 2.7, 1.0), x, y)
    depth = where - rng.uniform(-0.5, 0.6)
    corroded = smoothstep(depth, 0.0, 0.12)
    rough = ramp(equalised(noise(rng, 1.3) + 0.8 * depth), eaten)
    brushed = 1 + 0.05 * noise(rng, 0.7, 3, 128, (14, 1))
    image = mix(metal * brushed[..., None], rough, corroded)
    image = mix(image, eaten[0] * 0.6, np.asarray(np.exp(-np.abs(depth) / 0.06) * 0.8))
    return relief(mottle(rng, image, 0.08), np.asarray(0.16 * corroded * noise(rng, 1.8, 8.0)), 0.7)


def splatter(rng: np.random.Generator) -> Image:
    """Thrown paint: large ragged blots with a spray of droplets, several colours over a ground."""
    ground, *paints = loud(rng, int(rng.integers(4, 7)))
    image = np.broadcast_to(ground, (*X.shape, 3))
    wet = np.zeros_like(X)
    for paint in paints:
        for _ in range(int(rng.integers(2, 5))):
            cx, cy = rng.random(2)
            dx, dy = wrap(X - cx), wrap(Y - cy)
            r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)
            size = rng.uniform(0.04, 0.17)
            ragged = np.ones_like(X)
            for k in range(3, 22, 3):
                spike = np.cos(k * theta + rng.uniform(0, 6.28)) * rng.normal(0, 0.6 / k**0.5)
                ragged += np.clip(spike, -0.3, 1.2)
            blot = 1 - smoothstep(r / (size * np.clip(ragged, 0.4, 2.2)), 1.0, 0.012 / size)
            image, wet = mix(image, paint, blot), np.maximum(wet * (1 - blot), blot)
        first, _, number = cells(rng, 22, 1.0)
        sizes = rng.random(22 * 22) ** 6 * 0.45
        drops = smoothstep(sizes[number] - first, 0.0, 0.12)
        image, wet = mix(image, paint, drops), np.maximum(wet * (1 - drops), drops)
    return mottle(rng, relief(image, blur(wet, 1.2), 0.6), 0.03)


def water(rng: np.random.Generator) -> Image:
    """Caustics on water, oil film or agate: bright webs and bands in warped noise."""
    x, y = warp(rng, rng.uniform(0.03, 0.06), 4.4)
    if rng.random() < 0.5:  # agate: many thin bands
        bands = sample(noise(rng, 4.6, 1.0, 30.0), x, y) * rng.uniform(1.0, 2.2) % 1
        colours = palette(rng, 7)[rng.permutation(7)]
        return mottle(rng, ramp(np.asarray(bands), np.concatenate([colours, colours[:1]])), 0.04)
    web = np.ones_like(X)
    for n in (5, 8):
        first, second, _ = cells(rng, n, 1.0, 2.0, *warp(rng, 0.025, 3.0, 2.0))
        web = web * np.clip((second - first) * 1.6, 0.02, 1)
    light = np.clip(-np.log(web) / 5, 0, 1) ** 2.0
    deep, pale = palette(rng, 2, 0.5)
    image = ramp(equalised(noise(rng, 3.0)), np.stack([deep * 0.7, deep, pale]))
    return mix(image, np.array([0.95, 1.0, 0.97]), blur(np.asarray(light), 0.7))
