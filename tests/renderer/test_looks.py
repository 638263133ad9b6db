"""Looks belong together: skins fit the identity, and layers of the skin lie where they belong."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from renderer.errors import AssetError
from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.head.skin_layers import MOST, SkinPainter, check_masks
from renderer.labels.reference import head_from_record
from renderer.parameters.params import Identity, Skin, to_record
from renderer.parameters.spec import Spec, parse_spec
from renderer.sampling.draw import draw
from renderer.sampling.looks import draw_skin, match_face, skin_weights
from renderer.sampling.streams import Streams

BARE = Skin(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (1, 1, 1), 0, (1, 1, 1), 0, 1)
EVERYTHING = {
    "melanin": 0.4, "blood": 0.2, "flush": [0, 1], "mottle": [0, 1], "pores": [0, 1], "gloss": [0, 1],
    "freckles_share": 1, "moles": 5, "stubble_share": 1, "make_up_share": 1,
}  # fmt: skip
OLD_AFRICAN_WOMAN = Identity({"sex": 0.05, "age": 0.95, "african": 0.9, "asian": 0.05, "caucasian": 0.05}, {})


@pytest.fixture(scope="module")
def painter(model: HeadModel) -> SkinPainter:
    return SkinPainter(model)


# ---------------------------------------------------------------- skins that fit


def matched(identity: Identity, catalog: Catalog, model: HeadModel, count: int = 400) -> Counter[str]:
    return Counter(match_face(Streams(3, i), "head0.", identity, list(catalog.faces), model) for i in range(count))


def test_an_old_african_woman_gets_such_a_skin_far_more_often(model: HeadModel, catalog: Catalog) -> None:
    found = matched(OLD_AFRICAN_WOMAN, catalog, model)
    assert found["old_african_female_1"] > 0.6 * 400  # one of 20 skins: 0.05 by chance
    other = matched(replace(OLD_AFRICAN_WOMAN, macros={"sex": 0.95, "age": 0.4, "caucasian": 1.0}), catalog, model)
    assert other["old_african_female_1"] < 0.02 * 400


def test_it_is_a_draw_and_not_the_best_skin_alone(model: HeadModel, catalog: Catalog) -> None:
    assert len(matched(OLD_AFRICAN_WOMAN, catalog, model)) > 3
    assert len(matched(Identity({}, {}), catalog, model)) >= 10  # the average person fits many
    assert min(skin_weights(OLD_AFRICAN_WOMAN, model).values()) > 0


def test_a_description_with_two_skins_is_not_twice_as_likely(model: HeadModel) -> None:
    weights = skin_weights(Identity({"sex": 0.5, "age": 0.4}, {}), model)
    two = [weights[f"young_caucasian_male_{k}"] for k in (1, 2)]
    assert sum(two) == pytest.approx(weights["young_asian_male_1"], rel=1e-6)


def test_own_face_textures_are_drawn_as_often_as_one_skin_in_all(model: HeadModel, catalog: Catalog) -> None:
    names = [*catalog.faces, "own/me"]
    found = Counter(match_face(Streams(3, i), "head0.", OLD_AFRICAN_WOMAN, names, model) for i in range(400))
    assert 5 < found["own/me"] < 50


# ---------------------------------------------------------------- layers


def area(painter: SkinPainter, name: str) -> Any:
    return painter._zones[name] > 0.8


def test_layers_lie_where_they_belong(painter: SkinPainter) -> None:
    lips, beard, flush = (area(painter, name) for name in ("lips", "beard", "flush"))
    assert min(lips.sum(), beard.sum(), flush.sum()) > 100 and not (lips & beard).any()
    red = painter.paint(replace(BARE, lips=1.0, lip_colour=(1.0, 0.4, 0.4))).factor
    assert np.allclose(red[lips].mean(axis=0), (1.0, 0.4, 0.4), atol=0.1)
    assert np.allclose(red[beard & (painter._zones["lips"] == 0)], 1.0)
    stubble = painter.paint(replace(BARE, stubble=1.0)).factor
    assert stubble[beard].mean() < 0.8 and np.allclose(stubble[painter._zones["beard"] < 1e-6], 1.0)
    flushed = painter.paint(replace(BARE, flush=1.0)).factor[flush].mean(axis=0)
    assert flushed[0] > 0.95 > 0.75 > flushed[1]


def test_pigments_darken_as_they_do(painter: SkinPainter) -> None:
    darker, lighter = (painter.paint(replace(BARE, melanin=m)).factor for m in (0.5, -0.5))
    red, green, blue = darker.mean(axis=(0, 1))
    assert 1 > red > green > blue > 0.5
    assert np.allclose(darker * lighter, 1.0, atol=1e-5) and lighter.max() <= MOST
    red, green, _ = painter.paint(replace(BARE, blood=0.5)).factor.mean(axis=(0, 1))
    assert red > 0.95 and green < 0.65


def test_spots_are_few_and_dark_and_pores_are_fine(painter: SkinPainter) -> None:
    spotted = painter.paint(replace(BARE, freckles=0.7, moles=5)).factor[..., 2]
    assert 0.001 < (spotted < 0.8).mean() < 0.1 and np.median(spotted) > 0.95
    relief = painter.paint(replace(BARE, pores=1.0)).relief
    assert abs(relief.mean() - 0.5) < 0.01 and relief.std() > 0.05
    assert np.abs(np.corrcoef(relief[:, :-8].ravel(), relief[:, 8:].ravel())[0, 1]) < 0.2  # 8 texels are 5 mm


def test_shine_is_on_forehead_and_nose(painter: SkinPainter) -> None:
    shine = painter.paint(replace(BARE, gloss=1.0)).shine
    assert shine[area(painter, "shine")].mean() > 0.9 > 0.4 > shine[:100].mean()


def test_a_skin_without_layers_changes_nothing_and_its_seed_moves_patterns(painter: SkinPainter) -> None:
    plain = painter.paint(BARE)
    assert (plain.factor == 1).all() and (plain.relief == 0.5).all() and not plain.shine.any()
    one, same, other = (painter.paint(replace(BARE, mottle=1.0, seed=seed)).factor for seed in (1, 1, 2))
    assert (one == same).all() and np.abs(one - other).max() > 0.05


# ---------------------------------------------------------------- draws and records


def test_only_grown_men_have_stubble_and_most_make_up_is_on_women(model: HeadModel) -> None:
    spec = parse_spec({"skin": EVERYTHING}, "the test")

    def skins(sex: float, age: float) -> list[Skin]:
        identity = Identity({"sex": sex, "age": age}, {})
        drawn = [draw_skin(spec, Streams(1, i), "head0.", identity, model) for i in range(60)]
        return [skin for skin in drawn if skin is not None]

    men, women, girls = skins(1.0, 0.6), skins(0.0, 0.6), skins(0.0, 0.2)
    assert len(men) == len(women) == 60
    assert np.mean([skin.stubble > 0 for skin in men]) > 0.9 > 0.1 > np.mean([skin.stubble > 0 for skin in women])
    assert np.mean([skin.lips > 0 for skin in women]) > 0.9 > 0.1 > np.mean([skin.lips > 0 for skin in men])
    assert not any(skin.stubble or skin.lips for skin in girls)


def test_records_hold_layers_and_give_the_head_back(model: HeadModel, catalog: Catalog) -> None:
    spec = parse_spec({"surface": {"face_match": True}, "skin": EVERYTHING, "heads": {"empty_share": 0}}, "the test")
    params = draw(spec, 0, 4, catalog, model, "abcdef")
    stored = json.loads(json.dumps(to_record(params)))["heads"][0]
    assert stored["surface"]["skin"]["moles"] == 5
    assert head_from_record(stored).surface == params.heads[0].surface


def test_without_the_knobs_there_are_no_layers_and_no_trace_of_them(model: HeadModel, catalog: Catalog) -> None:
    params = draw(Spec(), 0, 4, catalog, model, "abcdef")
    assert params.heads and params.heads[0].surface.skin is None
    assert "skin" not in to_record(params)["heads"][0]["surface"]


def test_a_head_without_masks_is_refused_in_words(model: HeadModel) -> None:
    with pytest.raises(AssetError, match="no mask of lips, eyelids, ears: leave the spec's section `skin` out"):
        check_masks(replace(model, info={**model.info, "masks": {}}))
