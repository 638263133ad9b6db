"""What pixels depend on is sound before the first render, and its content is part of the data set's tag."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from blend_assets.build import seal_pack
from blend_assets.standard import find_pack
from renderer.errors import AssetError
from renderer.head.catalog import build_catalog, check_assets, decode, pack_folder
from renderer.head.pack import load_head, pack_content
from renderer.parameters.spec import Spec, parse_spec
from renderer.run.context import RenderContext, prepare
from renderer.sampling.draw import draw


@pytest.fixture
def pack(head_pack: Path, tmp_path: Path) -> Path:
    """A copy of the standard pack that a test may damage."""
    copy = tmp_path / "pack"
    shutil.copytree(head_pack, copy)  # no links: sealing the copy would write through them into the real pack
    return copy


def spec(**folders: object) -> Spec:
    return parse_spec({"assets": folders}, "the tests")


def context(pack: Path, wanted: Spec) -> RenderContext:
    return RenderContext(wanted, 0, pack, Path("none"), load_head(pack), build_catalog(pack, wanted, find_pack()))


def test_a_sound_pack_passes(pack: Path) -> None:
    check_assets(build_catalog(pack, Spec()))


def test_a_deleted_or_shortened_panorama_is_an_error(pack: Path) -> None:
    first, second = sorted((pack / "hdris").iterdir())[:2]
    first.write_bytes(first.read_bytes()[:-50])
    second.unlink()
    with pytest.raises(AssetError, match=rf"{first.name} has been changed; .*{second.name} is missing"):
        check_assets(build_catalog(pack, Spec()))


def test_prepare_checks_the_pack(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renderer.run.context.check_machine", lambda: None)
    sorted((pack / "skins").iterdir())[0].unlink()
    with pytest.raises(AssetError, match="is missing"):
        prepare(spec(head=str(pack)), 0, log=lambda text: None)


def test_other_assets_are_another_data_set(pack: Path) -> None:
    before = context(pack, Spec()).tag
    sorted((pack / "hdris").iterdir())[0].unlink()
    seal_pack(pack)
    assert context(pack, Spec()).tag != before


def test_a_run_says_what_a_partial_pack_lacks(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renderer.run.context.check_machine", lambda: None)
    monkeypatch.setattr("renderer.run.context.ensure_scene", lambda log: Path("none"))
    info = json.loads((pack / "head.json").read_text())
    (pack / "head.json").write_text(json.dumps({**info, "missing": ["the moon (light)"]}))
    seal_pack(pack)
    said: list[str] = []
    prepare(spec(head=str(pack)), 0, log=said.append)
    assert said == ["head pack pack lacks the moon (light)"]


# ---------------------------------------------------------------- an own head


def test_an_own_head_without_panoramas_borrows_them(pack: Path, head_pack: Path) -> None:
    shutil.rmtree(pack / "hdris")
    seal_pack(pack)
    own = context(pack, spec(head=str(pack)))
    check_assets(own.catalog)
    assert own.catalog.fallback_pack == head_pack and len(own.catalog.hdris) > 5
    assert own.info()["assets"]["lender"] == pack_content(head_pack)
    assert own.catalog.own_files() == []
    name = draw(own.spec, 0, 3, own.catalog, own.model, own.tag).environment.name
    assert own.catalog.hdris[name].is_relative_to(head_pack)
    assert pack_folder(own.info()) == pack


def test_an_own_head_that_is_gone_is_named(head_pack: Path, tmp_path: Path) -> None:
    info = {"spec": {"assets": {"head": str(tmp_path / "gone")}}, "assets": {"pack": "gone"}}
    with pytest.raises(AssetError, match="gone is not on this machine"):
        pack_folder(info)


# ---------------------------------------------------------------- own pictures


def write_pictures(folder: Path) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    files = {suffix: folder / f"{suffix}-picture.{suffix}" for suffix in ("png", "jpg", "exr", "hdr")}
    pixels = np.random.default_rng(0).random((32, 64, 3))
    for suffix in ("png", "jpg"):
        Image.fromarray((pixels * 255).astype(np.uint8)).save(files[suffix])
    planes = {c: np.ascontiguousarray(pixels[..., i], np.float32) for i, c in enumerate("RGB")}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION}, planes).write(str(files["exr"]))
    run_of_12, literal = bytes((128 + 12, 7)), bytes((52, *range(52)))
    line = bytes((2, 2, 0, 64)) + 4 * (run_of_12 + literal)
    files["hdr"].write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 32 +X 64\n" + 32 * line)
    return files


@pytest.mark.parametrize("suffix", ["png", "jpg", "exr", "hdr"])
@pytest.mark.parametrize("kept", [0.5, 0.97])
def test_a_shortened_picture_is_found_and_a_whole_one_is_not(tmp_path: Path, suffix: str, kept: float) -> None:
    file = write_pictures(tmp_path)[suffix]
    decode(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(AssetError, match=f"{file.name} cannot be decoded"):
        decode(file)


def test_own_pictures_are_decoded_before_rendering(head_pack: Path, tmp_path: Path) -> None:
    file = write_pictures(tmp_path / "own")["jpg"]
    catalog = build_catalog(head_pack, spec(textures=[str(tmp_path / "own")]))
    check_assets(catalog)
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(AssetError, match=file.name):
        check_assets(catalog)


def test_two_own_files_of_one_name_are_refused(head_pack: Path, tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in "ab"]
    for folder in folders:
        write_pictures(Path(folder))
    with pytest.raises(AssetError, match="have one name, 'exr-picture'"):
        build_catalog(head_pack, spec(hdris=folders))
