"""`gen capture`: caches, glTF, errors, the page in headless Chromium, and what is refused."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from click.testing import CliRunner

from renderer.cli import main
from renderer.format.point_cache import read_point_cache, write_mdd, write_pc2
from renderer.report.video import Movie
from trainer.data.video import Frames
from trainer.systems import runs
from trainer.systems.capture.frames import as_gray
from trainer.systems.capture.mesh import mesh_of
from trainer.systems.capture.morphs import animated_glb, morph_targets
from trainer.systems.capture.network import CaptureNet, make_network
from trainer.systems.registry import parse_config
from trainer.training.checkpoint import save_weights

sys.path.insert(0, str(Path(__file__).parent))
import footage

CONFIG = parse_config(
    {
        "system": "capture",
        "network": {"width_px": 48, "height_px": 64, "vertices": 4467, "components": 2, "features": [2, 3]},
    },
    "test",
)


def actor(pack: Path) -> tuple[CaptureNet, dict[str, Any]]:
    """A network whose output layer moves the mesh a little, and dataset.json of its footage."""
    info = {"spec": {"assets": {"head": str(pack)}}, "assets": {}}
    network = make_network(CONFIG.network, 0)
    rest, open_jaw = footage.vertices(pack, 0), footage.vertices(pack, 5)
    with torch.no_grad():
        network.output.bias.copy_(torch.from_numpy(rest).flatten() * 1000)
        network.output.weight[:, 0] = torch.from_numpy(open_jaw - rest).flatten() * 1000
        network.output.weight[:, 1] = 0.3 * torch.from_numpy(footage.vertices(pack, 9) - rest).flatten() * 1000
    network.animated = torch.arange(4467) % 2 == 0
    network.triangles = torch.from_numpy(mesh_of(info).triangles.astype(np.int32))
    return network.eval(), info


@pytest.fixture(scope="session")
def weights(head_pack, tmp_path_factory) -> Path:
    """Weights of `actor`. Read only."""
    network, info = actor(head_pack)
    path = tmp_path_factory.mktemp("weights") / "actor.safetensors"
    about = {"run_id": "actor", "tag": "t", "topology": mesh_of(info).topology, "fps": "30"}
    save_weights(path, network.state_dict(), CONFIG, about)
    return path


def film(path: Path, frames: int = 6, size: tuple[int, int] = footage.SIZE, fps: float = 30) -> Path:
    movie = Movie(path, fps)
    for index in range(frames):
        movie.add((footage.picture(index, size).astype(float) ** (1 / 2.2) * 255).astype(np.uint8))
    movie.close()
    return path


def gen(*words: Any) -> Any:
    return CliRunner().invoke(main, ["capture", *map(str, words)])


# ---------------------------------------------------------------- glTF


def test_morph_targets_hold_every_frame_within_a_micrometre():
    rng = np.random.default_rng(0)
    points = rng.normal(0, 0.1, (1, 50, 3)) + np.einsum(
        "fk,kvc->fvc", rng.normal(size=(40, 5)), rng.normal(size=(5, 50, 3))
    )
    base, targets, weights = morph_targets(points)
    assert np.abs(base + np.einsum("fk,kvc->fvc", weights, targets) - points).max() <= 1e-6
    assert len(targets) == 8 and np.abs(weights).max() <= 1  # the next power of two above the rank
    assert len(morph_targets(points[:1])[1]) == 1


def test_a_glb_is_what_gltf_says_and_its_animation_gives_the_frames():
    rng = np.random.default_rng(1)
    points, triangles = rng.normal(0, 0.1, (7, 20, 3)), rng.integers(0, 20, (30, 3))
    data = animated_glb(points, triangles, 30)
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack_from("<I", data, 12)[0]
    about, buffer = json.loads(data[20 : 20 + size]), data[28 + size :]
    assert about["buffers"] == [{"byteLength": len(buffer)}]

    def array(number: int) -> np.ndarray:
        found = about["accessors"][number]
        view = about["bufferViews"][found["bufferView"]]
        kind, width = {5126: "<f4", 5125: "<u4"}[found["componentType"]], {"SCALAR": 1, "VEC3": 3}[found["type"]]
        flat = np.frombuffer(buffer, kind, found["count"] * width, view["byteOffset"])
        return flat.reshape(-1, 3) if width == 3 else flat

    primitive, animation = about["meshes"][0]["primitives"][0], about["animations"][0]
    targets = np.stack([array(target["POSITION"]) for target in primitive["targets"]])
    sampler = animation["samplers"][0]
    weights = array(sampler["output"]).reshape(7, len(targets))
    frames = array(primitive["attributes"]["POSITION"]) + np.einsum("fk,kvc->fvc", weights, targets)
    assert np.abs(frames - points).max() < 1e-6
    assert np.array_equal(array(primitive["indices"]).reshape(-1, 3), triangles)
    assert np.allclose(array(sampler["input"]), np.arange(7) / 30)
    assert animation["channels"] == [{"sampler": 0, "target": {"node": 0, "path": "weights"}}]


# ---------------------------------------------------------------- the command


def test_a_video_becomes_caches_gltf_curves_a_video_and_a_page(weights, head_pack, tmp_path):
    video = film(tmp_path / "take.mp4")
    truth = np.stack([footage.vertices(head_pack, index) for index in range(6)])
    write_pc2(tmp_path / "take.pc2", truth)
    ended = gen(weights, video, "--truth", tmp_path / "take.pc2", "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    out = tmp_path / "out"
    network = actor(head_pack)[0]
    seen = torch.stack([torch.from_numpy(frame).permute(2, 0, 1) for frame in Frames(str(video), 10**6)])
    with torch.no_grad():
        wanted = network(torch.round(as_gray(seen.float() / 255) * 255)[:, None] / 255).numpy()
    assert np.abs(wanted - wanted[0]).max() > 5e-5
    for suffix in ("pc2", "mdd"):
        assert np.abs(read_point_cache(out / f"take.{suffix}").points - wanted).max() < 1e-6
    assert read_point_cache(out / "take.mdd").fps == pytest.approx(30)
    about = json.loads((out / "take.json").read_text())
    off = np.linalg.norm(wanted - truth, axis=2)[:, ::2] * 1000  # the animated ones
    assert about["per_frame"]["rmse_mm"] == pytest.approx(np.sqrt((off**2).mean(1)).tolist(), abs=1e-3)
    assert about["overall"]["rmse_mm"] == pytest.approx(float(np.sqrt((off**2).mean())), abs=1e-3)
    mesh = trimesh.load(out / "mesh.obj", process=False)
    assert mesh.vertices.shape == (4467, 3) and mesh.faces.shape == (8884, 3)
    shown = list(Frames(str(out / "take.mp4"), 10**6))
    assert len(shown) == 6 and shown[0].shape == (320, 4 * 240, 3)
    assert "<svg" in (out / "take.svg").read_text()
    assert {path.name for path in (out / "page").iterdir()} >= {"index.html", "three.min.js", "shots.js", "shot-0.js"}
    again = gen(weights, video, "--out", tmp_path / "out", "--no-video")
    assert again.exit_code == 0 and "RMSE" not in again.output


def test_shots_of_a_data_set_are_captured_too(weights, head_pack, tmp_path):
    data = footage.write_footage(tmp_path / "data", head_pack, 2)
    ended = gen(weights, data, "--shot", 1, "--out", tmp_path / "out", "--no-video", "--stabilise")
    assert ended.exit_code == 0, ended.output
    about = json.loads((tmp_path / "out" / "shot-001.json").read_text())
    assert about["kind"] == footage.KINDS[1] and about["frames"] == footage.FRAMES and about["stabilised"]
    assert not (tmp_path / "out" / "shot-000.json").exists()
    refused = gen(weights, data, "--shot", 7)
    assert refused.exit_code == 2 and "--shot 7" in refused.output and "shots 0 to 1" in refused.output


def test_what_does_not_fit_is_refused_in_one_line(weights, head_pack, tmp_path, monkeypatch):
    video = film(tmp_path / "take.mp4")
    truth = np.stack([footage.vertices(head_pack, index) for index in range(5)])
    write_mdd(tmp_path / "short.mdd", truth, 30)
    write_pc2(tmp_path / "other.pc2", truth[:, :100])
    small, slow = film(tmp_path / "small.mp4", size=(32, 64)), film(tmp_path / "slow.mp4", fps=24)
    cases = {
        "short.mdd has 5 frames, ": (video, "--truth", tmp_path / "short.mdd"),
        "other.pc2 holds 100 vertices, the network was trained on a mesh of 4467": (
            video, "--truth", tmp_path / "other.pc2",
        ),
        "small.mp4 is 32 x 64, the network takes 48 x 64": (small,),
        "slow.mp4 has 24 frames per second, the network was trained at 30": (slow,),
        "the network takes 1 camera: give no --second": (video, "--second", video),
        "--truth is given 1 times for 2 videos": (video, video, "--truth", tmp_path / "other.pc2"),
        "--shot chooses among the shots of a data set": (video, "--shot", 1),
        "there is no file": (tmp_path / "gone.mp4",),
    }  # fmt: skip
    for words, arguments in cases.items():
        ended = gen(weights, *arguments, "--out", tmp_path / "out")
        assert ended.exit_code == 2, words
        assert words in ended.output and ended.output.count("\n") == 1
    assert not (tmp_path / "out").exists()
    data = footage.write_footage(tmp_path / "data", head_pack, 1)
    network, _ = actor(head_pack)
    about = {"run_id": "actor", "tag": "t", "topology": "another", "fps": "30"}
    save_weights(tmp_path / "foreign.safetensors", network.state_dict(), CONFIG, about)
    ended = gen(tmp_path / "foreign.safetensors", data, "--out", tmp_path / "out")
    assert ended.exit_code == 2 and "is of another mesh" in ended.output
    ended = CliRunner().invoke(main, ["evaluate", str(tmp_path / "foreign.safetensors"), str(data)])
    assert ended.exit_code == 2 and "was trained on mesh 'another'" in ended.output


# ---------------------------------------------------------------- the page

GL = ("use-angle=swiftshader", "enable-unsafe-swiftshader", "ignore-gpu-blocklist")


@pytest.mark.browser
def test_the_page_opens_from_disk_and_shows_the_frame_of_the_slider(weights, head_pack, tmp_path, chromium):
    data = footage.write_footage(tmp_path / "data", head_pack, 1)
    assert gen(weights, data, "--out", tmp_path / "out", "--no-video").exit_code == 0
    points = read_point_cache(tmp_path / "out" / "shot-000.pc2").points
    with chromium(*GL) as browser:
        browser.get((tmp_path / "out" / "page" / "index.html").as_uri())
        run = browser.execute_script
        assert run("return shot.frames") == footage.FRAMES
        for frame in (7, 2):
            run(f"const s = document.getElementById('frame'); s.value = {frame}; s.dispatchEvent(new Event('input'))")
            shown = np.array(run("return [...geometry.attributes.position.array]")).reshape(-1, 3)
            assert np.abs(shown - points[frame]).max() < 1e-5
            assert run("return document.getElementById('says').textContent").startswith(f"Frame {frame + 1} of 12")
        before = run("return document.getElementById('view').toDataURL()")
        run("turn(0.5, 0)")
        assert run("draw(); return document.getElementById('view').toDataURL()") != before
        run("const a = document.getElementById('as'); a.value = 'error'; a.dispatchEvent(new Event('change'))")
        colours = np.array(run("return [...geometry.attributes.color.array]")).reshape(-1, 3)
        assert len(np.unique(colours.round(3), axis=0)) > 10
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


# ---------------------------------------------------------------- elsewhere


def test_weights_are_exported_and_compute_the_same_elsewhere(weights, head_pack, tmp_path):
    (made,) = runs.export(weights, tmp_path, ("onnx",))
    assert made.difference < 1e-5  # metres
    import onnxruntime

    frames = np.random.default_rng(0).random((2, 1, 64, 48), np.float32)
    (vertices,) = onnxruntime.InferenceSession(made.path).run(None, {"frames": frames})
    with torch.no_grad():
        assert np.abs(vertices - actor(head_pack)[0](torch.from_numpy(frames)).numpy()).max() < 1e-5
