"""What made-up backdrops are painted with: colours, gradients, stripes, lettering and material textures. Pillow alone.

Pictures are in sRGB bytes, as photographs are.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

Colour = tuple[int, int, int]

_LETTERS: Final = "ABCDEFGHIKLMNOPRSTUVWYZ abcdefghiklmnoprstuvwyz 0123456789 &!?"
_HUES: Final = ((0.01, 0.13), (0.54, 0.66), (0.2, 0.36), (0.0, 1.0))
_KEPT_TILES: Final = 128  # of 0.75 MB


class Painter:
    """Fills rectangles at random. rng: the only source of chance. textures: image files, mirrored where they end."""

    def __init__(self, rng: np.random.Generator, textures: Sequence[Path]) -> None:
        self.rng, self.textures = rng, textures

    def among(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def colour(self, value: tuple[float, float] = (0.05, 1.0), saturation: float = 0.9) -> Colour:
        """Mostly muted, as things around us are: half as skin, wood and stone, some blue, green or of any hue."""
        low, high = _HUES[int(self.rng.choice(len(_HUES), p=(0.5, 0.2, 0.12, 0.18)))]
        rgb = colorsys.hsv_to_rgb(
            self.among(low, high), saturation * float(self.rng.beta(1.0, 2.8)), self.among(*value) ** 1.2
        )
        return tuple(round(255 * c) for c in rgb)  # type: ignore[return-value]

    def near(self, colour: Colour, spread: float = 0.15) -> Colour:
        """A colour of about the same hue, brighter or darker."""
        factor = 1 + self.among(-spread, spread)
        return tuple(int(np.clip(c * factor + self.among(-8, 8), 0, 255)) for c in colour)  # type: ignore[return-value]

    def fill(self, size: tuple[int, int]) -> Image.Image:
        """Anything."""
        kinds = (self.texture, self.texture, self.gradient, self.flat, self.stripes, self.lettering)
        return kinds[int(self.rng.choice(6, p=(0.25, 0.2, 0.2, 0.15, 0.1, 0.1)))](size)

    def flat(self, size: tuple[int, int]) -> Image.Image:
        return Image.new("RGB", size, self.colour())

    def gradient(self, size: tuple[int, int], base: Colour | None = None, spread: float = 0.5) -> Image.Image:
        """Between four corners."""
        base = base or self.colour()
        corners = Image.new("RGB", (2, 2))
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            corners.putpixel((x, y), self.near(base, spread))
        return corners.resize(size, Image.Resampling.BICUBIC, box=(0.5, 0.5, 1.5, 1.5))

    def texture(self, size: tuple[int, int], repeat: tuple[float, float] = (0.6, 3.0)) -> Image.Image:
        """A material, every second time in two colours of its own, and often with less contrast."""
        tile = _tile(self.textures[int(self.rng.integers(len(self.textures)))])
        scale = float(np.exp(self.among(*np.log(repeat))))
        wide, high = (min(float(tile.width), max(1.0, n * scale)) for n in size)
        left, top = self.among(0, tile.width - wide), self.among(0, tile.height - high)
        picture = tile.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high))
        if self.chance(0.5):
            dark, light = self.colour((0.02, 0.5)), self.colour((0.4, 1.0))
            picture = ImageOps.colorize(ImageOps.grayscale(picture), dark, light)
        if self.chance(0.6):
            picture = Image.blend(picture, Image.new("RGB", size, self.colour()), self.among(0.2, 0.9))
        return picture

    def stripes(self, size: tuple[int, int]) -> Image.Image:
        """Stripes or checks."""
        picture = self.gradient(size, spread=0.1)
        draw, step = ImageDraw.Draw(picture), max(3, round(min(size) * self.among(0.04, 0.3)))
        wide, colour = max(1, round(step * self.among(0.15, 0.7))), self.colour()
        ways = ("up",) if self.chance(0.4) else ("along",) if self.chance(0.5) else ("up", "along")
        if "up" in ways:
            for x in range(0, size[0], step):
                draw.rectangle((x, 0, x + wide - 1, size[1]), fill=colour)
        if "along" in ways:
            for y in range(0, size[1], step):
                draw.rectangle((0, y, size[0], y + wide - 1), fill=colour)
        return picture

    def lettering(self, size: tuple[int, int]) -> Image.Image:
        """Lines of letters, as on signs, books and packets."""
        picture = self.gradient(size, spread=0.15)
        lines = int(self.rng.integers(1, 6))
        high = max(5, round(0.8 * size[1] / lines))
        font, draw, colour = _font(high), ImageDraw.Draw(picture), self.colour()
        for line in range(lines):
            text = "".join(
                _LETTERS[int(i)] for i in self.rng.integers(len(_LETTERS), size=min(24, max(2, 2 * size[0] // high)))
            )
            draw.text((self.among(-0.5, 0.5) * high, line * size[1] / lines), text, fill=colour, font=font)
        return picture

    def lit(self, picture: Image.Image, round_one: bool = False) -> Image.Image:
        """Brighter on one side than on the other, or in the middle."""
        if round_one and min(picture.size) > 2:
            shade = ImageOps.invert(Image.radial_gradient("L")).resize(picture.size).point(lambda v: min(255, 90 + v))
            return ImageChops.multiply(picture, Image.merge("RGB", [shade] * 3))
        corners = Image.new("L", (2, 2))
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            corners.putpixel((x, y), int(self.among(110, 255)))
        shade = corners.resize(picture.size, Image.Resampling.BILINEAR, box=(0.5, 0.5, 1.5, 1.5))
        return ImageChops.multiply(picture, Image.merge("RGB", [shade] * 3))


@lru_cache(maxsize=_KEPT_TILES)
def _tile(path: Path) -> Image.Image:
    """A texture and its mirror images, so that it goes on without a seam."""
    with Image.open(path) as image:
        tile = image.convert("RGB")
    tile.thumbnail((256, 256))
    width, height = tile.size
    whole = Image.new("RGB", (2 * width, 2 * height))
    for x, row in ((0, tile), (width, ImageOps.mirror(tile))):
        whole.paste(row, (x, 0))
        whole.paste(ImageOps.flip(row), (x, height))
    return whole


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
