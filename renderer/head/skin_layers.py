"""Layers over a face texture: tone, redness, freckles, moles, beard shadow, make-up, pores and shine. numpy only.

They are pictures in the frame of `uv_skin`, so they fit any face texture. Whatever changes colours is a factor on the
texture's linear colours: the two pigments of skin absorb light, so that their changes multiply (Jacques, Optical
properties of biological tissues: a review, 2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from renderer.errors import AssetError
from renderer.head.model import HeadModel
from renderer.parameters.params import Skin

Floats = npt.NDArray[np.float32]

MOST: Final = 2.0  # the greatest factor
_MELANIN: Final = np.array([0.37, 0.59, 1.0], np.float32)  # absorbs ever more towards blue
_BLOOD: Final = np.array([0.06, 1.0, 0.6], np.float32)  # haemoglobin absorbs green most, red hardly
_BEARD: Final = np.array([0.5, 0.47, 0.43], np.float32)  # how much of the light its shadow takes
_BROW = (0.4, 0.4, 0.4)  # factor on what is painted as brows
_MASKS: Final = ("lips", "eyelids", "ears")
_CHEEKS, _NOSE_TIP, _BROWS = ((1, 48, 46), (15, 54, 41)), 30, ((17, 18, 19, 20, 21), (22, 23, 24, 25, 26))  # iBUG


@dataclass(frozen=True)
class Layers:
    """Row 0 is V = 0.

    factor: (H, W, 3) on the texture's linear colours, 0 to `MOST`. relief: (H, W) height, 0 to 1, mean about one half.
    shine: (H, W), 0 dull to 1 wet.
    """

    factor: Floats
    relief: Floats
    shine: Floats


def check_masks(model: HeadModel) -> None:
    """Raises AssetError where a head lacks the masks that layers need."""
    if lost := [name for name in _MASKS if name not in model.info.get("masks", {})]:
        raise AssetError(
            f"head {model.name!r} has no mask of {', '.join(lost)}: leave the spec's section `skin` out, or add masks"
            f" to {model.folder / 'head.json'}"
        )


class SkinPainter:
    """Paints layers; keeps the zones of the head and the patterns that are moved about for each skin."""

    def __init__(self, model: HeadModel) -> None:
        self.model = model
        check_masks(model)
        self._lips, self._lids, self._ears = (self._mask(name) for name in _MASKS)
        self.shape = self._lips.shape
        face = model.face_region == model.regions.index("face")
        own, skin = model.uv[face].reshape(-1, 2), model.uv_skin[face].reshape(-1, 2)
        # one chart in two frames: skin = [U, V, 1] @ to_skin
        to_skin, *_ = np.linalg.lstsq(np.column_stack([own, np.ones(len(own))]), skin, rcond=None)
        size = np.array([self.shape[1], self.shape[0]])
        marks = np.column_stack([model.landmarks_uv, np.ones(68)])
        self._marks = (marks @ to_skin) * size - 0.5  # (68, 2) column and row
        self._unit = float(np.linalg.norm(self._marks[16] - self._marks[0]))  # width of the face, texels
        self._up = (to_skin[1] * size) / np.linalg.norm(to_skin[1] * size)  # in the picture, to the forehead

    def paint(self, skin: Skin) -> Layers:
        """All layers of one skin."""
        rng = np.random.default_rng([skin.seed, 0x5B17])
        z = self._zones
        density = skin.melanin * _MELANIN + skin.blood * _BLOOD
        density = density + (skin.mottle * 0.25 * self._moved(self._blotches, rng))[..., None] * (_MELANIN + _BLOOD) / 2
        density += (skin.flush * 0.45 * z["flush"])[..., None] * _BLOOD
        if skin.freckles or skin.moles:
            density += self._spots(skin, rng)[..., None] * _MELANIN
        factor = np.exp(-density)
        fine = self._moved(self._fine, rng)
        if skin.stubble:
            hairs = np.clip(0.6 + 0.5 * self._moved(self._fine, rng), 0.0, 1.2)
            factor *= 1 - (skin.stubble * z["beard"] * hairs)[..., None] * _BEARD
        make_up = (
            (skin.lips, "lips", skin.lip_colour),
            (skin.lids, "lids", skin.lid_colour),
            (skin.brows, "brows", _BROW),
        )
        for amount, zone, colour in make_up:
            if amount:
                factor *= 1 - (amount * z[zone])[..., None] * (1 - np.asarray(colour, np.float32))
        factor *= 1 + (0.06 * skin.pores * fine)[..., None]
        relief = np.clip(0.5 + 0.16 * skin.pores * fine * (1 - 0.6 * z["lips"]), 0.0, 1.0)
        shine = np.clip(skin.gloss * (0.2 + z["shine"]) + 0.6 * skin.lips * z["lips"], 0.0, 1.0)
        return Layers(np.clip(factor, 0.0, MOST), relief, shine)

    # -- zones and patterns ----------------------------------------------------------------------------------------

    def _mask(self, name: str) -> Floats:
        with Image.open(self.model.path(self.model.info["masks"][name])) as image:
            return np.asarray(image.convert("L"), np.float32)[::-1] / 255

    @cached_property
    def _zones(self) -> dict[str, Floats]:
        """Parts of the face, (H, W), 0 to 1 with soft borders."""
        w, soft = self._unit, ndimage.gaussian_filter
        cheeks = sum(self._blob(self._marks[list(points)].mean(axis=0), 0.09 * w) for points in _CHEEKS)
        nose = self._blob(self._marks[_NOSE_TIP], 0.07 * w)
        bridge = self._blob(self._marks[28], 0.05 * w) + self._blob(self._marks[29], 0.05 * w)
        between = self._marks[[21, 22]].mean(axis=0)
        forehead = self._blob(between + self._up * 0.18 * w, 0.16 * w)
        bones = sum(self._blob(self._marks[k] - self._up * 0.1 * w, 0.06 * w) for k in (36, 45))
        brows = np.zeros(self.shape, np.float32)
        for line in _BROWS:
            brows += self._drawn([tuple(p) for p in self._marks[list(line)]], width=round(0.035 * w))
        lids = np.roll(self._lids, tuple(np.rint(self._up[::-1] * 0.02 * w).astype(int)), axis=(0, 1))
        beard = soft(self._beard_area(), 0.03 * w) * (1 - soft(self._lips, 0.01 * w))
        chin = self._blob(self._marks[[8, 57]].mean(axis=0), 0.05 * w)
        return {
            "flush": np.clip(cheeks + nose + 0.7 * self._ears, 0.0, 1.0),
            "shine": np.clip(0.7 * forehead + nose + 0.6 * bridge + 0.7 * bones + 0.4 * chin, 0.0, 1.0),
            "beard": beard,
            "lips": soft(self._lips, 0.004 * w),
            "lids": np.clip(1.5 * soft(np.maximum(self._lids, lids), 0.012 * w), 0.0, 1.0),
            "brows": soft(np.clip(brows, 0.0, 1.0), 0.012 * w),
        }

    def _beard_area(self) -> Floats:
        """Where a beard grows: sideburns, jaw, chin, upper lip, and what of the throat lies in the chart."""
        m, down = self._marks, -self._up * 0.22 * self._unit
        right = [m[1], 0.7 * m[3] + 0.3 * m[48], 0.5 * m[48] + 0.5 * m[31], m[31]]
        left = [m[35], 0.5 * m[54] + 0.5 * m[35], 0.7 * m[13] + 0.3 * m[54], m[15]]
        below = [m[k] + down for k in (14, 12, 10, 8, 6, 4, 2)]
        return self._drawn([(float(x), float(y)) for x, y in (*right, *left, *below)], width=0)

    def _drawn(self, points: list[Any], width: int) -> Floats:
        """A polygon, or a line of some width, in ones."""
        canvas = Image.new("L", (self.shape[1], self.shape[0]))
        if width:
            ImageDraw.Draw(canvas).line(points, fill=255, width=width)
        else:
            ImageDraw.Draw(canvas).polygon(points, fill=255)
        return np.asarray(canvas, np.float32) / 255

    def _blob(self, centre: Any, sigma: float) -> Floats:
        rows, columns = np.ogrid[: self.shape[0], : self.shape[1]]
        far = ((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * sigma**2)
        return np.asarray(np.exp(-far), np.float32)

    @cached_property
    def _blotches(self) -> Floats:
        return _pattern(self.shape, low=0.004, high=0.06, seed=1)

    @cached_property
    def _fine(self) -> Floats:
        return _pattern(self.shape, low=0.2, high=0.45, seed=2)

    def _moved(self, pattern: Floats, rng: np.random.Generator) -> Floats:
        """The pattern, which has no seams, somewhere else."""
        return np.roll(pattern, tuple(int(n) for n in rng.integers(self.shape)), axis=(0, 1))

    def _spots(self, skin: Skin, rng: np.random.Generator) -> Floats:
        """(H, W) density of freckles, most over cheeks and nose, and of moles, anywhere on the face."""
        sigma = 0.24 * self._unit
        out = np.zeros(self.shape, np.float32)
        for count, spread, deep, size in (
            (round(900 * skin.freckles), sigma, 0.9 * skin.freckles, 0.7), (skin.moles, 1.6 * sigma, 7.0, 1.1),
        ):  # fmt: skip
            at = rng.normal(self._marks[28], spread, (count, 2)).round().astype(int)
            kept = at[((at >= 0) & (at < [self.shape[1], self.shape[0]])).all(axis=1)]
            dots = np.zeros(self.shape, np.float32)
            np.add.at(dots, (kept[:, 1], kept[:, 0]), deep * rng.uniform(0.3, 1.0, len(kept)).astype(np.float32))
            out += ndimage.gaussian_filter(dots, size, truncate=3) * 2 * np.pi * size**2 * 0.6
        return np.minimum(out, 2.0)


def _pattern(shape: tuple[int, ...], low: float, high: float, seed: int) -> Floats:
    """(H, W) noise without seams, mean 0 and variance 1, of waves between two frequencies in cycles per texel."""
    noise = np.random.default_rng([seed, 0x51D]).standard_normal(shape)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None])
    band = np.exp(-((frequency / high) ** 2)) * (1 - np.exp(-((frequency / low) ** 2))) / np.maximum(frequency, low)
    out = np.fft.irfft2(np.fft.rfft2(noise) * band, shape)
    return np.asarray(out / out.std(), np.float32)
