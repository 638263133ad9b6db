"""Samples come straight from the shards, thresholded, and bad data sets are refused with the way out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from renderer.errors import DatasetError, FormatError
from renderer.format.sample_format import PURE, sample_key
from trainer.data.reader import SampleReader, is_held_out, prepare
from trainer.systems.uvnet.landmarks import first_landmarks

IMAGES = ("input", "uv", "mask")
LANDMARKS = {"landmarks": first_landmarks}


def test_a_sample_equals_what_was_rendered(synthetic, small: Path):
    reader = SampleReader(small, IMAGES, LANDMARKS)
    assert len(reader) == 70
    for position in (1, 33, 69):
        images, params = synthetic.face(position)
        sample = reader.read(position)
        mask = images["mask"] >= PURE
        assert mask[..., 0].any() and not mask[..., 0].all()
        np.testing.assert_array_equal(sample["input"], images["input"].transpose(2, 0, 1))
        np.testing.assert_array_equal(sample["mask"], mask.transpose(2, 0, 1))
        np.testing.assert_array_equal(sample["uv"], (images["uv"] * mask[..., :1]).transpose(2, 0, 1))
        np.testing.assert_allclose(sample["landmarks"], np.array(params["landmarks_px"][0], np.float32))
    assert np.isnan(reader.read(0)["landmarks"]).all()  # no face


def test_mixed_border_pixels_turn_black():
    mask = np.array([[[1.0, 1.0], [PURE, 0.5], [0.9, 0.9], [0.0, 0.0]]], np.float16)
    uv = np.full((1, 4, 2), 0.5, np.float16)
    arrays = prepare({"mask": mask, "uv": uv})
    assert arrays["mask"].tolist() == [[[1, 1, 0, 0]], [[1, 0, 0, 0]]]
    assert arrays["uv"][0].tolist() == [[0.5, 0.5, 0, 0]]


def test_a_sample_of_128_pixels_takes_12_bytes_per_pixel(synthetic, tmp_path: Path):
    path = synthetic.write_dataset(tmp_path / "d", 2, size=128)
    assert SampleReader(path, IMAGES).bytes_per_sample == 12 * 128 * 128


def test_the_split_goes_by_key_and_keeps_sides_as_the_data_set_grows(synthetic, tmp_path: Path, small: Path):
    grown = SampleReader(small, IMAGES)
    first = SampleReader(synthetic.write_dataset(tmp_path / "d", 40), IMAGES)
    for reader in (grown, first):
        training, held_out = reader.split(0.3)
        assert sorted([*training, *held_out]) == list(range(len(reader)))
    assert [p for p in grown.split(0.3)[1] if p < 40] == first.split(0.3)[1].tolist()
    share = np.mean([is_held_out(sample_key("abcdef", i), 0.1) for i in range(20000)])
    assert share == pytest.approx(0.1, abs=0.01)
    assert not any(is_held_out(sample_key("abcdef", i), 0.0) for i in range(100))


def test_a_missing_or_foreign_data_set_is_refused(tmp_path: Path, small: Path):
    with pytest.raises(DatasetError, match="gen render"):
        SampleReader(tmp_path, IMAGES)
    with pytest.raises(DatasetError, match="labels of the render spec"):
        SampleReader(small, (*IMAGES, "depth"))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("format_version", 99, "format version 99"), ("uv_frame", "flame", "'flame'"), ("tag", "zzzzzz", "belongs to")],
)
def test_another_version_frame_or_tag_is_refused(make_dataset, field, value, words):
    path = make_dataset(4)
    info = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps({**info, field: value}))
    with pytest.raises(DatasetError, match=words):
        SampleReader(path, IMAGES)


def test_a_truncated_tar_is_refused_before_training(make_dataset):
    path = make_dataset(4)
    tar = next((path / "shards").glob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-5000])
    with pytest.raises(DatasetError, match="manifest says"):
        SampleReader(path, IMAGES)


def test_the_index_hash_knows_the_data_not_the_folder(synthetic, tmp_path: Path):
    a = SampleReader(synthetic.write_dataset(tmp_path / "a", 4), IMAGES).index_hash()
    b = SampleReader(synthetic.write_dataset(tmp_path / "b", 4), IMAGES).index_hash()
    c = SampleReader(synthetic.write_dataset(tmp_path / "c", 5), IMAGES).index_hash()
    assert a == b != c


def test_landmarks_of_another_shape_are_refused(small: Path, monkeypatch: pytest.MonkeyPatch):
    reader = SampleReader(small, IMAGES, LANDMARKS)
    monkeypatch.setattr("renderer.format.shard.ShardReader.params", lambda *_: {"landmarks_px": [[[1, 2]]]})
    with pytest.raises(FormatError, match="not \\(68, 2\\)"):
        reader.read(1)


def test_the_split_keeps_the_frames_of_a_clip_together(synthetic, tmp_path: Path):
    reader = SampleReader(synthetic.write_dataset(tmp_path / "d", 60, clip_frames=6), IMAGES)
    training, held_out = reader.split(0.4)
    assert len(training) and len(held_out) and not {p // 6 for p in training} & {p // 6 for p in held_out}


def test_samples_of_a_subject_stay_together_and_are_read_subject_by_subject(synthetic, tmp_path: Path):
    path = synthetic.write_dataset(tmp_path / "d", 62, per_shard=30)
    info = json.loads((path / "dataset.json").read_text())
    (path / "dataset.json").write_text(json.dumps(info | {"spec": {"groups": {"of": 4}}}))
    reader = SampleReader(path, IMAGES)
    training, held_out = reader.split(0.4)
    assert len(training) and len(held_out) and not {p // 4 for p in training} & {p // 4 for p in held_out}
    groups = reader.groups(held_out)
    assert np.concatenate(groups).tolist() == held_out.tolist()
    assert all(len({p // 4 for p in group}) == 1 for group in groups)
    assert [group.tolist() for group in reader.groups(np.arange(58, 62))] == [[58, 59], [60, 61]]
    single = SampleReader(synthetic.write_dataset(tmp_path / "single", 3), IMAGES)
    assert [len(group) for group in single.groups(np.arange(3))] == [1, 1, 1] and single.groups(np.arange(0)) == []
