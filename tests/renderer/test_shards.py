"""Shards are finished or absent, equal samples give equal bytes, and other libraries can read them."""

from __future__ import annotations

import gc
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import OpenEXR
import pytest

from renderer.errors import DatasetError, FormatError
from renderer.format import exr
from renderer.format.dataset import Dataset, merge_shards, open_dataset, write_index
from renderer.format.folder import DATASET_FILE
from renderer.format.sample_format import CHANNELS, KEY_LENGTH, image_names, key_index, sample_key
from renderer.format.shard import write_shard
from renderer.format.staging import EncodedSample, encode_sample, load_staged, pixel_hash, stage_sample


def sample(index: int, tag: str = "abc123") -> EncodedSample:
    rng = np.random.default_rng(index)
    images = {name: rng.random((16, 16, len(CHANNELS[name]))).astype(np.float16) for name in ("mask", "uv", "input")}
    return encode_sample(index, sample_key(tag, index), images, {"index": index}, {"pid": index})


def dataset(folder: Path, *ranges: tuple[int, int]) -> Dataset:
    folder.mkdir(exist_ok=True)
    (folder / DATASET_FILE).write_text(json.dumps({"format_version": 1, "tag": "abc123", "labels": []}))
    for start, stop in ranges:
        write_shard(folder, start, stop, "abc123", (sample(i) for i in range(start, stop)))
    return open_dataset(folder)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    data = dataset(tmp_path, (0, 3), (3, 5))
    keys = []
    for shard, entry in data.entries():
        original = sample(entry.index)
        keys.append(entry.key)
        assert shard.params(entry) == {"index": entry.index}
        for name in ("input", "uv", "mask"):
            image = shard.image(entry, name)
            assert image.dtype == np.float16
            assert pixel_hash(image) == original.pixels[name] == entry.pixels[name]
    assert keys == sorted(keys) and len(keys) == 5 and len(data) == 5
    assert {len(k) for k in keys} == {KEY_LENGTH} and [key_index(k) for k in keys] == [0, 1, 2, 3, 4]


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        dataset(tmp_path / name, (0, 4))
    tars = [next((tmp_path / n / "shards").glob("*.tar")).read_bytes() for n in ("a", "b")]
    assert tars[0] == tars[1]


def test_exr_headers_tell_nothing_about_time_or_place() -> None:
    data = exr.encode("input", np.zeros((8, 8, 3), np.float16))
    known = {"channels", "compression", "dataWindow", "displayWindow", "lineOrder", "pixelAspectRatio"}
    known |= {"screenWindowCenter", "screenWindowWidth", "type"}
    assert set(OpenEXR.File(io.BytesIO(data)).header()) == known


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # webdataset leaves its tars open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_webdataset_library_reads_a_shard(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    data = dataset(tmp_path, (0, 4))
    found = list(webdataset.WebDataset([str(data.shards[0].tar)], shardshuffle=False))
    gc.collect()
    assert [s["__key__"] for s in found] == [sample_key("abc123", i) for i in range(4)]
    for i, s in enumerate(found):
        assert (exr.decode("uv", s["uv.exr"]) == exr.decode("uv", sample(i).members[f"{s['__key__']}.uv.exr"])).all()
        assert json.loads(s["json"]) == {"index": i}


def test_a_shard_without_manifest_does_not_count(tmp_path: Path) -> None:
    data = dataset(tmp_path, (0, 2), (2, 4))
    data.shards[1].tar.with_suffix(".json").unlink()
    assert len(open_dataset(tmp_path)) == 2


def test_a_finished_shard_is_left_alone(tmp_path: Path) -> None:
    tar = dataset(tmp_path, (0, 2)).shards[0].tar
    before = tar.stat().st_mtime_ns, tar.read_bytes()
    write_shard(tmp_path, 0, 2, "abc123", iter(()))
    assert (tar.stat().st_mtime_ns, tar.read_bytes()) == before


@pytest.mark.parametrize("given", [[0, 2], [0, 1, 2, 3], [1, 0, 2]])
def test_gaps_surplus_and_disorder_are_refused_and_leave_nothing(tmp_path: Path, given: list[int]) -> None:
    with pytest.raises(FormatError, match="disorder or with gaps"):
        write_shard(tmp_path, 0, 3, "abc123", (sample(i) for i in given))
    assert list((tmp_path / "shards").iterdir()) == []


@pytest.mark.parametrize("content", [b"\0", b" ", b"7", b"\xff"])
def test_a_damaged_record_is_a_format_error(content: bytes, tmp_path: Path) -> None:
    shard, entry = next(dataset(tmp_path, (0, 1)).entries())
    member = entry.members["json"]
    with shard.tar.open("r+b") as file:
        file.seek(member.offset)
        file.write(content + bytes([content[-1]] if content == b"\0" else b" ") * (member.size - 1))
    with pytest.raises(FormatError, match=f"{entry.key}.json"):
        shard.params(entry)


def test_a_truncated_tar_is_noticed_on_opening_and_a_damaged_member_on_reading(tmp_path: Path) -> None:
    data = dataset(tmp_path, (0, 3))
    shard = data.shards[0]
    entry = shard.manifest.samples[1]
    content = bytearray(shard.tar.read_bytes())
    content[entry.members["uv.exr"].offset + 40] ^= 1
    shard.tar.write_bytes(content)
    with pytest.raises(FormatError, match="damaged"):
        open_dataset(tmp_path).shards[0].read(entry, "uv.exr", verify=True)
    shard.tar.write_bytes(content[:2000])
    with pytest.raises(DatasetError, match="2000 bytes"):
        open_dataset(tmp_path)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    dataset(tmp_path, (0, 1))
    (tmp_path / DATASET_FILE).write_text(json.dumps({"format_version": 99, "tag": "abc123"}))
    with pytest.raises(DatasetError, match=r"version 99.*reads 1"):
        open_dataset(tmp_path)


def test_a_foreign_shard_is_refused(tmp_path: Path) -> None:
    dataset(tmp_path, (0, 1))
    write_shard(tmp_path, 1, 2, "fffff0", [sample(1, "fffff0")])
    with pytest.raises(DatasetError, match="belongs to data set 'fffff0'"):
        open_dataset(tmp_path)


def test_a_folder_that_is_no_data_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a data set"):
        open_dataset(tmp_path)


def test_shards_that_overlap_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2-0000000005.json holds samples that 0000000000-0000000003"):
        dataset(tmp_path, (0, 3), (2, 5))


def test_a_lost_tar_is_named_and_can_be_rendered_again(tmp_path: Path) -> None:
    data = dataset(tmp_path, (0, 2), (2, 4))
    write_index(tmp_path)
    tar = data.shards[1].tar
    tar.unlink()
    with pytest.raises(DatasetError, match="has lost its tar"):
        open_dataset(tmp_path)
    tar.with_suffix(".json").unlink()
    with pytest.raises(DatasetError, match=rf"lacks shards/{tar.name}, which its index names"):
        open_dataset(tmp_path)
    write_shard(tmp_path, 2, 4, "abc123", [sample(2), sample(3)])
    tar.unlink()
    write_shard(tmp_path, 2, 4, "abc123", [sample(2), sample(3)])  # its manifest alone does not count
    assert len(open_dataset(tmp_path)) == 4


def test_files_that_are_no_shards_are_left_alone(tmp_path: Path) -> None:
    data = dataset(tmp_path, (0, 2))
    for suffix in ("tar", "json"):
        (data.shards[0].tar.parent / f"1x-2.{suffix}").touch()
    assert len(open_dataset(tmp_path)) == 2


def test_a_data_set_without_a_tag_is_damaged(tmp_path: Path) -> None:
    dataset(tmp_path, (0, 1))
    (tmp_path / DATASET_FILE).write_text(json.dumps({"format_version": 1}))
    with pytest.raises(FormatError, match="has no tag"):
        open_dataset(tmp_path)


def test_gathered_tar_holds_every_member_in_order(tmp_path: Path) -> None:
    data = dataset(tmp_path / "d", (0, 2), (2, 4))
    merge_shards(data, tmp_path / "all.tar")
    with tarfile.open(tmp_path / "all.tar") as tar:
        names = tar.getnames()
    assert names == [f"{e.key}.{m}" for _, e in data.entries() for m in e.members] and len(names) == 16


def test_a_staged_sample_survives_the_trip(tmp_path: Path) -> None:
    path = stage_sample(tmp_path, sample(7))
    assert load_staged(path) == sample(7)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="not a staged sample"):
        load_staged(path)


def test_values_that_are_not_finite_never_reach_the_archive() -> None:
    image = np.zeros((4, 4, 3), np.float16)
    image[1, 1, 1] = np.nan
    with pytest.raises(FormatError, match="not finite"):
        exr.encode("input", image)


def test_decoding_checks_the_channels() -> None:
    mask = exr.encode("mask", np.zeros((4, 4, 2), np.float16))
    with pytest.raises(FormatError, match="has channels"):
        exr.decode("uv", mask)
    with pytest.raises(FormatError, match="not a readable EXR"):
        exr.decode("uv", io.BytesIO(mask).read()[:50])


def test_the_order_of_images_is_that_of_the_format() -> None:
    assert image_names(()) == ("input", "uv", "mask")
    assert image_names(("view2", "depth")) == ("input", "uv", "mask", "depth", "view2", "view2_uv", "view2_mask")
