"""What `gen reconstruct` does with its photos: find faces, map them, turn them, write; one bad photo stops no other."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from renderer.errors import DatasetError, FormatError
from renderer.files import write_atomic
from renderer.head.model import HeadModel
from trainer.data import pictures, video
from trainer.positions.files import write_positions
from trainer.positions.reconstruct import Face, described, textured_mesh, turned
from trainer.positions.second_view import SecondView
from trainer.uvmaps import head_pose, mesh, results

Faces = Callable[[Tensor, "Timer"], Sequence[Face]]
"""The faces of a photo (1, 3, H, W); what takes time is told to the timer."""
Say = Callable[[str], object]
FILES = "files"


@dataclass
class Timer:
    """Seconds by part of the work. The first photo is left out of `summary`: much is made once."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    photos: int = 0
    faces: int = 0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts what runs inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def summary(self) -> str:
        """Photos a second, and milliseconds a photo by part."""
        if not self.photos:
            return ""
        each = {name: 1000 * seconds / self.photos for name, seconds in self.seconds.items()}
        rate = 1000 / max(sum(each.values()), 1e-9)
        parts = ", ".join(f"{name} {value:.0f} ms" for name, value in each.items())
        return f"{self.faces / self.photos:.2g} faces a photo, {rate:.2f} photos/s: {parts}"


@dataclass(frozen=True)
class Job:
    """Where results are written. max_side: larger photos are scaled down."""

    out: Path
    max_side: int = 2048


def run_all(job: Job, faces: Faces, inputs: Sequence[str], say: Say) -> int:
    """All photos; returns how many could not be read. Raises for what would spoil every photo, before the first one."""
    sources = video.expand(inputs)
    if moving := [source for source in sources if video.is_moving(source)]:
        raise DatasetError(f"{moving[0]} is a video or webcam: `gen reconstruct` takes photos; `gen apply` takes both")
    mesh.check("face")
    head = head_pose.pack_head()
    job.out.mkdir(parents=True, exist_ok=True)
    failed, timer, names = 0, Timer(), set[str]()
    for number, source in enumerate(sources):
        name = results.unused_name(Path(source).stem, names)
        try:
            one_photo(job, faces, source, name, head, timer if number else Timer(), say)
        except FormatError as error:
            say(f"skipped: {error}")
            failed += 1
    if timer.summary():
        say(f"after the first photo: {timer.summary()}")
    return failed


def one_photo(job: Job, faces: Faces, source: str, name: str, head: HeadModel, timer: Timer, say: Say) -> None:
    """NAME.json, and of each face its mesh, map and second view. Raises FormatError where the photo cannot be read."""
    photo = pictures.to_tensor(pictures.read_picture(Path(source), job.max_side))
    found = faces(photo, timer)
    records = []
    for which, face in enumerate(found):
        with timer.part("second view"):
            second = turned(face, head)
        records.append(described(face, second, head_pose.landmark_uv()))
        with timer.part(FILES):
            write_face(job.out / f"{name}.face{which}", face, second, head)
    timer.photos, timer.faces = timer.photos + 1, timer.faces + len(found)
    result = {"source": source, "width": photo.shape[3], "height": photo.shape[2], "faces": records}
    write_atomic(job.out / f"{name}.json", json.dumps(result, separators=(",", ":")).encode())
    say(f"{source}: {len(found)} face{'s' * (len(found) != 1)}" if found else f"{source}: no face found")


def write_face(start: Path, face: Face, second: SecondView, head: HeadModel) -> None:
    """START.obj and .glb, START.positions.exr, START.second.png."""
    made = textured_mesh(face, second, head)
    for suffix in mesh.SUFFIXES:
        mesh.write_mesh(made, start.with_name(start.name + suffix))
    write_positions(start.with_name(f"{start.name}.positions.exr"), face.photo_map, face.scaling)
    Image.fromarray(pictures.to_bytes(second.picture)).save(start.with_name(f"{start.name}.second.png"))
