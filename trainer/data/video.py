"""The frames of videos and webcams, and which inputs are such."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from renderer.errors import DatasetError, FormatError
from trainer.data.pictures import PHOTO_SUFFIXES, Bytes

VIDEO_SUFFIXES: Final = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


def expand(inputs: Sequence[str]) -> list[str]:
    """Folders become their files; files and webcam indices stay. Raises DatasetError if one is missing."""
    found: list[str] = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in PHOTO_SUFFIXES + VIDEO_SUFFIXES]
            if not inside:
                raise DatasetError(f"{path} holds no picture or video")
            found += [str(p) for p in inside]
        elif path.is_file() or text.isdecimal():
            found.append(text)
        else:
            raise DatasetError(f"there is no file or folder {text}")
    return found


def is_moving(text: str) -> bool:
    """Is this input a video or a webcam?"""
    return text.isdecimal() or Path(text).suffix.lower() in VIDEO_SUFFIXES


@dataclass
class Frames:
    """The frames of a video file or a webcam, (H, W, 3) bytes. `problem` says why they ended early, if so."""

    source: str
    max_side: int
    limit: int | None = None
    rate: float = 25.0
    count: int | None = None
    problem: str = ""

    def __iter__(self) -> Iterator[Bytes]:
        frames = self._webcam() if self.source.isdecimal() and not Path(self.source).exists() else self._file()
        for number, frame in enumerate(frames):
            if self.limit is not None and number >= self.limit:
                return
            height, width = frame.shape[:2]
            if max(height, width) > self.max_side:
                scale = self.max_side / max(height, width)
                size = (round(width * scale), round(height * scale))
                frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
            yield frame

    def _file(self) -> Iterator[Bytes]:
        import av

        try:
            container = av.open(self.source)
        except Exception as error:
            raise FormatError(f"{self.source} cannot be read as a video: {error}") from error
        with container:
            if not container.streams.video:
                raise FormatError(f"{self.source} holds no video")
            stream = container.streams.video[0]
            self.rate, self.count = float(stream.average_rate or 25), stream.frames or None
            read = 0
            try:
                for frame in container.decode(stream):
                    read += 1
                    yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            except Exception as error:
                self.problem = f"{self.source} is damaged after {read} frames: {error}"
            else:
                if self.count and read < self.count:
                    self.problem = f"{self.source} is cut short: {read} of {self.count} frames"
            if not read:
                raise FormatError(self.problem or f"{self.source} holds no frame")

    def _webcam(self) -> Iterator[Bytes]:
        import cv2

        camera = cv2.VideoCapture(int(self.source))
        if not camera.isOpened():
            raise DatasetError(f"webcam {self.source} cannot be opened")
        try:
            while True:
                there, frame = camera.read()
                if not there:
                    return
                yield np.ascontiguousarray(frame[..., ::-1])
        finally:
            camera.release()
