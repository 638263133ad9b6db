"""Data sets of many shards and samples: what is held open and in memory does not grow with them."""

from __future__ import annotations

import gc
import json
import pickle
import resource
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from renderer.bench import shards
from renderer.bench.shards import fake_dataset, measure
from renderer.errors import DatasetError, FormatError, MachineError
from renderer.format.dataset import SPREAD_SHARDS, open_dataset, write_index
from renderer.format.folder import DATASET_FILE, INDEX_FILE, SHARDS, finished_manifests
from renderer.format.manifest import Manifest, ShardSummary, Skipped, read_manifest, read_summary
from renderer.format.open_files import OpenFiles
from renderer.format.sample_format import sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import encode_sample
from renderer.report.card import card_text
from renderer.report.stats import plot_knobs


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 shards of one small sample each. Read only."""
    folder = tmp_path_factory.mktemp("many")
    (folder / DATASET_FILE).write_text(json.dumps({"format_version": 1, "tag": "abc123", "labels": []}))
    for i in range(150):
        record = {"knobs": {"index": i}, "measured": {}}
        write_shard(folder, i, i + 1, "abc123", [encode_sample(i, sample_key("abc123", i), {}, record)])
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
    data = open_dataset(many_shards)
    with few_descriptors(descriptors() + 80):
        found = [shard.params(entry)["knobs"]["index"] for shard, entry in data.entries()]
    assert found == list(range(150))


def test_plots_of_knobs_are_made_with_few_descriptors_and_from_so_many_samples(
    many_shards: Path, tmp_path: Path
) -> None:
    with few_descriptors(descriptors() + 80):
        assert plot_knobs(many_shards, tmp_path / "all.png") == "1 knobs of 100 of 150 samples"
        assert plot_knobs(many_shards, tmp_path / "some.png", count=7) == "1 knobs of 7 of 150 samples"


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


# ---------------------------------------------------------------- manifests are read as their samples are asked for


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """100,000 samples in 200 shards, a hundredth of what shall be possible. Read only."""
    path = fake_dataset(tmp_path_factory.mktemp("large") / "d", 200, 500, side=16)
    write_index(path)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many manifests were parsed whole, and how many only at head and tail."""
    counts = {"whole": 0, "outline": 0}

    def whole(path: Path) -> Manifest:
        counts["whole"] += 1
        return read_manifest(path)

    def outline(path: Path) -> ShardSummary:
        counts["outline"] += 1
        return read_summary(path)

    monkeypatch.setattr("renderer.format.shard.read_manifest", whole)
    monkeypatch.setattr("renderer.format.dataset.read_summary", outline)
    return counts


def test_opening_parses_no_manifest_and_reading_those_of_the_samples_asked_for(
    large: Path, parsed: dict[str, int]
) -> None:
    data = open_dataset(large)
    assert len(data) == 100_000 and parsed == {"whole": 0, "outline": 0}
    assert [e.index for _, e in data.entries(99_400, 99_600)] == list(range(99_400, 99_600))
    assert parsed == {"whole": 2, "outline": 0}
    assert len({e.index for _, e in data.spread(1000)}) == 1000
    assert parsed["whole"] <= 2 + SPREAD_SHARDS
    (large / INDEX_FILE).unlink()
    assert len(open_dataset(large)) == 100_000 and parsed["outline"] == 200
    assert write_index(large)["samples"] == 100_000
    assert parsed["whole"] <= 2 + SPREAD_SHARDS


@pytest.mark.parametrize(
    ("operation", "megabytes"),
    [  # a data set a hundred times as large may take 500 MB; where it does not grow with the data set, what it needs
        ("open", 10),
        ("index from nothing", 10),
        ("plan of a top-up", 10),
        ("gen status", 10),
        ("the README's loop over 1,000,000 samples", 60),
    ],
)
def test_memory_is_bounded(large: Path, operation: str, megabytes: float) -> None:
    found = measure(large, operation, 100_000)
    assert found["MB"] < megabytes and "00000" in found["result"]


def test_a_summary_is_what_the_whole_manifest_says(tmp_path: Path) -> None:
    reason = 'dark"],"skipped":[{"index":7}],' + "x" * 70_000
    samples = [encode_sample(i, sample_key("abc123", i), {}, {}) for i in (0, 2)]
    write_shard(tmp_path, 0, 4, "abc123", samples, skipped=[Skipped(i, reason) for i in (3, 1)])
    (file,) = finished_manifests(tmp_path)
    summary = read_summary(file)
    assert summary == read_manifest(file).summary and summary.skipped == (1, 3) and summary.samples == 2
    file.write_text(json.dumps(json.loads(file.read_bytes()), indent=1))
    assert read_summary(file) == summary
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(FormatError, match="is not a shard manifest"):
        read_summary(file)


# ---------------------------------------------------------------- an index that no longer holds


def small(folder: Path, *ranges: tuple[int, int], record: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    info = {"format_version": 1, "tag": "abc123", "labels": [], "spec": {}}
    (folder / DATASET_FILE).write_text(json.dumps(info))
    for start, stop in ranges:
        samples = [encode_sample(i, sample_key("abc123", i), {}, {"is": record}) for i in range(start, stop)]
        write_shard(folder, start, stop, "abc123", samples)
    return folder


def test_shards_that_came_or_changed_after_the_index_are_read_as_they_are(tmp_path: Path) -> None:
    write_index(small(tmp_path, (0, 2), (2, 4)))
    old = finished_manifests(tmp_path)[1]
    old.unlink()
    old.with_suffix(".tar").unlink()
    data = open_dataset(small(tmp_path, (2, 4), (4, 6), record="new" * 1000))
    assert [shard.params(entry)["is"] for shard, entry in data.entries()] == [""] * 2 + ["new" * 1000] * 4
    assert write_index(tmp_path)["samples"] == 6


def test_an_index_that_was_cut_short_is_named_and_can_be_made_again(tmp_path: Path) -> None:
    write_index(small(tmp_path, (0, 2)))
    index = tmp_path / INDEX_FILE
    index.write_bytes(index.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"index\.json cannot be read .*delete it"):
        open_dataset(tmp_path)
    write_index(tmp_path)
    assert len(open_dataset(tmp_path)) == 2


def test_a_foreign_index_is_not_believed(tmp_path: Path) -> None:
    write_index(small(tmp_path, (0, 2)))
    index = tmp_path / INDEX_FILE
    raw = json.loads(index.read_bytes())
    raw["shards"][0]["sha256"] = "another"
    index.write_text(json.dumps({**raw, "tag": "fffff0"}))
    assert open_dataset(tmp_path).shards[0].summary.tar_sha256 != "another"


def test_an_index_of_an_older_headforge_still_tells_which_tars_are_lost(tmp_path: Path) -> None:
    write_index(small(tmp_path, (0, 2), (2, 4)))
    index = tmp_path / INDEX_FILE
    raw = json.loads(index.read_bytes())
    for row in raw["shards"]:
        del row["manifest_bytes"], row["skipped"]
    index.write_text(json.dumps(raw))
    assert len(open_dataset(tmp_path)) == 4
    for file in (tmp_path / SHARDS).glob("*2-*4.*"):
        file.unlink()
    with pytest.raises(DatasetError, match=r"lacks shards/0000000002-0000000004\.tar, which its index names"):
        open_dataset(tmp_path)


def test_a_manifest_that_changed_in_place_is_noticed_as_it_is_read(tmp_path: Path) -> None:
    write_index(small(tmp_path, (0, 2)))
    (file,) = finished_manifests(tmp_path)
    digest = read_manifest(file).tar_sha256
    file.write_text(file.read_text().replace(digest, digest[::-1]))
    with pytest.raises(FormatError, match="is another one than"):
        list(open_dataset(tmp_path).entries())


# ---------------------------------------------------------------- other libraries


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its tars open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_card_says_how_webdataset_lists_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("webdataset")
    path = fake_dataset(tmp_path / "data", 3, 4, side=8)
    write_index(path)
    (path / SHARDS / "0000000012-0000000016.tar").write_bytes(b"without a manifest it does not count")
    card = card_text(open_dataset(path), "")
    (block,) = [text for text in card.split("```python")[1:] if "webdataset.WebDataset" in text]
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[int, ...]] = []
    code = block.split("```")[0] + "    seen.append(uv['R'].shape)\n"
    exec(code, {"seen": seen})
    gc.collect()
    assert seen == [(8, 8)] * 12


def test_the_benchmark_names_every_figure_and_removes_its_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: shards.OPERATIONS[name] for name in ("open", "plan of a top-up")}
    monkeypatch.setattr(shards, "OPERATIONS", few)
    lines: list[dict[str, Any]] = []
    shards.run_scale(lines.append, shards=3, per_shard=5, folder=tmp_path)
    assert [(line["name"], line["result"]) for line in lines] == [
        ("scale: open", "15"),
        ("scale: plan of a top-up", "15"),
    ]
    assert all({"s", "cpu_s", "MB", "shards", "samples"} <= line.keys() for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_an_operation_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"open of .* failed: .*is not a data set"):
        measure(tmp_path, "open", 1)
