"""Who else is in the picture: groups, heads seen from behind, and statues, which are no faces."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import pytest

from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.labels.camera import project
from renderer.parameters.params import SampleParams, to_record
from renderer.parameters.spec import Spec, parse_spec
from renderer.sampling.draw import draw

COUNT = 60
SPEC = {
    "heads": {"empty_share": 0.1, "several_share": 0.8, "most": 4, "company": "group", "statue_share": 0.5},
    "pose": {"away_share": 0.25},
}


@pytest.fixture(scope="module")
def drawn(model: HeadModel, catalog: Catalog) -> list[SampleParams]:
    return [draw(parse_spec(SPEC, "test"), 1, i, catalog, model, "abcdef") for i in range(COUNT)]


def test_heads_of_a_group_stand_apart_within_the_picture(drawn: list[SampleParams]) -> None:
    inside, depths = [], []
    for params in drawn:
        places = [head.pose.position_m for head in params.heads]
        places += [statue.head.pose.position_m for statue in params.statues]
        for a, b in combinations(places, 2):
            assert math.hypot(a[0] - b[0], a[2] - b[2]) > 0.26
        if len(places) > 1:
            pixels = project(np.array(places[1:]), params.camera, 100)
            inside += [0 < column < 100 for column in pixels[:, 0]]
            depths += [place[2] for place in places[1:]]
    assert len(inside) > 40 and np.mean(inside) > 0.8
    assert max(depths) <= 0 and np.ptp(depths) > 1


def test_some_of_a_group_look_at_another_and_some_turn_away(drawn: list[SampleParams]) -> None:
    facing, away = [], []
    for params in drawn:
        for number, head in enumerate(params.heads):
            away.append(head.pose.away)
            yaw = head.pose.yaw_rad - math.pi * head.pose.away
            at = np.array(head.pose.position_m)
            offs = [np.array(other.pose.position_m) - at for other in params.heads[:number]]
            if offs:
                facing.append(any(math.isclose(yaw, math.atan2(off[0], off[2])) for off in offs))
    assert 0.2 < np.mean(facing) < 0.55 and 0.13 < np.mean(away) < 0.37


def test_a_statue_is_bare_of_one_material_and_behind_all_heads(drawn: list[SampleParams], catalog: Catalog) -> None:
    statues = [(params, statue) for params in drawn for statue in params.statues]
    assert 0.3 < len(statues) / COUNT < 0.7
    for params, statue in statues:
        wear, interior = statue.head.wear, statue.head.interior
        assert not (wear.hair or wear.hat or wear.glasses or interior.brows or interior.lashes)
        assert not statue.texture or statue.texture in catalog.textures
        assert all(statue.head.pose.position_m[2] < head.pose.position_m[2] - 0.2 for head in params.heads)
    assert any(not params.heads for params, _ in statues)


def test_groups_statues_and_backs_leave_other_records_as_they_are(model: HeadModel, catalog: Catalog) -> None:
    text = json.dumps([to_record(draw(Spec(), 1, i, catalog, model, "abcdef")) for i in range(40)])
    assert '"statues"' not in text and '"away"' not in text
