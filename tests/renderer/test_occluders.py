"""Occluders: parameters from a generator, closed meshes from parameters."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from renderer.head import props
from renderer.head.glasses import GLASSES_PARTS, Glasses, glasses, glasses_random
from renderer.head.hand import HAND_PARTS, Hand, hand, hand_random
from renderer.head.mesh_kit import Mesh
from renderer.head.props import PROPS, Cup, cup

FACE = {
    "eye_centres": [[-0.031, 0.02, 0.085], [0.031, 0.02, 0.085]],
    "nose_bridge": [0.0, 0.022, 0.105],
    "ears": [[-0.072, 0.0, 0.0], [0.072, 0.0, 0.0]],
}
PARTS = {
    "box": props.BOX_PARTS,
    "cup": props.CUP_PARTS,
    "glasses": GLASSES_PARTS,
    "hand": HAND_PARTS,
    "microphone": props.MICROPHONE_PARTS,
    "phone": props.PHONE_PARTS,
    "stick": props.STICK_PARTS,
}
SEEDS = range(12)


def _drawn(kind: str, seed: int) -> Mesh:
    random, build = PROPS[kind]
    return build(json.loads(json.dumps(asdict(random(np.random.default_rng(seed))))))


def _glasses(seed: int) -> Mesh:
    return glasses(glasses_random(np.random.default_rng(seed)), **FACE)


def _every_mesh() -> list[tuple[str, Mesh]]:
    meshes = [(f"{kind} {seed}", _drawn(kind, seed)) for kind in PROPS for seed in SEEDS]
    return meshes + [(f"glasses {seed}", _glasses(seed)) for seed in SEEDS]


@pytest.fixture(scope="module")
def meshes() -> list[tuple[str, Mesh]]:
    return _every_mesh()


def _edges(faces: np.ndarray) -> list[tuple[int, int]]:
    """Directed edges of quads, without the empty ones of triangles."""
    pairs = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    return [(int(a), int(b)) for a, b in pairs if a != b]


def _components(mesh: Mesh) -> list[np.ndarray]:
    """Faces grouped into connected pieces."""
    label = np.arange(len(mesh.vertices))
    while True:
        lowest = label[mesh.faces].min(axis=1)
        new = label.copy()
        np.minimum.at(new, mesh.faces.ravel(), np.repeat(lowest, 4))
        new = new[new]
        if np.array_equal(new, label):
            return [mesh.faces[label[mesh.faces[:, 0]] == k] for k in np.unique(label[mesh.faces[:, 0]])]
        label = new


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    v = vertices.astype(float) - vertices[faces].mean(axis=(0, 1))
    a, b, c, d = (v[faces[:, k]] for k in range(4))
    return float((a * np.cross(b, c)).sum() + (a * np.cross(c, d)).sum()) / 6


def test_meshes_are_small_finite_and_of_the_promised_types(meshes):
    assert len(meshes) == 12 * 7
    for name, mesh in meshes:
        vertices, faces, part = mesh
        assert (vertices.dtype, faces.dtype, part.dtype) == (np.float32, np.int32, np.uint8), name
        assert vertices.shape[1:] == (3,) and faces.shape == (len(part), 4) and len(faces) < 3000, name
        assert np.isfinite(vertices).all(), name
        assert np.array_equal(np.unique(faces), np.arange(len(vertices))), f"{name} has loose vertices"


def test_every_face_is_a_quad_or_a_triangle_that_repeats_its_last_vertex(meshes):
    for name, mesh in meshes:
        distinct = np.array([len(set(face)) for face in mesh.faces.tolist()])
        triangle = mesh.faces[:, 3] == mesh.faces[:, 2]
        assert (distinct == np.where(triangle, 3, 4)).all(), name


def test_surfaces_are_closed_and_look_outwards(meshes):
    for name, mesh in meshes:
        solid = mesh if not name.startswith("glasses") else Mesh(mesh.vertices, mesh.faces[mesh.part == 0], mesh.part)
        edges = Counter(_edges(solid.faces))
        assert max(edges.values()) == 1, f"{name}: neighbours disagree on which side is out"
        assert all((b, a) in edges for a, b in edges), f"{name} has a hole"
        pieces = _components(solid)
        assert pieces and all(_volume(solid.vertices, piece) > 0 for piece in pieces), f"{name} is inside out"


def test_meshes_have_the_parts_they_name(meshes):
    for name, mesh in meshes:
        parts = PARTS[name.split()[0]]
        assert set(mesh.part.tolist()) == set(range(len(parts))), name


def test_props_surround_their_origin_and_have_the_size_of_things_in_a_hand(meshes):
    for name, mesh in meshes:
        if name.startswith("glasses"):
            continue
        low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
        assert 0.04 < (high - low).max() < 0.5, name
        assert (np.abs(low + high) / 2 < 0.05).all(), f"{name} is far from its origin"


def test_parameters_come_from_the_generator_alone():
    for random in (glasses_random, *(random for random, _ in PROPS.values())):
        first, again, other = (random(np.random.default_rng(seed)) for seed in (3, 3, 4))
        assert first == again and first != other


def test_glasses_are_symmetric_on_a_symmetric_face():
    vertices = glasses(Glasses(), **FACE).vertices
    mirrored = vertices * np.float32([-1, 1, 1])
    gap = np.linalg.norm(vertices[:, None] - mirrored[None], axis=-1).min(axis=1)
    assert gap.max() < 1e-5


def test_glasses_do_not_care_which_side_comes_first():
    swapped = {**FACE, "eye_centres": FACE["eye_centres"][::-1], "ears": FACE["ears"][::-1]}
    a, b = glasses(Glasses(), **FACE), glasses(Glasses(), **swapped)
    assert np.array_equal(a.vertices, b.vertices)


def test_lenses_sit_before_the_eyes_and_face_away_from_them():
    for seed in SEEDS:
        mesh = _glasses(seed)
        lens = mesh.faces[mesh.part == 1]
        a, b, c = (mesh.vertices[lens[:, k]] for k in range(3))
        assert (np.cross(b - a, c - a)[:, 2] > 0).all()
        points = mesh.vertices[np.unique(lens)]
        for eye in np.array(FACE["eye_centres"]):
            near = points[np.abs(points[:, 0] - eye[0]) < 0.02]
            assert near[:, 1].min() < eye[1] < near[:, 1].max()
            assert 0.012 < near[:, 2].mean() - eye[2] < 0.045


def test_temples_reach_over_the_ears():
    for seed in SEEDS:
        vertices = _glasses(seed).vertices
        for ear in np.array(FACE["ears"]):
            behind = vertices[(vertices[:, 2] < ear[2] + 0.01) & (vertices[:, 0] * ear[0] > 0)]
            assert behind[:, 1].max() > ear[1] + 0.01
            assert np.abs(behind[:, 0] - ear[0]).max() < 0.02


def test_a_hand_is_as_long_as_asked_and_a_left_hand_mirrors_a_right_one():
    straight = Hand(curl_rad=(0.0,) * 4, knuckle_rad=(0.0,) * 4, length_m=0.16)
    right, left = hand(straight), hand(replace(straight, left=True))
    wrist_m = -0.045 * 0.16 / 0.188
    assert right.vertices[:, 1].max() - wrist_m == pytest.approx(0.16, abs=0.006)
    np.testing.assert_array_equal(right.vertices * np.float32([-1, 1, 1]), left.vertices)
    upper = right.vertices[right.vertices[:, 1] > -0.03]
    assert upper[:, 0].max() > -upper[:, 0].min() + 0.01  # the thumb of a right hand is at +X


def test_curling_brings_the_fingertips_before_the_palm():
    opened = hand(Hand(curl_rad=(0.0,) * 4, knuckle_rad=(0.0,) * 4, thumb_over_rad=0.0))
    closed = hand(Hand(curl_rad=(1.5,) * 4, knuckle_rad=(1.3,) * 4, thumb_over_rad=0.0))
    assert closed.vertices[:, 1].max() < opened.vertices[:, 1].max() - 0.05
    assert closed.vertices[:, 2].max() > opened.vertices[:, 2].max() + 0.02


def test_hands_of_one_side_share_their_faces():
    hands = [hand(replace(hand_random(np.random.default_rng(s)), left=False)) for s in SEEDS]
    assert len(hands) == 12 and all(np.array_equal(hands[0].faces, other.faces) for other in hands)


def test_a_cup_is_hollow():
    shape = Cup(handle_m=0.0)
    mesh = cup(shape)
    full = np.pi * shape.height_m * ((shape.top_m + shape.bottom_m) / 2) ** 2
    assert 0.05 * full < _volume(mesh.vertices, mesh.faces) < 0.4 * full
