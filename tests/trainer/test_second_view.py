"""Second views made from one photo: the face turned, with its own colours where they are seen and made-up ones else."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from renderer.format.sample_format import CENTRE_U
from renderer.head.catalog import build_catalog
from renderer.head.model import HeadModel
from renderer.parameters.params import flat_knobs, to_record
from renderer.parameters.spec import parse_spec
from renderer.sampling.draw import draw
from trainer.augmentation.stages import BASE_GAMMA
from trainer.bench.second_view import LEAST, measured
from trainer.positions import recover, second_view
from trainer.positions.raster import rasterise
from trainer.positions.records import record_positions
from trainer.positions.texels import texels
from trainer.uvmaps import head_pose
from trainer.uvmaps.textures import sample_texture

SIDE, PICTURE = 128, 160


@pytest.fixture(scope="module")
def head(head_pack: Path) -> HeadModel:
    return head_pose.head_of(head_pack)


def positions(head: HeadModel, yaw_deg: float, pitch_deg: float = 0.0) -> Tensor:
    """(1, 3, S, S) of the average head, seen from afar, in pixels."""
    average = texels(head, SIDE).position_map(head.identity_vertices())
    turn = Rotation.from_euler("ZXY", [0, -pitch_deg, yaw_deg], degrees=True).as_matrix()
    seen = np.einsum("ij,jrc->irc", turn, average) * np.array([600, -600, 600])[:, None, None]
    return torch.from_numpy(seen + np.array([80, 80, 0])[:, None, None]).float()[None]


def texture(symmetric: bool = True) -> Tensor:
    """Colours with detail that is alike on both sides of the face, or that tell where on it they belong."""
    line = (torch.arange(SIDE) + 0.5) / SIDE
    v, u = torch.meshgrid(1 - line, line, indexing="ij")
    across = 0.5 + 0.3 * torch.cos(40 * (u - CENTRE_U).abs()) if symmetric else u
    return torch.stack([0.2 + 0.6 * across, 0.4 + 0.2 * v, 0.5 + 0.2 * torch.cos(40 * v)])[None]


def drawn(head: HeadModel, maps: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """A picture of a map with a texture, (1, 3, H, W), and the UV it shows, (1, 2, H, W)."""
    mesh = recover.face_mesh(head, SIDE)
    triangles = torch.from_numpy(mesh.triangles)
    seen = rasterise(torch.from_numpy(mesh.vertices(maps[0].numpy()))[None], triangles, PICTURE, PICTURE)
    uv = seen.interpolated(torch.from_numpy(mesh.uv.T.copy())[None].float(), triangles)
    face = (seen.triangle >= 0)[:, None]
    return torch.where(face, sample_texture(colours, uv), torch.tensor(0.9)), uv


@pytest.mark.parametrize("yaw_deg", [0.0, 25.0, -60.0])
def test_a_made_view_is_the_view_of_a_turned_camera(head: HeadModel, yaw_deg: float) -> None:
    picture, _ = drawn(head, positions(head, yaw_deg), texture())
    made = second_view.second_view(picture, positions(head, yaw_deg), head)
    turn_deg = 30.0 if yaw_deg >= 0 else -30.0
    assert math.degrees(float(made.turn_rad[0])) == pytest.approx(turn_deg)
    wanted = positions(head, yaw_deg - turn_deg)
    face = texels(head, SIDE).face
    off = (made.positions - wanted)[0, :, face]
    assert (off - off.mean(1, keepdim=True)).abs().max() < 0.5, "up to the shift that keeps the face in its window"
    before, after = (m[0, :2, face] for m in (positions(head, yaw_deg), made.positions))
    middles = [(m.amin(1) + m.amax(1)) / 2 for m in (before, after)]
    assert torch.allclose(*middles, atol=1e-2)
    target, _ = drawn(head, made.positions, texture())
    shown = (made.picture.sum(1) > 0)[0]
    assert shown.sum() > 1500 and (shown == (target[0] != 0.9).any(0)).float().mean() > 0.99
    errors = (made.picture - target).abs().amax(1)[0][shown]
    assert errors.median() < 0.01 and errors.mean() < 0.05, "of a face whose sides are alike"


def test_what_is_hidden_is_not_trusted(head: HeadModel) -> None:
    maps = positions(head, 60.0)
    picture, _ = drawn(head, maps, texture(symmetric=False))
    poses = recover.poses_of(maps, head)
    found, seen = second_view.texture_of(picture, maps, head, poses)
    trusted = seen[0, 0] > 0
    assert 0.3 < trusted[torch.from_numpy(texels(head, SIDE).face)].float().mean() < 0.8
    off = (found - texture(symmetric=False)).abs().amax(1)[0]
    assert off[trusted].quantile(0.99) < 0.05
    hidden = torch.from_numpy(texels(head, SIDE).face) & ~trusted
    assert off[hidden].quantile(0.5) > 0.1, "colours of other parts lie at hidden texels"
    covered = torch.zeros(1, 1, PICTURE, PICTURE)
    covered[:, :, : PICTURE // 2] = 1
    _, less = second_view.texture_of(picture, maps, head, poses, covered)
    below = maps[0, 1] > PICTURE / 2 + 1
    assert less.sum() > 0 and less[0, 0][below].sum() == 0 < seen[0, 0][below].sum()


@pytest.mark.parametrize("yaw_deg", [90.0, -90.0, 110.0])
def test_profiles_that_hide_half_the_face_are_filled(head: HeadModel, yaw_deg: float) -> None:
    maps = positions(head, yaw_deg, pitch_deg=10)
    picture, _ = drawn(head, maps, texture())
    made = second_view.second_view(picture, maps, head)
    assert torch.isfinite(made.picture).all() and torch.isfinite(made.texture).all()
    assert 0 < made.shown[0] < 1
    face = torch.from_numpy(texels(head, SIDE).face)
    off = (made.texture - texture()).abs().amax(1)[0][face]
    assert off.median() < 0.06, "the hidden half takes the detail of the other one"
    plain = second_view.fill_holes(made.texture * made.seen, made.seen)
    hidden = face & (made.seen[0, 0] == 0)
    assert off[hidden[face]].mean() < 0.7 * (plain - texture()).abs().amax(1)[0][hidden].mean()
    target, _ = drawn(head, made.positions, texture())
    shown = (made.picture.sum(1) > 0)[0]
    assert (made.picture - target).abs().amax(1)[0][shown].median() < 0.06


def test_a_face_outside_the_picture_still_gives_a_view(head: HeadModel) -> None:
    maps = positions(head, 20.0) + torch.tensor([500.0, 0, 0])[:, None, None]
    made = second_view.second_view(torch.rand(1, 3, PICTURE, PICTURE), maps, head)
    assert made.seen.sum() == 0 and made.shown[0] == 0 and torch.isfinite(made.picture).all()


def test_a_batch_is_its_samples(head: HeadModel) -> None:
    maps = torch.cat([positions(head, yaw) for yaw in (-50.0, 10.0, 75.0)])
    pictures = torch.cat([drawn(head, m[None], texture(symmetric=False))[0] for m in maps])
    together = second_view.second_view(pictures, maps, head)
    for number in range(3):
        alone = second_view.second_view(pictures[number : number + 1], maps[number : number + 1], head)
        assert torch.allclose(alone.picture[0], together.picture[number], atol=1e-4)
        assert alone.shown[0] == pytest.approx(float(together.shown[number]), abs=1e-3)


def test_light_from_one_side_is_kept_on_its_side(head: HeadModel) -> None:
    """The mirrored half is brought to the light of its own side, as far as that is seen."""
    maps = positions(head, 45.0)
    lit = texture() * torch.where(torch.arange(SIDE) < SIDE // 2, 1.0, 0.6)
    picture, _ = drawn(head, maps, lit)
    made = second_view.second_view(picture, maps, head)
    hidden = torch.from_numpy(texels(head, SIDE).face) & (made.seen[0, 0] == 0)
    hidden[:, : SIDE // 2 + 8] = False
    assert hidden.sum() > 300
    assert (made.texture - lit)[0, :, hidden].abs().median() < 0.05


def test_made_up_colours_are_measured_where_the_true_second_view_shows_them(head: HeadModel) -> None:
    spec = parse_spec(
        {
            "heads": {"empty_share": 0, "several_share": 0},
            "camera": {"shift": 0, "second_yaw_deg": 30, "second_side": "faced"},
            "pose": {"yaw_fixed_deg": 35, "yaw_deg": 0, "pitch_deg": 0, "roll_deg": 0},
        },
        "the test",
    )
    params = draw(spec, 3, 0, build_catalog(Path(head.folder), spec), head, "abc123")
    record = {**to_record(params), "resolution": PICTURE, "key": "made", "knobs": flat_knobs(params)}
    record["measured"] = {"visible_share": 1.0}
    images = {}
    for view, start in ((1, ""), (2, "view2_")):
        maps = torch.from_numpy(record_positions(record, SIDE, view, head))[None]
        picture, _ = drawn(head, maps, texture())
        images["input" if view == 1 else "view2"] = (picture[0] ** BASE_GAMMA).numpy()
        images[f"{start}mask"] = np.ones((2, PICTURE, PICTURE), np.uint8)
    row = measured(images, record)
    assert row.yaw_deg == pytest.approx(35) and not row.covered
    assert row.seen < 0.02 and LEAST < row.made_up < 0.6
    assert row.seen < row.filled < min(row.around, row.inpainted), "the other side has the detail"
