"""A data set of ten million samples is read, split and shuffled with a few bytes a sample."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from renderer.bench.shards import fake_dataset
from renderer.errors import FormatError
from renderer.format.dataset import open_dataset, write_index
from renderer.format.folder import finished_manifests
from renderer.format.manifest import Skipped
from renderer.format.shard import unpack, write_shard
from renderer.format.staging import EncodedSample, load_staged
from trainer.data import order as orders
from trainer.data.loader import Loader
from trainer.data.order import epoch_order
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, Streaming

IMAGES = ("input", "uv", "mask")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Data sets of 10,000 and of 40,000 samples. Read only."""
    folder = tmp_path_factory.mktemp("sets")
    made = {n: fake_dataset(folder / str(n), n // 200, 200, side=8) for n in (10_000, 40_000)}
    for path in made.values():
        write_index(path)
    return made


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_reader_its_split_and_an_epoch_take_at_most_64_bytes_a_sample(
    sets: dict[int, Path], traced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "PIECE", 1000)
    held, peak = {}, {}
    for count, path in sets.items():
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        reader = SampleReader(path, IMAGES)
        training, held_out = reader.split(0.1)
        assert len(training) + len(held_out) == count
        source = Streaming(reader, 0, BadSamples(0), torch.device("cpu"))
        batch = next(iter(Loader(source, training, 8, seed=0, window=500)))
        assert len(batch) == 8
        held[count], peak[count] = (value - before for value in tracemalloc.get_traced_memory())
        del reader, source, batch, training, held_out
    few, many = sets
    assert (held[many] - held[few]) / (many - few) < 40
    assert (peak[many] - peak[few]) / (many - few) < 64


def test_places_kept_for_every_shard_take_at_most_64_bytes_a_sample(sets: dict[int, Path], traced: None) -> None:
    reader = SampleReader(sets[10_000], IMAGES)
    before = tracemalloc.get_traced_memory()[0]
    for position in range(0, 10_000, 200):
        assert reader.entry(position)[1].key == reader.keys[position]
    reader.dataset.shards[0]._cache.manifest.cache_clear()  # kept for few shards, whatever their number
    assert reader._layout.cache_info().currsize == 50
    assert (tracemalloc.get_traced_memory()[0] - before) / 10_000 < 64


def by_lists(stream: list[int], rng: np.random.Generator, window: int) -> list[int]:
    """What the shuffle is defined as."""
    waiting, out = stream[:window], []
    following = iter(stream[window:])
    draws = rng.random(len(stream)) * np.minimum(window, len(stream) - np.arange(len(stream)))
    for draw in draws.astype(np.int64).tolist():
        out.append(waiting[draw])
        new = next(following, None)
        last = waiting.pop() if new is None else new
        if draw < len(waiting):
            waiting[draw] = last
    return out


@pytest.mark.parametrize("window", [1, 7, 64, 200, 999, 5000])
@pytest.mark.parametrize("piece", [1, 50, 64, 4000])
def test_the_order_of_an_epoch_does_not_depend_on_the_pieces_it_is_shuffled_in(
    window: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "PIECE", piece)
    order = np.arange(1000)
    orders._window_shuffle(order, np.random.default_rng(5), window)
    assert order.tolist() == by_lists(list(range(1000)), np.random.default_rng(5), window)


def test_the_order_of_an_epoch_is_the_same_as_ever() -> None:
    positions = np.flatnonzero(np.arange(1000) % 7)
    order = epoch_order(positions, np.repeat(np.arange(10), 100), seed=3, epoch=2, window=50)
    rng = np.random.default_rng([3, 2])
    shards = rng.permutation(10).argsort()
    stream = [p for shard in shards for p in positions.tolist() if p // 100 == shard]
    assert order.tolist() == by_lists(stream, rng, 50)


def with_gaps(folder: Path) -> Path:
    """Ten samples in three shards, of which five were skipped."""
    path = fake_dataset(folder / "d", 1, 4, side=8)
    shard = open_dataset(path).shards[0]
    unpack(shard, folder)
    (alike, *_) = (load_staged(p) for p in sorted(folder.glob("*.tar")))

    def sample(i: int) -> EncodedSample:
        key = f"{alike.key[:6]}{i:010d}"
        members = {name.replace(alike.key, key): data for name, data in alike.members.items()}
        return EncodedSample(i, key, members, alike.pixels, {})

    for start, stop, gone in ((4, 9, (4, 6, 8)), (9, 10, (9,)), (10, 15, (11,))):
        samples = [sample(i) for i in range(start, stop) if i not in gone]
        skipped = [Skipped(i, "dark") for i in gone]
        write_shard(path, start, stop, alike.key[:6], samples, skipped=skipped)
    return path


def test_keys_and_positions_know_the_samples_that_were_skipped(tmp_path: Path) -> None:
    path = with_gaps(tmp_path)
    reader = SampleReader(path, IMAGES)
    entries = [entry for _, entry in open_dataset(path).entries()]
    assert [e.index for e in entries] == [0, 1, 2, 3, 5, 7, 10, 12, 13, 14]
    assert list(reader.keys) == [e.key for e in entries] == reader.keys[:]
    assert [reader.keys.index(e.key) for e in entries] == list(range(10)) and reader.keys[-1] == entries[-1].key
    for missing in (4, 9, 11, 15):
        assert f"{entries[0].key[:6]}{missing:010d}" not in reader.keys
    assert "ffffff0000000000" not in reader.keys
    with pytest.raises(IndexError, match="has 10 samples, none at position 10"):
        reader.keys[10]
    for position, entry in enumerate(entries):
        shard, found = reader.entry(position)
        assert (found.index, found.key) == (entry.index, entry.key)
        assert {n: (m.offset, m.size) for n, m in found.members.items()} == {
            n: (m.offset, m.size) for n, m in entry.members.items()
        }
        assert shard.params(found) == reader.params(position)


def test_a_manifest_that_lists_other_samples_than_its_range_is_refused(tmp_path: Path) -> None:
    path = with_gaps(tmp_path)
    file = finished_manifests(path)[1]
    file.write_text(file.read_text().replace('"index":7', '"index":6', 1))
    with pytest.raises(FormatError, match="does not list the samples of its range"):
        SampleReader(path, IMAGES).read(5)
