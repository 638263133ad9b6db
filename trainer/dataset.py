"""A data set as samples by position, read straight from the shard tars. Nothing is unpacked.

Each image becomes one array of a fixed dtype, (C, H, W), whichever way it is cached later:

    mask, view2_mask    uint8, 1 where the pixel is pure face (coverage >= PURE), else 0: mixed border pixels are black
    uv, view2_uv        float16, zero outside the thresholded mask
    depth, position     float32
    the rest            float16
    landmarks           float32 (68, 2): pixels (x, y) of the first head, NaN where there is no head

A 128 x 128 triplet takes 12 bytes per pixel, so that 100,000 of them fit in 20 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from renderer.archive import Dataset, open_dataset
from renderer.errors import DatasetError, FormatError
from renderer.sample_format import FLOAT_IMAGES, PURE, UV_FRAME, key_index, sample_key

LANDMARKS: Final = "landmarks"
LANDMARK_COUNT: Final = 68
Array = npt.NDArray[Any]


class SampleReader:
    """Samples by position 0 .. len-1, in the order of their index. Safe to share between threads.

    path: data set folder. images: names from `CHANNELS`, and `LANDMARKS`.
    Raises DatasetError if the folder is no data set, of another UV frame, or lacks an image asked for.
    """

    def __init__(self, path: Path, images: Sequence[str]) -> None:
        self.path, self.images = path, tuple(images)
        self.dataset: Dataset = open_dataset(path)
        self.info = self.dataset.info
        if self.info.get("uv_frame") != UV_FRAME:
            raise DatasetError(
                f"{path} has UV frame {self.info.get('uv_frame')!r}; this headforge trains on {UV_FRAME!r}: "
                "the two must never be mixed, render the data set again"
            )
        self.entries = list(self.dataset.entries())
        if not self.entries:
            raise DatasetError(f"every sample of {path} was skipped while it was rendered; look at its manifests")
        self.keys = [entry.key for _, entry in self.entries]
        stored = {name.removesuffix(".exr") for name in self.entries[0][1].members}
        if lacking := sorted(set(self.images) - stored - {LANDMARKS}):
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
        return len(self.entries)

    @property
    def shard_of(self) -> Array:
        """Number of the shard that each position lies in."""
        counts = [len(shard.manifest.samples) for shard in self.dataset.shards]
        return np.repeat(np.arange(len(counts)), counts)

    @property
    def bytes_per_sample(self) -> int:
        """Of the decoded arrays."""
        return sum(int(np.prod(shape)) * self.dtypes[name].itemsize for name, shape in self.shapes.items())

    def read(self, position: int) -> dict[str, Array]:
        """The arrays of one sample. Raises FormatError or OSError where it is damaged."""
        shard, entry = self.entries[position]
        decoded = {name: shard.image(entry, name) for name in self.images if name != LANDMARKS}
        arrays = prepare(decoded)
        if LANDMARKS in self.images:
            arrays[LANDMARKS] = first_landmarks(shard.params(entry))
        return arrays

    def params(self, position: int) -> dict[str, Any]:
        """The JSON record of one sample."""
        shard, entry = self.entries[position]
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
        shards = [[s.manifest.stem, s.manifest.tar_sha256] for s in self.dataset.shards]
        return hashlib.sha256(json.dumps([self.info["tag"], shards]).encode()).hexdigest()

    def split(self, test_share: float) -> tuple[Array, Array]:
        """Positions of the training and of the held-out samples. A key never changes sides as the data set grows.

        Frames of a clip stay together.
        """
        held_out = np.array([is_held_out(self._first_key(key), test_share) for key in self.keys], dtype=bool)
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def _first_key(self, key: str) -> str:
        """The key of the first frame of a sample's clip; its own where there are no clips."""
        frames = self.dataset.clip_frames
        return sample_key(self.info["tag"], key_index(key) // frames * frames) if frames else key

    def landmark_uv(self) -> npt.NDArray[np.float32] | None:
        """Canonical (U, V) of the 68 landmarks, (68, 2), or None where the data set does not state them."""
        if "landmark_uv" not in self.info:
            return None
        return np.asarray(self.info["landmark_uv"], np.float32)


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


def first_landmarks(params: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """(68, 2) pixels (x, y) of the first head, NaN without a head."""
    heads = params.get("landmarks_px")
    if heads is None:
        raise FormatError(f"sample {params.get('key')!r} has no landmarks_px: it was rendered by an older headforge")
    if not heads:
        return np.full((LANDMARK_COUNT, 2), np.nan, np.float32)
    points = np.array([[np.nan, np.nan] if p is None else p for p in heads[0]], np.float32)
    if points.shape != (LANDMARK_COUNT, 2):
        raise FormatError(f"sample {params.get('key')!r} has landmarks of shape {points.shape}, not (68, 2)")
    return points
