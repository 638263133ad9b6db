"""Specs are read strictly: what is wrong is named, with the value, the file and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from renderer.errors import AssetError, SpecError
from renderer.parameters.identity import spec_identity
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.parameters.limits import Uniform
from renderer.parameters.spec import Spec, parse_spec
from renderer.strict import to_plain


def test_mixed_spells_out_the_defaults() -> None:
    mixed = to_plain(load_spec("mixed"))
    assert {k: v for k, v in mixed.items() if k != "about"} == {
        k: v for k, v in to_plain(Spec()).items() if k != "about"
    }


def test_every_spec_that_comes_with_headforge_is_readable_and_named_after_its_file() -> None:
    names = spec_names()
    assert {
        "mixed",
        "thesis",
        "gray",
        "noise",
        "nonrealistic",
        "none",
        "angle",
        "angle_bg",
        "all",
        "realistic",
        "smoke",
        "clip",
    } <= set(names)
    for name in names:
        assert load_spec(name).name == name


def test_a_folder_named_like_a_spec_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mixed").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_spec("mixed").name == "mixed"


def test_plain_values_and_spec_are_each_others_inverse() -> None:
    spec = load_spec("all")
    assert parse_spec(to_plain(spec), "test") == spec


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"pose": {"yaw_dge": 3}}, ["pose.yaw_dge", "did you mean 'yaw_deg'"]),
        ({"poses": {}}, ["'poses'", "did you mean 'pose'"]),
        ({"pose": {"yaw_deg": 400}}, ["pose.yaw_deg", "400", "0 and 180"]),
        ({"pose": {"yaw_deg": float("nan")}}, ["pose.yaw_deg", "nan"]),
        ({"pose": {"scale": [1.2, 0.8]}}, ["pose.scale", "above the high end"]),
        ({"pose": {"scale": [1, 2, 3]}}, ["pose.scale", "[low, high]"]),
        ({"render": {"resolution": 128.5}}, ["render.resolution", "whole number"]),
        ({"render": {"resolution": [120]}}, ["render.resolution is [120]", "list of 2 values"]),
        ({"render": {"resolution": [120, 8]}}, ["render.resolution is 8", "16 and 1024"]),
        ({"render": {"resolution": True}}, ["render.resolution", "must be a number"]),
        ({"render": {"mask_grid": 4}}, ["render.mask_grid", "odd"]),
        ({"render": {"samples_per_pixel": 26, "oversample": 2}}, ["render.samples_per_pixel is 26", "multiple of 4"]),
        ({"render": {"labels": ["dpeth"]}}, ["render.labels", "dpeth", "depth"]),
        ({"render": {"denoise": "yes"}}, ["render.denoise", "true or false"]),
        ({"surface": {"kinds": {"mixd": 1}}}, ["surface.kinds", "mixd"]),
        ({"surface": {"kinds": {"mixed": 0}}}, ["surface.kinds", "add up to nothing"]),
        ({"surface": {"kinds": {"mixed": -1}}}, ["surface.kinds", "-1"]),
        ({"heads": {"empty_share": 0.7, "several_share": 0.7}}, ["empty_share", "more than 1"]),
        ({"camera": {"distance_m": [0, 1]}}, ["camera.distance_m", "above 0"]),
        ({"light": {"direction": "angle"}}, ["light.direction", "half_sphere, angles"]),
        ({"sequence": {"frames": -3}}, ["sequence.frames", "-3"]),
        ({"sequence": {"frames": 1}}, ["sequence.frames", "at least 2"]),
        ({"sequence": {"frames": 2.5}}, ["sequence.frames", "whole number"]),
        ({"sequence": {"swing_frames": 0}}, ["sequence.swing_frames", "within 2"]),
        ({"sequence": 24}, ["sequence is 24", "must be a mapping"]),
        ({"pose": [1]}, ["pose is [1]", "must be a mapping"]),
    ],
)
def test_bad_values_are_named(raw: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(raw, "my.yaml")
    text = str(caught.value)
    assert text.startswith("my.yaml") and "\n" not in text
    for word in words:
        assert word in text


def test_a_square_is_the_same_data_set_however_it_is_written() -> None:
    square = parse_spec({"render": {"resolution": [96, 96]}}, "x")
    assert square == parse_spec({"render": {"resolution": 96}}, "x")
    assert spec_identity(square)["render"]["resolution"] == 96
    portrait = parse_spec({"render": {"resolution": [240, 320]}}, "x")
    assert portrait.render.size == (240, 320) and spec_identity(portrait)["render"]["resolution"] == [240, 320]
    assert parse_spec(to_plain(portrait), "x") == portrait


def test_a_number_is_a_fixed_value() -> None:
    assert parse_spec({"camera": {"focal_mm": 50}}, "x").camera.focal_mm == Uniform(50, 50)


def test_a_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\npose: {yaw_deg: 1}\npose: {yaw_deg: 2}\n")
    with pytest.raises(SpecError, match="stands twice"):
        load_spec(file)


def test_an_unknown_spec_name_lists_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"no spec 'mixd'.*mixed"):
        load_spec("mixd")


def test_own_folders_are_relative_to_the_spec_and_must_exist(tmp_path: Path, head_pack: Path) -> None:
    from renderer.head.catalog import build_catalog

    file = tmp_path / "own.yaml"
    file.write_text("name: own\nassets: {hdris: [sky]}\n")
    spec = load_spec(file)
    with pytest.raises(AssetError, match=r"sky.*does not exist"):
        build_catalog(head_pack, spec)
    (tmp_path / "sky").mkdir()
    with pytest.raises(AssetError, match="holds no"):
        build_catalog(head_pack, spec)
    (tmp_path / "sky" / "broken.exr").write_bytes(b"this is no panorama" * 10)
    with pytest.raises(AssetError, match=r"broken.exr is not a EXR image"):
        build_catalog(head_pack, spec)
    good = next((head_pack / "hdris").iterdir()).read_bytes()
    (tmp_path / "sky" / "broken.exr").write_bytes(good)
    assert "own/broken" in build_catalog(head_pack, spec).hdris


def test_clips_are_part_of_a_data_set_and_their_absence_changes_no_older_one() -> None:
    still = parse_spec({}, "x")
    assert "sequence" not in spec_identity(still) and to_plain(still)["sequence"]["frames"] == 0
    clips = parse_spec({"sequence": {"frames": 24}}, "x")
    assert spec_identity(clips)["sequence"]["frames"] == 24
    assert parse_spec(spec_identity(still), "x") == still and parse_spec(spec_identity(clips), "x") == clips


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "..", ".hidden"])
def test_a_name_cannot_leave_the_output_folder(name: str) -> None:
    with pytest.raises(SpecError, match="it becomes a folder"):
        parse_spec({"name": name}, "x.yaml")


def test_label_rays_that_do_not_fit_into_memory_are_refused() -> None:
    with pytest.raises(SpecError, match="lower one of them"):
        parse_spec({"render": {"resolution": 1024, "mask_grid": 31}}, "x.yaml")
    parse_spec({"render": {"resolution": 1024, "mask_grid": 7}}, "x.yaml")


def test_folders_given_with_set_are_relative_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_spec("smoke", ("assets.hdris=[rel]", "assets.head=mine")).assets.hdris == (str(tmp_path / "rel"),)
