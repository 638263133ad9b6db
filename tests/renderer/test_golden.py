"""Code that draws or renders differently needs a new version, and a data set is only added to by code of its own."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renderer.errors import DatasetError
from renderer.format.dataset import open_dataset
from renderer.format.folder import DATASET_FILE, read_info
from renderer.format.shard import write_shard
from renderer.format.staging import encode_sample
from renderer.head.catalog import build_catalog
from renderer.head.pack import load_head
from renderer.labels.reference import Reference
from renderer.parameters.jobspecs import load_spec, spec_names
from renderer.parameters.spec import RenderSpec, Spec, parse_spec
from renderer.report import golden
from renderer.run import context
from renderer.run.claim import claim, holds
from renderer.run.context import RenderContext
from renderer.sampling.draw import draw

REFERENCE = Path(__file__).parent / "golden.json"


@pytest.fixture(scope="session")
def stored() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(REFERENCE.read_text())
    return content


@pytest.fixture(scope="session")
def plain_context(head_pack: Path) -> RenderContext:
    """Of a data set that is only drawn: without a scene for Blender."""
    spec = load_spec("smoke")
    return RenderContext(spec, 0, head_pack, Path("none.blend"), load_head(head_pack), build_catalog(head_pack, spec))


def draws(context: RenderContext, names: list[str]) -> dict[str, Any]:
    """What `golden.measure` says of draws, without Blender."""
    hashes = {}
    for name in names:
        spec = load_spec(name)
        own = replace(context, spec=spec, catalog=build_catalog(context.pack, spec))
        hashes[name] = golden.golden_draws(own)
    return {"draw_version": golden.DRAW_VERSION, "pack": context.pack.name, "draws": hashes}


# ---------------------------------------------------------------- golden draws


def test_the_reference_file_is_of_todays_versions_and_of_every_spec(stored: dict[str, Any], head_pack: Path) -> None:
    assert golden.stale(stored, head_pack.name) == []
    assert sorted(stored["draws"]) == spec_names()
    assert all(len(hashes.split()) == len(golden.DRAWN) for hashes in stored["draws"].values())


def test_draws_change_only_with_their_version(stored: dict[str, Any], plain_context: RenderContext) -> None:
    assert golden.draw_problems(stored, draws(plain_context, spec_names())) == []


def test_a_changed_draw_names_the_version_to_raise(
    stored: dict[str, Any], plain_context: RenderContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("renderer.sampling.draw.HEAD_HEIGHT_M", 0.2401)
    now = draws(plain_context, ["mixed"])
    (problem,) = golden.draw_problems(stored, now)
    assert "draws of 'mixed' changed: raise DRAW_VERSION" in problem and golden.COMMAND in problem
    assert golden.draw_problems(stored, {**now, "draw_version": golden.DRAW_VERSION + 1}) == []
    assert "draw_version" in golden.stale({**stored, "draw_version": 0}, stored["pack"])[0]


def test_draws_are_the_same_on_processors_of_another_kind(stored: dict[str, Any], head_pack: Path) -> None:
    """Vector instructions switched off change sums in their last digits."""
    code = (
        "from renderer.report import golden; from pathlib import Path; from renderer.run.context import RenderContext\n"
        "from renderer.head.catalog import build_catalog; from renderer.head.pack import load_head\n"
        "from renderer.parameters.jobspecs import load_spec\n"
        f"spec, pack = load_spec('mixed'), Path({str(head_pack)!r})\n"
        "print(golden.golden_draws(RenderContext(spec, 0, pack, pack, load_head(pack), build_catalog(pack, spec))))"
    )
    older = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, env={**os.environ, **older}
    )
    assert result.stdout.strip() == stored["draws"]["mixed"], result.stderr


# ---------------------------------------------------------------- golden pixels


@pytest.mark.blender
def test_pixels_and_records_change_only_with_their_version(stored: dict[str, Any], head_pack: Path) -> None:
    now = golden.measure(draws=False)
    assert now["samples"].keys() == stored["samples"].keys()
    assert golden.render_problems(stored, now) == []


def test_golden_samples_show_everything_that_is_rendered(plain_context: RenderContext) -> None:
    shown: set[str] = set()
    for name, indices in golden.SAMPLES.items():
        spec = load_spec(name)
        catalog = build_catalog(plain_context.pack, spec)
        for index in indices:
            params = draw(spec, 0, index, catalog, plain_context.model, "abcdef")
            shown |= {
                f"{len(params.heads)} heads",
                f"{params.environment.kind} around",
                *(p.kind for p in params.props),
            }
            for head in params.heads:
                wear, inside = head.wear, head.interior
                shown.add(f"{head.surface.kind} skin")
                seen = {
                    "hair": wear.hair, "hat": wear.hat, "glasses": wear.glasses, "scattering": head.surface.subsurface,
                    "eyes": inside.eyes, "mouth": inside.mouth, "brows": inside.brows, "lashes": inside.lashes,
                }  # fmt: skip
                shown |= {what for what, there in seen.items() if there}
    kinds = {f"{kind} skin" for kind in ("mixed", "skin", "noise", "gray")}
    kinds |= {f"{kind} around" for kind in ("hdri", "noise", "gray")} | {"0 heads", "1 heads", "2 heads", "hand", "box"}
    parts = {"hair", "hat", "glasses", "scattering", "eyes", "mouth", "brows", "lashes"}
    assert kinds | parts <= shown


def test_a_changed_pixel_is_found_by_hash_here_and_by_thumbnail_elsewhere(stored: dict[str, Any]) -> None:
    now = copy.deepcopy(stored)
    about = now["samples"]["mixed/20"]
    about["pixels"]["input"] = "00000000"
    (problem,) = golden.render_problems(stored, now)
    assert "sample mixed/20 changed in input: raise RENDER_VERSION" in problem and golden.COMMAND in problem
    elsewhere = {**stored, "processor": "another"}
    assert golden.render_problems(elsewhere, now) == []  # bits differ between processors
    brighter = bytes(min(b + 1, 255) for b in bytes.fromhex(about["thumbnails"]["input"])).hex()
    about["thumbnails"]["input"] = brighter
    assert "mixed/20 changed in input" in golden.render_problems(elsewhere, now)[0]
    assert golden.render_problems(elsewhere, {**now, "render_version": golden.RENDER_VERSION + 1}) == []


def test_the_reference_file_is_not_overwritten_where_only_the_code_changed(
    stored: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = copy.deepcopy(stored)
    now["draws"]["mixed"] = "other"
    monkeypatch.setattr(golden, "measure", lambda: now)
    file = tmp_path / "golden.json"
    file.write_text(json.dumps(stored))
    with pytest.raises(DatasetError, match="raise DRAW_VERSION"):
        golden.main(file)
    assert json.loads(file.read_text()) == stored
    now["draw_version"] += 1
    golden.main(file)
    assert json.loads(file.read_text()) == now


# ---------------------------------------------------------------- data sets


def test_the_data_set_states_its_versions_and_who_made_it(plain_context: RenderContext, tmp_path: Path) -> None:
    claim(tmp_path, plain_context)
    info = read_info(tmp_path)
    assert (info["draw_version"], info["render_version"]) == (golden.DRAW_VERSION, golden.RENDER_VERSION)
    assert set(info["made_by"]) == {"headforge", "commit"}


@pytest.mark.parametrize("name", ["DRAW_VERSION", "RENDER_VERSION"])
def test_a_top_up_by_code_of_another_version_is_refused_with_the_way_out(
    name: str, plain_context: RenderContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim(tmp_path, plain_context)
    assert holds(tmp_path, plain_context)
    old_tag, made_by = plain_context.tag, read_info(tmp_path)["made_by"]
    monkeypatch.setattr(context, name, 99)
    assert plain_context.tag != old_tag
    with pytest.raises(DatasetError) as error:
        claim(tmp_path, plain_context)
    text = str(error.value)
    assert f"{name.lower()} 1 (here 99)" in text and "Choose another --out" in text
    assert f"commit {made_by['commit']}" in text


def test_a_data_set_without_versions_names_the_headforge_of_its_manifests(
    plain_context: RenderContext, tmp_path: Path
) -> None:
    info = {k: v for k, v in plain_context.info().items() if k not in ("draw_version", "render_version", "made_by")}
    (tmp_path / DATASET_FILE).write_text(json.dumps({**info, "tag": "abc123"}))
    sample = encode_sample(0, "abc1230000000000", {}, {})
    write_shard(tmp_path, 0, 1, "abc123", [sample], versions={"headforge": "0.0.7", "commit": "c0ffee"})
    with pytest.raises(DatasetError, match=r"draw_version not stated \(here 1\).*version 0.0.7, commit c0ffee"):
        claim(tmp_path, plain_context)
    assert len(open_dataset(tmp_path)) == 1  # still read


def test_records_of_other_code_are_not_called_forged(plain_context: RenderContext) -> None:
    """An older data set need not be what today's code draws; what its record says of geometry still holds."""
    info = plain_context.info()
    record: dict[str, Any] = {"index": 0, "measured": {}}  # not what is drawn today
    images: dict[str, Any] = {}
    older = Reference({k: v for k, v in info.items() if k != "draw_version"})
    assert list(older.record_problems(record, images)) == []
    assert "draw_version not stated (here 1)" in older.not_redrawn
    today = Reference(info)
    assert today.not_redrawn == ""
    with pytest.raises(KeyError):  # it is drawn again, and then asked for its images
        list(today.record_problems(record, images))


def test_the_order_of_labels_does_not_make_another_data_set(plain_context: RenderContext) -> None:
    orders = [["normal", "depth"], ["depth", "normal"], ["depth", "normal", "depth"]]
    specs = [parse_spec({"render": {"labels": labels}}, "x") for labels in orders]
    specs.append(Spec(name=specs[0].name, render=RenderSpec(labels=("normal", "depth"))))
    assert {spec.render.labels for spec in specs} == {("depth", "normal")}
    assert len({replace(plain_context, spec=spec).tag for spec in specs}) == 1
