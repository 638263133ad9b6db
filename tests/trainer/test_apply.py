"""`gen apply` with a network that reads U and V out of red and green, so that the truth is known at every size."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import OpenEXR
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from renderer.errors import AssetError, DatasetError, FormatError, MachineError, SpecError
from renderer.format.sample_format import CENTRE_U, UV_FRAME
from renderer.report.video import Movie
from trainer.commands.apply import apply_ as apply_command
from trainer.data import pictures
from trainer.data.video import Frames
from trainer.systems.uvnet import trained
from trainer.systems.uvnet.config import NetworkConfig, UVNetConfig
from trainer.systems.uvnet.network import make_network
from trainer.training.checkpoint import save_weights
from trainer.uvmaps import apply_job, head_pose, results
from trainer.uvmaps import sheet as sheet_file
from trainer.uvmaps.apply_job import Job
from trainer.uvmaps.drawing import Needs, draw
from trainer.uvmaps.faces import Window, cut, put_back
from trainer.uvmaps.finding import TILE_PX, Options, find_faces, run_tiled
from trainer.uvmaps.tracking import Tracker

TINY = NetworkConfig(levels=2, initial_features=4, filter_sizes=(3, 3, 1))


class Oracle(torch.nn.Module):
    """U is red (from the left; in a mirrored picture from the right), V is green, and what is blue is face."""

    def __init__(self) -> None:
        super().__init__()
        self.largest_input = 0
        self.calls = 0

    def forward(self, picture: Tensor) -> Tensor:
        self.largest_input = max(self.largest_input, max(picture.shape[2:]))
        self.calls += 1
        mask = (picture[:, 2:3] - 0.3).clamp(0, 0.5) * 2
        visible = mask * (picture[:, 2:3] > 0.75)  # a darker blue is face behind something
        red, face = picture[:, :1], mask > 0.99
        rise = (red.diff(dim=3) * (face[..., 1:] & face[..., :-1])).sum((1, 2, 3), keepdim=True)
        return torch.cat([torch.where(rise < -1, 2 * CENTRE_U - red, red), picture[:, 1:2], mask, visible], 1)


def paint(canvas: np.ndarray, x: float, y: float, radius: float) -> None:
    """A round face at (x, y) whose colours are its UV."""
    rows, columns = np.mgrid[0 : canvas.shape[0], 0 : canvas.shape[1]] + 0.5
    u, v = (columns - x) / (2 * radius) + 0.5, 0.5 - (rows - y) / (2 * radius)
    inside = np.hypot(u - 0.5, v - 0.5) < 0.5
    canvas[inside] = np.stack([u, v, np.ones_like(u)], -1)[inside]


def picture_with(faces: list[tuple[float, float, float]], size: tuple[int, int] = (300, 400)) -> Tensor:
    canvas = np.tile([0.2, 0.4, 0.1], (*size, 1))
    for face in faces:
        paint(canvas, *face)
    return torch.from_numpy(canvas).permute(2, 0, 1)[None].float()


def save(picture: Tensor, path: Path) -> Path:
    Image.fromarray(pictures.to_bytes(picture)).save(path)
    return path


def run(job: Job, weights: Path, inputs: list[str], say: apply_job.Say = print) -> int:
    return apply_job.run_all(job, lambda: trained.load(weights), inputs, say)


def know_by_heart(monkeypatch: pytest.MonkeyPatch, network: nn.Module, header: dict[str, str]) -> None:
    """Have every weights file hold this network."""
    found = SimpleNamespace(module=network, header={"uv_frame": UV_FRAME, **header})
    monkeypatch.setattr(trained, "load_trained", lambda path, only: found)


@pytest.fixture
def oracle(monkeypatch: pytest.MonkeyPatch) -> Oracle:
    """All of `gen apply` but the weights, which are known by heart."""
    network = Oracle()
    know_by_heart(monkeypatch, network, {})
    return network


# ---------------------------------------------------------------- finding and reading faces


@pytest.mark.parametrize("radius", [20, 50, 140])
def test_a_face_of_any_size_is_found_and_its_uv_read_in_the_pictures_own_pixels(radius: float) -> None:
    picture = picture_with([(210.5, 150, radius)])
    [face] = find_faces(Oracle(), picture)
    left, top, right, bottom = face.box
    assert [left, top, right, bottom] == pytest.approx(
        [210.5 - radius, 150 - radius, 210.5 + radius, 150 + radius], abs=max(2, radius * 0.05)
    )
    maps = results.maps([face], 300, 400)
    sure = maps["mask"] > 0.99
    truth = picture[0].permute(1, 2, 0).numpy()
    assert sure.sum() > 0.7 * math.pi * radius**2
    assert np.abs(maps["uv"] - truth[..., :2])[sure].mean() < 0.02


def test_several_faces_are_found_and_drawn_in_one_picture() -> None:
    picture = picture_with([(70, 80, 40), (200, 180, 60), (340, 90, 35)])
    faces = find_faces(Oracle(), picture)
    centres = sorted(((f.box[0] + f.box[2]) / 2, (f.box[1] + f.box[3]) / 2) for f in faces)
    assert np.allclose(centres, [(70, 80), (200, 180), (340, 90)], atol=2)
    drawn = draw("texture", picture, faces, Needs(torch.zeros(1, 3, 8, 8)))
    for x, y in centres:
        assert float(drawn[0, :, int(y), int(x)].max()) < 0.05
    assert torch.equal(drawn[:, :, :30, :20], picture[:, :, :30, :20])


def test_something_small_beside_a_face_is_taken_for_a_part_of_it() -> None:
    near, far = (175, 150, 22), (330, 90, 22)
    assert len(find_faces(Oracle(), picture_with([near, far]))) == 2
    boxes = [face.box for face in find_faces(Oracle(), picture_with([(90, 150, 60), near, far]))]
    assert len(boxes) == 2 and not any(abs((left + right) / 2 - near[0]) < 10 for left, _, right, _ in boxes)


def test_a_face_cut_off_by_the_border_is_found() -> None:
    [face] = find_faces(Oracle(), picture_with([(0, 150, 80)]))
    assert face.box[0] <= 2
    maps = results.maps([face], 300, 400)
    assert maps["mask"][150, 5] > 0.9 and maps["uv"][150, 5] == pytest.approx([0.53, 0.5], abs=0.03)


def test_without_a_face_there_is_nothing() -> None:
    assert find_faces(Oracle(), picture_with([])) == []
    maps = results.maps([], 30, 40)
    assert maps["uv"].shape == (30, 40, 2) and float(np.abs(maps["uv"]).sum()) == 0


def test_what_the_mirrored_picture_does_not_show_alike_is_no_face(oracle: Oracle, tmp_path: Path) -> None:
    """The second patch has colours that go nowhere, so that its mirror image is told another UV."""
    picture = picture_with([(100, 100, 60)])
    blob = torch.hypot(*torch.meshgrid(torch.arange(300.0) - 200, torch.arange(400.0) - 300, indexing="ij")) < 60
    picture[0, 0][blob], picture[0, 1][blob], picture[0, 2][blob] = 0.1, 0.5, 1.0
    photo = save(picture, tmp_path / "photo.png")
    loose = find_faces(oracle, picture, Options(min_agreement=0))
    [face] = find_faces(oracle, picture)
    assert len(loose) == 2 and face.box[0] == pytest.approx(40, abs=3)
    for share, count in ((0.0, 2), (0.5, 1)):
        job = Job(tmp_path / f"{share}", min_agreement=share)
        assert run(job, tmp_path, [str(photo)]) == 0
        assert len(json.loads((job.out / "photo.json").read_text())["frames"][0]["faces"]) == count


def test_the_mirror_image_takes_out_what_is_wrong_to_one_side(oracle: Oracle) -> None:
    picture = picture_with([(100, 100, 60)])

    def leaning(part: Tensor) -> Tensor:
        return oracle(part) + torch.tensor([0.03, 0, 0, 0])[:, None, None]

    for mirrored, off in ((False, 0.03), (True, 0.0)):
        [truth] = find_faces(oracle, picture)
        [face] = find_faces(leaning, picture, Options(mirrored=mirrored))
        inside = truth.mask > 0.99
        assert (face.uv - truth.uv)[:, :1][inside].mean().item() == pytest.approx(off, abs=1e-3)


def test_a_huge_picture_never_reaches_the_network_whole() -> None:
    network = Oracle()
    picture = picture_with([(2000, 400, 150)], (800, 3000))
    [face] = find_faces(network, picture, Options(search_px=3000))
    assert network.largest_input <= TILE_PX
    assert (face.box[0] + face.box[2]) / 2 == pytest.approx(2000, abs=6)


def test_tiles_give_what_the_whole_picture_gives() -> None:
    picture = picture_with([(210, 150, 60)])
    whole, tiled = Oracle()(picture), run_tiled(Oracle(), picture, tile=96, overlap=32)
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


def test_hidden_parts_of_a_face_are_in_the_mask_but_not_visible() -> None:
    picture = picture_with([(200, 150, 70)])
    hidden = picture[:, 2:3, 150:, :]
    hidden[hidden > 0.9] = 0.7
    [face] = find_faces(Oracle(), picture)
    maps = results.maps([face], 300, 400)
    assert maps["mask"][180, 200] > 0.7 and maps["visible"][180, 200] < 0.1 and maps["visible"][120, 200] > 0.9


def test_a_face_is_followed_without_searching_the_picture_again() -> None:
    network = Oracle()
    tracker = Tracker(network)
    for frame in range(6):
        [face] = tracker.step(picture_with([(150 + 8 * frame, 150, 60)]))
        assert (face.box[0] + face.box[2]) / 2 == pytest.approx(150 + 8 * frame, abs=2)
        if frame == 0:
            first = network.calls
    assert network.calls == first + 5
    assert tracker.step(picture_with([])) == []
    assert len(tracker.step(picture_with([(300, 100, 40)]))) == 1


# ---------------------------------------------------------------- files


def test_windows_that_meet_on_one_face_follow_it_as_one() -> None:
    tracker = Tracker(Oracle())
    for gap in (100, 80, 60):
        assert len(tracker.step(picture_with([(200 - gap, 150, 50), (200 + gap, 150, 50)]))) == 2
    for _ in range(3):
        faces = tracker.step(picture_with([(200, 150, 60)]))  # seen in both windows
        assert len(faces) == 1
    assert faces[0].box == pytest.approx((140, 90, 260, 210), abs=3)


@pytest.mark.parametrize(("header", "size"), [({}, 128), ({"input_px": "64"}, 64), ({"input_px": "256"}, 256)])
def test_faces_are_scaled_to_the_size_that_the_network_was_trained_on(
    header: dict[str, str], size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, sizes = Oracle(), []
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    know_by_heart(monkeypatch, network, header)
    photo = save(picture_with([(210, 150, 100)]), tmp_path / "photo.png")
    assert run(Job(tmp_path / "out"), tmp_path, [str(photo)]) == 0
    assert sizes[-1] == (size, size)  # the last thing done is to read the face in its window
    assert len(json.loads((tmp_path / "out" / "photo.json").read_text())["frames"][0]["faces"]) == 1


def test_weights_of_an_impossible_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    about = {"run_id": "x", "uv_frame": UV_FRAME, "input_px": "many"}
    save_weights(path, make_network(TINY, 0).state_dict(), UVNetConfig(network=TINY), about)
    with pytest.raises(FormatError, match="'many' pixels"):
        trained.load(path)


def test_a_photo_gives_its_views_maps_and_numbers(oracle: Oracle, tmp_path: Path) -> None:
    photo = save(picture_with([(210, 150, 60)]), tmp_path / "photo.png")
    out = tmp_path / "out"
    views = ("lines", "points", "texture", "uv", "mask", "inverse", "swap")
    for kind in ("npz", "exr"):
        assert (
            run(
                Job(out, views, maps=kind, csv=True, swap=photo),
                lambda: trained.load(tmp_path),
                [str(photo)],
                print,
            )
            == 0
        )
    for view in views:
        with Image.open(out / f"photo.{view}.png") as image:
            assert image.size == ((256, 256) if view == "inverse" else (400, 300))
    with np.load(out / "photo.npz") as maps:
        assert maps["uv"].shape == (300, 400, 2) and maps["mask"].shape == maps["visible"].shape == (300, 400)
        uv = maps["uv"][150, 210]
    with OpenEXR.File(str(out / "photo.exr"), separate_channels=True) as file:
        assert set(file.channels()) == {"U", "V", "mask", "visible"}
        assert file.channels()["U"].pixels[150, 210] == uv[0]
    record = json.loads((out / "photo.json").read_text())
    assert record["width"] == 400 and len(record["frames"][0]["faces"]) == 1
    with (out / "photo.csv").open() as file_:
        assert len(list(csv.DictReader(file_))) == 1


def test_a_sheet_shows_photos_and_views_of_two_networks_around_the_faces(oracle: Oracle, tmp_path: Path) -> None:
    face = save(picture_with([(280, 90, 50)]), tmp_path / "face.png")
    none = save(picture_with([]), tmp_path / "none.png")
    blind = lambda: lambda picture: torch.zeros(len(picture), 4, *picture.shape[2:])  # noqa: E731
    job = Job(tmp_path / "out", views=("mask", "uv"), sheet=True, beside=tmp_path / "blind")
    assert apply_job.run_all(job, lambda: oracle, [str(face), str(none)], print, blind) == 0
    with Image.open(tmp_path / "out" / "sheet.png") as image:
        sheet = np.asarray(image)
    row = sheet_file.ROW_PX + sheet_file.CAPTION_PX + sheet_file.GAP_PX
    assert sheet.shape[0] == 4 * row
    middle = sheet_file.CAPTION_PX + sheet_file.ROW_PX // 2
    column = 1.5 * sheet_file.ROW_PX + sheet_file.GAP_PX  # in the middle of the mask of a square part
    assert sheet[middle, int(column)].min() > 250  # the face, white
    assert (
        sheet[row + middle, int(column)].tolist() == sheet[row + middle, sheet_file.ROW_PX // 2].tolist()
    )  # nothing found
    with pytest.raises(SpecError, match="--sheet"):
        apply_job.run_all(Job(tmp_path / "out", beside=tmp_path / "blind"), lambda: oracle, [str(face)], print)


def test_a_photo_gives_a_mesh_of_its_face_with_its_texture(oracle: Oracle, head_pack: Path, tmp_path: Path) -> None:
    photo = save(picture_with([(150, 150, 60), (320, 100, 40)]), tmp_path / "photo.png")
    job = Job(tmp_path / "out", ("uv",), mesh="visible")
    assert run(job, tmp_path, [str(photo)]) == 0
    made = {p.name for p in (tmp_path / "out").glob("*face*")}
    assert made == {f"photo.face{i}{s}" for i in (0, 1) for s in (".obj", ".mtl", ".png", ".glb")}
    with Image.open(tmp_path / "out" / "photo.face0.png") as image:  # of this face the texture is its UV
        texture = np.asarray(image)
        assert texture[image.height // 2, image.width // 4] == pytest.approx([64, 128, 255], abs=12)
    [first, _] = json.loads((tmp_path / "out" / "photo.json").read_text())["frames"][0]["faces"]
    assert set(first["fit"]["macros"]) >= {"sex", "age"} and first["fit"]["pixels_per_m"] > 0
    left, top, right, bottom = first["box"]
    assert left < first["fit"]["origin_px"][0] < right and top < first["fit"]["origin_px"][1] < bottom


def test_a_video_gives_a_video_and_a_record_per_frame(oracle: Oracle, tmp_path: Path) -> None:
    movie = Movie(tmp_path / "clip.mp4", 25)
    for frame in range(8):
        movie.add(pictures.to_bytes(picture_with([(80 + 5 * frame, 64, 30)], (128, 192))))
    movie.close()
    said: list[str] = []
    job = Job(tmp_path / "out", ("lines", "inverse"))
    assert run(job, tmp_path, [str(movie.path)], said.append) == 0
    with Image.open(tmp_path / "out" / "clip.texture-of-all.png") as image:
        assert np.asarray(image)[image.height // 2, image.width // 2] == pytest.approx([128, 128, 255], abs=12)
    assert any("8 frames, 8 with a face" in line and "frames/s" in line for line in said)
    frames = Frames(str(tmp_path / "out" / "clip.lines.mp4"), 4000)
    assert [f.shape for f in frames] == [(128, 192, 3)] * 8 and frames.rate == 25
    record = json.loads((tmp_path / "out" / "clip.json").read_text())
    boxes = [f["faces"][0]["box"] for f in record["frames"]]
    assert [(b[0] + b[2]) / 2 for b in boxes] == pytest.approx([80 + 5 * i for i in range(8)], abs=2)


def test_a_video_cut_short_gives_what_it_holds_and_says_so(oracle: Oracle, tmp_path: Path) -> None:
    movie = Movie(tmp_path / "clip.mkv.mp4", 25)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        movie.add(pictures.to_bytes(torch.rand(1, 3, 128, 192, generator=generator)))
    movie.close()
    import av

    path = tmp_path / "clip.mkv"  # an MP4 has its index at the end; a Matroska file can be read until it breaks
    with av.open(str(movie.path)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    whole = sum(1 for _ in Frames(str(path), 4000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    said: list[str] = []
    run(Job(tmp_path / "out", ("lines",)), tmp_path, [str(path)], said.append)
    found = len(json.loads((tmp_path / "out" / "clip.json").read_text())["frames"])
    assert whole == 40 and 0 < found < 40
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(movie.path.read_bytes()[: movie.path.stat().st_size // 2])
    assert run(Job(tmp_path / "out"), tmp_path, [str(broken)], said.append) == 1
    assert any("broken.mp4 cannot be read as a video" in line for line in said)


def test_one_bad_file_does_not_stop_the_others(oracle: Oracle, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    save(picture_with([(210, 150, 60)]), folder / "b.png")
    (folder / "a.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("left alone")
    said: list[str] = []
    assert run(Job(tmp_path / "out"), tmp_path, [str(folder)], said.append) == 1
    assert (tmp_path / "out" / "b.lines.png").is_file()
    assert sum("a.jpg" in line for line in said) == 1 and not any("notes" in line for line in said)


def test_a_webcam_that_is_not_there_does_not_stop_the_others(
    oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_camera(_: Frames) -> Any:
        raise DatasetError("webcam 7 cannot be opened")

    monkeypatch.setattr(Frames, "_webcam", no_camera)
    monkeypatch.chdir(tmp_path)
    save(picture_with([(200, 150, 60)]), tmp_path / "photo.png")
    said: list[str] = []
    failed = run(Job(tmp_path / "out"), tmp_path, ["7", "photo.png"], said.append)
    assert failed == 1 and (tmp_path / "out" / "photo.json").is_file() and "webcam 7" in " ".join(said)


@pytest.mark.parametrize("max_side", [2048, 30])
def test_a_photo_of_16_bits_keeps_its_greys(max_side: int, tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(40, 0)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    found = pictures.read_picture(tmp_path / "deep.png", max_side)
    assert found.max() >= 247 and found.min() <= 8
    assert abs(float(found.mean()) - 127.5) < 1


def test_a_photo_larger_than_allowed_is_scaled_down_while_it_is_read(tmp_path: Path) -> None:
    path = save(torch.zeros(1, 3, 1500, 3000), tmp_path / "large.jpg")
    assert pictures.read_picture(path, 600).shape == (300, 600, 3)


def test_same_names_do_not_overwrite_each_other(oracle: Oracle, tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp"):
        save(picture_with([]), tmp_path / name)
    run(
        Job(tmp_path / "out", ("uv",)),
        tmp_path,
        [str(tmp_path / n) for n in ("a.png", "a.bmp")],
        print,
    )
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a-2.uv.png", "a.uv.png"]


# ---------------------------------------------------------------- the command


def weights(path: Path, frame: str = UV_FRAME) -> Path:
    save_weights(
        path, make_network(TINY, 0).state_dict(), UVNetConfig(network=TINY), {"run_id": "x", "uv_frame": frame}
    )
    return path


def test_a_photo_without_a_face_says_so_and_ends_well(tmp_path: Path) -> None:
    photo = save(torch.zeros(1, 3, 64, 64), tmp_path / "black.png")
    result = CliRunner().invoke(
        apply_command,
        [
            str(photo),
            "--run",
            str(weights(tmp_path / "w.safetensors")),
            "--out",
            str(tmp_path / "out"),
            "--maps",
            "npz",
        ],
    )
    assert result.exit_code == 0 and "no face found" in result.output
    assert json.loads((tmp_path / "out" / "black.json").read_text())["frames"] == [{"frame": 0, "faces": []}]
    with np.load(tmp_path / "out" / "black.npz") as maps:
        assert not maps["mask"].any()


def test_weights_among_the_pictures_are_told_their_option(tmp_path: Path) -> None:
    result = CliRunner().invoke(apply_command, [str(weights(tmp_path / "w.safetensors")), "photo.png"])
    assert isinstance(result.exception, SpecError) and "name it as --run" in str(result.exception)


@pytest.mark.parametrize(
    "device",
    ["nonsense", pytest.param("cuda", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA"))],
)
def test_a_device_that_is_not_there_is_refused(device: str, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=device):
        trained.load(weights(tmp_path / "w.safetensors"), device)


def test_pictures_reach_the_device_of_the_network() -> None:
    class Probe(torch.nn.Module):
        def forward(self, picture: Tensor) -> Tensor:
            places.append(picture.device.type)
            return torch.zeros(1)

    places: list[str] = []
    result = trained.OnDevice(Probe(), torch.device("meta"))(torch.zeros(1, 3, 8, 8))
    assert places == ["meta"] and result.device.type == "cpu"


def test_weights_of_another_uv_frame_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="other-head"):
        trained.load(weights(tmp_path / "w.safetensors", "other-head-1"))


def test_swapping_needs_a_photo_with_a_face(oracle: Oracle, tmp_path: Path) -> None:
    empty = save(picture_with([]), tmp_path / "empty.png")
    with pytest.raises(SpecError, match="--swap"):
        run(Job(tmp_path, ("swap",)), tmp_path, [str(empty)])
    with pytest.raises(AssetError, match=r"empty\.png"):
        run(Job(tmp_path, ("swap",), swap=empty), tmp_path, [str(empty)], print)


def test_an_unknown_view_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="sparkles"):
        run(Job(tmp_path, ("sparkles",)), tmp_path / "none", ["x"])


# ---------------------------------------------------------------- head pose


class FakeHead:
    """A ball of 10 cm radius as head: `positions_at` is patched to know it."""


def test_the_pose_of_a_turned_ball_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def positions(_: Any, uv: np.ndarray) -> np.ndarray:
        longitude, latitude = (uv[:, 0] - 0.5) * 2.4, (uv[:, 1] - 0.5) * 2.4
        at = [np.sin(longitude) * np.cos(latitude), np.sin(latitude), np.cos(longitude) * np.cos(latitude)]
        return (0.1 * np.stack(at, 1)).astype(np.float32)

    monkeypatch.setattr(head_pose, "positions_at", positions)
    yaw, pitch, roll = np.radians([25.0, -10.0, 15.0])
    turn = (
        np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
        @ np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    )
    rows, columns = np.mgrid[0:128, 0:128] + 0.5
    x, y = (columns - 64) / 50, (64 - rows) / 50
    seen = x**2 + y**2 < 0.9
    facing = np.stack([x, y, np.sqrt(np.clip(1 - x**2 - y**2, 0, None))], -1) @ turn  # in head space
    uv = np.stack([np.arctan2(facing[..., 0], facing[..., 2]), np.arcsin(facing[..., 1].clip(-1, 1))], -1) / 2.4 + 0.5
    mask = seen & (np.abs(uv - 0.5) < 0.5).all(-1)
    uv[20:40, 40:60] = 0.1  # wrong UVs in a corner must not turn the head
    pose = head_pose.head_pose(FakeHead(), uv, mask.astype(float))  # type: ignore[arg-type]
    assert pose is not None
    assert np.degrees([pose.yaw_rad, pose.pitch_rad, pose.roll_rad]) == pytest.approx([25, -10, 15], abs=2)
    assert pose.focal_px / -pose.position_m[2] * 0.1 == pytest.approx(50, rel=0.05)


def test_too_small_a_face_has_no_pose(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((64, 64))
    mask[:5, :5] = 1
    assert head_pose.head_pose(FakeHead(), np.zeros((64, 64, 2)), mask) is None  # type: ignore[arg-type]


def test_views_may_not_move_what_lies_outside_the_window() -> None:
    picture = torch.rand(1, 3, 20, 30)
    window = Window(-5, 10, 16)
    out = torch.zeros_like(picture)
    put_back(out, cut(picture, window), window)
    assert torch.equal(out[:, :, 10:, :11], picture[:, :, 10:, :11])
    assert float(F.pad(out, (0, 0)).abs().sum()) == pytest.approx(float(picture[:, :, 10:, :11].sum()), rel=1e-5)
