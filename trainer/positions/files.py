"""Position maps as EXR files: float, with what it takes to put them back into the photo."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np

from renderer.errors import FormatError
from renderer.format.sample_format import UV_FRAME
from trainer.positions.texels import Map

CHANNELS: Final = ("X", "Y", "Z")
_FRAME, _SCALE, _OFFSET = "uvFrame", "positionScale", "positionOffset"


@dataclass(frozen=True)
class Scaling:
    """position = value * scale + offset: of values in units of a face's window, 0 to 1 across it, in the photo.

    The offset is added to x and y; z is 0 at the depth of the head's origin in both.
    """

    scale: float
    offset: tuple[float, float]

    def values(self, positions: Map) -> Map:
        """(3, S, S) positions in pixels of the photo as values."""
        return np.asarray((positions - self._shift) / self.scale, np.float32)

    def positions(self, values: Map) -> Map:
        """The inverse of `values`."""
        return np.asarray(values * self.scale + self._shift, np.float32)

    @property
    def _shift(self) -> Map:
        return np.array([*self.offset, 0.0], np.float32)[:, None, None]


def write_positions(path: Path, positions: Map, scaling: Scaling) -> None:
    """A map (3, S, S) in pixels of the photo, stored as values of `scaling`, which the header holds."""
    import OpenEXR

    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        _FRAME: UV_FRAME,
        _SCALE: float(scaling.scale),
        _OFFSET: np.array(scaling.offset, np.float32),
    }
    values = scaling.values(positions)
    partial = path.with_name(f".{uuid4().hex}.exr")
    try:
        OpenEXR.File(header, dict(zip(CHANNELS, np.ascontiguousarray(values), strict=True))).write(str(partial))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_positions(path: Path) -> tuple[Map, Scaling]:
    """The map of a file in pixels of the photo, (3, S, S), and how it is stored. Raises FormatError for other files."""
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            header, channels = file.header(), file.channels()
            values = np.stack([channels[name].pixels for name in CHANNELS]).astype(np.float32)
            frame, scale, offset = header[_FRAME], float(header[_SCALE]), tuple(float(v) for v in header[_OFFSET])
    except (KeyError, RuntimeError, OSError, ValueError) as error:
        raise FormatError(f"{path} is no position map as `gen reconstruct` writes them: {error}") from error
    if frame != UV_FRAME:
        raise FormatError(f"{path} is a map over UV frame {frame!r}; this headforge knows {UV_FRAME!r}")
    scaling = Scaling(scale, (offset[0], offset[1]))
    return scaling.positions(values), scaling
