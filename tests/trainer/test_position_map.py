"""Position maps as a system: networks, windows that maps follow, what is learnt, measured and refused."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from renderer.cli import main
from renderer.errors import AssetError, DatasetError, FormatError, HeadforgeError, SpecError
from renderer.format.sample_format import CENTRE_U
from renderer.head.model import HeadModel
from renderer.parameters.jobspecs import find_jobspec, load_spec
from renderer.strict import override
from trainer.augmentation.draws import Draws
from trainer.evaluation.report import table, write_dataset_report, write_report
from trainer.evaluation.results import Work, measure
from trainer.positions.records import record_positions
from trainer.positions.texels import texels
from trainer.systems import runs
from trainer.systems.position_map import trained, windows
from trainer.systems.position_map.config import AugmentConfig, NetworkConfig, PositionMapConfig, WindowConfig
from trainer.systems.position_map.lite0 import principal_maps
from trainer.systems.position_map.metrics import ICP_ABOUT, by_yaw, chosen, errors, icp_errors, moved
from trainer.systems.position_map.network import DECODER, make_network
from trainer.systems.position_map.views import COLUMNS, brightness
from trainer.systems.registry import load_config, parse_config
from trainer.training.checkpoint import read_weights, save_weights
from trainer.training.run_dir import RunDir
from trainer.uvmaps import head_pose
from trainer.weights import SAFETENSORS

sys.path.insert(0, str(Path(__file__).parent))
import pairs_of_heads

SIDE = 64


@pytest.fixture(scope="session")
def head(head_pack: Path) -> HeadModel:
    return head_pose.head_of(head_pack)


@pytest.fixture(scope="session")
def pairs(synthetic, head, tmp_path_factory) -> Path:
    """72 stand-ins for rendered pairs. Read only."""
    encode = partial(pairs_of_heads.encoded, head=head)
    return synthetic.write_dataset(tmp_path_factory.mktemp("pairs") / "pairs", 72, 36, size=64, encode=encode)


@pytest.fixture
def config(pairs, tmp_path) -> PositionMapConfig:
    raw = {
        "name": "maps",
        "system": "position_map",
        "data": {"path": str(pairs), "batch_size": 16, "workers": 1, "cache": "memory", "test_share": 0.25},
        "network": {"kind": "small", "side_px": SIDE, "features": 8},
        "augment": {
            "mirror_share": 0,
            "channels": [0.9, 1.1],
            "dropout": 0.01,
            "window": {"shift": 0.03, "turn_deg": 2},
        },
        "schedule": {"max_samples": 2400, "optimiser": "adam", "lr": [4e-3, 1e-4], "decay": "cosine"},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"runs": str(tmp_path / "runs"), "evaluate_epochs": 100, "images": False, "tensorboard": False},
    }
    return parse_config(raw, "test")


def maps_of(head: HeadModel, count: int = 3) -> torch.Tensor:
    """True maps of heads at several yaws, (N, 3, S, S) in pixels of pictures of 64 x 64."""
    records = [pairs_of_heads.record_of(index, head, "abc123", 64) for index in range(count)]
    return torch.from_numpy(np.stack([record_positions(record, SIDE, 1, head) for record in records]))


def draws_of(count: int) -> Draws:
    return Draws.for_samples(3, 0, torch.arange(count), torch.device("cpu"))


# ---------------------------------------------------------------- networks


def test_the_full_network_is_table_4_1():
    assert [features for features, _ in DECODER] == [512] + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2 + [16] * 2 + [
        3
    ] * 3
    with torch.device("meta"):
        network = make_network(NetworkConfig(views="taken"), 0)
        assert sum(p.numel() for p in network.parameters()) == 13_798_825
        sizes = [network.layers[:3](torch.empty(1, 6, 256, 256)).shape]
        x = torch.empty(sizes[0])
        for layer in network.layers[3:]:
            x = layer(x)
            sizes += [x.shape] if x.shape[1:] != sizes[-1][1:] else []
        assert network(torch.empty(2, 6, 256, 256)).shape == (2, 3, 256, 256)
        assert sum(p.numel() for p in make_network(NetworkConfig(), 0).parameters()) == 13_797_961
    assert [tuple(size[1:]) for size in sizes] == [
        (32, 128, 128), (96, 64, 64), (144, 32, 32), (192, 16, 16), (576, 8, 8), (512, 8, 8), (256, 16, 16),
        (128, 32, 32), (64, 64, 64), (32, 128, 128), (16, 256, 256), (3, 256, 256),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "views"),
    [("full", "one"), ("small", "one"), ("small", "made"), ("small", "taken"), ("lite0", "one"), ("lite0", "made")],
)
def test_a_new_network_answers_the_mean_map_in_pixels(kind: str, views: str):
    network = make_network(NetworkConfig(kind=kind, views=views, side_px=64), 0).eval()
    network.mean.uniform_(0, 1)
    found = network(torch.rand(2, network.config.channels, 64, 64))
    assert torch.allclose(found, (network.mean * 64).expand(2, -1, -1, -1), atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(
        make_network(network.config, 5).parameters(), make_network(network.config, 5).parameters(), strict=True
    ))  # fmt: skip


def test_the_small_network_is_small():
    with torch.device("meta"):
        network = make_network(load_config(find_jobspec("train_position_map_small", "", [])).network, 0)
        assert sum(p.numel() for p in network.parameters()) == 1_058_235
        assert network(torch.empty(2, 3, 128, 128)).shape == (2, 3, 128, 128)


def test_principal_maps_rebuild_what_they_were_made_of(head):
    maps = maps_of(head, 6) / SIDE
    deviations = maps - maps.mean(0)
    found = principal_maps(deviations, 8)
    assert found.shape == (8, 3, SIDE // 2, SIDE // 2) and not found[5:].any()  # five directions of six samples
    flat, coarse = found[:5].flatten(1), torch.nn.functional.avg_pool2d(deviations, 2).flatten(1)
    factors = coarse @ torch.linalg.pinv(flat)
    assert torch.allclose(factors @ flat, coarse, atol=1e-4)
    assert torch.allclose(factors.square().mean(0), torch.ones(5), atol=1e-2)  # factors are of size 1


def test_an_encoder_starts_with_what_it_has_seen_and_keeps_its_first_stages(config, tmp_path):
    network = {"network.kind": "lite0", "encoder": "shipped", "frozen_stages": 3, "schedule.max_samples": 32}
    run = runs.train(override(config, network, "test")).run
    known, learnt = read_weights(SAFETENSORS)[0], read_weights(run / "weights.safetensors")[0]
    same = {
        name for name in known if name.startswith("encoder.") and torch.equal(known[name], learnt[f"layers.{name}"])
    }
    assert {name for name in known if name.startswith(("encoder.stem", "encoder.stages.0", "encoder.stages.2"))} <= same
    assert not any("stages.5" in name for name in same if known[name].dim() == 4)
    assert learnt["layers.principal"].abs().amax((1, 2, 3))[0] > 0
    assert runs.load_trained(run).module(torch.rand(2, 3, SIDE, SIDE)).shape == (2, 3, SIDE, SIDE)
    with pytest.raises(FormatError, match=r"is no UV-net with network\.kind photo"):
        runs.check(override(config, network | {"encoder": str(run)}, "test"))
    with pytest.raises(SpecError, match=r"network\.kind is 'small': only 'lite0' has an encoder"):
        override(config, {"encoder": str(SAFETENSORS)}, "test")
    with pytest.raises(SpecError, match="nothing learnt to keep"):
        override(config, network | {"encoder": ""}, "test")


def test_pictures_of_another_size_are_refused():
    network = make_network(NetworkConfig(kind="small", views="taken", side_px=64), 0)
    with pytest.raises(SpecError, match=r"takes pictures \(N, 6, 64, 64\), not \(1, 3, 64, 64\)"):
        network(torch.zeros(1, 3, 64, 64))


# ---------------------------------------------------------------- windows and augmentation


def test_a_map_follows_its_window(head):
    maps, face = maps_of(head), torch.from_numpy(texels(head, SIDE).face)
    line = (torch.arange(64) + 0.5) / 64
    picture = torch.stack((*(64 * one for one in torch.meshgrid(line, line, indexing="xy")), torch.ones(64, 64)))
    found = windows.windows(windows.boxes(maps, face), WindowConfig((1.2, 1.4), 0.05, 20), draws_of(3))
    followed = windows.follow(maps, found)
    seen = windows.seen_through(picture.expand(3, -1, -1, -1), found, (SIDE, SIDE))  # shows where each pixel comes from
    for one, before, after in zip(seen, maps, followed, strict=True):
        inside = ((after[:2] > 1) & (after[:2] < SIDE - 1) & (before[:2] > 1) & (before[:2] < 63)).all(0) & face
        grid = (after[:2, inside].T / SIDE * 2 - 1)[None, None]
        there = torch.nn.functional.grid_sample(one[None, :2], grid, align_corners=False)[0, :, 0]
        assert inside.sum() > 500
        assert (there - before[:2, inside]).abs().max() < 0.1
    lengths = [(m.flatten(2)[:, :, 700] - m.flatten(2)[:, :, 2500]).norm(dim=1) for m in (maps, followed)]
    half = found[:, :2, 0].norm(dim=1)
    assert torch.allclose(lengths[1], lengths[0] * SIDE / 2 / half, rtol=1e-4)  # z grows as x and y do


def test_the_face_fills_its_window_in_tests(head):
    maps, face = maps_of(head), torch.from_numpy(texels(head, SIDE).face)
    found = windows.windows(windows.boxes(maps, face), windows.STILL, draws_of(3))
    box = windows.boxes(windows.follow(maps, found), face)
    assert torch.allclose((box[:, 2:] - box[:, :2]).amax(1), torch.full((3,), SIDE / windows.FACES), rtol=1e-4)
    assert torch.allclose(box[:, :2] + box[:, 2:], torch.full((3, 2), float(SIDE)), atol=1e-3)


def test_a_mirrored_map_is_that_of_the_mirrored_picture(head):
    positions = torch.from_numpy(
        texels(head, SIDE).position_map(head.identity_vertices()) * [[[300.0]], [[-300.0]], [[300.0]]]
    )
    positions = (positions + torch.tensor([32.0, 32.0, 0.0])[:, None, None]).float()[None]  # a symmetric head, frontal
    face = torch.from_numpy(texels(head, SIDE).face)
    assert (windows.mirrored(positions) - positions)[:, :, face].abs().mean() < 0.1
    turned = positions * torch.tensor([1.0, 1.0, 1.0])[:, None, None] + torch.tensor([5.0, 0, 0])[:, None, None]
    assert torch.allclose(windows.mirrored(turned)[:, 0], windows.mirrored(positions)[:, 0] - 5, atol=1e-4)
    assert abs(CENTRE_U - 0.5) > 1e-3  # or the shift of the columns would not be tested


def test_both_views_are_changed_alike_and_tests_see_them_as_they_are():
    pictures, maps = torch.full((40, 6, 32, 32), 0.5), torch.zeros(40, 3, 32, 32)
    config = AugmentConfig(mirror_share=0, channels=(0.6, 1.4), dropout=0.2)
    found, _ = windows.changed(pictures, maps, config, draws_of(40))
    values = found.amax((2, 3))
    assert torch.allclose(values[:, :3], values[:, 3:])
    assert values.min() >= 0.3 and values.max() <= 0.7 and (values[:, 0] - values[:, 1]).abs().max() > 0.1
    dropped = (found[:, 0] == 0).float().mean((1, 2))
    assert dropped.max() < 0.25 and 0.05 < dropped.mean() < 0.15
    assert torch.equal(found[:, 0] == 0, found[:, 2] == 0) and not torch.equal(found[:, 0] == 0, found[:, 3] == 0)
    assert torch.equal(windows.changed(pictures, maps, windows.still(config), draws_of(40))[0], pictures)


# ---------------------------------------------------------------- metrics and views


def test_metrics_are_those_of_known_errors(head):
    truth, face = maps_of(head, 2), torch.from_numpy(texels(head, SIDE).face)
    points, marks = chosen(face), torch.from_numpy(np.asarray(head.landmarks_uv, np.float32))
    assert all(not value.any() for name, value in errors(truth, truth, points, marks).items() if name != "aligned_nme")
    shift = torch.tensor([3.0, 4.0, 0.0])[:, None, None]
    found = errors(truth + shift, truth, points, marks)
    flat = truth[:, :2].flatten(2)[:, :, face.flatten()]
    size = (flat.amax(2) - flat.amin(2)).prod(1).sqrt()
    assert torch.allclose(found["nme"], 5 / size, rtol=0.02)
    assert torch.allclose(found["landmark_nme"], 5 / size, rtol=0.02)
    assert found["aligned_nme"].max() < 1e-5
    larger = errors(truth * 1.1, truth, points, marks)
    assert larger["aligned_nme"].min() > 0.01  # a motion without scaling


def test_icp_takes_a_motion_out_and_a_size_where_it_may(head):
    truth, face = maps_of(head, 2), torch.from_numpy(texels(head, SIDE).face)
    points, marks = chosen(face), torch.from_numpy(np.asarray(head.landmarks_uv, np.float32))
    found = icp_errors(truth * 1.1 + 5, truth, points, marks)
    assert found.keys() == ICP_ABOUT.keys()
    assert found["icp_scaled_nme"].max() < 1e-5 < 1e-3 < found["icp_nme"].min()
    assert (found["icp_nme"] < errors(truth * 1.1, truth, points, marks)["aligned_nme"]).all()
    assert (
        found["icp_nme_by_eyes"] > found["icp_nme"]
    ).all()  # eyes are nearer to each other than the rims of the face


def test_the_truth_has_no_error_in_an_evaluation(config, pairs, tmp_path):
    """What goes in tells which sample it is; its true map comes out."""
    system = runs.system_named("position_map")
    reader = runs.checks.open_reader(config, system)
    task = system.build(config, reader, torch.device("cpu"), training=False)
    known = {}

    def network(pictures, wanted="maps"):
        if wanted == "pictures":
            return pictures
        return torch.stack([known[picture.numpy().tobytes()] for picture in pictures])

    source = runs.checks.Streaming(reader, 0, runs.checks.BadSamples(0), torch.device("cpu"))
    for batch in source.batches([np.arange(6)], 0):
        for picture, truth in zip(*task.seen(batch, windows.still(config.augment)), strict=True):
            known[picture.numpy().tobytes()] = truth
    work = Work(system, task, {"network": network}, reader, torch.device("cpu"))
    report = write_dataset_report(measure(work, np.arange(6)), work, tmp_path)
    assert len(report["metrics"]) == 14 and max(report["metrics"].values()) < 1e-5
    text = table(report, system.tables, system.metrics)
    assert (
        "without scaling, by the box of the face" in text and "with scaling, by the outer corners of the eyes" in text
    )


def test_no_mirror_image_is_laid_on_a_face():
    points = torch.randn(1, 30, 3, dtype=torch.float64)
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    assert (moved(points, mirrored) - mirrored).norm(dim=2).mean() > 0.1


def test_rows_by_yaw_have_the_protocols_yaws_in_their_middles():
    records = [{"knobs": {"pose.yaw_rad": np.radians(yaw)}} for yaw in (-80, -20, 0, 20, 20)]
    rows = by_yaw({"nme": np.array([1.0, 2, 3, 4, 6])}, records)
    assert [(row["label"], row["nme"]) for row in rows] == [
        ("-90..-70 deg", 1), ("-30..-10 deg", 2), ("-10..10 deg", 3), ("10..30 deg", 5)
    ]  # fmt: skip


def test_a_face_that_looks_at_the_light_is_bright():
    triangle = torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 0]])  # counter-clockwise as seen, y downwards
    towards = brightness(triangle, torch.tensor([[0, 1, 2]]))
    away = brightness(triangle, torch.tensor([[0, 2, 1]]))
    assert towards.min() > 0.8 and torch.allclose(away, torch.full((3,), 0.2))


# ---------------------------------------------------------------- trainings


def test_maps_are_learnt_and_a_made_second_view_goes_with_the_weights(config, pairs, tmp_path):
    run = runs.train(config).run
    report = write_report(run, pairs, tmp_path / "report").values
    assert report["metrics"]["nme"] < 0.6 * report["metrics"]["naive_nme"]
    assert report["metrics"]["naive_aligned_nme"] < report["metrics"]["naive_nme"]
    assert len(report["splits"]["yaw"]) > 4
    made = override(config, {"network.views": "made", "first": str(run), "schedule.max_samples": 16}, "test")
    made = override(made, {"output.images": True, "output.evaluate_epochs": 1}, "test")
    second = runs.train(made).run
    assert (second / "eval" / "epoch-0001.png").is_file()
    one, two = runs.load_trained(run).module, runs.load_trained(second).module
    assert all(torch.equal(value, two.state_dict()[f"first.{name}"]) for name, value in one.state_dict().items())
    picture = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(two(picture), two(two(picture, "pictures")))
    assert json.loads(RunDir(second).meta.read_text())["system"]["columns"] == list(COLUMNS)
    header = read_weights(second / "weights.safetensors")[2]
    assert header["window"] == "1.4" and header["pack"].startswith("pack-")
    with pytest.raises(FormatError, match=r"network\.features 8 there, 16 here"):
        runs.check(override(made, {"network.features": 16}, "test"))


def test_the_mean_map_is_that_of_windows_as_tests_cut_them(config, head):
    run = runs.train(override(config, {"schedule.max_samples": 8}, "test")).run
    reader = runs.checks.open_reader(config, runs.system_named("position_map"))
    training, _ = reader.split(0.25)
    maps = torch.from_numpy(np.stack([reader.read(int(p))["positions"] for p in training]))
    face = torch.from_numpy(texels(head, SIDE).face)
    found = windows.windows(windows.boxes(maps, face), windows.STILL, draws_of(len(maps)))
    wanted = windows.follow(maps, found).mean(0) / SIDE
    assert torch.allclose(read_weights(run / "weights.safetensors")[0]["mean"], wanted, atol=1e-5)


def test_a_true_second_view_is_cut_around_its_own_face(config, pairs):
    config = override(config, {"network.views": "taken"}, "test")
    system = runs.system_named("position_map")
    reader = runs.checks.open_reader(config, system)
    task = system.build(config, reader, torch.device("cpu"))
    batch = next(
        runs.checks.Streaming(reader, 0, runs.checks.BadSamples(0), torch.device("cpu")).batches([np.arange(6)], 0)
    )
    pictures, _ = task.seen(batch, windows.still(config.augment))
    assert pictures.shape == (6, 6, SIDE, SIDE)
    for view in (pictures[:, :3], pictures[:, 3:]):
        face = (view - view[:, :, :1, :1]).abs().amax(1) > 0.1
        rows, columns = face.any(2).float().sum(1), face.any(1).float().sum(1)
        assert (torch.maximum(rows, columns) - SIDE / windows.FACES).abs().max() < 0.12 * SIDE
    assert system.photo_px(config, reader) is None


def test_what_does_not_fit_is_refused_in_one_line(config, small, pairs, synthetic, head, tmp_path):
    with pytest.raises(SpecError, match=r"views is 'made', but first is empty"):
        runs.check(override(config, {"network.views": "made"}, "test"))
    with pytest.raises(SpecError, match=r"network\.views is 'one': only 'made' has one"):
        override(config, {"first": str(pairs)}, "test")
    with pytest.raises(DatasetError, match="there are no weights at"):
        runs.check(override(config, {"network.views": "made", "first": str(tmp_path / "none")}, "test"))
    with pytest.raises(SpecError, match="a multiple of 32"):
        override(config, {"network.side_px": 80}, "test")
    with pytest.raises(SpecError, match="the low end is above the high end"):
        override(config, {"augment.window.faces": [2, 1]}, "test")
    with pytest.raises(SpecError, match="the low end is above the high end"):
        override(config, {"augment.channels": [2, 1]}, "test")
    with pytest.raises(HeadforgeError, match="has no head, so no position map"):
        runs.check(override(config, {"data.path": str(small)}, "test"))
    assert "empty_share" in config.lacks(load_spec("mixed")) and config.lacks(load_spec("pairs")) == ""
    assert "lacks view2" in override(config, {"network.views": "taken"}, "t").lacks(
        override(load_spec("pairs"), {"render.labels": []}, "t")
    )
    wide = synthetic.write_dataset(tmp_path / "wide", 4, encode=partial(pairs_of_heads.encoded, head=head, size=64))
    info = json.loads((wide / "dataset.json").read_text())
    other = tmp_path / "pack-other"
    other.mkdir()
    (other / "files.json").write_text("{}")
    info |= {"assets": {"pack": "x"}, "spec": {"assets": {"head": str(other)}, "sequence": {"frames": 0}}}
    (wide / "dataset.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="shows heads of pack-other, maps are made of pack-"):
        runs.check(override(config, {"data.path": str(wide)}, "test"))


# ---------------------------------------------------------------- photos


@pytest.fixture
def weights(head, tmp_path) -> Path:
    """Of a network that answers the average head, frontal, to everything."""
    network = make_network(NetworkConfig(kind="small", side_px=SIDE, features=8), 0)
    positions = texels(head, SIDE).position_map(head.identity_vertices()) * [[[250.0]], [[-250.0]], [[250.0]]]
    network.mean.copy_(torch.from_numpy(positions / SIDE) + torch.tensor([0.5, 0.5, 0.0])[:, None, None])
    config = parse_config({"system": "position_map", "network": {"kind": "small", "side_px": SIDE, "features": 8}}, "t")
    about = {"run_id": "r", "tag": "t", "pack": Path(head.folder).name, "window": "1.4"}
    save_weights(tmp_path / "weights.safetensors", network.state_dict(), config, about)
    return tmp_path / "weights.safetensors"


def test_faces_of_photos_are_reconstructed_in_boxes(weights, tmp_path):
    photo = tmp_path / "a.png"
    Image.new("RGB", (120, 100), (180, 140, 120)).save(photo)
    out, command = tmp_path / "out", ["reconstruct", str(weights), str(photo)]
    ended = CliRunner().invoke(main, [*command, "--box", "40,30,80,70", "--out", str(out)])
    assert ended.exit_code == 0, ended.output
    face = json.loads((out / "a.json").read_text())["faces"][0]
    assert face["window"] == [32, 22, 56]
    assert abs(face["pose"]["yaw_deg"]) < 1 and abs(face["pose"]["pitch_deg"]) < 1
    assert np.abs(np.mean(face["landmarks_px"], 0)[:2] - [60, 50]).max() < 10
    assert (out / "a.face0.glb").is_file() and (out / "a.face0.second.png").is_file()
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and "name a UV-net with --finder, or give boxes by --box" in refused.output


def test_weights_that_no_photo_can_be_given_to_are_refused(weights, tmp_path):
    network, name = (
        make_network(NetworkConfig(kind="small", views="taken", side_px=SIDE, features=8), 0),
        "w.safetensors",
    )
    raw = {"kind": "small", "views": "taken", "side_px": SIDE, "features": 8}
    save_weights(
        tmp_path / name, network.state_dict(), parse_config({"system": "position_map", "network": raw}, "t"), {}
    )
    with pytest.raises(SpecError, match=r"takes a second camera's picture .* which photos lack"):
        trained.load(tmp_path / name)
    tensors, architecture, header = read_weights(weights)
    config = parse_config({"system": "position_map", **architecture}, "t")
    save_weights(tmp_path / name, tensors, config, {"pack": "pack-other", "window": "1.4"})
    with pytest.raises(AssetError, match="maps of head pack 'pack-other'; this machine has pack-"):
        trained.load(tmp_path / name)
    save_weights(tmp_path / name, tensors, config, {"pack": header["pack"]})
    with pytest.raises(FormatError, match="does not say how wide windows are"):
        trained.load(tmp_path / name)


@pytest.mark.parametrize("views", ["one", "made"])
def test_exports_take_any_number_of_pictures(views):
    system = runs.system_named("position_map")
    config = parse_config(
        {"system": "position_map", "network": {"kind": "small", "side_px": SIDE, "views": views}}, "t"
    )
    what = system.exportable(config, system.modules(config)["network"].eval())
    made = torch.export.export(what.module, what.inputs[0], dynamic_shapes=dict(what.dynamic)).module()
    assert torch.allclose(made(*what.inputs[1]), what.module(*what.inputs[1]), atol=1e-4)
