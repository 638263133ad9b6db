"""A check that cannot fail is none: each check of a shard is falsified alone, and it alone answers. No Blender."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderer.format.manifest import Manifest
from renderer.format.shard import ShardReader
from renderer.format.staging import EncodedSample
from renderer.report import checks
from renderer.report.checks import Examiner, Findings, sample_problems
from renderer.report.statistics import statistics_problems

Images = dict[str, Any]


def examine(made_up: Any, folder: Path, *samples: EncodedSample) -> Findings:
    manifest = made_up.shard(made_up.start(folder), 0, len(samples), samples)
    return Examiner(made_up.info).examine(folder / "shards" / f"{manifest.stem}.tar", manifest)


def test_a_sound_shard_has_no_problems(made_up: Any, tmp_path: Path) -> None:
    found = examine(made_up, tmp_path, *(made_up.sample(i) for i in range(5)))
    assert found.problems == [] and found.samples == 5 and found.sums.heads == 5
    assert len(set(found.fingerprints.tolist())) == 5 and found.fingerprints.all()
    assert "pack-none is not on this machine" in found.unchecked


def put(name: str, where: Any, value: Any) -> Callable[[Images, Any], None]:
    """Set some values of an image."""

    def change(images: Images, record: Any) -> None:
        images[name][where] = value

    return change


def replaced(name: str, make: Callable[[Any], Any]) -> Callable[[Images, Any], None]:
    def change(images: Images, record: Any) -> None:
        images[name] = make(images[name])

    return change


def recorded(change: Callable[[Any], Any]) -> Callable[[Images, Any], None]:
    return lambda images, record: (change(record), None)[1]


def no_head(images: Images, record: Any) -> None:
    record["heads"] = []


INSIDE, OUTSIDE = (5, 5), (0, 0)
FALSIFIED = {
    "input is float16 (16, 8, 3)": replaced("input", lambda x: x[:, ::2]),
    "input has negative radiance": put("input", INSIDE, -1),
    "input is of one colour": replaced("input", lambda x: np.full_like(x, 0.3)),
    "uv or mask leave [0, 1]": put("uv", INSIDE, 1.5),
    "more face is visible than there is": put("mask", (*OUTSIDE, 1), 0.5),
    "there is UV outside the mask": put("uv", OUTSIDE, 0.5),
    "there is pure face without UV": put("uv", INSIDE, 0),
    "the mask covers 0.2500 of the image, the record says 0.3000": recorded(
        lambda r: r["measured"].update(face_share=0.3)
    ),
    "the record says there is no head, the mask shows one": no_head,
    "its record is that of abc1230000000007, sample 7": recorded(lambda r: r.update(key="abc1230000000007", index=7)),
    "'pose.yaw_rad'": recorded(lambda r: r["knobs"].pop("pose.yaw_rad")),
    "'measured'": recorded(lambda r: r.pop("measured")),
}


@pytest.mark.parametrize("words", FALSIFIED)
def test_a_wrong_sample_is_found(words: str, made_up: Any, tmp_path: Path) -> None:
    found = examine(made_up, tmp_path, made_up.sample(0, FALSIFIED[words]), made_up.sample(1))
    assert len(found.problems) == 1 and words in found.problems[0], found.problems


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("input", lambda x: x * np.float16(np.nan), "input holds values that are not finite"),
        ("input", lambda x: x * np.float16(0.5), "input does not decode to the pixels that were written"),
        ("mask", lambda x: x.astype(np.float32), "mask is float32 (16, 16, 2)"),
        ("uv", lambda x: x.astype(np.float32), "uv is float32 (16, 16, 2)"),
    ],
)
def test_decoded_images_are_those_of_the_manifest(
    name: str, change: Callable[[Any], Any], words: str, made_up: Any, tmp_path: Path
) -> None:
    manifest = made_up.shard(made_up.start(tmp_path), 0, 1)
    shard = ShardReader(tmp_path / "shards" / f"{manifest.stem}.tar", manifest)
    (entry,) = manifest.samples
    images, record = {n: shard.image(entry, n) for n in ("input", "uv", "mask")}, shard.params(entry)
    assert list(sample_problems(images, record, made_up.info, entry)) == []
    with np.errstate(all="ignore"):
        found = list(sample_problems({**images, name: change(images[name])}, record, made_up.info, entry))
    assert words in found


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"[]", ""), (b"not JSON", "Expecting value"), (b"\xff", "codec can't decode"), (b"{}", "'key'")],
)
def test_a_damaged_record_is_found(content: bytes, words: str, made_up: Any, tmp_path: Path) -> None:
    sample = made_up.sample(0)
    broken = replace(sample, members={**sample.members, f"{sample.key}.json": content})
    (problem,) = examine(made_up, tmp_path, broken, made_up.sample(1)).problems
    assert problem.startswith(sample.key) and words in problem


def test_a_number_that_is_none_is_found(made_up: Any, tmp_path: Path) -> None:
    """Python reads NaN in JSON; comparisons with it must not pass."""
    sample = made_up.sample(0)
    record = json.loads(sample.members[f"{sample.key}.json"])
    record["measured"]["face_share"] = record["knobs"]["pose.yaw_rad"] = float("nan")
    members = {**sample.members, f"{sample.key}.json": json.dumps(record).encode()}
    found = examine(made_up, tmp_path, replace(sample, members=members))
    assert any("the record says nan" in p for p in found.problems)
    assert any("mean yaw is nan" in p for p in statistics_problems(found.sums, made_up.spec))


def test_missing_members_are_found(made_up: Any, tmp_path: Path) -> None:
    sample = made_up.sample(0)
    less = replace(sample, members={k: v for k, v in sample.members.items() if "mask" not in k})
    (problem,) = examine(made_up, tmp_path, less).problems
    assert "members are ['input.exr', 'json', 'uv.exr'], expected" in problem


# ---------------------------------------------------------------- tar and manifest


@pytest.fixture
def shard(made_up: Any, tmp_path: Path) -> tuple[Path, Manifest]:
    """The tar of three samples, and its manifest."""
    manifest = made_up.shard(made_up.start(tmp_path), 0, 3)
    return tmp_path / "shards" / f"{manifest.stem}.tar", manifest


def problems(made_up: Any, tar: Path, manifest: Manifest) -> list[str]:
    return Examiner(made_up.info).examine(tar, manifest).problems


def test_one_changed_bit_of_a_member_is_found_in_its_sample_and_in_the_tar(made_up: Any, shard: Any) -> None:
    tar, manifest = shard
    entry = manifest.samples[1]
    content = bytearray(tar.read_bytes())
    content[entry.members["uv.exr"].offset + 9] ^= 1
    tar.write_bytes(content)
    sample, whole = problems(made_up, tar, manifest)
    assert sample == f"{entry.key}: uv.exr: cut short or damaged" and "not the one its manifest" in whole


def test_one_changed_bit_between_members_is_found(made_up: Any, shard: Any) -> None:
    tar, manifest = shard
    content = bytearray(tar.read_bytes())
    content[300] ^= 1
    tar.write_bytes(content)
    (whole,) = problems(made_up, tar, manifest)
    assert "not the one its manifest" in whole


def test_a_tar_cut_short_is_found(made_up: Any, shard: Any) -> None:
    tar, manifest = shard
    tar.write_bytes(tar.read_bytes()[: manifest.samples[2].members["input.exr"].offset + 10])
    sample, whole = problems(made_up, tar, manifest)
    assert sample.startswith(manifest.samples[2].key) and "input.exr" in sample and "not the one" in whole


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tag": "fedcba"}, "belongs to data set 'fedcba'"),
        ({"stop": 4}, "its manifest is about 0000000000-0000000004"),
        ({"samples": ()}, "its samples are not 0 .. 2"),
        ({"tar_sha256": "0" * 64}, "not the one its manifest was written for"),
    ],
)
def test_a_manifest_of_something_else_is_found(changes: Any, words: str, made_up: Any, shard: Any) -> None:
    tar, manifest = shard
    assert any(words in p for p in problems(made_up, tar, replace(manifest, **changes)))


def test_members_that_overlap_are_found_and_the_others_are_still_examined(made_up: Any, shard: Any) -> None:
    tar, manifest = shard
    first = manifest.samples[0]
    members = {**first.members, "uv.exr": replace(first.members["uv.exr"], offset=600)}
    entries = (replace(first, members=members), *manifest.samples[1:])
    (problem,) = problems(made_up, tar, replace(manifest, samples=entries))
    assert problem.startswith(first.key) and "within what is before it" in problem


def test_each_byte_of_a_tar_is_read_once(made_up: Any, shard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tar, manifest = shard
    read: list[int] = []
    real = checks._ReadOnce._read
    monkeypatch.setattr(checks._ReadOnce, "_read", lambda self, n: (d := real(self, n), read.append(len(d)))[0])
    monkeypatch.setattr(ShardReader, "read", lambda *a, **k: pytest.fail("read a second time"))
    assert problems(made_up, tar, manifest) == []
    assert sum(read) == tar.stat().st_size


# ---------------------------------------------------------------- foregrounds


def with_foreground(images: Images) -> None:
    """The face, opaque but for its first row, before a backdrop of its own."""
    alpha = images["mask"][..., :1].astype(np.float32)
    alpha[4] *= 0.5
    images["mask"][4] *= 0.5
    images["foreground"] = np.concatenate([0.4 * alpha, 0.3 * alpha, 0.2 * alpha, alpha], axis=2).astype(np.float16)
    backdrop = np.random.default_rng(5).random((*alpha.shape[:2], 3))
    images["input"][:] = images["foreground"][..., :3] + (1 - alpha) * backdrop


@pytest.mark.parametrize(
    ("row", "channel", "value", "problem"),
    [
        (4, 3, 1.5, "leaves [0, 1]"),
        (0, 1, 5.0, "brighter than the input"),
        (6, 0, 0.1, "differs from the foreground where that hides all else"),
        (6, 3, 0.0, "visible face outside the foreground"),
    ],
)
def test_a_foreground_is_part_of_its_input(made_up: Any, row: int, channel: int, value: float, problem: str) -> None:
    images: Images = {
        "input": np.zeros((16, 16, 3), np.float16),
        "mask": np.zeros((16, 16, 2), np.float16),
    }
    images["mask"][4:12, 4:12] = 1
    with_foreground(images)

    def found() -> list[str]:
        chosen = (images[name].astype(np.float32) for name in ("foreground", "input", "mask"))
        return list(checks._foreground_problems(*chosen))

    assert found() == []
    images["foreground"][row, 6, channel] = value
    assert any(problem in text for text in found())


# ---------------------------------------------------------------- what may look alike


def empty(images: Images, record: Any) -> None:
    """No head before one colour."""
    record["heads"], record["measured"]["face_share"] = [], 0.0
    images["uv"][:], images["mask"][:] = 0, 0
    images["input"][:] = 0.25


def test_only_images_of_one_colour_without_a_face_may_occur_twice(made_up: Any, tmp_path: Path) -> None:
    found = examine(made_up, tmp_path, made_up.sample(0, empty), made_up.sample(1, empty), made_up.sample(2))
    assert found.problems == [] and [bool(f) for f in found.fingerprints] == [False, False, True]


def test_an_image_may_be_black_where_no_light_is(made_up: Any, tmp_path: Path) -> None:
    def dark(images: Images, record: Any) -> None:
        record["light"]["on"], record["environment"]["strength"] = False, 0.0
        images["input"][:] = 0

    assert examine(made_up, tmp_path, made_up.sample(0, dark)).problems == []
