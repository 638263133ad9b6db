"""`gen reconstruct` on photos of the average head, with a UV-net that knows the UV map by heart."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.spatial.transform import Rotation
from torch import Tensor

from renderer.cli import main
from renderer.errors import DatasetError, FormatError, SpecError
from renderer.format.sample_format import UV_FRAME
from renderer.head.model import HeadModel
from trainer.data import pictures
from trainer.evaluation import reconstructions, scans
from trainer.evaluation.photos import measure, report
from trainer.positions import recover, sources
from trainer.positions.drawn import DrawnMaps
from trainer.positions.files import Scaling, read_positions, write_positions
from trainer.positions.raster import rasterise
from trainer.positions.reconstruct_job import Timer
from trainer.positions.texels import texels
from trainer.systems import runs
from trainer.systems.uvnet import trained
from trainer.uvmaps import head_pose
from trainer.uvmaps.faces import Window
from trainer.uvmaps.finding import Options, find_faces, window_around

HEIGHT, WIDTH, SIDE = 300, 420, 128
PLACES = ((120.0, 150.0), (300.0, 160.0))


@pytest.fixture(scope="module")
def head(head_pack: Path) -> HeadModel:
    return head_pose.head_of(head_pack)


def true_map(head: HeadModel, place: tuple[float, float], yaw_deg: float = 25.0, side: int = SIDE) -> np.ndarray:
    """(3, S, S) of the average head far away, in pixels of the photo."""
    turn = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    seen = np.einsum("ij,jrc->irc", turn, texels(head, side).position_map(head.identity_vertices()))
    return (seen * np.array([650, -650, 650])[:, None, None] + np.array([*place, 0])[:, None, None]).astype(np.float32)


@pytest.fixture(scope="module")
def photo(head: HeadModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faces whose colours are their UV; what is blue is face."""
    mesh = recover.face_mesh(head, SIDE)
    triangles = torch.from_numpy(mesh.triangles)
    canvas = torch.tensor([0.2, 0.4, 0.1])[:, None, None].repeat(1, HEIGHT, WIDTH)
    colours = torch.from_numpy(np.column_stack([mesh.uv, np.ones(len(mesh.uv))]).T.copy()).float()[None]
    for place in PLACES:
        vertices = torch.from_numpy(mesh.vertices(true_map(head, place)))[None]
        seen = rasterise(vertices, triangles, HEIGHT, WIDTH)
        canvas = torch.where(seen.triangle >= 0, seen.interpolated(colours, triangles)[0], canvas)
    path = tmp_path_factory.mktemp("photos") / "two.png"
    Image.fromarray(pictures.to_bytes(canvas[None])).save(path)
    return path


class Oracle(torch.nn.Module):
    """U is red and V is green; mirrored pictures are seen through by the slope of red."""

    def forward(self, picture: Tensor) -> Tensor:
        mask = (picture[:, 2:3] > 0.6).float()
        return torch.cat([picture[:, :2], mask, mask], 1)


@pytest.fixture
def uvnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weights file is of a UV-net that knows these photos by heart."""
    header = {"uv_frame": UV_FRAME, "finder": json.dumps({"min_agreement": 0, "window": 1.4, "passes": 2})}
    monkeypatch.setattr(trained, "load_trained", lambda path, only: SimpleNamespace(module=Oracle(), header=header))
    monkeypatch.setattr(runs, "system_of", lambda path: "uvnet")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["reconstruct", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_faces_of_a_photo_become_meshes_maps_landmarks_and_turned_views(
    head: HeadModel, photo: Path, uvnet: None, tmp_path: Path
) -> None:
    trimesh = pytest.importorskip("trimesh")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"nothing")
    second = tmp_path / "two.jpg"
    Image.open(photo).crop((0, 0, 205, HEIGHT)).save(second, quality=98)
    code, output = run("w.safetensors", photo, damaged, second, "--out", tmp_path / "out")
    assert code == 1 and "skipped" in output and "photos/s" in output and "second view" in output
    record = json.loads((tmp_path / "out/two.json").read_text())
    assert (record["width"], record["height"], len(record["faces"])) == (WIDTH, HEIGHT, 2)
    assert len(json.loads((tmp_path / "out/two-2.json").read_text())["faces"]) == 1
    for face in record["faces"]:
        marks = np.array(face["landmarks_px"])
        place = min(PLACES, key=lambda place: float(np.linalg.norm(marks[30, :2] - place)))
        truth = torch.from_numpy(true_map(head, place))[None]
        wanted = recover.landmarks(truth, torch.from_numpy(head.landmarks_uv))[0].numpy()
        away = np.linalg.norm((marks - wanted)[:, :2], axis=1)
        assert away.mean() < 0.03 * np.ptp(wanted[:, 1]), "of the face's height"
        assert abs(face["pose"]["yaw_deg"] - 25) < 6 and abs(face["pose"]["roll_deg"]) < 4
        assert face["second_view"]["turn_deg"] == pytest.approx(30, abs=0.01)
        assert 0.5 < face["second_view"]["shown_share"] <= 1
    for which in range(2):
        start = tmp_path / f"out/two.face{which}"
        positions, scaling = read_positions(start.with_name(f"{start.name}.positions.exr"))
        assert positions.shape == (3, 256, 256)
        window = record["faces"][which]["window"]
        assert [*scaling.offset, scaling.scale] == window
        found = recover.landmarks(torch.from_numpy(positions)[None], torch.from_numpy(head.landmarks_uv))[0]
        assert np.allclose(found.numpy(), record["faces"][which]["landmarks_px"], atol=0.01)
        made = trimesh.load(start.with_name(f"{start.name}.glb"), force="mesh")
        assert len(made.vertices) == texels(head, 256).face[1::2, 1::2].sum()
        assert 0.12 < made.extents[0] < 0.2 and 0.15 < made.extents[1] < 0.28, "metres"
        assert made.visual.material.baseColorTexture.size == (256, 256)
        assert start.with_name(f"{start.name}.obj").is_file() and start.with_name(f"{start.name}.mtl").is_file()
        turned = np.asarray(Image.open(start.with_name(f"{start.name}.second.png")))
        assert turned.shape == (256, 256, 3) and (turned[..., 2] > 150).sum() > 5000
    assert not list((tmp_path / "out").glob(".*")), "nothing half-written is left"


def test_boxes_take_the_place_of_the_finder(photo: Path, uvnet: None, tmp_path: Path) -> None:
    code, output = run("w.safetensors", photo, "--box", "60,70,180,230", "--out", tmp_path)
    assert code == 0 and "1 face" in output
    [face] = json.loads((tmp_path / "two.json").read_text())["faces"]
    assert abs(np.array(face["landmarks_px"])[30, 0] - PLACES[0][0]) < 60
    code, output = run("w.safetensors", photo, "--box", "200,10,230,40", "--out", tmp_path)
    assert code == 0 and "no face found" in output


def test_maps_of_a_network_come_back_to_the_photo(head: HeadModel) -> None:
    """The network sees windows of its own size; its maps are in their pixels."""
    truth = {place: true_map(head, place, side=64) for place in PLACES}
    asked: list[tuple[int, ...]] = []

    def network(windows: Tensor) -> Tensor:
        asked.append(tuple(windows.shape))
        places = [Window(60 + 180 * n, 75, 140) for n in range(len(windows))]
        maps = [
            (truth[p] - np.array([w.x, w.y, 0], np.float32)[:, None, None]) * (64 / w.side)
            for p, w in zip(PLACES, places, strict=True)
        ]
        return torch.from_numpy(np.stack(maps))

    faces = sources.mapped_by(network, 64, 1.4, None, ((80, 95, 180, 195), (260, 95, 360, 195)))
    found = faces(torch.rand(1, 3, HEIGHT, WIDTH), Timer())
    assert asked == [(2, 3, 64, 64)], "all faces in one pass"
    assert [face.window for face in found] == [Window(60, 75, 140), Window(240, 75, 140)]
    for face, place in zip(found, PLACES, strict=True):
        assert np.allclose(face.photo_map, truth[place], atol=1e-3)


def test_maps_are_stored_with_scale_and_offset_and_other_files_refused(tmp_path: Path, photo: Path) -> None:
    positions = np.random.default_rng(0).uniform(-50, 900, (3, 16, 16)).astype(np.float32)
    path = tmp_path / "a.exr"
    write_positions(path, positions, Scaling(340.0, (120.0, -8.0)))
    back, scaling = read_positions(path)
    assert np.allclose(back, positions, atol=1e-3) and scaling == Scaling(340.0, (120.0, -8.0))
    with pytest.raises(FormatError, match="no position map"):
        read_positions(photo)


def test_options_that_do_not_fit_are_refused_before_work_starts(photo: Path, uvnet: None, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    for arguments, words in (
        (("w.safetensors", photo, "--finder", "other", *out), "leave --finder out"),
        (("w.safetensors", photo, "--finder", "o", "--box", "1,2,3,4", *out), "leave one of them out"),
        (("w.safetensors", photo, "--box", "1,2,3", *out), "is no box"),
        (("w.safetensors", photo, "--box", "9,2,3,4", *out), "is empty"),
        (("w.safetensors", tmp_path / "missing.jpg", *out), "no file or folder"),
        (("w.safetensors", "0", *out), "gen apply"),
        (("w.safetensors", photo, "--compare", tmp_path / "none", *out), "no folder"),
        (("w.safetensors", photo, "--compare", photo.parent, *out), "no photo with"),
    ):
        code, output = run(*arguments)
        assert code == 2 and words in output, output
    assert not (tmp_path / "out").exists()


def test_networks_of_other_systems_are_refused(photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runs, "system_of", lambda path: "headparams")
    code, output = run("w.safetensors", photo, "--out", tmp_path)
    assert code == 2 and "headparams" in output and "position_map" in output


# ---------------------------------------------------------------- errors


def write_results(head: HeadModel, photo: Path, out: Path) -> np.ndarray:
    """What `gen reconstruct` would write of the first face alone, if it made no error; returns its landmarks."""
    truth = true_map(head, PLACES[0])
    marks = recover.landmarks(torch.from_numpy(truth)[None], torch.from_numpy(head.landmarks_uv))[0].numpy()
    record = {"source": str(photo), "width": WIDTH, "height": HEIGHT, "faces": [{"landmarks_px": marks.tolist()}]}
    (out / f"{photo.stem}.json").write_text(json.dumps(record))
    write_positions(out / f"{photo.stem}.face0.positions.exr", truth, Scaling(100.0, (0.0, 0.0)))
    return np.asarray(marks)


def test_truth_beside_itself_has_no_error_and_shifts_are_measured(head: HeadModel, tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    out = tmp_path / "out"
    out.mkdir()
    annotated, points = {}, np.empty(0)
    for name, shift in (("right", 0.0), ("off", 3.0)):
        photo = tmp_path / f"{name}.png"
        Image.new("RGB", (WIDTH, HEIGHT)).save(photo)
        points = write_results(head, photo, out)[:, :2]
        annotated[photo.name] = (points + np.array([shift, 0])).tolist()
    (tmp_path / "landmarks.json").write_text(json.dumps(annotated))
    # a scan in millimetres, turned: the head itself
    vertices = recover.face_mesh(head, SIDE).vertices(texels(head, SIDE).position_map(head.identity_vertices()))
    turn = Rotation.from_euler("xyz", [0.4, -0.7, 0.2])
    marks = recover.landmarks(
        torch.from_numpy(texels(head, SIDE).position_map(head.identity_vertices()))[None],
        torch.from_numpy(head.landmarks_uv),
    )[0].numpy()
    trimesh.PointCloud(turn.apply(vertices * 1000)).export(tmp_path / "right.scan.ply")
    np.savetxt(tmp_path / "right.scan.txt", turn.apply(marks * 1000))
    rows = {row.name: row for row in reconstructions.compare(out, tmp_path)}
    size = float(np.sqrt(np.prod(np.ptp(points, axis=0))))
    assert rows["right"].points68 == pytest.approx(0, abs=1e-6)
    assert rows["off"].points51 == pytest.approx(3 / size, rel=1e-3)
    assert rows["right"].scan["rigid_mean_mm"] < 1e-2 and rows["right"].scan["scaled_nme"] < 1e-4
    assert not rows["off"].scan
    text = reconstructions.write(list(rows.values()), out)
    stored = json.loads((out / "comparison.json").read_text())
    assert stored["means"]["all"]["found"] == 2 and "rigid_median_mm" in text and "outer eye corners" in text
    grown = scans.read_scan(tmp_path / "right.scan.ply")
    errors = scans.errors(vertices.astype(float), marks.astype(float), scans.Scan(grown.points * 1.05, grown.landmarks))
    assert errors["rigid_mean_mm"] > 0.5 > 0.05 > errors["scaled_mean_mm"]


def test_maps_are_measured_on_annotated_photos_as_uv_maps_are(head: HeadModel, photo: Path, tmp_path: Path) -> None:
    """The second face is annotated, 4 pixels beside where it is in one of two photos."""
    finder, options = Oracle(), Options(min_agreement=0, window=1.4, passes=2)
    picture = pictures.to_tensor(pictures.read_picture(photo, 2048))
    windows = [window_around(face.box, options.window) for face in find_faces(finder, picture, options)]

    def network(parts: Tensor) -> Tensor:
        maps = []
        for window in windows:
            place = min(PLACES, key=lambda p: abs(p[0] - window.x - window.side / 2))
            truth = true_map(head, place, side=64) - np.array([window.x, window.y, 0], np.float32)[:, None, None]
            maps.append(truth * (64 / window.side))
        return torch.from_numpy(np.stack(maps)).to(parts)

    marks = recover.landmarks(torch.from_numpy(true_map(head, PLACES[1]))[None], torch.from_numpy(head.landmarks_uv))
    points = marks[0, :, :2].numpy()
    for name in ("right.png", "off.png"):
        (tmp_path / name).symlink_to(photo)
    annotated = {"right.png": points.tolist(), "off.png": (points + np.array([4.0, 0.0])).tolist()}
    (tmp_path / "landmarks.json").write_text(json.dumps(annotated))
    maps, uv = DrawnMaps(network, 64, 1.4, finder, head), np.asarray(head.landmarks_uv, np.float64)
    rows = {row.name: row for row in measure.evaluate(maps, tmp_path, uv, options)}
    inner = {name: float(np.nanmean(row.placed.errors[17:])) for name, row in rows.items() if row.placed is not None}
    assert rows["right"].faces == 2 and inner["right"] < 0.01
    assert inner["off"] == pytest.approx(4 / measure.size_of(points), abs=0.01)
    values = report.values(list(rows.values()), "photos", "")
    report.write(list(rows.values()), values, tmp_path / "out", maps, options)
    assert (tmp_path / "out" / "worst.png").is_file()
    with pytest.raises(SpecError, match="--motion follows faces"):
        measure.evaluate(maps, tmp_path, uv, options, moving=True)


def test_scans_and_annotations_that_do_not_fit_are_refused(head: HeadModel, tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    path = tmp_path / "a.scan.obj"
    path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n" * 5)
    with pytest.raises(FormatError, match=r"a\.scan\.txt must hold"):
        scans.read_scan(path)
    marks = path.with_suffix(".txt")
    np.savetxt(marks, np.zeros((5, 3)))
    with pytest.raises(FormatError, match="7 or 68 rows"):
        scans.read_scan(path)
    np.savetxt(marks, np.random.default_rng(0).uniform(0, 3000, (7, 3)))
    with pytest.raises(FormatError, match="millimetres or metres"):
        scans.read_scan(path)
    path.write_bytes(b"\x00\x01")
    with pytest.raises(FormatError):
        scans.read_scan(path)
    with pytest.raises(DatasetError, match="no photo with"):
        reconstructions.compare(tmp_path, tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "landmarks.json").write_text(json.dumps({"b.png": [[1, 1]] * 68}))
    with pytest.raises(DatasetError, match="none of the photos"):
        reconstructions.compare(tmp_path, tmp_path)
