"""Performance capture as a system: its networks, losses, first weights, metrics, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from renderer.errors import FormatError, HeadforgeError, SpecError
from renderer.strict import override
from trainer.augmentation.draws import Draws
from trainer.data.minibatch import Minibatch
from trainer.evaluation.report import write_report
from trainer.systems import runs
from trainer.systems.capture import first_weights, frames, losses
from trainer.systems.capture.config import AugmentConfig, CaptureConfig, NetworkConfig
from trainer.systems.capture.mesh import Mesh, mesh_of
from trainer.systems.capture.metrics import frame_errors, trembling
from trainer.systems.capture.network import make_network
from trainer.systems.registry import parse_config
from trainer.training.checkpoint import read_weights

sys.path.insert(0, str(Path(__file__).parent))
import footage


@pytest.fixture(scope="session")
def shots(head_pack, tmp_path_factory) -> Path:
    """Ten shots of twelve frames. Read only."""
    return footage.write_footage(tmp_path_factory.mktemp("footage") / "shots", head_pack, 10)


def config_of(data: Path, runs_in: Path, **changes) -> CaptureConfig:
    raw = {
        "name": "tiny",
        "system": "capture",
        "data": {"path": str(data), "batch_size": 12, "workers": 1, "cache": "memory", "test_share": 0.2},
        "network": {
            "width_px": 48, "height_px": 64, "vertices": 4467, "components": 3, "features": [4, 6, 8, 12],
            "image_components": 20, "hidden": [16, 8],
        },
        "schedule": {"max_samples": 2400, "lr": [5e-3, 1e-3], "decay": "cosine"},
        "augment": {"enabled": False},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"runs": str(runs_in), "log_steps": 20, "evaluate_epochs": 100, "tensorboard": False},
    }  # fmt: skip
    return override(parse_config(raw, "test"), changes, "test")


# ---------------------------------------------------------------- networks


def test_the_network_of_the_paper_has_its_parameters():
    network = make_network(NetworkConfig(vertices=7), 0)
    before = sum(p.numel() for name, p in network.named_parameters() if not name.startswith("output."))
    assert before == 7_862_160
    kernels = [tuple(p.shape) for p in network.parameters() if p.dim() == 4]
    assert [k[0] for k in kernels] == [64, 64, 96, 96, 144, 144, 216, 216, 324, 324, 486, 486]
    assert all(k[2:] == (3, 3) for k in kernels)
    assert network.coefficients.in_features == 9720 and network.output.weight.shape == (21, 160)
    assert network.drop.p == 0.2
    assert network.eval()(torch.zeros(1, 1, 320, 240)).shape == (1, 7, 3)


def test_the_size_of_the_frame_and_the_cameras_decide_the_first_and_last_features():
    config = NetworkConfig(width_px=120, height_px=160, views=2, vertices=5, features=(8, 8, 12))
    network = make_network(config, 0)
    assert network.coefficients.in_features == 12 * 20 * 15
    assert network.eval()(torch.zeros(3, 2, 160, 120)).shape == (3, 5, 3)
    with pytest.raises(SpecError, match="one camera"):
        override(config, {"kind": "connected"}, "test")


# ---------------------------------------------------------------- losses


def random_vertices(seed: int, count: int = 4, spread: float = 50.0) -> torch.Tensor:
    return spread * torch.randn(count, 200, 3, generator=torch.Generator().manual_seed(seed))


def test_the_affine_loss_is_zero_under_any_affine_change_of_the_prediction():
    truth = random_vertices(0)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        linear = torch.randn(4, 3, 3, generator=generator, dtype=torch.float64)
        shift = 100 * torch.randn(4, 1, 3, generator=generator, dtype=torch.float64)
        changed = (truth.double() @ linear + shift).requires_grad_()
        error = losses.affine_error(changed, truth.double())
        assert float(error.detach().max()) < 1e-12 * float(losses.squared_error(changed.detach(), truth).min())


def test_the_affine_loss_counts_what_no_affine_map_explains_and_rewards_no_collapse():
    truth, other = random_vertices(0), random_vertices(1)
    assert (losses.affine_error(other, truth) <= losses.squared_error(other, truth)).all()
    variance = (truth - truth.mean(1, keepdim=True)).square().mean((1, 2))
    for size in (1e-6, 0.0):
        assert torch.allclose(losses.affine_error(truth.flip(1) * size, truth), variance, rtol=0.1)
    with pytest.raises(ValueError, match="never the truth to the prediction"):
        losses.affine_error(truth, other.requires_grad_())


def test_the_gradient_of_the_affine_loss_is_that_of_its_value():
    truth, prediction = random_vertices(0, 1).double(), random_vertices(1, 1).double().requires_grad_()
    (slope,) = torch.autograd.grad(losses.affine_error(prediction, truth).sum(), prediction)
    step = torch.zeros_like(prediction)
    step[0, 17, 1] = 1e-4
    rise = losses.affine_error(prediction + step, truth) - losses.affine_error(prediction - step, truth)
    assert float(rise.detach()) / 2e-4 == pytest.approx(float(slope[0, 17, 1]), rel=1e-5)


def test_stabilisation_undoes_affine_maps_of_frames_and_leaves_expressions():
    rng = np.random.default_rng(0)
    rest = rng.normal(0, 0.05, (300, 3))
    shot = np.repeat(rest[None], 15, 0)
    shot[3:6, :40, 1] -= 0.01  # a jaw of 40 vertices opens for three frames
    moved = shot.copy()
    for frame in (0, 2, 4, 9):
        moved[frame] = shot[frame] @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))) + rng.normal(0, 0.01, 3)
    assert np.abs(moved - shot).max() > 5e-3
    assert np.abs(losses.stabilised(moved) - shot).max() < 5e-5


# ---------------------------------------------------------------- first weights and frames


def test_principal_components_are_those_of_a_singular_value_decomposition():
    rows = torch.randn(12, 50, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 3, 50)
    mean, directions, spread, explained = first_weights.principal(rows, 4)
    _, values, vectors = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    assert torch.allclose((directions * vectors[:4]).sum(1).abs(), torch.ones(4), atol=1e-4)
    assert torch.allclose(spread, values[:4] / 11**0.5, rtol=1e-4)
    assert explained == pytest.approx(float((values[:4] ** 2).sum() / (values**2).sum()), rel=1e-5)
    assert torch.allclose(mean, rows.mean(0))


def test_a_run_begins_with_the_pca_of_its_training_meshes_and_their_pictures_whitened(shots, tmp_path):
    config = config_of(
        shots, tmp_path, **{"schedule.max_samples": 12, "schedule.lr": [0.0, 0.0], "data.test_share": 0.4}
    )
    run = runs.train(config).run
    weights, _, header = read_weights(run / "weights.safetensors")
    reader = runs.checks.open_reader(config, runs.system_named("capture"))
    samples = [reader.read(int(p)) for p in reader.split(0.4)[0]]
    meshes = torch.stack([torch.from_numpy(s["vertices"][:, 0].T.copy()) for s in samples])
    assert torch.allclose(weights["output.bias"].reshape(-1, 3) / 1000, meshes.mean(0), atol=1e-6)
    assert torch.allclose(weights["average"], meshes.mean(0), atol=1e-7)
    columns = weights["output.weight"].T
    lengths = (columns**2).sum(1)
    assert lengths[0] > lengths[1] > 1e3 * lengths[2]  # two face units move, so two components are all of it
    assert float(weights["explained"]) == pytest.approx(1, abs=1e-6)
    pictures = torch.stack([torch.from_numpy(s["input"]).float() for s in samples])
    gray = frames.as_gray(torch.round(pictures ** (1 / 2.2) * 255) / 255)
    assert float(weights["mean"]) == pytest.approx(float(gray.mean()), rel=1e-5)
    assert float(weights["deviation"]) == pytest.approx(float(gray.std()), rel=1e-5)
    assert header["topology"] == mesh_of(reader.info).topology and header["fps"] == "30"
    found = runs.load_trained(run).module
    assert found.triangles.shape == (2 * 4442, 3) and int(found.triangles.max()) == 4466
    assert np.array_equal(np.flatnonzero(found.animated.numpy()), mesh_of(reader.info).animated)


def test_a_fixed_basis_stays_and_a_trainable_one_learns(shots, tmp_path):
    kept = {}
    for basis in ("fixed", "trainable", "none"):
        changes = {"schedule.max_samples": 24, "basis": basis, "output.images": False}
        run = runs.train(config_of(shots, tmp_path, **changes)).run
        kept[basis] = read_weights(run / "weights.safetensors")[0]
    start = runs.train(config_of(shots, tmp_path, **{"schedule.max_samples": 12, "schedule.lr": [0.0, 0.0]})).run
    first = read_weights(start / "weights.safetensors")[0]["output.weight"]
    assert torch.equal(kept["fixed"]["output.weight"], first)
    assert not torch.equal(kept["trainable"]["output.weight"], first)
    assert float((kept["none"]["output.weight"] - first).abs().max()) > 0.1
    assert torch.allclose(kept["none"]["output.bias"], kept["fixed"]["output.bias"], atol=0.1)


def test_frames_are_varied_as_far_as_the_ramp_says_by_seed_epoch_and_sample():
    seen = torch.rand(6, 2, 40, 30, generator=torch.Generator().manual_seed(0))
    positions, config = torch.arange(6), AugmentConfig()

    def varied(epoch: int, strength: float, which: slice = slice(None)) -> torch.Tensor:
        draws = Draws.for_samples(0, epoch, positions[which], torch.device("cpu"))
        return frames.varied(seen[which], config, draws, strength)

    assert torch.allclose(varied(1, 0.0), seen, atol=1e-5)
    small, full = (float((varied(1, s) - seen).abs().mean()) for s in (0.05, 1.0))
    assert 0 < small < 0.5 * full
    assert torch.allclose(varied(1, 1.0, slice(2, 5)), varied(1, 1.0)[2:5], atol=1e-6)
    assert not torch.allclose(varied(2, 1.0), varied(1, 1.0), atol=1e-2)


def test_frames_of_twice_the_size_are_averaged_down(shots, tmp_path):
    config = config_of(shots, tmp_path, **{"network.width_px": 24, "network.height_px": 32})
    system = runs.system_named("capture")
    reader = runs.checks.open_reader(config, system)
    sample = reader.read(0)
    batch = Minibatch.of(reader, torch.tensor([0]), {k: torch.from_numpy(v)[None] for k, v in sample.items()}, 0)
    small = system.build(config, reader, torch.device("cpu")).frames(batch)
    whole = frames.gray_frames(batch, 1)
    assert small.shape == (1, 1, 32, 24) and whole.shape == (1, 1, 64, 48)
    assert float(small[0, 0, 5, 7]) == pytest.approx(float(whole[0, 0, 10:12, 14:16].mean()), abs=1e-6)
    assert runs.check(config) is not None


def test_a_shift_moves_the_frame_by_so_many_pixels_and_a_turn_turns_it():
    seen = torch.zeros(1, 1, 40, 40)
    seen[0, 0, 10, 25] = 1
    eye = torch.eye(2)[None]
    moved = frames._sampled(seen, eye, torch.tensor([[3.0, -2.0]]))
    assert moved[0, 0, 12, 22] == pytest.approx(1, abs=1e-4)
    quarter = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])  # a pixel (x, y) shows what is at (40 - y, x)
    assert frames._sampled(seen, quarter, torch.tensor([[40.0, 0.0]]))[0, 0, 14, 10] == pytest.approx(1, abs=1e-4)


def test_the_baseline_sees_eyes_where_they_belong_however_the_head_is_placed():
    rng = np.random.default_rng(0)
    height, width = 80, 60
    wanted = np.array(frames.EYES) * [width, height]
    for _ in range(4):
        angle, scale, shift = rng.uniform(-0.4, 0.4), rng.uniform(0.8, 1.2), rng.uniform(-5, 5, 2)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        eyes = (wanted - wanted.mean(0)) @ turn.T + wanted.mean(0) + shift
        y, x = np.mgrid[0:height, 0:width] + 0.5
        seen = sum(np.exp(-((x - ex) ** 2 + (y - ey) ** 2) / 4) for ex, ey in eyes)
        found = frames.stabilised(torch.from_numpy(seen[None, None]), torch.from_numpy(eyes[None]))[0, 0].numpy()
        for half, (ex, ey) in zip((found[:, : width // 2], found[:, width // 2 :]), wanted, strict=True):
            row, column = np.unravel_index(half.argmax(), half.shape)
            column += 0 if ex < width / 2 else width // 2
            assert abs(column + 0.5 - ex) <= 1 and abs(row + 0.5 - ey) <= 1


# ---------------------------------------------------------------- metrics


def test_errors_are_of_animated_vertices_in_millimetres_by_depth_plane_and_region():
    mesh = Mesh(4, np.array([[0, 1, 2]]), np.array([0, 1]), {"lips": np.array([1])})
    truth = torch.zeros(1, 4, 3)
    off = torch.tensor([[[0.003, 0.0, 0.004], [0.0, 0.0, 0.001], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]])
    found = {name: float(value) for name, value in frame_errors(truth + off, truth, mesh).items()}
    assert found["rmse_mm"] == pytest.approx(((25 + 1) / 2) ** 0.5, rel=1e-5)
    assert found["depth_mm"] == pytest.approx(((16 + 1) / 2) ** 0.5, rel=1e-5)
    assert found["plane_mm"] == pytest.approx((9 / 2) ** 0.5, rel=1e-5)
    assert found["lips_mm"] == pytest.approx(1, rel=1e-5)


def test_jitter_is_the_size_of_independent_errors_and_forgives_those_that_stay():
    rng = np.random.default_rng(0)
    places = np.array([(shot, frame) for shot in range(2) for frame in range(400)])
    true = np.zeros((800, 30, 3))
    true[400:, :, 1] = np.sin(0.5 * np.arange(400))[:, None]  # the second shot moves, the first rests
    noise = rng.normal(0, 0.1, true.shape)
    found = trembling(true + noise + 3.0, true, places)
    assert np.isnan(found["jitter_mm"][[0, 399, 400, 799]]).all()
    assert np.nanmean(found["jitter_mm"]) == pytest.approx(0.1 * 3**0.5, rel=0.02)
    assert np.nanmax(found["truth_jitter_mm"][:400]) == 0 < np.nanmin(found["truth_jitter_mm"][401:410])
    rest = np.isfinite(found["rest_jitter_mm"])
    assert rest[1:399].all() and rest[400:].mean() < 0.2
    shuffled = rng.permutation(800)
    again = trembling((true + noise + 3.0)[shuffled], true[shuffled], places[shuffled])
    assert np.allclose(again["jitter_mm"], found["jitter_mm"][shuffled], equal_nan=True)


def test_the_regions_of_the_pack_are_where_their_names_say(shots):
    mesh = mesh_of(runs.checks.open_reader(config_of(shots, shots), runs.system_named("capture")).info)
    middle = {
        name: footage.vertices(Path(mesh_pack(shots)), 0)[chosen].mean(0) for name, chosen in mesh.regions.items()
    }
    assert middle["jaw"][1] < middle["lips"][1] < middle["eyes"][1] < middle["brows"][1]
    assert all(len(chosen) > 50 for chosen in mesh.regions.values())
    assert 2000 < len(mesh.animated) < mesh.vertices


def mesh_pack(shots: Path) -> str:
    import json

    return str(json.loads((shots / "dataset.json").read_text())["spec"]["assets"]["head"])


# ---------------------------------------------------------------- training


@pytest.fixture(scope="session")
def trained(shots, tmp_path_factory) -> Path:
    """A run that has learnt to read the squares."""
    return runs.train(config_of(shots, tmp_path_factory.mktemp("runs"))).run


def test_what_frames_show_is_learnt_and_told_by_kind_shot_and_region(trained, shots, tmp_path):
    written = write_report(trained, shots, tmp_path / "report")
    rows = written.values["splits"]
    every = rows["kind"][0]
    assert every["label"] == "all" and every["rmse_mm"] < 0.25 * every["naive_mm"]
    assert {row["label"] for row in rows["kind"][1:]} <= set(footage.KINDS)
    assert sum(row["count"] for row in rows["shot"][1:]) == every["count"] == written.values["samples"]
    assert all(row["count"] == footage.FRAMES for row in rows["shot"][1:])  # whole shots are held out
    assert every["jaw_mm"] > every["eyes_mm"] and every["jitter_mm"] > 0
    assert "jitter_mm" in written.text and "lips_mm" in written.text
    assert (trained / "eval").is_dir()


def test_two_cameras_train_too_and_the_baseline_does(head_pack, shots, tmp_path):
    two = footage.write_footage(tmp_path / "two", head_pack, 5, views=2)
    short = {"schedule.max_samples": 24, "output.images": False}
    both = runs.train(config_of(two, tmp_path, **short, **{"network.views": 2})).run
    assert read_weights(both / "weights.safetensors")[0]["mean"].shape == (2, 1, 1)
    changes = {"network.kind": "connected", "schedule.max_samples": 1200, "network.dropout": 0.0}
    flat = runs.train(config_of(shots, tmp_path, **changes)).run
    every = write_report(flat, shots, tmp_path / "report").values["splits"]["kind"][0]
    assert every["rmse_mm"] < 0.5 * every["naive_mm"]


def test_the_affine_loss_trains_and_is_scored_by_what_it_sees(shots, tmp_path):
    run = runs.train(config_of(shots, tmp_path, loss="affine", **{"schedule.max_samples": 1200})).run
    every = write_report(run, shots, tmp_path / "report").values["splits"]["kind"][0]
    assert every["affine_mm"] < every["rmse_mm"] and every["affine_mm"] < 0.6 * every["naive_mm"]


def test_data_sets_that_do_not_fit_are_refused_in_one_line(head_pack, shots, small, tmp_path):
    config = config_of(shots, tmp_path)
    with pytest.raises(SpecError, match=r"is 40 x 64, frames of .* are 48 x 64: set network\.width_px=48"):
        runs.check(override(config, {"network.width_px": 40}, "test"))
    with pytest.raises(SpecError, match=r"is 16 x 32, frames of .* are 48 x 64"):
        runs.check(override(config, {"network.width_px": 16, "network.height_px": 32}, "test"))
    with pytest.raises(SpecError, match=r"network\.vertices is 5000, the mesh of .* has 4467"):
        runs.check(override(config, {"network.vertices": 5000}, "test"))
    with pytest.raises(SpecError, match=r"network\.components is 160, and \d+ frames have"):
        runs.check(override(config, {"network.components": 160}, "test"))
    with pytest.raises(HeadforgeError, match="vertices: add it to the labels"):
        runs.check(override(config, {"data.path": str(small)}, "test"))
    with pytest.raises(FormatError, match="has no landmarks"):
        frames.eye_corners({"key": "k", "landmarks_px": []})
