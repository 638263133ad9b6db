"""Cloth, leather and printed paper: one function a family of textures, from a generator to an image. numpy only."""

from __future__ import annotations

import numpy as np

from blend_assets.synthetic.colours import Image, loud, mix, mottle, near, palette, ramp, relief
from blend_assets.synthetic.fields import SIZE_PX, X, Y, blur, cells, equalised, noise, sample, smoothstep, warp, wrap


def leather(rng: np.random.Generator) -> Image:
    """Dyed leather: fine wrinkled cells pressed into one colour."""
    n = int(rng.integers(12, 30))
    x, y = warp(rng, 0.012, 4.0, 2.0)
    first, second, _ = cells(rng, n, 1.0, 2.0, x, y)
    height = blur(np.sqrt(np.clip(second - first, 0, 0.5)), 0.8)
    hides = (
        [(0.06, 0.65, 0.3), (0.07, 0.6, 0.6)],
        [(0.02, 0.75, 0.2), (0.02, 0.8, 0.48)],
        [(0.1, 0.2, 0.1), (0.6, 0.1, 0.3)],
    )
    pick = int(rng.integers(5))
    dark, pale = near(rng, hides[pick]) if pick < 3 else palette(rng, 2, 0.35)
    tone = np.clip(equalised(noise(rng, 2.6)) * 0.7 + 0.5 * (height - 0.2), 0, 1)
    image = ramp(np.asarray(tone), np.stack([dark, pale]))
    image = relief(image, height, rng.uniform(0.25, 0.5))
    return mix(image, image * 0.35, np.asarray(1 - smoothstep(height, 0.22, 0.3)) * 0.9)


def weave(rng: np.random.Generator) -> Image:
    """Plain, basket or twill cloth with rounded threads in two colours."""
    n = 4 * int(rng.integers(3, 11))
    kind = int(rng.integers(3))
    warp_colour, weft_colour = palette(rng, 2, rng.uniform(0.4, 1.0))[rng.permutation(2)]
    ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
    over = ((ix + iy) % 2 == 0, (ix // 2 + iy // 2) % 2 == 0, (ix + iy) % 4 < 2)[kind]
    fx, fy = X * n % 1 - 0.5, Y * n % 1 - 0.5
    across, along = np.where(over, fx, fy), np.where(over, fy, fx)
    height = np.sqrt(np.clip(1 - (2 * across) ** 2, 0, 1)) * (1 - 0.9 * (np.abs(along)) ** 2)
    tone_warp, tone_weft = rng.normal(0, 0.08, n)[ix], rng.normal(0, 0.08, n)[iy]
    image = np.where(over[..., None], warp_colour, weft_colour) * (1 + np.where(over, tone_warp, tone_weft)[..., None])
    fibre = np.where(over, noise(rng, 0.4, 8, 128, (1, 8)), noise(rng, 0.4, 8, 128, (8, 1)))
    image = image * (0.3 + 0.75 * height + 0.07 * fibre)[..., None]
    return mottle(rng, image, 0.05, 2.0)


def stripes(rng: np.random.Generator) -> Image:
    """Painted or printed stripes at any of several slopes, straight or wavy."""
    a, b = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2))[int(rng.integers(6))]
    repeats = int(rng.integers(1, 5))
    waves = noise(rng, 4.0, 1.0, 8.0) * rng.choice([0.0, 0.0, 0.15, 0.4])
    phase = (repeats * (a * X + b * Y) + waves + 1e-4) % 1
    n = int(rng.integers(4, 11))
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.3, 1.6, n))])
    edges /= edges[-1]
    colours = loud(rng, n) if rng.random() < 0.5 else palette(rng, n)[rng.permutation(n)]
    image = colours[np.clip(np.searchsorted(edges, phase, side="right") - 1, 0, n - 1)]
    image = np.stack([blur(image[..., c], 0.6) for c in range(3)], axis=-1)
    threads = noise(rng, 0.5, 8, 128, (6, 1) if a else (1, 6))
    return mottle(rng, image * (1 + 0.06 * threads[..., None]), 0.04)


def dots(rng: np.random.Generator) -> Image:
    """Polka dots on printed cloth, in rows or scattered, one or two sizes."""
    n = 2 * int(rng.integers(2, 7))
    ground, *inks = loud(rng, int(rng.integers(2, 6)))
    image = np.broadcast_to(ground, (*X.shape, 3))
    radius = rng.uniform(0.2, 0.4)
    jitter = float(rng.choice([0.0, 0.0, 1.0])) * (0.96 - 2 * radius)  # dots stay inside their squares
    for layer in range(2 if rng.random() < 0.4 else 1):
        size = radius * (0.45 if layer else 1.0)
        iy = np.floor(Y * n).astype(np.int64)
        shift = 0.5 * (iy % 2) + 0.5 * layer
        ix = np.floor(X * n + shift).astype(np.int64)
        cell = (iy % n) * n + ix % n
        dx = X * n + shift - ix - 0.5 + jitter * (rng.random(n * n)[cell] - 0.5)
        dy = Y * n - iy - 0.5 + jitter * (rng.random(n * n)[cell] - 0.5)
        ink = np.array(inks)[rng.integers(len(inks), size=n * n)][cell]
        image = mix(image, ink, 1 - smoothstep(np.hypot(dx, dy), size, 1.6 * n / SIZE_PX))
    cloth = noise(rng, 0.3, 30, 128, (3, 1)) + noise(rng, 0.3, 30, 128, (1, 3))
    return mottle(rng, image * (1 + 0.035 * cloth[..., None]), 0.03)


def camouflage(rng: np.random.Generator) -> Image:
    """Camouflage cloth, blotched or in square pixels."""
    x, y = warp(rng, 0.02, 3.6, 3.0)
    if rng.random() < 0.35:
        n = 64
        x, y = (np.floor(x * n) + 0.5) / n, (np.floor(y * n) + 0.5) / n
    schemes = (
        [(0.18, 0.4, 0.35), (0.09, 0.45, 0.55), (0.25, 0.5, 0.22), (0.1, 0.3, 0.1)],
        [(0.1, 0.3, 0.8), (0.08, 0.45, 0.6), (0.07, 0.5, 0.4), (0.12, 0.2, 0.9)],
        [(0.58, 0.3, 0.7), (0.6, 0.5, 0.35), (0.6, 0.2, 0.9), (0.62, 0.6, 0.15)],
    )
    pick = int(rng.integers(4))
    colours = palette(rng, 4)[rng.permutation(4)] if pick == 3 else near(rng, schemes[pick])
    image = np.broadcast_to(colours[0], (*X.shape, 3))
    for colour, level in zip(colours[1:], (0.1, 0.5, 0.95), strict=True):
        image = mix(image, colour, smoothstep(sample(noise(rng, 4.4, 2.5, 40.0), x, y), level, 0.06))
    cloth = noise(rng, 0.3, 40, 128, (3, 1)) + noise(rng, 0.3, 40, 128, (1, 3))
    return mottle(rng, image * (1 + 0.05 * cloth[..., None]), 0.03)


def plaid(rng: np.random.Generator) -> Image:
    """Tartan: one list of bands in both directions, mixed by a twill."""
    n = int(rng.integers(4, 8))
    colours = loud(rng, n) if rng.random() < 0.6 else palette(rng, n)[rng.permutation(n)]
    widths = rng.choice([0.15, 0.3, 1.0, 1.6], size=n)
    mirrored = np.concatenate([np.arange(n), np.arange(n)[::-1]])
    edges = np.concatenate([[0.0], np.cumsum(widths[mirrored])])
    edges /= edges[-1]
    repeats = int(rng.integers(1, 4))
    band_x = mirrored[np.searchsorted(edges, X * repeats % 1, side="right") - 1]
    band_y = mirrored[np.searchsorted(edges, Y * repeats % 1, side="right") - 1]
    px = np.arange(SIZE_PX)
    twill = ((px[None, :] + px[:, None]) // 2 % 2).astype(np.float64)
    twill = 0.5 + (twill - 0.5) * rng.uniform(0.3, 0.9)
    image = mix(colours[band_x], colours[band_y], twill)
    return mottle(rng, image * (1 + 0.08 * (twill[..., None] - 0.5)), 0.04)


def knit(rng: np.random.Generator) -> Image:
    """Stocking stitch in wool, with a coloured pattern knitted in."""
    columns, rows = ((12, 16), (16, 20), (20, 28))[int(rng.integers(3))]
    u = X * columns % 1 - 0.5
    lean = 0.42 * np.abs(u) * 2
    v = (Y * rows + lean) % 1
    iy = np.floor(Y * rows + lean).astype(np.int64) % rows
    ix = np.floor(X * columns).astype(np.int64)
    strand = np.sin(np.pi * v) * np.clip(np.sin(np.pi * np.clip(np.abs(u) * 2, 0, 1)), 0, 1) ** 0.6
    n = int(rng.integers(2, 5))
    colours = loud(rng, n)
    motif = rng.integers(n, size=(rows // 4, columns // 4))
    motif = np.concatenate([motif, motif[:, ::-1]], axis=1)
    motif = np.concatenate([motif, motif[::-1]], axis=0)
    if rng.random() < 0.5:  # rings of one colour
        motif = np.broadcast_to(motif[:, :1], motif.shape)
    image = colours[motif[iy % motif.shape[0], ix % motif.shape[1]]]
    twist = np.sin(2 * np.pi * (1.5 * v + 3 * np.abs(u)))
    wool = noise(rng, 0.6, 10.0)
    return np.asarray(image * (0.25 + 0.85 * strand + 0.07 * twist + 0.06 * wool)[..., None], dtype=np.float64)


def ornament(rng: np.random.Generator) -> Image:
    """Wallpaper, embroidery or carpet: noise folded by mirrors and cut into flat colours."""
    n = int(rng.integers(1, 4))
    u, v = np.abs(wrap(X * n)), np.abs(wrap(Y * n))
    folded_x, folded_y = np.maximum(u, v), np.minimum(u, v)
    octaves = rng.uniform(3.0, 4.2)
    field = sample(noise(rng, octaves, 3.0, 30.0), folded_x * 0.8, folded_y * 0.8)
    x2, y2 = folded_x * 0.8 + 0.02 * field, folded_y * 0.8
    field = field + 0.5 * sample(noise(rng, 3.2, 6.0, 50.0), x2, y2)
    colours = loud(rng, int(rng.integers(3, 6)))
    levels = np.sort(rng.uniform(-1.2, 1.2, len(colours) - 1))
    image = np.broadcast_to(colours[0], (*X.shape, 3))
    for level, colour in zip(levels, colours[1:], strict=True):
        image = mix(image, colour, smoothstep(field, float(level), 0.12))
    threads = noise(rng, 0.2, 40, 128, (4, 1))
    return mottle(rng, image * (1 + 0.06 * threads[..., None]), 0.04)


def floral(rng: np.random.Generator) -> Image:
    """Printed flowers of several sizes, scattered over cloth."""
    ground, leaf, *petals = loud(rng, 6)
    image = np.broadcast_to(ground, (*X.shape, 3))
    for n, colours, share in ((9, leaf[None], 0.6), (5, np.array(petals), 0.9), (8, np.array(petals), 0.45)):
        offsets = 0.5 + 0.28 * (rng.random((2, n * n)) - 0.5)
        ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
        cell = iy * n + ix
        dx, dy = X * n - ix - offsets[0][cell], Y * n - iy - offsets[1][cell]
        r, theta = np.hypot(dx, dy), np.arctan2(dy, dx)
        lobes = 2 if len(colours) == 1 else int(rng.integers(5, 9))
        turn = rng.uniform(0, 6.28, n * n)[cell]
        size = rng.uniform(0.22, 0.36, n * n)[cell]
        reach = size * (0.72 + 0.28 * np.cos(lobes * theta + turn))
        kept = (rng.random(n * n) < share)[cell]
        petal = smoothstep(reach - r, 0.0, 1.8 * n / SIZE_PX) * kept
        shade = 0.65 + 0.45 * r / size
        image = mix(image, colours[rng.integers(len(colours), size=n * n)][cell] * shade[..., None], np.asarray(petal))
        if lobes > 2:
            image = mix(
                image, leaf * 0.4 + 0.55, np.asarray(smoothstep(0.28 * size - r, 0.0, 1.8 * n / SIZE_PX) * kept)
            )
    return mottle(rng, image, 0.035)


def geometric(rng: np.random.Generator) -> Image:
    """Chevrons, houndstooth, nested squares, triangles or waves, as printed paper."""
    kind = int(rng.integers(5))
    n = 2 * int(rng.integers(2, 6))
    colours = loud(rng, 4) if rng.random() < 0.6 else palette(rng, 4)
    u, v = X * n % 1, Y * n % 1
    ix, iy = np.floor(X * n).astype(np.int64), np.floor(Y * n).astype(np.int64)
    if kind == 0:  # chevrons
        number = np.floor((Y * n + np.abs(u - 0.5)) * 2 + 1e-4).astype(np.int64) % 4
    elif kind == 1:  # houndstooth
        a, b = np.floor(u * 4).astype(np.int64), np.floor(v * 4).astype(np.int64)
        diagonal = (np.floor((u + v) * 4 + 1e-4).astype(np.int64) % 2) == 0
        number = np.where((a < 2) == (b < 2), np.where(a < 2, 0, 1), np.where(diagonal, 0, 1))
    elif kind == 2:  # nested squares
        number = np.floor(np.maximum(np.abs(u - 0.5), np.abs(v - 0.5)) * 7.99).astype(np.int64)
        number = (number + ix + iy) % 4
    elif kind == 3:  # triangles
        falling = (ix + iy) % 2 == 0
        side = np.where(falling, u + 1e-4 > v, u + v > 1 + 1e-4).astype(np.int64)
        number = rng.integers(4, size=2 * n * n)[2 * (iy * n + ix) + side]
    else:  # fish-scale waves of concentric rings
        row = np.floor(Y * 2 * n).astype(np.int64)
        du = (X * n + 0.5 * (row % 2)) % 1 - 0.5
        here = np.hypot(du, (Y * 2 * n - row - 1) / 2)
        du2 = (X * n + 0.5 * ((row + 1) % 2)) % 1 - 0.5
        below = np.hypot(du2, (Y * 2 * n - row - 2) / 2)
        r = np.where(here < 0.5, here, below)
        number = np.floor(r * 7.99).astype(np.int64) % 4
    image = np.stack([blur(colours[number][..., c], 0.6) for c in range(3)], axis=-1)
    return mottle(rng, image, 0.05)
