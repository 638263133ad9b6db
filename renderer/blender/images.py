"""Pictures in Blender: files that are read once, pictures painted anew for every sample, and panoramas as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import bpy
import numpy as np
import numpy.typing as npt

from renderer.errors import AssetError

PANORAMA_SPACE = "Linear Rec.709"
KEPT_PIXELS = 1 << 20  # panoramas with more are read again for every sample


class Images:
    """Keeps the images of this process. hdris: panoramas by name."""

    def __init__(self, hdris: Mapping[str, Path]) -> None:
        self._hdris = hdris
        self._loaded: dict[Path, bpy.types.Image] = {}
        self._panoramas: dict[Path, npt.NDArray[np.float16]] = {}

    def panorama(self, name: str) -> npt.NDArray[np.float32]:
        """(H, W, 3) radiance, the bottom row first."""
        path = self._hdris[name]
        if path not in self._panoramas:
            image = self.load(path, PANORAMA_SPACE)
            width, height = image.size
            pixels = np.empty(width * height * image.channels, np.float32)
            image.pixels.foreach_get(pixels)
            image.buffers_free()  # or Blender keeps what only we have read
            colours = pixels.reshape(height, width, image.channels)[..., :3]
            if width * height > KEPT_PIXELS:
                return np.ascontiguousarray(colours)
            self._panoramas[path] = np.clip(colours, 0.0, 65504.0).astype(np.float16)
        return self._panoramas[path].astype(np.float32)

    def load(self, path: Path, colour_space: str = "sRGB") -> bpy.types.Image:
        """Of a file. Raises AssetError where Blender cannot decode it."""
        if path not in self._loaded:
            image = bpy.data.images.load(str(path))
            if not image.size[0]:  # Blender would paint it magenta and say nothing
                raise AssetError(f"{path} cannot be decoded as an image: replace or remove it")
            image.colorspace_settings.name = colour_space
            image.alpha_mode = "CHANNEL_PACKED" if path.suffix.lower() == ".png" else "NONE"
            self._loaded[path] = image
        return self._loaded[path]

    @staticmethod
    def canvas(name: str, colours: npt.NDArray[np.float32], is_data: bool = True) -> bpy.types.Image:
        """An image of (H, W, 3) values from 0 to 1, the bottom row first; painted over from sample to sample.

        is_data: the values are no colours; else they are sRGB.
        """
        height, width, _ = colours.shape
        image = bpy.data.images.get(name) or bpy.data.images.new(name, width, height, is_data=is_data)
        pixels = np.ones((height, width, 4), np.float32)
        pixels[..., :3] = colours
        image.pixels.foreach_set(pixels.ravel())
        image.update()
        return image
