"""Samples of one subject: what they share, what they do not, and their frontal companion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from renderer.errors import SpecError
from renderer.format import exr
from renderer.format.sample_format import member_name
from renderer.format.staging import EncodedSample, load_staged
from renderer.head.catalog import Catalog
from renderer.head.model import HeadModel
from renderer.parameters.identity import spec_identity
from renderer.parameters.jobspecs import load_spec
from renderer.parameters.params import SampleParams
from renderer.parameters.spec import GroupsSpec, HeadsSpec, Spec, parse_spec
from renderer.run.context import prepare
from renderer.run.pool import Done, PoolOptions, WorkerPool
from renderer.sampling.draw import draw, neutral


@pytest.fixture(scope="module")
def views(model: HeadModel, catalog: Catalog) -> list[SampleParams]:
    """Three subjects of the spec `frontal` in four views each."""
    return [draw(load_spec("frontal"), 3, index, catalog, model, "abcdef") for index in range(12)]


def test_a_subject_keeps_identity_skin_and_hair_and_changes_all_else(views: list[SampleParams]) -> None:
    for subject in range(3):
        first, *others = views[4 * subject : 4 * subject + 4]
        for other in others:
            a, b = first.heads[0], other.heads[0]
            assert (a.identity, a.surface, a.interior) == (b.identity, b.surface, b.interior)
            assert (a.wear.hair, a.wear.hair_tint) == (b.wear.hair, b.wear.hair_tint)
            grown = [[w for w in head.wear.fitted if w.kind in ("hair", "beard")] for head in (a, b)]
            assert grown[0] == grown[1]
            assert a.deform.scale == b.deform.scale
            assert a.pose != b.pose and a.expression != b.expression
            assert first.light != other.light and first.environment != other.environment
            assert first.cycles_seed != other.cycles_seed
    one, two = views[0].heads[0], views[4].heads[0]
    assert one.identity != two.identity and one.surface != two.surface


def test_a_record_says_which_view_of_whom_it_is(views: list[SampleParams]) -> None:
    assert [dict(v.extra) for v in views[3:5]] == [{"subject": 0, "view": 3}, {"subject": 1, "view": 0}]


def test_no_subject_is_the_head_of_a_single_image(
    model: HeadModel, catalog: Catalog, views: list[SampleParams]
) -> None:
    single = replace(load_spec("frontal"), groups=GroupsSpec())
    identities = [draw(single, 3, index, catalog, model, "abcdef").heads[0].identity for index in range(12)]
    assert not any(view.heads[0].identity in identities for view in views)


def test_companions_of_a_subject_are_one_in_plain_light_and_differ_in_the_lights_of_their_samples(
    views: list[SampleParams],
) -> None:
    first, second = views[:2]
    plain = [neutral(view) for view in (first, second)]
    assert replace(plain[0], index=1, key=second.key, extra=second.extra) == replace(
        plain[1], second_camera_yaw_rad=plain[0].second_camera_yaw_rad
    )
    own = neutral(first, own_light=True)
    assert own.light == first.light
    assert own.environment == replace(first.environment, backdrop=None)
    assert own.heads == plain[0].heads and own.heads[0].wear.fitted == ()


def test_off_by_default_they_change_no_identity() -> None:
    identity = spec_identity(Spec())
    assert "groups" not in identity and "neutral_light" not in identity["render"]
    of_two = spec_identity(parse_spec({"groups": {"of": 2}, "render": {"neutral_light": "own"}}, "t"))
    assert of_two["groups"] == {"of": 2} and of_two["render"]["neutral_light"] == "own"


def test_subjects_of_clips_are_refused() -> None:
    with pytest.raises(SpecError, match="of is 4, but samples are frames of clips"):
        parse_spec({"groups": {"of": 4}, "sequence": {"frames": 8}}, "spec.yaml")
    with pytest.raises(SpecError, match="of is 0"):
        parse_spec({"groups": {"of": 0}}, "spec.yaml")


def rendered(head_pack: Path, folder: Path, indices: list[int], *changes: str) -> dict[int, EncodedSample]:
    spec = load_spec("smoke", ["groups.of=2", "render.labels=[neutral]", "render.resolution=32", *changes])
    context = prepare(replace(spec, heads=HeadsSpec(0, 0, 1)), 3, log=lambda text: None)
    folder.mkdir()
    outcomes = list(WorkerPool(context.job(), folder, PoolOptions(1, 1)).render(indices))
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    return {i: load_staged(folder / f"{i:010d}.tar") for i in indices}


def companion(sample: EncodedSample) -> Any:
    return exr.decode("neutral", sample.members[member_name(sample.key, "neutral")]).astype(float)


@pytest.mark.blender
def test_a_companion_is_the_same_beside_others_and_alone_and_stands_before_gray_in_any_light(
    head_pack: Path, tmp_path: Path
) -> None:
    both = rendered(head_pack, tmp_path / "both", [0, 1])
    assert both[0].pixels["neutral"] == both[1].pixels["neutral"]
    assert both[0].pixels["input"] != both[1].pixels["input"]
    alone = rendered(head_pack, tmp_path / "alone", [1])[1]
    assert alone.pixels == both[1].pixels
    plain, lit = (
        companion(alone),
        companion(rendered(head_pack, tmp_path / "own", [1], "render.neutral_light=own")[1]),
    )
    corners = np.stack([image[[0, 0], [0, -1]] for image in (plain, lit)])
    assert (corners == 0.5).all()
    assert np.abs(plain - lit)[8:24, 12:20].mean() > 0.01  # the face
