"""`gen evaluate` on annotated photos, on small pictures with known answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from renderer.errors import DatasetError, FormatError
from renderer.format.sample_format import UV_FRAME
from trainer.commands.evaluate import evaluate as evaluate_command
from trainer.data import pictures
from trainer.evaluation.photos import masks, measure, motion, occluders, points, report, summary
from trainer.evaluation.photos.annotations import Annotated, read_annotations, with_points
from trainer.systems.registry import parse_config
from trainer.systems.uvnet.network import make_network
from trainer.training.checkpoint import save_weights
from trainer.uvmaps import head_pose
from trainer.uvmaps.finding import Options

POINTS = np.random.default_rng(3).uniform(20, 100, (68, 2))
UV = np.random.default_rng(0).uniform(0.3, 0.7, (68, 2))
KEEP_ALL = Options(min_agreement=0)


def write_pts(path: Path, found: np.ndarray) -> None:
    rows = "\n".join(f"{x:.4f} {y:.4f}" for x, y in found)
    path.write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def write_index(folder: Path, *items: dict[str, Any], version: int = 1) -> None:
    (folder / "index.json").write_text(json.dumps({"version": version, "items": items}))


# ---------------------------------------------------------------- annotations


def test_all_kinds_of_annotation_are_read_in_one_frame(tmp_path: Path) -> None:
    listed = tmp_path / "listed"
    listed.mkdir()
    for file in (tmp_path / "a.png", tmp_path / "b.jpg", tmp_path / "c.jpg", tmp_path / "no.png", listed / "d.png"):
        Image.new("RGB", (120, 120)).save(file)
    known = [[x, y] for x, y in POINTS[:67].tolist()] + [None]
    (tmp_path / "landmarks.json").write_text(json.dumps({"a.png": known}))
    write_pts(tmp_path / "b.pts", POINTS + 0.5)
    savemat(tmp_path / "c.mat", {"pt3d_68": np.vstack([(POINTS + 0.5).T, np.zeros(68)])})
    write_index(listed, {"image": "d.png", "landmarks68": [p and [p[0] - 0.5, p[1] - 0.5] for p in known]})
    found = {item.photo.name: item for folder in (tmp_path, listed) for item in read_annotations(folder)}
    assert set(found) == {"a.png", "b.jpg", "c.jpg", "d.png"}
    for item in found.values():
        assert item.points is not None and item.visible is not None and item.box is not None
        assert np.allclose(item.points[:67], POINTS[:67], atol=1e-3) and item.visible[:67].all()
    for name in ("a.png", "d.png"):
        assert np.isnan(found[name].points[67]).all() and not found[name].visible[67]
    assert found["b.jpg"].contour2d and not found["c.jpg"].contour2d


def test_an_index_says_what_is_seen_labelled_and_empty(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    write_index(
        tmp_path,
        {"image": "a.png", "set": "x", "landmarks68": POINTS.tolist(), "visible68": [0] * 17 + [1] * 51, "yaw": -40,
         "bbox": [1, 2, 3, 4]},
        {"image": "a.png", "labels": "a.png", "face_hull": [[0, 0], [7, 0], [7, 7]], "yaw_nominal": 90},
        {"image": "a.png", "set": "negative"},
        {"image": "a.png", "set": "negative", "no_face": False},
    )  # fmt: skip
    face, labelled, empty, other = read_annotations(tmp_path)
    assert face.visible is not None and face.visible.sum() == 51 and face.yaw_deg == -40 and face.group == "x"
    assert face.box is not None and face.box.tolist() == [1.5, 2.5, 3.5, 4.5]
    assert labelled.labels == tmp_path / "a.png" and labelled.yaw_nominal_deg == 90
    assert empty.no_face and not other.no_face and not face.no_face


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pts", "{ 1 2 }"), ("a.pts", "{ one two }"), ("a.mat", "no mat"), ("landmarks.json", '{"a.png": [[1, 2]]}'),
     ("landmarks.json", "[]"), ("landmarks.json", "{"), ("index.json", "{"), ("index.json", '{"items": []}'),
     ("index.json", '{"version": 9, "items": []}'), ("index.json", '{"version": 1, "items": [{"set": "x"}]}'),
     ("index.json", '{"version": 1, "items": [{"image": "a.png", "labels": "a.png"}]}'),
     ("index.json", '{"version": 1, "items": [{"image": "a.png", "landmarks68": [[1, 2]]}]}')],
)  # fmt: skip
def test_a_bad_annotation_is_refused_by_name(name: str, content: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / name).write_text(content)
    with pytest.raises(FormatError, match=name):
        read_annotations(tmp_path)


def test_a_folder_without_annotations_or_photos_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"landmarks\.json"):
        read_annotations(tmp_path)
    write_index(tmp_path, {"image": "gone.png", "no_face": True})
    with pytest.raises(DatasetError, match=r"gone\.png"):
        read_annotations(tmp_path)


# ---------------------------------------------------------------- points


def affine_face(shift: tuple[float, float] = (0, 0), offset: float = 0.0) -> tuple[Annotated, points.FaceMap]:
    """A face of 100 pixels in a picture of 160 x 140, whose map is moved by `shift` pixels and by `offset` in UV."""
    y, x = np.mgrid[0:140, 0:160] + 0.5
    uv = np.stack([(x - shift[0] - 30) / 100, (y - shift[1] - 20) / 100], -1) + offset
    mask = np.hypot(x - 80, y - 70) < 45
    item = with_points(Path("a.png"), UV * 100 + [30, 20])
    assert item.box is not None
    face, covered = points.face_map(uv, mask, item.box)
    assert face is not None and covered == pytest.approx(1, abs=0.05)
    return item, face


def test_a_map_that_is_moved_gives_the_length_of_the_way() -> None:
    item, face = affine_face(shift=(3, -4))
    placed = measure.place(face, item, UV)
    assert item.points is not None
    assert placed.errors == pytest.approx(5 / measure.size_of(item.points))
    assert (placed.how == points.INSIDE).all()
    assert placed.seen_uv == pytest.approx(UV - [0.03, -0.04])


def test_points_in_holes_are_extended_to_and_others_fall_on_the_nearest_pixel() -> None:
    item, face = affine_face()
    assert item.points is not None
    row, column = int(item.points[40, 1]) - face.y, int(item.points[40, 0]) - face.x
    face.uv[row - 1 : row + 2, column - 1 : column + 2] = np.nan
    placed = measure.place(face, item, UV)
    assert placed.how[40] == points.BESIDE and placed.errors[40] == pytest.approx(0, abs=1e-6)
    wanted = np.vstack([UV[:67], [[0.5, 2.0]]])
    places, how = points.locate(face, wanted)
    assert how[67] == points.NOT_SHOWN and places[67, 1] == face.y + len(face.uv) - 0.5


def test_only_the_annotated_one_of_two_faces_counts() -> None:
    item, _ = affine_face()
    y, x = np.mgrid[0:140, 0:400] + 0.5
    second = x > 200
    uv = np.stack([(x - np.where(second, 230, 30)) / 100, (y - 20) / 100], -1)
    assert item.box is not None
    face, _ = points.face_map(uv, np.hypot(x - np.where(second, 280, 80), y - 70) < 45, item.box)
    assert face is not None and measure.place(face, item, UV).errors == pytest.approx(0, abs=1e-9)
    nothing, covered = points.face_map(uv, np.zeros((140, 400)), item.box)
    assert nothing is None and covered == 0


def test_learnt_uvs_take_out_what_is_the_same_in_every_photo_and_nothing_else() -> None:
    names = [f"photo{i}" for i in range(120)]
    same, moved = np.empty((120, 68, 2)), np.empty((120, 68, 2))
    rng = np.random.default_rng(1)
    for i in range(120):
        same[i], moved[i] = UV + 0.03, UV + rng.normal(0, 0.03, 2)
    for count in (20, 120):  # of a small set, of a large one
        learnt = points.learnt_uv(names[:count], same[:count], UV)
        assert learnt[:, 17:] == pytest.approx(np.broadcast_to(UV[17:] + 0.03, (count, 51, 2)))
        assert (learnt[:, :17] == UV[:17]).all()
        assert np.abs(points.learnt_uv(names[:count], moved[:count], UV) - moved[:count]).mean() > 0.015
    few = np.where(np.arange(20)[:, None, None] < 5, same[:20], np.nan)
    assert (points.learnt_uv(names[:20], few, UV) == UV).all()  # seen too rarely


# ---------------------------------------------------------------- masks


def test_masks_are_scored_where_labels_say_what_they_should_be() -> None:
    codes = np.zeros((60, 60), np.uint8)
    codes[10:50, 10:50] = masks.CODES["skin"]
    codes[10:20, 10:50] = masks.CODES["hair"]
    codes[30:34, 20:40] = masks.CODES["glasses"]
    codes[50:55, 10:50] = masks.CODES["neck"]
    full, visible = masks.targets(codes, np.array([[10.5, 8.5], [49.5, 8.5], [49.5, 49.5], [10.5, 49.5]]))
    assert full[15, 30] == 1 and visible[15, 30] == 0  # hair well inside the face
    assert full[32, 30] == 1 and visible[32, 30] == -1  # glasses, dark or clear
    assert full[52, 30] == visible[52, 30] == -1 and full[25, 30] == visible[25, 30] == 1
    assert full[30, 5] == 0 and full[30, 10] == full[30, 9] == -1  # beside a border of the labels
    assert masks.scores(full == 1, full)["iou"] == masks.scores(visible == 1, visible)["iou"] == 1
    target = np.zeros((10, 10), np.int8)
    target[:, :4], target[:, 8:] = 1, -1
    found = np.zeros((10, 10), bool)
    found[:, 2:6] = found[:, 8:] = True
    assert masks.scores(found, target) == {"iou": 2 / 6, "f1": 0.5, "precision": 0.5, "recall": 0.5}


@pytest.mark.parametrize(("mode", "colour"), [("L", 99), ("RGB", (1, 1, 1))])
def test_labels_of_unknown_codes_are_refused(mode: str, colour: Any, tmp_path: Path) -> None:
    Image.new(mode, (4, 4), colour).save(tmp_path / "a.png")
    with pytest.raises(FormatError, match=r"a\.png"):
        masks.read_labels(tmp_path / "a.png", (4, 4))


# ---------------------------------------------------------------- a network at work


class Oracle(torch.nn.Module):
    """U is red, V is green, face is blue."""

    def forward(self, picture: Tensor) -> Tensor:
        mask = (picture[:, 2:3] - 0.3).clamp(0, 0.5) * 2
        return torch.cat([picture[:, :2], mask, mask], 1)


def face_picture(size: tuple[int, int], *faces: tuple[float, float, float]) -> np.ndarray:
    """Discs that an `Oracle` reads: (x, y, radius) each. (H, W, 3) bytes."""
    canvas = np.zeros((size[1], size[0], 3))
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] + 0.5
    for x, y, radius in faces:
        u, v = (columns - x) / (2 * radius) + 0.5, 0.5 - (rows - y) / (2 * radius)
        inside = np.hypot(u - 0.5, v - 0.5) < 0.5
        canvas[inside] = np.stack([u, v, np.ones_like(u)], -1)[inside]
    return np.asarray(canvas * 255, np.uint8)


def on_face(x: float, y: float, radius: float) -> np.ndarray:
    """Pixels of the 68 points on a disc."""
    return np.stack([(UV[:, 0] - 0.5) * 2 * radius + x, (0.5 - UV[:, 1]) * 2 * radius + y], 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two faces, the second annotated and the first labelled; a face annotated where none is; pictures called empty."""
    folder = tmp_path / "photos"
    folder.mkdir()
    two = face_picture((320, 240), (100, 120, 60), (250, 120, 50))
    Image.fromarray(two).save(folder / "two.png")
    Image.new("RGB", (320, 240)).save(folder / "none.png")
    labelled = (two[..., 2] > 128) & (np.arange(320) < 180)
    Image.fromarray(labelled.astype(np.uint8)).save(folder / "labels.png")
    truth = (on_face(250, 120, 50) - 0.5).tolist()
    write_index(
        folder,
        {"image": "two.png", "set": "faces", "landmarks68": truth, "yaw": -45},
        {"image": "none.png", "set": "faces", "landmarks68": truth, "yaw": 0},
        {"image": "two.png", "set": "parts", "labels": "labels.png", "face_hull": [[0, 0], [319, 0], [319, 239]]},
        {"image": "two.png", "set": "negative"},
        {"image": "none.png", "set": "negative"},
    )
    return folder


def test_what_is_found_is_scored_and_what_is_not_is_counted(photos: Path, tmp_path: Path) -> None:
    rows = measure.evaluate(Oracle(), photos, UV, KEEP_ALL)
    found = report.values(rows, "photos", "")
    table = found["landmarks"]["faces"]
    assert table["51 points"]["photos"] == table["51 points"]["not_found"] == 1
    assert table["68 points"]["nme"] < 1.5 and table["68 points"]["over10"] == 50
    assert table["51 points"]["auc10"] == pytest.approx(0.5, abs=0.08)
    assert table["51 points, yaw 30-60"]["not_found"] == 0 and table["51 points, yaw 0-30"]["photos"] == 0
    assert found["masks"]["parts"]["full mask"]["iou"] == pytest.approx(60**2 / (60**2 + 50**2), abs=0.03)
    assert found["without_face"]["with_a_face"] == 1 and found["without_face"]["over_5_percent"] == 50
    assert found["metrics"]["nme_51_learnt"] is None  # of one face there is nothing to learn
    report.write(rows, found, tmp_path / "out", Oracle(), KEEP_ALL)
    stored = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert stored["samples"] == 5 and [r["name"] for r in stored["worst"]["rows"]] == ["none.png", "two.png"]
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names >= {"evaluation.txt", "curves.svg", "worst.png", "worst-masks.png", "false-faces.png"}
    with Image.open(tmp_path / "out" / "worst.png") as sheet:
        tile = report.TILE_PX
        assert sheet.size == (3 * tile, 2 * tile)
        # the annotated face lies in the middle of its tile, and its mask is white
        assert sheet.getpixel((2 * tile + tile // 2, tile + tile // 2)) == (255, 255, 255)
    text = report.text(found)
    assert "in 1 of 2 pictures one is found" in text and "51 points, yaw 30-60" in text


def test_a_face_that_is_found_is_drawn_where_it_is_annotated(photos: Path) -> None:
    row = measure.evaluate(Oracle(), photos, UV, KEEP_ALL)[0]
    assert row.faces == 2 and row.placed is not None
    assert np.abs(row.placed.places - on_face(250, 120, 50)).max() < 1.5


def test_someone_beside_the_annotated_face_can_be_left_out(tmp_path: Path) -> None:
    """The larger disc reaches into the surroundings of the annotated face, and has more pixels of each UV."""
    Image.fromarray(face_picture((330, 240), (130, 120, 70), (250, 120, 40))).save(tmp_path / "two.png")
    truth = (on_face(250, 120, 40) - 0.5).tolist()
    write_index(tmp_path, {"image": "two.png", "landmarks68": truth, "bbox": [180, 50, 320, 190]})
    [row] = measure.evaluate(Oracle(), tmp_path, UV, KEEP_ALL)
    table = summary.landmark_table([row])
    assert row.faces == 2 and table["51 points"]["nme"] > 50
    assert table["51 points, other faces left out"]["nme"] < 3


class Fixed(torch.nn.Module):
    """Sees what it saw in a first picture, whatever covers it."""

    def __init__(self, honest: bool) -> None:
        super().__init__()
        self.honest = honest

    def forward(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[2:]
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        u, v = x / width, 1 - y / height
        mask = (torch.hypot(u - 0.5, v - 0.5) < 0.32).float()
        seen = mask * (picture[:, 2] > 0.98).float()[0] if self.honest else mask
        return torch.stack([u, v, mask, seen])[None].expand(len(picture), -1, -1, -1)


@pytest.mark.parametrize("honest", [True, False])
def test_occluders_tell_masks_that_are_kept_from_masks_that_are_left(honest: bool, monkeypatch: Any) -> None:
    def maps(network: Any, picture: np.ndarray, options: Options) -> tuple[dict[str, np.ndarray], list[Any]]:
        uv = network(pictures.to_tensor(picture))[0].permute(1, 2, 0).numpy()
        return {"uv": uv[..., :2], "mask": uv[..., 2], "visible": uv[..., 3]}, []

    monkeypatch.setattr(measure, "network_maps", maps)
    layout = face_points()
    picture = np.full((200, 200, 3), 255, np.uint8)
    item = with_points(Path("a.png"), layout * 200)
    uv = np.stack([layout[:, 0], 1 - layout[:, 1]], 1)
    network = Fixed(honest)
    row, _ = measure.measure(network, picture, item, uv, KEEP_ALL)
    row.occluded = list(measure._occluded(network, picture, item, uv, KEEP_ALL))
    table = summary.occluder_table([row])
    assert set(table) == {"all", *occluders.KINDS} and table["all"]["photos"] == 3
    assert table["surgical mask"]["kept"] == 100 and table["sunglasses"]["kept"] == 100
    assert table["sunglasses"]["left"] == pytest.approx(0 if honest else 100, abs=5)
    assert table["sunglasses"]["beside"] == pytest.approx(100, abs=5)
    assert table["all"]["covered"] == pytest.approx(table["all"]["covered_without"], abs=1e-6)


def face_points() -> np.ndarray:
    """68 points of a plain face in a unit square."""
    turn = np.linspace(np.pi, 0, 17)
    jaw = np.stack([0.5 + 0.26 * np.cos(turn), 0.48 + 0.28 * np.sin(turn)], 1)
    brows = np.array([[x, 0.36] for x in (0.3, 0.34, 0.38, 0.42, 0.46, 0.54, 0.58, 0.62, 0.66, 0.7)])
    nose = np.array([[0.5, y] for y in (0.42, 0.46, 0.5, 0.54)] + [[x, 0.57] for x in (0.45, 0.475, 0.5, 0.525, 0.55)])
    ring = np.array([[-0.04, 0], [-0.015, -0.015], [0.015, -0.015], [0.04, 0], [0.015, 0.015], [-0.015, 0.015]])
    eyes = np.concatenate([ring + np.array([x, 0.43]) for x in (0.39, 0.61)])
    turn = np.linspace(-np.pi, np.pi, 20, endpoint=False)
    mouth = np.stack([0.5 + 0.08 * np.cos(turn), 0.65 + 0.03 * np.sin(turn)], 1)
    return np.concatenate([jaw, brows, nose, eyes, mouth])


def test_occluders_cover_what_they_are_named_after() -> None:
    layout, picture = face_points() * 200, np.full((200, 200, 3), 128, np.uint8)
    pixels = layout.astype(int)

    def covered(kind: str) -> np.ndarray:
        drawn, cover = occluders.occlude(picture, layout, kind, "a")
        again, _ = occluders.occlude(picture, layout, kind, "a")
        assert (drawn == again).all() and cover.any() and (drawn[~cover & (cover == 0)] >= 0).all()
        return np.asarray(cover[pixels[:, 1], pixels[:, 0]])

    mask, glasses = covered("surgical mask"), covered("sunglasses")
    assert mask[48:].all() and mask[30] and not mask[36:48].any()  # mouth and nose, no eye
    assert glasses[36:48].all() and not glasses[48:].any()
    assert 0.003 < np.mean(occluders.occlude(picture, layout, "blob", "a")[1]) < 0.15


# ---------------------------------------------------------------- the command


def test_a_photo_is_made_smaller_while_it_is_read_and_its_points_with_it(tmp_path: Path, monkeypatch: Any) -> None:
    upright = Image.fromarray(face_picture((600, 400), (350, 180, 120)))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    upright.rotate(90, expand=True).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "landmarks.json").write_text(json.dumps({"a.png": on_face(350, 180, 120).tolist()}))
    seen: list[tuple[int, ...]] = []
    to_tensor = pictures.to_tensor
    monkeypatch.setattr(pictures, "to_tensor", lambda picture: seen.append(picture.shape) or to_tensor(picture))
    rows = measure.evaluate(Oracle(), tmp_path, UV, KEEP_ALL, max_side=300)
    assert seen == [(200, 300, 3)]
    assert summary.landmark_table(rows)["68 points"]["nme"] < 3


def test_occluders_are_drawn_by_the_points_found_where_none_are_annotated(tmp_path: Path) -> None:
    Image.fromarray(face_picture((320, 240), (100, 120, 60))).save(tmp_path / "a.png")
    Image.new("RGB", (320, 240)).save(tmp_path / "none.png")
    found, none = measure.evaluate(Oracle(), tmp_path, face_uv(), KEEP_ALL, occluded=True)
    assert [o.kind for o in found.occluded] == list(occluders.KINDS) and not none.occluded
    mask = found.occluded[0]
    assert mask.covered[48:].all() and mask.kept < 0.9  # the oracle takes what is not blue for none of the face
    table = summary.occluder_table([found, none])
    assert table["all"]["photos"] == 3 and table["all"]["times"] is None
    assert summary.landmark_table([found, none]) == {}


class Trembling(Oracle):
    """Sees every other picture shifted in U."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step, self.calls = step, 0

    def forward(self, picture: Tensor) -> Tensor:
        self.calls += 1
        out = super().forward(picture)
        out[:, 0] += self.step * (self.calls % 2)
        return out


def test_jitter_on_moved_photos_is_what_trembles_and_not_the_motion(tmp_path: Path) -> None:
    Image.fromarray(face_picture((240, 240), (120, 120, 60))).save(tmp_path / "a.png")
    (tmp_path / "landmarks.json").write_text(json.dumps({"a.png": on_face(120, 120, 60).tolist()}))
    steady, shaking = (measure.evaluate(network, tmp_path, UV, KEEP_ALL, moving=True)[0].jitter
                       for network in (Oracle(), Trembling(0.05)))  # fmt: skip
    assert steady is not None and shaking is not None and steady < 0.004
    # points 0 and 0.05 of 120 pixels aside in turn: second differences of 12 pixels
    box = np.ptp(on_face(120, 120, 60), axis=0)
    assert shaking == pytest.approx(12 / np.sqrt(6) / np.sqrt(np.prod(box)), rel=0.1)
    item = with_points(tmp_path / "a.png", on_face(120, 120, 60))
    assert item.box is not None
    frames = list(motion.moved(face_picture((240, 240), (120, 120, 60)), item.box, "a"))
    ways = np.array([matrix @ [120, 120, 1] for _, matrix in frames])
    assert len(frames) == motion.FRAMES and 2 < np.ptp(ways, axis=0).max() < 15


def face_uv() -> np.ndarray:
    """UVs of `face_points`, on a face that fills the square."""
    return np.stack([face_points()[:, 0], 1 - face_points()[:, 1]], 1)


def test_photos_are_evaluated_by_the_same_command(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(head_pose, "landmark_uv", lambda: torch.from_numpy(UV).float())
    config = parse_config({"network": {"levels": 2, "initial_features": 4, "filter_sizes": [3, 3, 1]}}, "test")
    weights = tmp_path / "w.safetensors"
    save_weights(weights, make_network(config.network, 0).state_dict(), config, {"uv_frame": UV_FRAME})
    result = CliRunner().invoke(evaluate_command, [str(weights), str(photos), "--json", "--occluders"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)  # progress goes to the other stream
    assert found["not_found"] == 2 and found["over10"] == 100 and found["nme_51"] is None
    assert (tmp_path / "evaluation-photos" / "evaluation.json").is_file()
