"""The order of samples is fixed by seed and epoch alone; every cache gives the same samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from renderer.errors import DatasetError, MachineError, SpecError
from trainer.data.loader import Loader
from trainer.data.minibatch import Minibatch
from trainer.data.order import epoch_order
from trainer.data.reader import SampleReader
from trainer.data.sources import BadSamples, check_room, open_source

IMAGES = ("input", "uv", "mask")
CPU = torch.device("cpu")


def loader(path: Path, *, cache="none", workers=2, batch=8, window=20, rank=0, world=1, max_bad=0) -> Loader:
    reader = SampleReader(path, IMAGES)
    training, _ = reader.split(0.1)
    source = open_source(reader, training, cache, workers, BadSamples(max_bad), CPU)
    return Loader(source, training, batch, seed=3, window=window, rank=rank, world=world)


def same(a: list[Minibatch], b: list[Minibatch]) -> bool:
    return [m.keys for m in a] == [m.keys for m in b] and all(
        torch.equal(x.images[name], y.images[name]) for x, y in zip(a, b, strict=True) for name in IMAGES
    )


def test_every_cache_and_number_of_workers_gives_the_same_samples(small: Path):
    reference = list(loader(small, workers=0))
    assert len(reference) == 7 and all(m.images["input"].shape == (8, 3, 32, 32) for m in reference)
    for cache in ("none", "memory", "device"):
        for workers in (0, 1, 3):
            assert same(list(loader(small, cache=cache, workers=workers)), reference), (cache, workers)


def test_epochs_differ_and_cover_each_sample_at_most_once(small: Path):
    one = loader(small)
    first, second = ([k for m in one for k in m.keys] for _ in range(2))
    assert one.state_dict() == {"epoch": 2, "batch": 0}
    assert first != second and len(set(first)) == len(first) == 56


def test_state_resumes_in_the_middle_of_an_epoch(small: Path):
    whole = loader(small)
    expected = [*whole, *whole]
    cut = loader(small)
    seen = []
    for minibatch in cut:
        seen.append(minibatch)
        if len(seen) == 3:
            break
    again = loader(small, workers=1)
    again.load_state_dict(cut.state_dict())
    assert same([*seen, *again, *again], expected)


def test_processes_share_out_the_global_minibatch(small: Path):
    whole = list(loader(small))
    parts = [list(loader(small, rank=r, world=2)) for r in range(2)]
    assert [a.keys + b.keys for a, b in zip(*parts, strict=True)] == [m.keys for m in whole]


def test_the_order_is_by_shard_then_within_the_window():
    shard_of = np.repeat(np.arange(10), 100)
    order = epoch_order(np.arange(1000), shard_of, seed=0, epoch=0, window=50)
    assert sorted(order) == list(range(1000))
    for i in range(0, 1000, 50):  # a reader never has more than a few shards in hand (the odd straggler included)
        assert len(set(shard_of[order[i : i + 50]])) <= 5
    assert [shard_of[i] for i in order] != sorted(shard_of)
    alone = epoch_order(np.arange(1000), shard_of, seed=0, epoch=0, window=1)
    assert all(np.diff(alone[i : i + 100]).tolist() == [1] * 99 for i in range(0, 1000, 100))
    mixed = epoch_order(np.arange(1000), shard_of, seed=0, epoch=0, window=1000)
    assert len(set(shard_of[mixed[:50]])) >= 9


def damage(path: Path, number: int) -> list[str]:
    """Overwrite the EXR header of the first samples in place: sizes stay, decoding fails."""
    reader = SampleReader(path, IMAGES)
    training, _ = reader.split(0.1)
    keys = []
    tar = next((path / "shards").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    for position in [int(p) for p in training if p][:number]:
        entry = reader.dataset.shards[0].manifest.samples[position]
        member = entry.members["uv.exr"]
        data[member.offset : member.offset + 64] = bytes(64)
        keys.append(entry.key)
    tar.write_bytes(data)
    return keys


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_bad_samples_are_skipped_and_reported(make_dataset, capsys, cache):
    path = make_dataset(20)
    whole = [k for m in loader(path, batch=6) for k in m.keys]
    keys = damage(path, 2)
    found = [k for m in loader(path, batch=6, max_bad=2, cache=cache) for k in m.keys]
    assert found == [k for k in whole if k not in keys] and len(found) < len(whole)
    reported = capsys.readouterr().err
    assert all(reported.count(f"skipped sample {key}") == 1 for key in keys)


def test_too_many_bad_samples_stop_the_run(make_dataset):
    path = make_dataset(20)
    damage(path, 3)
    with pytest.raises(DatasetError, match=r"3 bad samples .* data.max_bad = 2"):
        list(loader(path, batch=6, max_bad=2))


def test_a_data_set_smaller_than_a_minibatch_is_refused(small: Path):
    with pytest.raises(SpecError, match=r"fewer than data\.batch_size = 500"):
        loader(small, batch=500)


def test_a_cache_that_does_not_fit_is_refused(small: Path):
    with pytest.raises(MachineError, match=r"data\.cache to 'none'"):
        check_room(SampleReader(small, IMAGES), 10**12, CPU)


def test_what_a_job_may_not_use_is_no_room_for_a_cache(small: Path, monkeypatch):
    reader = SampleReader(small, IMAGES)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "1")  # MiB, of which this process holds more already
    with pytest.raises(MachineError, match=r"0\.0 GB are free"):
        check_room(reader, 70, CPU)
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    check_room(reader, 70, CPU)
    with pytest.raises(MachineError, match=r"beside the 1000\.0 GB that training takes"):
        check_room(reader, 70, CPU, reserve=10**12)
