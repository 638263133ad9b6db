"""A data set as samples by position, read straight from the shard tars. Nothing is unpacked.

Each image becomes one array of a fixed dtype, (C, H, W), whichever way it is cached later:

    mask, view2_mask    uint8, 1 where the pixel is pure face (coverage >= PURE), else 0: mixed border pixels are black
    uv, view2_uv        float16, zero outside the thresholded mask
    depth, position     float32
    the rest            float16; foreground has 4 channels: colour times coverage, coverage

Numbers that are not images come from the JSON record of a sample: a function of the system turns it into one array of
fixed shape and dtype, named like an image (landmarks, head parameters, vertices). Samples of one subject
(`groups.of` of a spec) are on one side of the split, and `groups` gives them subject by subject, for `batches` of a
source.

A 128 x 128 triplet takes 12 bytes per pixel, so that 100,000 of them fit in 20 GB.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import BLOCKSIZE
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from renderer.errors import DatasetError, FormatError
from renderer.format.dataset import Dataset, open_dataset
from renderer.format.manifest import Member, SampleEntry
from renderer.format.sample_format import FLOAT_IMAGES, PURE, UV_FRAME, key_index, sample_key
from renderer.format.shard import ShardReader

LAYOUTS: Final = 1024  # shards whose members' places are kept: 8 bytes a member of each sample
Array = npt.NDArray[Any]
FromRecord = Callable[[Mapping[str, Any]], Array]  # a sample's record -> an array of fixed shape and dtype


@dataclass(frozen=True)
class Needs:
    """What a system asks of the reader. images: names from `CHANNELS`. vectors: name -> function of the record.

    training: further images that are for training alone, so that data sets without them can still be measured on.
    """

    images: tuple[str, ...]
    vectors: Mapping[str, FromRecord] = field(default_factory=dict)
    training: tuple[str, ...] = ()


class SampleReader:
    """Samples by position 0 .. len-1, in the order of their index. Safe to share between threads.

    path: data set folder. images, vectors: see `Needs`.
    Raises DatasetError if the folder is no data set, lacks an image asked for, or has UVs of another frame.
    """

    def __init__(self, path: Path, images: Sequence[str], vectors: Mapping[str, FromRecord] | None = None) -> None:
        self.path, self.images, self.vectors = path, tuple(images), dict(vectors or {})
        self.dataset: Dataset = open_dataset(path)
        self.info = self.dataset.info
        if any(name.endswith("uv") for name in self.images) and self.info.get("uv_frame") != UV_FRAME:
            raise DatasetError(
                f"{path} has UV frame {self.info.get('uv_frame')!r}; this headforge trains on {UV_FRAME!r}: "
                "the two must never be mixed, render the data set again"
            )
        if not len(self.dataset):
            raise DatasetError(f"every sample of {path} was skipped while it was rendered; look at its manifests")
        self.keys = SampleKeys(self.dataset)
        self._members = (*(f"{name}.exr" for name in self.images), "json")
        self._layout = functools.lru_cache(LAYOUTS)(functools.partial(_layout, self.dataset, self._members))
        _, first_entry = next(self.dataset.entries())
        stored = {name.removesuffix(".exr") for name in first_entry.members}
        if lacking := sorted(set(self.images) - stored):
            raise DatasetError(
                f"{path} holds {', '.join(sorted(stored - {'json'}))}, not {', '.join(lacking)}: add it to the "
                "labels of the render spec, or set the weight of the loss that needs it to 0"
            )
        try:
            first = self.read(0)
        except DatasetError:
            raise
        except Exception as error:
            raise DatasetError(f"the first sample of {path} cannot be read: {error}; run `gen verify`") from error
        self.shapes = {name: array.shape for name, array in first.items()}
        self.dtypes = {name: array.dtype for name, array in first.items()}

    def __len__(self) -> int:
        return len(self.dataset)

    @functools.cached_property
    def shard_of(self) -> npt.NDArray[np.int32]:
        """Number of the shard that each position lies in."""
        counts = [shard.summary.samples for shard in self.dataset.shards]
        return np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def entry(self, position: int) -> tuple[ShardReader, SampleEntry]:
        """The shard of a sample, and where in it the members lie that this reader is for; without hashes."""
        number, place = self.dataset.locate(position)
        where = zip(self._members, self._layout(number)[place].tolist(), strict=True)
        members = {name: Member(block * BLOCKSIZE, size, "") for name, (block, size) in where if block}
        return self.dataset.shards[number], SampleEntry(
            self.dataset.index(position), self.keys[position], members, {}
        )  # fmt: skip

    @property
    def bytes_per_sample(self) -> int:
        """Of the decoded arrays."""
        return sum(int(np.prod(shape)) * self.dtypes[name].itemsize for name, shape in self.shapes.items())

    def read(self, position: int) -> dict[str, Array]:
        """The arrays of one sample. Raises FormatError or OSError where it is damaged."""
        shard, entry = self.entry(position)
        arrays = prepare({name: shard.image(entry, name) for name in self.images})
        if self.vectors:
            record = shard.params(entry)
            arrays |= {name: function(record) for name, function in self.vectors.items()}
        return arrays

    def params(self, position: int) -> dict[str, Any]:
        """The JSON record of one sample."""
        shard, entry = self.entry(position)
        return shard.params(entry)

    def read_ahead(self, shard: int) -> None:
        """Ask the system to read a whole shard, in one go, into its cache. Spinning disks need this."""
        fd = os.open(self.dataset.shards[shard].tar, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(fd)

    def index_hash(self) -> str:
        """sha256 over tag and hashes of all shards: equal for equal data, whatever the folder is called."""
        shards = [[s.summary.stem, s.summary.tar_sha256] for s in self.dataset.shards]
        return hashlib.sha256(json.dumps([self.info["tag"], shards]).encode()).hexdigest()

    def split(self, test_share: float) -> tuple[Array, Array]:
        """Positions of the training and of the held-out samples. A key never changes sides as the data set grows.

        Frames of a clip stay together, and samples of one subject.
        """
        frames = self.dataset.group_size
        held_out = np.fromiter(
            (
                is_held_out(sample_key(self.info["tag"], index // frames * frames), test_share)
                for shard in self.dataset.shards
                for index in shard.summary.indices()
            ),
            dtype=bool,
            count=len(self),
        )
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def groups(self, positions: Array) -> list[Array]:
        """The positions clip by clip, or subject by subject; one by one where samples have neither in common.

        positions: ascending. A group may lack samples that were skipped, or are not among the positions.
        """
        if not len(positions):
            return []
        number = np.array([self.dataset.index(int(p)) for p in positions]) // self.dataset.group_size
        return np.split(positions, np.flatnonzero(np.diff(number)) + 1)


class SampleKeys(Sequence[str]):
    """Keys by position, made as they are asked for."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._tag = dataset, dataset.info["tag"]

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[p] for p in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(f"{self._dataset.path} has {len(self)} samples, none at position {position}")
        return sample_key(self._tag, self._dataset.index(position % len(self)))

    def index(self, key: str, start: int = 0, stop: int | None = None) -> int:
        """Position of a key. Raises ValueError where the data set does not hold it."""
        position = self._dataset.position(key_index(key))
        if key != self[position] or not start <= position < (len(self) if stop is None else stop):
            raise ValueError(f"{self._dataset.path} holds no sample {key!r}")
        return position

    def __contains__(self, key: object) -> bool:
        try:
            return isinstance(key, str) and self.index(key) >= 0
        except ValueError:
            return False


def _layout(dataset: Dataset, members: Sequence[str], number: int) -> npt.NDArray[np.uint32]:
    """Block of the tar and bytes of each member of the samples in a shard, (samples, members, 2); 0: it lacks it.

    Raises FormatError where the manifest lists other samples than its range says.
    """
    shard = dataset.shards[number]
    samples = shard.manifest.samples
    if [entry.index for entry in samples] != list(shard.summary.indices()):
        raise FormatError(f"the manifest of {shard.tar} does not list the samples of its range; run `gen verify`")
    none = Member(0, 0, "")
    found = [[entry.members.get(name, none) for name in members] for entry in samples]
    return np.array([[(m.offset // BLOCKSIZE, m.size) for m in row] for row in found], np.uint32)


def is_held_out(key: str, test_share: float) -> bool:
    """Does this key belong to the test split? Fixed by a hash of the key alone."""
    return int.from_bytes(hashlib.sha256(f"split:{key}".encode()).digest()[:8], "big") < test_share * 2.0**64


def prepare(images: Mapping[str, Array]) -> dict[str, Array]:
    """Decoded images, (H, W, C), to the arrays described above, (C, H, W)."""
    arrays: dict[str, Array] = {}
    for name, image in images.items():
        if name.endswith("mask"):
            arrays[name] = np.ascontiguousarray((image >= PURE).transpose(2, 0, 1)).view(np.uint8)
        else:
            dtype = np.float32 if name in FLOAT_IMAGES else np.float16
            arrays[name] = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=dtype)
    for name in ("uv", "view2_uv"):
        mask = name.replace("uv", "mask")
        if name in arrays and mask in arrays:
            arrays[name] *= arrays[mask][0]
    return arrays
