"""Sprite sheets of an evaluation: which samples and photos they show, and their PNG files."""

from __future__ import annotations

import hashlib
import heapq
import io
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from renderer.errors import DatasetError, FormatError
from renderer.files import write_atomic
from trainer.data.minibatch import Minibatch
from trainer.data.order import Positions
from trainer.data.pictures import PHOTO_SUFFIXES, read_picture
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples
from trainer.training.config import OutputConfig
from trainer.training.system import Modules, Task, Tiles
from trainer.training.validation import UNREADABLE

CHOSEN: Final = 6
PHOTO_PX: Final = 4096  # larger photos are scaled down while they are read
Rows = list[dict[str, Any]]


def chosen_positions(reader: SampleReader, held_out: Positions, keys: tuple[str, ...]) -> list[int]:
    """The held-out samples shown every time: those named, or six picked by a hash of their key."""
    if keys:
        if unknown := [key for key in keys if key not in reader.keys]:
            raise DatasetError(f"output.chosen names {unknown}, which {reader.path} does not hold")
        return [reader.keys.index(key) for key in keys]
    return heapq.nsmallest(
        CHOSEN, map(int, held_out), key=lambda p: hashlib.sha256(reader.keys[p].encode()).digest()
    )  # fmt: skip


def photo_paths(output: OutputConfig) -> tuple[list[Path], list[Path]]:
    """Photos shown every time, and all photos. Raises DatasetError if a folder or file named is not there."""
    if not output.photos:
        return [], []
    folder = Path(output.photos)
    every = sorted(p for p in folder.glob("*") if p.suffix.lower() in PHOTO_SUFFIXES) if folder.is_dir() else []
    if not every:
        raise DatasetError(f"output.photos: no photos ({', '.join(PHOTO_SUFFIXES)}) in {folder}")
    if missing := [name for name in output.chosen_photos if not (folder / name).is_file()]:
        raise DatasetError(f"output.chosen_photos: {', '.join(missing)} not in {folder}")
    return [folder / name for name in output.chosen_photos] or every[:CHOSEN], every


def load_photo(path: Path, size: tuple[int, int]) -> Tensor:
    """A photo as picture values, its middle square scaled to (3, H, W). Raises FormatError for what is no picture."""
    rgb = Image.fromarray(read_picture(path, PHOTO_PX))
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    square = rgb.resize((size[1], size[0]), Image.Resampling.BOX, box=(left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(square, np.float32) / 255).permute(2, 0, 1)


@torch.no_grad()
def sheet(
    modules: Modules,
    task: Task,
    reader: SampleReader,
    samples: list[tuple[int, str]],
    photos: list[tuple[Path, str]],
    photo_px: tuple[int, int] | None,
    device: torch.device,
    bad: BadSamples,
) -> tuple[list[Tiles], Rows]:
    """Rows of tiles, (columns, H, W, 3) each, and their descriptions. modules: in evaluation mode.

    samples: positions, photos: files, each with a word for it. Every other chosen sample is shown as in the last kind
    of test. What cannot be read is left out and counted in `bad`.
    """
    tiles: list[Tiles] = []
    rows: Rows = []
    tests = task.tests()
    for number, (position, kind) in enumerate(samples):
        try:
            minibatch, record = single(reader, position, device), reader.params(position)
        except UNREADABLE as error:
            bad.add(reader.keys[position], str(error))
            continue
        test = tests[-1] if kind == "chosen" and number % 2 == 1 else tests[0]
        views, measured = task.views(modules, minibatch, record, test)
        tiles.append(views)
        rows.append({"name": f"{kind} {number + 1}", "kind": kind, "key": reader.keys[position], **measured})
    for path, kind in photos:
        assert photo_px is not None  # or `check` would have refused the photos
        try:
            picture = load_photo(path, photo_px).to(device)
        except FormatError as error:
            bad.add(path.name, str(error))
            continue
        tiles.append(task.photo_views(modules, picture))
        rows.append({"name": path.name, "kind": kind})
    return tiles, rows


def shown(
    epoch: int, chosen: list[int], held_out: Positions, photos: tuple[list[Path], list[Path]]
) -> tuple[list[tuple[int, str]], list[tuple[Path, str]]]:
    """Samples and photos of one epoch's sheet: the chosen ones, and a random one of each. photos: of `photo_paths`."""
    rng = np.random.default_rng([epoch])
    samples = [(p, "chosen") for p in chosen] + [(int(rng.choice(held_out)), "random")]
    pictures = [(path, "photo") for path in photos[0]]
    if photos[1]:
        pictures.append((photos[1][int(rng.integers(len(photos[1])))], "random photo"))
    return samples, pictures


def single(reader: SampleReader, position: int, device: torch.device) -> Minibatch:
    """A minibatch of one sample. Raises FormatError if it is of another size than the data set."""
    arrays = reader.read(position)
    if odd := [name for name, array in arrays.items() if array.shape != reader.shapes[name]]:
        raise FormatError(f"sample {reader.keys[position]}: {', '.join(odd)} of another size than the first sample's")
    tensors = {name: torch.from_numpy(array)[None].to(device) for name, array in arrays.items()}
    return Minibatch.of(reader, torch.tensor([position]), tensors, 0)


# ---------------------------------------------------------------- files


def sheet_name(epoch: int) -> str:
    return f"epoch-{epoch:04d}.png"


def write_sheet(tiles: npt.NDArray[np.uint8], path: Path) -> None:
    """(rows, columns, H, W, 3) uint8 to one PNG; row r of the array is row r of the sheet."""
    rows, columns, height, width, _ = tiles.shape
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", compress_level=6)
    write_atomic(path, buffer.getvalue())


class SheetWriter:
    """Writes sheets in a thread, so that training does not wait for the compression of PNG; one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, "sheets")
        self._last: Future[None] | None = None

    def write(self, tiles: npt.NDArray[Any], epoch: int) -> None:
        """Hand a sheet over. Waits only if the one before is not finished yet."""
        self.wait()
        self._last = self._pool.submit(write_sheet, tiles, self.folder / sheet_name(epoch))

    def wait(self) -> None:
        """Until the last sheet stands; a failure is reported, training goes on."""
        if self._last is not None and (error := self._last.exception()) is not None:
            print(f"an evaluation image could not be written: {error}", file=sys.stderr, flush=True)
        self._last = None
