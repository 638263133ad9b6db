"""Heads of principal components: what the components are, and that a head is its parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from blend_assets.pca import HEADS, components, head_number
from renderer.errors import SpecError
from renderer.format.staging import load_staged
from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.head.parts import PartBuilder
from renderer.head.pca import HeadPca, load_pca, rest_vertices
from renderer.labels.reference import head_from_record
from renderer.parameters.given import read_parameters
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.params import Head, to_record
from renderer.parameters.spec import Spec
from renderer.run.context import prepare
from renderer.run.packing import packing
from renderer.run.pool import Done, PoolOptions, WorkerPool
from renderer.sampling.draw import draw

SCENARIOS = ("none", "angle", "angle_bg", "all")


@pytest.fixture(scope="module")
def pca(head_pack: Path) -> HeadPca:
    return load_pca(head_pack)


def head_of(spec: Spec, index: int, catalog: Catalog, model: HeadModel) -> Head:
    (head,) = draw(spec, 0, index, catalog, model, "abcdef").heads
    return head


# ---------------------------------------------------------------- components


def test_components_have_unit_length_and_stand_at_right_angles(pca: HeadPca) -> None:
    for basis in (pca.shape, pca.texture):
        flat = basis.components.reshape(len(basis.components), -1).astype(np.float64)
        np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-4)
        assert (np.diff(basis.explained) <= 0).all() and basis.explained.sum() < 1


def test_shapes_explain_of_fresh_heads_what_they_state(model: HeadModel, pca: HeadPca) -> None:
    """The variance of heads that the components were not made from, with 5, 10 and 26 of them."""
    fresh = [head_number(HEADS + i, model) for i in range(150)]
    off = np.stack([model.identity_vertices(i.macros, i.sliders) - pca.shape.mean for i in fresh])
    off = off.reshape(len(off), -1)
    scores = off @ pca.shape.components.reshape(len(pca.shape.components), -1).T
    shares = (scores**2).sum(axis=0) / (off**2).sum()
    for count in (5, 10, 26):
        assert shares[:count].sum() == pytest.approx(pca.shape.explained[:count].sum(), abs=0.02)
    np.testing.assert_allclose(np.sqrt((scores[:, :10] ** 2).mean(axis=0)) / pca.shape.deviation[:10], 1, atol=0.3)


def test_traits_tell_sex_and_age_of_fresh_heads(model: HeadModel, pca: HeadPca) -> None:
    fresh = [head_number(HEADS + i, model) for i in range(60)]
    flat = pca.shape.components.reshape(len(pca.shape.components), -1)
    off = np.stack([(model.identity_vertices(i.macros, i.sliders) - pca.shape.mean).ravel() for i in fresh])
    q = off @ flat.T / (1.6 * pca.shape.deviation)
    for name in ("sex", "age"):
        told = [pca.trait(name, one) for one in q]
        assert np.corrcoef(told, [i.macros[name] for i in fresh])[0, 1] > 0.95
        assert pca.trait_fit[name] > 0.9


def test_pictures_of_mirrored_skins_weigh_the_same(pca: HeadPca) -> None:
    """So the mean face is symmetric; the skins themselves are not quite in the middle of their pictures."""
    mean = pca.picture([])
    assert mean.dtype == np.uint8 and mean.ndim == 3
    assert (pca.picture([1.0]) != pca.picture([-1.0])).any()


def test_components_are_the_same_on_processors_of_another_kind(head_pack: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from blend_assets.pca import write_pca\n"
        "from renderer.head.pack import load_head\n"
        f"write_pca(load_head(Path({str(head_pack)!r})), Path(sys.argv[1]), heads=120)"
    )
    older = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}
    for name, more in (("here", {}), ("older", older)):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / name)]
        subprocess.run(command, check=True, env={**os.environ, **more})
    one, other = (np.load(tmp_path / name / "pca.npz") for name in ("here", "older"))
    assert sorted(one.files) == sorted(other.files) and len(one.files) > 10
    for name in one.files:
        assert (one[name] == other[name]).all(), name


def test_rows_on_a_line_have_one_component() -> None:
    rows = np.outer(np.arange(-3, 4), np.tile([60.0, -80.0], 100)) + np.tile([1, 2], 100)
    found, scores = components(rows, 1)
    np.testing.assert_allclose(found["components"][0, :2] * 2.0**-18, [-0.06, 0.08], atol=1e-5)
    assert found["mean"][:2].tolist() == [1, 2] and found["explained"][0] == 1
    assert found["deviation"][0] == pytest.approx(1000 * 2)
    np.testing.assert_allclose(scores[:, 0] * 2, [3, 2, 1, 0, -1, -2, -3], atol=1e-9)


# ---------------------------------------------------------------- draws and records


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_draw_36_uniform_parameters(name: str, model: HeadModel, catalog: Catalog) -> None:
    heads = [head_of(load_spec(name), i, catalog, model) for i in range(40)]
    q = np.array([head.identity.pca.q for head in heads if head.identity.pca])
    assert q.shape == (40, 36) and -1 <= q.min() < -0.9 and 0.9 < q.max() <= 1
    assert abs(q.mean()) < 0.05 and q.std() == pytest.approx(3**-0.5, abs=0.03)
    assert {(head.surface.face, head.surface.flip, head.expression.mouth_open) for head in heads} == {
        ("pca", False, False)
    }


def test_none_varies_nothing_but_the_head(model: HeadModel, catalog: Catalog) -> None:
    plain = [to_record(draw(load_spec("none"), 0, i, catalog, model, "abcdef")) for i in range(6)]
    for section in ("camera", "light"):
        assert all(one[section] == plain[0][section] for one in plain[1:])
    assert {(one["environment"]["kind"], *one["environment"]["colour"]) for one in plain} == {
        ("gray", 0.25, 0.25, 0.25)
    }
    for section in ("pose", "expression"):
        assert all(one["heads"][0][section] == plain[0]["heads"][0][section] for one in plain)
    assert not any(plain[0]["heads"][0]["expression"]["units"].values())


def test_beards_grow_on_heads_with_the_shape_of_men(model: HeadModel, catalog: Catalog, pca: HeadPca) -> None:
    heads = [head_of(load_spec("all"), i, catalog, model) for i in range(80)]
    bearded = [head for head in heads if any(thing.kind == "beard" for thing in head.wear.fitted)]
    assert 5 < len(bearded) < 40
    for head in bearded:
        assert head.identity.pca is not None
        assert pca.trait("sex", head.identity.pca.shape_q) > 0.5


def test_a_record_gives_the_same_head_back(model: HeadModel, catalog: Catalog, pca: HeadPca) -> None:
    params = draw(load_spec("all"), 0, 3, catalog, model, "abcdef")
    raw = json.loads(json.dumps(to_record(params)))["heads"][0]
    q = raw["identity"]["pca"]["q"]
    assert len(q) == 36 and raw["identity"]["pca"]["shape"] == 26
    builder = PartBuilder(model, catalog)
    shape = builder.shape(head_from_record(raw))
    np.testing.assert_allclose(shape.neutral, builder.shape(params.heads[0]).neutral, atol=1e-12)
    np.testing.assert_allclose(pca.vertices(q[:26]), shape.neutral, atol=1e-12)
    ears = shape.neutral[list(model.info["origin_vertices"])]
    np.testing.assert_allclose(ears.mean(axis=0), 0, atol=2e-5)  # as with any other head


def test_other_heads_are_recorded_as_ever(model: HeadModel, catalog: Catalog) -> None:
    record = to_record(draw(load_spec("realistic"), 0, 0, catalog, model, "abcdef"))
    assert sorted(record["heads"][0]["identity"]) == ["macros", "sliders"]


def test_parameters_that_do_not_fit_are_refused(pca: HeadPca) -> None:
    with pytest.raises(SpecError, match=r"given has 3 parameters for a head; this spec's heads have 36"):
        load_spec("none", ("identity.given=[[0, 0, 0]]",))
    with pytest.raises(SpecError, match=r"given holds parameters of `kind: pca`"):
        load_spec("mixed", ("identity.given=[[0, 0, 0]]",))
    with pytest.raises(SpecError, match="at most 50 finite parameters"):
        pca.vertices([0.0] * 51)
    with pytest.raises(SpecError, match="at most 20 finite parameters"):
        pca.picture([float("nan")])


@pytest.mark.parametrize(
    "text",
    [
        "[0.5, -1]\n[0, 0.25]\n",
        '{"q": [0.5, -1]}\n\n{"heads": [{"identity": {"pca": {"q": [0, 0.25], "shape": 1}}}]}\n',
        "[[0.5, -1], [0, 0.25]]",
        "[\n [0.5, -1],\n [0, 0.25]\n]\n",
    ],
)
def test_parameters_are_read_from_lines_lists_and_records(text: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(text)
    assert read_parameters(tmp_path / "q.json") == [[0.5, -1.0], [0.0, 0.25]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no parameters"),
        ("{", "neither JSON nor JSON lines"),
        ('[0.5]\n{"p": [1]}\n', r"head 2 has neither 'q' nor heads\[0\]"),
        ('["a"]\n["b"]', "head 1 is .* must be a list of numbers"),
    ],
)
def test_files_without_parameters_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(SpecError, match=words):
        read_parameters(tmp_path / "q.json")


# ---------------------------------------------------------------- rendered


@pytest.mark.blender
def test_rendered_records_give_the_heads_that_were_asked_for(tmp_path: Path) -> None:
    """Parameters > head > render > record > the same head; a parameter of the texture changes pixels alone."""
    light, dark = [0.3] * 26 + [0.6] + [0.0] * 9, [0.3] * 26 + [-0.6] + [0.0] * 9
    settings = (f"identity.given={[light, dark]}", "render.resolution=48")
    context = prepare(load_spec("none", settings), 0, log=lambda line: None)
    pool = WorkerPool(context.job(), tmp_path, PoolOptions(*packing(1, 1)))
    assert all(isinstance(outcome, Done) for outcome in pool.render([0, 1]))
    samples = [load_staged(tmp_path / f"{index:010d}.tar") for index in (0, 1)]
    records = [json.loads(sample.members[f"{sample.key}.json"]) for sample in samples]
    for record, q in zip(records, (light, dark), strict=True):
        head = head_from_record(record["heads"][0])
        assert head.identity.pca is not None and list(head.identity.pca.q) == q
        made = load_pca(context.pack).vertices(q[:26])
        np.testing.assert_allclose(rest_vertices(context.model, head.identity), made, atol=1e-6)
        smooth = PartBuilder(context.model, context.catalog).landmarks(head)
        np.testing.assert_allclose(
            record["landmarks_depth_m"][0], record["camera"]["distance_m"] - smooth[:, 2], atol=1e-5
        )
    assert samples[0].pixels["uv"] == samples[1].pixels["uv"]
    assert records[0]["measured"]["luminance"] > 1.1 * records[1]["measured"]["luminance"]
