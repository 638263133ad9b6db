"""Position maps: texels of the face's chart, maps of records, what is read back from them; alignment and pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from renderer.errors import DatasetError, FormatError, SpecError
from renderer.head.catalog import build_catalog
from renderer.head.model import HeadModel
from renderer.head.parts import PartBuilder
from renderer.labels.camera import project, second_camera
from renderer.parameters.params import to_record
from renderer.parameters.spec import parse_spec
from renderer.sampling.draw import draw
from trainer.positions import alignment, recover
from trainer.positions.raster import rasterise
from trainer.positions.records import head_positions, record_positions
from trainer.positions.texels import REGIONS, texels
from trainer.uvmaps import head_pose

SIDE = 64
PICTURE = 200


@pytest.fixture(scope="module")
def head(head_pack: Path) -> HeadModel:
    return head_pose.head_of(head_pack)


@pytest.fixture(scope="module")
def drawn(head: HeadModel) -> tuple[PartBuilder, Any]:
    """Samples of a spec with expressions and deformations, and the builder of their heads."""
    spec = parse_spec({"heads": {"empty_share": 0, "several_share": 0}}, "the test")
    catalog = build_catalog(Path(head.folder), spec)
    samples = [draw(spec, 5, index, catalog, head, "abc123") for index in range(3)]
    return PartBuilder(head, catalog), samples


def record_of(params: Any) -> dict[str, Any]:
    return {**to_record(params), "resolution": PICTURE, "key": "made"}


@pytest.mark.parametrize("view", [1, 2])
def test_maps_of_records_lie_on_the_skin_that_is_rendered(
    head: HeadModel, drawn: tuple[PartBuilder, Any], view: int
) -> None:
    builder, samples = drawn
    for params in samples:
        record, one = record_of(params), params.heads[0]
        turn = second_camera(params.second_camera_yaw_rad if view == 2 else 0.0)
        marks = project(builder.landmarks(one) @ turn.T, params.camera, PICTURE)
        made = record_positions(record, 256, view, head)
        found = recover.landmarks(torch.from_numpy(made)[None], torch.from_numpy(head.landmarks_uv))[0].numpy()
        assert np.abs(found[:, :2] - marks[:, :2]).max() < 0.01 * PICTURE
        assert np.median(np.abs(found[:, :2] - marks[:, :2])) < 1e-3 * PICTURE
        origin = params.camera.distance_m - (turn @ np.asarray(one.pose.position_m))[2]
        per_m = params.camera.focal_mm / params.camera.sensor_mm * PICTURE / origin
        assert np.abs(found[:, 2] - (origin - marks[:, 2]) * per_m).max() < 0.01 * PICTURE


def test_texels_are_a_product_with_the_heads_vertices(head: HeadModel, drawn: tuple[PartBuilder, Any]) -> None:
    builder, samples = drawn
    where = texels(head, SIDE)
    assert where.matrix.shape == (SIDE * SIDE, len(head.vertices))
    assert np.allclose(np.asarray(where.matrix.sum(1)), 1)
    for params in samples:
        made = where.position_map(builder.shape(params.heads[0]).deformed)
        assert np.allclose(made, head_positions(record_of(params), SIDE, head), atol=1e-6)


def test_regions_hold_every_landmark_and_weigh_nothing_off_the_face(head: HeadModel) -> None:
    where = texels(head, 256)
    uv = head.landmarks_uv
    at = where.regions[((1 - uv[:, 1]) * 256).astype(int), (uv[:, 0] * 256).astype(int)]
    assert (at == REGIONS.index("landmarks")).all()
    assert set(np.unique(where.regions)) == set(range(len(REGIONS)))
    weights = where.weight_mask()
    assert weights.shape == (1, 256, 256) and (weights[0] > 0).sum() == where.face.sum()
    mouth = where.regions == REGIONS.index("mouth")
    assert 160 < np.nonzero(mouth)[0].mean() < 200, "rows count from the forehead"


def test_map_to_mesh_to_map_is_exact(head: HeadModel, drawn: tuple[PartBuilder, Any]) -> None:
    made = record_positions(record_of(drawn[1][0]), 256, head=head)
    mesh, face = recover.face_mesh(head, 256), texels(head, 256).face
    vertices = mesh.vertices(made)
    assert np.array_equal(mesh.position_map(vertices)[:, face], made[:, face])
    # and as a mesh that knows its UVs alone: drawn over the UV plane, it shows the map
    plane = np.column_stack([mesh.uv * [256, -256] + [0, 256], np.zeros(len(mesh.uv))]).astype(np.float32)
    triangles = torch.from_numpy(mesh.triangles)
    seen = rasterise(torch.from_numpy(plane)[None], triangles, 256, 256)
    back = seen.interpolated(torch.from_numpy(vertices.T.copy())[None], triangles)[0].numpy()
    covered = (seen.triangle[0] >= 0).numpy()
    assert (covered & face).sum() > 0.999 * face.sum()
    assert np.abs(back - made)[:, covered & face].max() < 1e-4


def test_pose_of_a_map_of_the_average_head_is_exact(head: HeadModel) -> None:
    average = texels(head, SIDE).position_map(head.identity_vertices())
    turn = Rotation.from_euler("ZXY", [10, 15, -50], degrees=True).as_matrix()  # roll, -pitch, yaw
    pixels = (900 * np.einsum("ij,jrc->irc", turn, average) * [[[1]], [[-1]], [[1]]]).astype(np.float32)
    pixels += np.array([120, 130, 0], np.float32)[:, None, None]
    found = recover.poses_of(torch.from_numpy(pixels)[None], head)
    assert np.allclose(np.degrees(found.angles()), [-50, -15, 10], atol=1e-2)
    assert np.allclose(found.origin_px[0], [120, 130, 0], atol=1e-2)
    assert float(found.pixels_per_m[0]) == pytest.approx(900, rel=1e-4)


def test_records_without_a_head_and_absurd_sides_are_refused(head: HeadModel) -> None:
    with pytest.raises(FormatError, match=r"'k' has no head.*empty_share"):
        record_positions({"key": "k", "heads": []}, SIDE, head=head)
    with pytest.raises(SpecError, match="position map of 4 x 4"):
        texels(head, 4)


# ---------------------------------------------------------------- meshes laid on each other


@pytest.fixture(scope="module")
def cloud(head: HeadModel) -> np.ndarray:
    return texels(head, SIDE).position_map(head.identity_vertices()).reshape(3, -1).T[::3].astype(np.float64)


MOVED = alignment.Similarity(Rotation.from_euler("xyz", [4, -3, 5], degrees=True).as_matrix(), 1.03, np.full(3, 0.004))


@pytest.mark.parametrize("scaled", [True, False])
def test_icp_recovers_a_known_motion(cloud: np.ndarray, scaled: bool) -> None:
    known = alignment.Similarity(MOVED.rotation, MOVED.scale if scaled else 1.0, MOVED.shift)
    found = alignment.icp(cloud, known(cloud), scaled)
    assert np.abs(found.rotation - known.rotation).max() < 1e-5
    assert abs(found.scale - known.scale) < 1e-5 and np.abs(found.shift - known.shift).max() < 1e-5


def test_icp_without_scale_keeps_sizes(cloud: np.ndarray) -> None:
    found = alignment.icp(cloud, MOVED(cloud), scaled=False)
    assert found.scale == 1.0
    size = alignment.size_of(cloud, "box")
    assert alignment.nme(found(cloud), MOVED(cloud), size) > 1e-3
    assert alignment.aligned_nme(cloud, MOVED(cloud), "similarity", size) < 1e-9
    assert alignment.aligned_nme(cloud, MOVED(cloud), "none", size) > 1e-2


def test_truth_against_itself_is_zero_and_motions_chain(cloud: np.ndarray) -> None:
    size = alignment.size_of(cloud, "box")
    for align in ("none", "rigid", "similarity"):
        assert alignment.aligned_nme(cloud, cloud, align, size) < 1e-12
    twice = MOVED.after(MOVED)
    assert np.allclose(twice(cloud), MOVED(MOVED(cloud)))


def test_mirror_images_and_points_in_a_line_are_not_laid_on_each_other(cloud: np.ndarray) -> None:
    found = alignment.similarity(cloud, cloud * [-1, 1, 1])
    assert np.linalg.det(found.rotation) == pytest.approx(1)
    with pytest.raises(DatasetError, match="in a line"):
        alignment.similarity(np.outer(np.arange(5.0), [1, 2, 3]), np.zeros((5, 3)))
    with pytest.raises(DatasetError, match="at least three"):
        alignment.similarity(cloud[:2], cloud[:2])


def test_sizes_are_those_that_their_descriptions_name() -> None:
    points = np.array([[0, 0, 0], [4, 9, 5.0]])
    assert alignment.size_of(points, "box") == pytest.approx(6)
    assert alignment.size_of(points, "outer_eyes", points) == pytest.approx(math.sqrt(16 + 81 + 25))
    with pytest.raises(DatasetError, match="outer corners"):
        alignment.size_of(points, "outer_eyes")


# ---------------------------------------------------------------- pixels


def test_the_nearest_triangle_wins_and_neighbours_leave_no_gap() -> None:
    square = torch.tensor([[2.0, 2, 0], [12, 2, 0], [2, 12, 0], [12, 12, 0]])
    near = torch.tensor([[0.0, 0, 1], [9, 0, 5], [0, 9, 5]])
    triangles = torch.tensor([[0, 1, 2], [1, 3, 2], [4, 5, 6]])
    seen = rasterise(torch.cat([square, near])[None], triangles, 16, 16)
    shown = seen.triangle[0]
    assert (shown[2:12, 2:12] >= 0).all() and (shown[12:] == -1).all()
    assert shown[1, 1] == 2 and shown[3, 3] == 2 and shown[10, 10] == 1
    assert seen.weights[0, :, 10, 10].sum() == pytest.approx(1)
    value = seen.interpolated(torch.cat([square, near])[None].transpose(1, 2)[:, :2], triangles)
    inside = shown >= 0
    row, column = inside.nonzero(as_tuple=True)
    assert torch.allclose(value[0, 0][inside], column + 0.5, atol=1e-4)
    assert torch.allclose(value[0, 1][inside], row + 0.5, atol=1e-4)


def test_vertices_beyond_the_picture_and_triangles_without_area_are_no_harm() -> None:
    vertices = torch.tensor([[-50.0, -50, 0], [80, -50, 0], [-50, 80, 0], [5, 5, 9], [5, 5, 9], [5, 5, 9]])
    seen = rasterise(vertices[None].repeat(2, 1, 1), torch.tensor([[0, 1, 2], [3, 4, 5]]), 8, 10)
    assert seen.triangle.shape == (2, 8, 10) and (seen.triangle == 0).all()
