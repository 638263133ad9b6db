"""Seeded panoramas: skies, rooms, studios and noise to light heads with.

Linear equirectangular radiance, (256, 512, 3), row 0 looking straight up and the middle column along +X of a Blender
world (z up). Computed in float64 from `np.random.default_rng` and a crc32 of the name.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blend_assets.synthetic.colours import hsv
from blend_assets.synthetic.fields import Field, smoothstep
from renderer.progress import Progress

SHAPE = (256, 512, 3)
MAX_RADIANCE = 200.0  # bounds the sun lobes, for noise; far below the largest half float

Radiance = NDArray[np.float64]  # (256, 512, 3), linear


def _directions() -> NDArray[np.float64]:
    """(256, 512, 3) unit vectors of the pixel centres: row 0 up (+Z), the middle column along +X."""
    rows, columns = SHAPE[:2]
    latitude = np.pi * (0.5 - (np.arange(rows) + 0.5) / rows)[:, None]
    longitude = 2 * np.pi * (0.5 - (np.arange(columns) + 0.5) / columns)[None, :]
    return np.stack(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude) * np.ones_like(longitude),
        ],
        axis=-1,
    )


_DIRECTIONS = _directions()


def _unit(rng: np.random.Generator, low_z: float = -1.0, high_z: float = 1.0) -> NDArray[np.float64]:
    """A direction, (3,), uniform on the sphere between two heights."""
    z = rng.uniform(low_z, high_z)
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z])


def _sphere_noise(rng: np.random.Generator, beta: float, waves: int = 60, highest: float = 48.0) -> Field:
    """(256, 512) 1/f^beta noise on the sphere, without pinched poles: plane waves cut by the sphere."""
    total = np.zeros(SHAPE[:2])
    for k in range(waves):
        frequency = highest ** (k / (waves - 1))  # evenly spread in octaves
        wave = np.sin(frequency * 3.0 * (_DIRECTIONS @ _unit(rng)) + rng.uniform(0, 2 * np.pi))
        total += frequency ** (1 - beta / 2) * wave
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float64)


def _lobe(towards: NDArray[np.float64], radius_rad: float, edge: float) -> Field:
    """(256, 512) 1 within RADIUS of a direction, falling to 0 over EDGE times the radius."""
    cosine = np.clip(_DIRECTIONS @ towards, -1, 1)
    angle = np.sqrt(np.maximum(2 - 2 * cosine, 0))  # the chord: the angle for small lobes, and no arccos
    return smoothstep(np.asarray(-angle), -radius_rad, edge * radius_rad)


def _panel(centre: NDArray[np.float64], half_width: float, half_height: float, turn: float, soft: float) -> Field:
    """(256, 512) 1 inside a rectangle at distance 1 facing the origin, with SOFT edges; sizes as tangents."""
    up = np.array([0.0, 0.0, 1.0]) if abs(centre[2]) < 0.95 else np.array([1.0, 0.0, 0.0])
    side = np.cross(up, centre)
    side /= np.linalg.norm(side)
    above = np.cross(centre, side)
    side, above = np.cos(turn) * side + np.sin(turn) * above, np.cos(turn) * above - np.sin(turn) * side
    depth = _DIRECTIONS @ centre
    near = np.maximum(depth, 1e-3)
    u, v = np.abs(_DIRECTIONS @ side) / near, np.abs(_DIRECTIONS @ above) / near
    inside = smoothstep(half_width - u, 0.0, soft) * smoothstep(half_height - v, 0.0, soft)
    return np.asarray(inside * (depth > 0.05), dtype=np.float64)


def _noise_world(rng: np.random.Generator) -> Radiance:
    """Coloured 1/f noise all around, as the noise environment of the thesis, with a wide dynamic range."""
    basis = rng.normal(0, 1, (3, 3))
    basis /= np.linalg.norm(basis, axis=0)
    waves = np.stack([_sphere_noise(rng, 3.0, 150) for _ in range(3)], axis=-1)
    return np.asarray(0.35 * np.exp(1.1 * waves @ basis), dtype=np.float64)


def _dark_room(rng: np.random.Generator) -> Radiance:
    """A dim room: walls with a little texture and several bright rectangles, as windows and screens."""
    walls = np.array([0.05, 0.045, 0.04]) * rng.uniform(0.5, 1.5)
    image = walls * (1 + 0.25 * _sphere_noise(rng, 2.6)[..., None]) * (1.1 - 0.7 * _DIRECTIONS[..., 2:])
    for _ in range(int(rng.integers(3, 6))):
        colour = hsv(rng.random(), rng.uniform(0, 0.6), 1.0) ** 2.2 * rng.uniform(3, 14)
        sizes = rng.uniform(0.1, 0.5, 2)
        light = _panel(_unit(rng, -0.2, 0.7), sizes[0], sizes[1], rng.normal(0, 0.1), 0.03)
        image = image + colour * light[..., None]
    return np.asarray(image, dtype=np.float64)


def _sky(rng: np.random.Generator, sun_height: float, haze: float, clouds: float) -> Radiance:
    """A gradient sky with a sun, clouds and a ground; SUN_HEIGHT is the sine of its elevation."""
    sun = _unit(rng, sun_height, sun_height)
    low = np.exp(-3.5 * max(sun_height, 0.0))  # 1 at sunset
    zenith = np.array([0.12, 0.28, 0.75]) * (1 - 0.65 * low)
    horizon = np.array([0.75, 0.85, 1.0]) * (1 - low) + np.array([1.1, 0.55, 0.25]) * low
    height = np.clip(_DIRECTIONS[..., 2], 0, 1)
    sky = zenith + (horizon - zenith) * ((1 - height) ** (6 - 4 * haze))[..., None]
    tint = np.array([1.0, 0.95 - 0.4 * low, 0.85 - 0.65 * low])
    towards = np.clip(_DIRECTIONS @ sun, 0, 1)
    sky = sky + tint * (0.9 * towards**24 + 0.35 * towards**4)[..., None] * (0.4 + haze)
    cover = smoothstep(_sphere_noise(rng, 3.0), 1.2 - 2.4 * clouds, 1.6) * np.clip(height * 6, 0, 1)
    lit = (0.55 + 0.9 * towards**3)[..., None] * (0.75 * tint + 0.25 * horizon)
    sky = sky + (lit - sky) * (0.9 * cover)[..., None]
    sky = sky + tint * MAX_RADIANCE * (1 - 0.95 * clouds) * _lobe(sun, 0.05, 0.5)[..., None]
    soil = hsv(rng.uniform(0.06, 0.3), 0.4, 0.45) ** 2.2
    ground = soil * (1 + 0.35 * _sphere_noise(rng, 2.4, 90)[..., None]) * (0.35 + max(sun_height, 0.0))
    return _blend(ground, sky, smoothstep(_DIRECTIONS[..., 2], 0.0, 0.02))


def _blend(a: Radiance, b: Radiance, t: Field) -> Radiance:
    """A where t is 0, B where it is 1."""
    return np.asarray(a + (b - a) * t[..., None], dtype=np.float64)


def _studio(rng: np.random.Generator) -> Radiance:
    """A photographer's studio: a key and a fill softbox, a rim strip, a lamp above, a grey sweep."""
    grey = rng.uniform(0.03, 0.35)
    image = grey * (1 - 0.6 * _DIRECTIONS[..., 2:] ** 2) * np.ones(3)
    heading = rng.uniform(0, 2 * np.pi)
    for offset, z, width, height, power in (
        (0.7, 0.35, 0.45, 0.6, 9.0),
        (-0.9, 0.15, 0.6, 0.6, 2.5),
        (2.7, 0.3, 0.12, 0.8, 12.0),
        (0.0, 0.97, 0.35, 0.35, 4.0),
    ):
        angle = heading + offset + rng.normal(0, 0.15)
        ring = np.sqrt(1 - z * z)
        centre = np.array([ring * np.cos(angle), ring * np.sin(angle), z])
        colour = hsv(rng.choice([0.09, 0.58]), rng.uniform(0.0, 0.2), 1.0)
        image = image + power * colour * _panel(centre, width, height, 0.0, 0.12)[..., None]
    return np.asarray(image, dtype=np.float64)


def _bokeh(rng: np.random.Generator) -> Radiance:
    """A town at night out of focus: many coloured discs near the horizon over dark blue."""
    z = _DIRECTIONS[..., 2]
    image = np.array([0.012, 0.016, 0.04]) * (1 + np.exp(-6 * np.abs(z)))[..., None]
    hues = (0.08, 0.1, 0.12, 0.0, 0.55, 0.6, 0.38, 0.85)
    for _ in range(160):
        towards = _unit(rng, *((-0.25, 0.3) if rng.random() < 0.8 else (-0.9, 0.9)))
        colour = hsv(rng.choice(hues), rng.uniform(0.2, 0.95), 1.0) ** 2.2
        disc = _lobe(towards, rng.uniform(0.02, 0.09), 0.12)
        image = image + colour * disc[..., None] * 0.5 * np.exp(rng.uniform(0, 3.4))
    return np.asarray(image, dtype=np.float64)


def _neon(rng: np.random.Generator) -> Radiance:
    """A stage or corridor: long tubes of two saturated hues over near black, and their glow."""
    first = rng.random()
    hues = (first, (first + rng.uniform(0.3, 0.5)) % 1)
    image = np.full(SHAPE, 0.01)
    for k in range(12):
        colour = hsv(hues[k % 2], 0.9, 1.0) ** 2.2
        centre, turn = _unit(rng, -0.6, 0.8), rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
        image = image + 16 * colour * _panel(centre, 0.02, rng.uniform(0.4, 1.2), turn, 0.015)[..., None]
        glow = np.clip(_DIRECTIONS @ centre, 0, 1) ** 6
        image = image + 0.12 * colour * glow[..., None]
    return image


FAMILIES: dict[str, Callable[[np.random.Generator], Radiance]] = {
    "noise": _noise_world,
    "dark_room": _dark_room,
    "noon": lambda rng: _sky(rng, 0.8, 0.2, 0.3),
    "sunset": lambda rng: _sky(rng, 0.08, 0.7, 0.35),
    "overcast": lambda rng: _sky(rng, 0.5, 0.9, 0.95),
    "studio": _studio,
    "bokeh": _bokeh,
    "neon": _neon,
}


WORLDS: tuple[str, ...] = (
    "noise_01",
    "noise_02",
    "dark_room_01",
    "dark_room_02",
    "noon_01",
    "sunset_01",
    "overcast_01",
    "studio_01",
    "studio_02",
    "bokeh_01",
    "neon_01",
)
"""Every environment by name; the part before the last underscore is its family."""


def synthesise(name: str) -> NDArray[np.float32]:
    """The world NAME: (256, 512, 3) float32 linear radiance in [0, MAX_RADIANCE], equirectangular.

    Row 0 looks up (+Z), the middle column along +X, as Blender reads an equirectangular environment.
    Raises KeyError, naming the known worlds, if there is none of that name.
    """
    if name not in WORLDS:
        raise KeyError(f"no environment {name!r}; known are {list(WORLDS)}")
    family = FAMILIES[name.rsplit("_", 1)[0]]
    radiance = family(np.random.default_rng(zlib.crc32(name.encode())))
    return np.asarray(np.clip(radiance, 0, MAX_RADIANCE), dtype=np.float32)


def write_all(folder: Path) -> list[str]:
    """Write every environment to FOLDER/NAME.exr (half float, ZIP); returns the file names in order.

    The pixels are the same on every machine; the bytes also depend on OpenEXR's version.
    """
    import OpenEXR

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with Progress(len(WORLDS), "world", "synthesising") as bar:
        for name in WORLDS:
            header: dict[str, Any] = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            OpenEXR.File(header, {"RGB": synthesise(name).astype(np.float16)}).write(str(folder / f"{name}.exr"))
            written.append(f"{name}.exr")
            bar.update()
    return written
