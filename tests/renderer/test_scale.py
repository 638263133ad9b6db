"""Data sets of many shards and samples: what is held open and in memory does not grow with them."""

from __future__ import annotations

import json
import pickle
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from renderer import archive
from renderer.open_files import OpenFiles
from renderer.sample_format import sample_key


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 shards of one small sample each. Read only."""
    folder = tmp_path_factory.mktemp("many")
    (folder / archive.DATASET_FILE).write_text(json.dumps({"format_version": 1, "tag": "abc123", "labels": []}))
    for i in range(150):
        record = {"knobs": {"index": i}, "measured": {}}
        archive.write_shard(folder, i, i + 1, "abc123", [archive.encode_sample(i, sample_key("abc123", i), {}, record)])
    return folder


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def few_descriptors(most: int) -> Iterator[None]:
    """As under `ulimit -n`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_shards_are_read_than_files_may_be_open(many_shards: Path) -> None:
    data = archive.open_dataset(many_shards)
    with few_descriptors(descriptors() + 80):
        found = [shard.params(entry)["knobs"]["index"] for shard, entry in data.entries()]
    assert found == list(range(150))


def test_threads_that_share_few_open_files_read_what_they_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(20)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 100)
    files = pickle.loads(pickle.dumps(OpenFiles(2)))

    def read(i: int) -> bytes:
        return bytes(files.read(paths[i % 20], 3, 50))

    before = descriptors()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(4000))) == [bytes([i % 20]) * 3 for i in range(4000)]
    assert descriptors() == before + 2
    files.close()
    assert descriptors() == before
