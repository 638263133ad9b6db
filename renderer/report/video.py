"""MP4 files, written through PyAV, which is imported when the first frame comes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from renderer.errors import MachineError
from renderer.install import how_to_install

Bytes = npt.NDArray[np.uint8]


class Movie:
    """Writes an MP4 under a temporary name and gives it its own when it is closed."""

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        self.partial = path.with_name(f".{path.stem}.partial.mp4")
        self._container: Any = None
        self._stream: Any = None

    def add(self, picture: Bytes) -> None:
        """One frame, (H, W, 3); odd sides lose a pixel, since H.264 has none. Raises MachineError without PyAV."""
        try:
            import av
        except ImportError as error:
            raise MachineError(f"video needs PyAV: {how_to_install('apply')}") from error

        picture = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]
        if self._container is None:
            self._container = av.open(str(self.partial), "w", format="mp4")
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=Fraction(self.rate).limit_denominator(1001))
            self._stream.width, self._stream.height = picture.shape[1], picture.shape[0]
            self._stream.pix_fmt = "yuv420p"
            if codec == "libx264":
                self._stream.options = {"crf": "18", "preset": "veryfast"}
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._container = None
            self.partial.replace(self.path)
