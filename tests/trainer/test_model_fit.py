"""The head model fitted to correspondences of known heads, and the meshes made of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from renderer.errors import MachineError, SpecError
from renderer.head.model import HeadModel
from renderer.head.pose import rotation_matrix
from renderer.parameters.params import Pose
from trainer.uvmaps import head_pose, mesh, model_fit
from trainer.uvmaps import window as live
from trainer.uvmaps.mesh import _kept

SIZE = 256
SLIDERS = {"nose/nose-scale-horiz-decr-incr": 0.6, "chin/chin-height-decr-incr": -0.7, "head/head-fat-decr-incr": 0.5}
KNOWN = model_fit.Coefficients({"sex": 0.9, "age": 0.7, "weight": 0.8}, SLIDERS, {"jawOpen": 0.5, "browInnerUp": 0.6})


@pytest.fixture(scope="session")
def head(head_pack: Path) -> HeadModel:
    return head_pose.head_of(head_pack)


def view(yaw: float = 0.4, distance_m: float = 0.6) -> model_fit.View:
    turn = rotation_matrix(Pose(yaw, -0.15, 0.1, (0.0, 0.0, 0.0)))
    return model_fit.View(turn, np.array([120.0, 140.0]), 900.0, 1 / distance_m)


def frontal(head: HeadModel) -> np.ndarray:
    """Numbers of the skin's points on the frontal face."""
    skin = head.subdivided("skin")
    triangles = skin.faces[:, mesh.HALVES].reshape(-1, 3)
    return np.unique(triangles[_kept(head, skin.uv[:, mesh.HALVES].reshape(-1, 3, 2), "face", None)])


def uv_map(head: HeadModel, shape: model_fit.Coefficients, seen: model_fit.View) -> tuple[np.ndarray, np.ndarray]:
    """UV (H, W, 2) and mask (H, W) of a head: the model's triangles, cast ray by ray with trimesh."""
    trimesh = pytest.importorskip("trimesh")
    skin = head.subdivided("skin")
    points = skin.points(head.evaluate(shape.macros, shape.sliders, shape.units)) @ seen.rotation.T
    faces, uv = skin.faces[:, mesh.HALVES].reshape(-1, 3), skin.uv[:, mesh.HALVES].reshape(-1, 3, 2)
    cast = trimesh.Trimesh(points, faces, process=False)
    rows, columns = (a.ravel() for a in np.mgrid[0:SIZE, 0:SIZE])
    x, y = (np.stack([columns, rows], 1) + 0.5 - seen.origin_px).T / seen.pixels_per_m
    distance = 1 / seen.nearness
    rays = np.stack([x / distance, -y / distance, -np.ones_like(x)], 1)
    origins = np.broadcast_to([0.0, 0.0, distance], rays.shape)
    hit = cast.ray.intersects_first(origins, rays)
    row, column = rows[hit >= 0], columns[hit >= 0]
    corners, normal = cast.triangles[hit[hit >= 0]], cast.face_normals[hit[hit >= 0]]
    rays, origins = rays[hit >= 0], origins[hit >= 0]
    far = ((corners[:, 0] - origins) * normal).sum(1) / (rays * normal).sum(1)
    weights = trimesh.triangles.points_to_barycentric(corners, origins + rays * far[:, None])
    picture, mask = np.zeros((SIZE, SIZE, 2)), np.zeros((SIZE, SIZE))
    picture[row, column] = np.einsum("kj,kjc->kc", weights, uv[hit[hit >= 0]])
    mask[row, column] = _kept(head, uv[hit[hit >= 0]], "face", None)
    return picture, mask


def distances_mm(points: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distances after the best rotation, shift and scale (Umeyama 1991)."""
    a, b = points - points.mean(0), truth - truth.mean(0)
    left, sizes, right = np.linalg.svd(a.T @ b)
    keep = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    moved = (sizes * keep).sum() / (a**2).sum() * a @ (left * keep @ right)
    return np.linalg.norm(moved - b, axis=1) * 1000


def face_points(head: HeadModel, shape: model_fit.Coefficients) -> np.ndarray:
    vertices = head.evaluate(shape.macros, shape.sliders, shape.units)
    return head.subdivided("skin").points(vertices)[frontal(head)]


@pytest.mark.parametrize("focal_known", [False, True])
def test_a_known_head_is_found_from_its_uv_map(head: HeadModel, focal_known: bool) -> None:
    """A tenth of the average head's error, and far less than a millimetre; pose within a degree."""
    seen = view()
    uv, mask = uv_map(head, KNOWN, seen)
    focal = seen.pixels_per_m / seen.nearness if focal_known else None
    fit = model_fit.fit_head(head, uv.astype(np.float16), mask, focal, model_fit.TRUE_NOISE_PX)
    assert fit is not None and fit.error_px < 0.2
    truth = face_points(head, KNOWN)
    before = distances_mm(face_points(head, model_fit.Coefficients({}, {}, {})), truth).mean()
    after = distances_mm(face_points(head, fit.coefficients), truth).mean()
    assert before > 3 and after < 0.6 and after < before / 6
    apart = np.degrees(np.arccos((np.trace(fit.view.rotation @ seen.rotation.T) - 1) / 2))
    assert apart < 1
    assert 1 / fit.view.nearness == pytest.approx(0.6, rel=0.1)


def test_coefficients_stay_within_the_models_bounds_whatever_the_uv_map(head: HeadModel) -> None:
    uv, mask = uv_map(head, KNOWN, view())
    noise = np.random.default_rng(0).normal(0, 0.05, uv.shape)
    fit = model_fit.fit_head(head, (uv + noise).clip(0, 0.999), mask)
    assert fit is not None
    c = fit.coefficients
    assert all(0 <= v <= 1 for v in [*c.macros.values(), *c.units.values()])
    assert all(-1 <= v <= 1 for v in c.sliders.values())
    assert np.isfinite(fit.vertices(head)).all()


def test_a_map_that_shows_too_little_gives_no_fit(head: HeadModel) -> None:
    assert model_fit.fit_head(head, np.full((64, 64, 2), 0.5), np.zeros((64, 64))) is None


def test_slopes_are_those_of_the_pixels(head: HeadModel) -> None:
    """Derivatives against finite differences, away from the kinks of the sliders."""
    rng = np.random.default_rng(0)
    basis = model_fit.Basis(head, *head_pose.chart(head).locate(rng.uniform(0.2, 0.8, (20, 2))))
    low, high = basis.bounds
    values = low + (high - low) * rng.uniform(0.55, 0.7, len(low))
    seen = view()
    slopes = seen.slopes(basis.points(values), basis.slopes(values))
    for unknown in (0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 100, 200, 230):
        ahead, behind = (_moved(seen, basis, values, unknown, sign * 1e-5) for sign in (1, -1))
        np.testing.assert_allclose(slopes[unknown], (ahead - behind) / 2e-5, rtol=2e-2, atol=2e-2)


def _moved(seen: model_fit.View, basis: model_fit.Basis, values: np.ndarray, unknown: int, step: float) -> np.ndarray:
    steps = np.zeros(7 + len(values))
    steps[unknown] = step
    return seen.moved(steps[:7]).project(basis.points(values + steps[7:]))


# ---------------------------------------------------------------- meshes


def stored_normals(path: Path) -> np.ndarray:
    """(N, 3) normals as the file has them."""
    if path.suffix == ".obj":
        return np.array([line.split()[1:] for line in path.read_text().splitlines() if line.startswith("vn ")], float)
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + length])
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]]
    part = tree["bufferViews"][accessor["bufferView"]]
    start = 20 + length + 8 + part.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    return np.frombuffer(data, np.float32, 3 * accessor["count"], start).reshape(-1, 3)


@pytest.mark.parametrize("suffix", mesh.SUFFIXES)
def test_a_mesh_comes_back_from_its_file(head: HeadModel, tmp_path: Path, suffix: str) -> None:
    trimesh = pytest.importorskip("trimesh")
    texture = np.zeros((32, 64, 3), np.uint8)
    texture[:16], texture[:, :32, 1] = (255, 0, 0), 128  # red above, and green on the left
    made = mesh.textured_mesh(head, head.identity_vertices(), texture)
    written = mesh.write_mesh(made, tmp_path / f"photo.1.face0{suffix}")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)
    read = trimesh.load(written[0], force="mesh", process=False)
    np.testing.assert_allclose(read.vertices, made.vertices, atol=1e-6)
    np.testing.assert_allclose(read.visual.uv, made.visual.uv, atol=1e-6)
    np.testing.assert_allclose(
        stored_normals(written[0]), made.vertex_normals, atol=1e-6
    )  # trimesh's reader drops them
    material = read.visual.material
    image = np.asarray((material.image if suffix == ".obj" else material.baseColorTexture).convert("RGB"))
    assert (image == texture).all()
    assert made.extents[1] == pytest.approx(0.19, abs=0.02)  # metres, Y up
    forehead = made.vertices[made.visual.uv[:, 1].argmax()]
    assert forehead[1] > 0.08 and made.vertex_normals.mean(0)[2] > 0.4


def test_only_the_triangles_that_are_seen_are_kept(head: HeadModel) -> None:
    texture, seen = np.zeros((8, 8, 3), np.uint8), np.zeros((64, 64), bool)
    seen[:, :32] = True  # U below one half: the subject's right
    meshes = [mesh.textured_mesh(head, head.identity_vertices(), texture, part, seen) for part in mesh.PARTS]
    visible, face, whole = meshes
    assert 0.4 * len(face.faces) < len(visible.faces) < 0.55 * len(face.faces) and len(whole.faces) > 2 * len(
        face.faces
    )
    assert visible.vertices[:, 0].max() < 0.002 < face.vertices[:, 0].max()
    with pytest.raises(SpecError, match="nose"):
        mesh.textured_mesh(head, head.identity_vertices(), texture, "nose")


# ---------------------------------------------------------------- the live window


def test_without_a_display_a_window_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tkinter")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(MachineError, match="--window needs a display"):
        live.LiveView("test")


def test_without_tkinter_a_window_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tkinter", None)
    with pytest.raises(MachineError, match="python3-tk"):
        live.LiveView("test")


def test_a_closed_window_ends_the_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for tkinter: what a key does, not what a screen shows."""
    keys: dict[str, object] = {}
    root = SimpleNamespace(title=print, protocol=print, update=int, destroy=int, bind=keys.__setitem__)
    label = SimpleNamespace(pack=int, configure=lambda image: None)
    fake = SimpleNamespace(Tk=lambda: root, Label=lambda _: label, TclError=RuntimeError)
    monkeypatch.setitem(sys.modules, "tkinter", fake)
    monkeypatch.setattr("PIL.ImageTk.PhotoImage", lambda image, master: image)
    window = live.LiveView("test")
    assert window.show(np.zeros((4, 4, 3), np.uint8))
    keys["q"](None)  # type: ignore[operator]
    assert not window.show(np.zeros((4, 4, 3), np.uint8))
