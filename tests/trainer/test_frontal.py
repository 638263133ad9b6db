"""Frontal faces as a system: tables, gradients of each term, what a training does, keeps and refuses."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import nn

from renderer.errors import DatasetError, FormatError, SpecError
from renderer.head.pack import load_head
from renderer.labels.camera import project
from renderer.parameters.jobspecs import find_jobspec
from renderer.parameters.params import Camera
from renderer.sampling.draw import NEUTRAL_FILL, NEUTRAL_FOCAL_MM
from renderer.strict import override
from trainer.systems import runs
from trainer.systems.frontal import appearance, frame, geometry, losses
from trainer.systems.frontal.config import FrontalConfig, LossConfig, NetworkConfig
from trainer.systems.frontal.landmarks import points_of
from trainer.systems.frontal.network import Discriminator, FrontalNetwork, Stage, initialise
from trainer.systems.frontal.spline import pixel_centres, spline_matrix, warp
from trainer.systems.registry import load_config
from trainer.training.checkpoint import checkpoints, load_checkpoint, read_weights
from trainer.training.checks import open_reader, parameter_count, splits
from trainer.training.run_dir import RunDir
from trainer.training.sheets import single

sys.path.insert(0, str(Path(__file__).parent))
from frontal_people import SMALL, Colours, in_place_of_published_weights, tiny_config, write_people

PLACES = torch.tensor(frame.CANONICAL, dtype=torch.float64)


# ---------------------------------------------------------------- stand-ins


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of_published_weights(monkeypatch)


@pytest.fixture(scope="session")
def people(synthetic, tmp_path_factory) -> Path:
    """48 pictures of 24 people. Read only."""
    return write_people(synthetic, tmp_path_factory.mktemp("people") / "people")


@pytest.fixture
def config(people, tmp_path) -> FrontalConfig:
    return tiny_config(people, tmp_path)


SUPERVISED = {
    "loss.l1": 1.0, "loss.ssim": 1.0, "loss.texture": 0.0, "loss.identity": 0.0, "loss.landmarks": 0.0,
    "loss.adversarial": 0.0,
}  # fmt: skip


# ---------------------------------------------------------------- tables


def test_the_decoders_are_those_of_the_thesis_layer_by_layer():
    network = FrontalNetwork(NetworkConfig())
    decoder, mask = network.decoder, network.mask_decoder
    shapes: list[tuple[int, ...]] = []
    hooks = [
        part.register_forward_hook(lambda module, given, found: shapes.append(tuple(found.shape[1:])))
        for part in network.modules()
        if isinstance(part, Stage)
    ]
    with torch.no_grad():
        made = network(torch.zeros(1, 256))
    [hook.remove() for hook in hooks]
    assert shapes == [
        (96, 10, 10), (48, 20, 20), (24, 40, 40), (12, 80, 80), (6, 160, 160), (3, 320, 320),
        (6, 160, 160), (1, 320, 320),
    ]  # fmt: skip
    assert decoder.second.weight.shape == (4800, 4800) and 5 * 5 * 192 == 4800
    assert made.face.shape == (1, 3, 320, 320) and made.mask.shape == (1, 1, 320, 320)
    # four convolutions of c x c and one of c x d, 3 x 3 each, with a bias per output
    stages = {(192, 96): 1493856, (96, 48): 373680, (48, 24): 93528, (24, 12): 23436, (12, 6): 5886, (6, 3): 1485}
    assert [parameter_count(stage) for stage in decoder.stages] == list(stages.values())
    assert all(4 * (9 * c * c + c) + 9 * c * d + d == count for (c, d), count in stages.items())
    assert parameter_count(decoder.first) == 256 * 4800 + 4800 and parameter_count(decoder.second) == 4800 * 4801
    assert [parameter_count(stage) for stage in mask.stages] == [5886, 1375]
    assert parameter_count(decoder) + parameter_count(mask) == 26_277_532


def test_the_discriminator_is_that_of_the_thesis_layer_by_layer():
    critic, shapes = Discriminator(NetworkConfig()), []
    for layer in critic.layers:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda module, given, found: shapes.append(tuple(found.shape[1:])))
    with torch.no_grad():
        assert critic(torch.zeros(1, 3, 320, 320)).shape == (1, 1, 20, 20)
    assert shapes == [
        (32, 320, 320), (32, 160, 160), (64, 160, 160), (64, 80, 80), (128, 80, 80), (128, 40, 40),
        (256, 40, 40), (256, 20, 20), (1, 20, 20),
    ]  # fmt: skip
    assert parameter_count(critic) == 1_174_561
    assert {layer.negative_slope for layer in critic.layers if isinstance(layer, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("side, width, first", [(160, 1, 96), (160, 2, 192), (40, 1, 24)])
def test_smaller_faces_come_of_fewer_stages_and_features(side, width, first):
    config = NetworkConfig(output_px=side, width=width)
    made = FrontalNetwork(config)(torch.zeros(2, 256))
    assert config.stage_features[0] == first
    assert made.face.shape == (2, 3, side, side) and made.landmarks.shape == (2, 68, 3)
    assert made.face.min() >= 0 and made.face.max() <= 1


def test_the_picture_is_the_face_under_the_mask_on_white():
    network = FrontalNetwork(NetworkConfig(**SMALL))
    initialise(network, 0)
    made = network(torch.randn(2, 12))
    assert torch.equal(made.picture, made.mask * made.face + (1 - made.mask))
    bare = FrontalNetwork(NetworkConfig(**SMALL, mask=False))
    made = bare(torch.randn(2, 12))
    assert torch.equal(made.picture, made.face) and bare.mask_decoder is None


# ---------------------------------------------------------------- places


def test_canonical_places_are_those_of_the_average_head_in_its_companion(head_pack):
    model = load_head(head_pack)
    head = model.landmarks_smooth(model.subdivided("skin").points(model.vertices))
    from renderer.sampling.draw import _distance_m

    camera = Camera(NEUTRAL_FOCAL_MM, 36.0, _distance_m(NEUTRAL_FOCAL_MM, NEUTRAL_FILL), 0.0, 0.0)
    at = torch.from_numpy(project(head, camera, 1)[None, :, :2])
    window = torch.tensor([frame.COMPANION_WINDOW], dtype=at.dtype)
    inside = frame.in_window(at, window)
    assert torch.allclose(inside[0, list(frame.WARPED)], PLACES, atol=5e-4)
    box = frame.boxes_of(inside)[0]
    assert float((box[2:] - box[:2]).max()) == pytest.approx(frame.FACE_SHARE, abs=2e-3)


def test_a_crop_shows_the_box_of_the_landmarks_as_large_as_it_is_to_be():
    y, x = torch.meshgrid(torch.arange(64.0) + 0.5, torch.arange(64.0) + 0.5, indexing="ij")
    places = torch.stack([x, y])[None]  # each pixel says where it is
    points = torch.tensor([[[20.0, 24.0], [45.0, 30.0], [30.0, 40.0]]])
    windows = frame.windows_about(frame.boxes_of(points))
    assert windows.tolist() == [[12.5, 12.0, 52.5, 52.0]]  # 25 pixels are 0.625 of 40
    shown, inside = frame.crop(places, windows, 80), frame.in_window(points, windows)
    assert inside[0, 1].tolist() == pytest.approx([0.8125, 0.45])
    row, column = (inside[0, 1].flip(0) * 80).long().tolist()
    assert shown[0, :, row, column].tolist() == pytest.approx([45.0, 30.0], abs=0.5)


def test_the_backdrop_of_a_companion_turns_white_and_nothing_else():
    neutral = torch.full((1, 3, 8, 8), 0.5)
    neutral[:, :, 3:6, 3:6] = torch.tensor([0.5, 0.4, 0.5]).view(3, 1, 1)
    white = frame.on_white(neutral)
    assert torch.equal(white[..., 3:6, 3:6], neutral[..., 3:6, 3:6])
    assert (white == 1).all(1).sum() == 64 - 9


# ---------------------------------------------------------------- spline


def test_the_spline_carries_each_landmark_to_its_place_and_keeps_affine_maps():
    torch.manual_seed(0)
    landmarks = PLACES + 0.1 * torch.randn(14, 2, dtype=torch.float64)
    assert torch.allclose(spline_matrix(PLACES, PLACES) @ landmarks, landmarks)
    at = torch.rand(50, 2, dtype=torch.float64)
    turned = torch.tensor([[0.8, -0.3], [0.2, 1.1]], dtype=torch.float64)
    assert torch.allclose(spline_matrix(PLACES, at) @ (PLACES @ turned + 0.1), at @ turned + 0.1)
    kernel = (at[:, None] - PLACES).norm(dim=2)  # phi(r) = r: f minus its affine part is a sum of distances
    moved = spline_matrix(PLACES, at) @ landmarks
    rest = torch.linalg.lstsq(torch.cat([kernel, torch.ones(50, 1).double(), at], 1), moved)
    assert float((torch.cat([kernel, torch.ones(50, 1).double(), at], 1) @ rest.solution - moved).abs().max()) < 1e-9


def test_a_warp_brings_what_is_at_a_landmark_to_its_place():
    picture, landmarks = torch.zeros(1, 1, 64, 64), PLACES.float()[None] * 0.5 + 0.2
    column, row = (landmarks[0, 13] * 64).long().tolist()
    picture[0, 0, row - 1 : row + 2, column - 1 : column + 2] = 1
    shown = warp(picture, landmarks, spline_matrix(PLACES, pixel_centres(64, PLACES)).float())
    column, row = (PLACES[13] * 64).long().tolist()
    assert shown[0, 0, row, column] > 0.9 and shown.sum() < 9 * 4 * 1.3


def test_gradients_of_the_warp_are_finite_differences():
    torch.manual_seed(1)
    matrix = spline_matrix(PLACES, pixel_centres(6, PLACES))
    picture = torch.rand(2, 2, 9, 9, dtype=torch.float64, requires_grad=True)
    landmarks = (PLACES.repeat(2, 1, 1) * 0.7 + 0.1 + 0.03 * torch.randn(2, 14, 2)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, m: warp(p, m, matrix), (picture, landmarks))


# ---------------------------------------------------------------- losses


def face_points(count: int = 2) -> torch.Tensor:
    """Landmarks of a symmetric, upright face with a closed mouth, some noise on top."""
    points = torch.zeros(count, 68, 3, dtype=torch.float64)
    torch.manual_seed(2)
    for left, right in geometry.MIRRORED:
        x, y = 0.05 + 0.2 * torch.rand(1), 0.2 + 0.6 * torch.rand(1)
        points[:, left, :2] = torch.stack([0.5 - x, y], 1).double()
        points[:, right, :2] = torch.stack([0.5 + x, y], 1).double()
    points[:, list(geometry.MIDDLE), 0] = 0.5
    points[:, list(geometry.MIDDLE), 1] = torch.rand(len(geometry.MIDDLE)).double()
    for upper, lower in geometry.LIPS:
        points[:, upper] = points[:, lower]
    return points


def test_pairs_and_middle_are_all_68_landmarks_once():
    named = sorted([*geometry.MIDDLE, *(number for pair in geometry.MIRRORED for number in pair)])
    assert named == list(range(68))


def test_landmark_terms_are_zero_for_a_face_as_it_is_to_be_and_count_pixels_of_320():
    points = face_points()
    exact = losses.landmark_terms(points, points)
    assert all(float(values.abs().max()) < 1e-3 for values in exact.values())
    open_ = points.clone()
    open_[:, [67, 66, 65], 1] += 3 / 320
    assert losses.landmark_terms(open_, points)["expression"].tolist() == pytest.approx([3, 3])
    tilted = points.clone()
    tilted[:, [right for _, right in geometry.MIRRORED], 1] -= 2 / 320
    assert losses.landmark_terms(tilted, points)["tilt"].tolist() == pytest.approx([2, 2])
    askew = points.clone()
    askew[:, [right for _, right in geometry.MIRRORED], 0] += 5 / 320
    assert losses.landmark_terms(askew, points)["symmetry"].tolist() == pytest.approx([5, 5])
    larger = losses.landmark_terms(points * 3 + 1, points)["geometry"]
    assert float(larger.abs().max()) < 1e-9
    longer = points * torch.tensor([1.0, 1.5, 1.0]).double()
    apart = losses.landmark_terms(longer, points)["geometry"]
    matrices = [(p[:, None] - p[None]).abs().sum(2).flatten() for p in (longer[0], points[0])]
    assert float(apart[0]) == pytest.approx(1 - float(torch.cosine_similarity(*matrices, dim=0))) and apart[0] > 1e-3


@pytest.mark.parametrize("name", ["geometry", "symmetry", "tilt", "expression"])
def test_gradients_of_each_landmark_term_are_finite_differences(name):
    torch.manual_seed(3)
    points = (face_points() + 0.05 * torch.randn(2, 68, 3)).double().requires_grad_()
    shape = torch.randn(2, 68, 3).double()
    assert torch.autograd.gradcheck(lambda p: losses.landmark_terms(p, shape)[name], (points,))


def test_gradients_of_the_other_terms_are_finite_differences():
    torch.manual_seed(4)
    face, picture = (torch.rand(1, 3, 13, 13, dtype=torch.float64, requires_grad=grad) for grad in (True, False))
    mask = torch.rand(1, 1, 13, 13, dtype=torch.float64, requires_grad=True)
    matrix = spline_matrix(PLACES, pixel_centres(5, PLACES))
    made, given = ((PLACES[None] * 0.8 + 0.1 + 0.02 * torch.randn(1, 14, 2)).double() for _ in range(2))
    made.requires_grad_()
    check = torch.autograd.gradcheck
    assert check(lambda f, m, p: losses.texture(f, m, p, picture, given, matrix), (face, mask, made))
    assert check(lambda m: tuple(losses.mask_terms(m, 1.5).values()), (mask,))
    assert check(lambda f: tuple(losses.supervised_terms(f, picture).values()), (face,))


def test_texture_counts_inside_the_mask_alone():
    side, matrix = 32, spline_matrix(PLACES, pixel_centres(32, PLACES)).float()
    places = PLACES.float()[None]
    picture = torch.rand(1, 3, side, side)
    face, mask = picture.clone(), torch.zeros(1, 1, side, side)
    face[..., :16] += 0.5
    mask[..., 20:] = 1
    assert float(losses.texture(face, mask, places, picture, places, matrix)) < 1e-5
    assert float(losses.texture(face, 1 - mask, places, picture, places, matrix)) == pytest.approx(0.4, abs=0.02)


def test_ssim_is_that_of_scikit_image():
    torch.manual_seed(5)
    first = torch.rand(2, 3, 40, 40)
    second = (first + 0.2 * torch.rand(2, 3, 40, 40)).clamp(0, 1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    wanted = [
        structural_similarity(a.numpy(), b.numpy(), channel_axis=0, **options)
        for a, b in zip(first, second, strict=True)
    ]
    assert losses.ssim(first, second).tolist() == pytest.approx(wanted, abs=1e-4)


def test_a_weight_of_zero_leaves_a_term_out():
    assert set(LossConfig().used) == {
        "texture", "geometry", "symmetry", "tilt", "expression", "identity", "mask_area", "mask_variation",
        "adversarial",
    }  # fmt: skip
    assert LossConfig().used["geometry"] == pytest.approx(160 * 0.02)
    assert not {"geometry", "tilt"} & set(LossConfig(landmarks=0).used)


# ---------------------------------------------------------------- landmarks


def test_the_landmark_network_learns_where_landmarks_are(config):
    trained = override(config, {"landmarks.samples": 1000, "schedule.max_samples": 8}, "test")
    network = runs.load_trained(runs.train(trained).run).module
    reader = open_reader(config, runs.system_named("frontal"))
    _, held_out = splits(config, reader)
    system = runs.system_named("frontal")
    task = system.build(config, reader, torch.device("cpu"))
    errors = []
    for position in held_out:
        batch = single(reader, int(position), torch.device("cpu"))
        windows = frame.windows_about(frame.boxes_of(batch.vectors["points"]))
        truth = frame.in_window(batch.vectors["points"], windows)
        errors.append((network.landmarks(task.pictures(batch)) - truth).abs().mean())
    assert float(torch.stack(errors).mean()) < 0.03
    assert not any(p.requires_grad for p in network.landmarks.parameters())


def test_landmarks_of_a_record_stand_in_pixels_and_nearer_is_more():
    record = {
        "key": "k", "landmarks_px": [[[1.0, 2.0]] * 67 + [[3.0, 4.0]]], "landmarks_depth_m": [[1.0] * 67 + [0.9]],
        "camera_matrix": [[50.0, 0, 0], [0, 50.0, 0], [0, 0, 1]],
    }  # fmt: skip
    points = points_of(record)
    assert points.shape == (68, 3) and points[67, :2].tolist() == [3.0, 4.0]
    assert points[67, 2] - points[0, 2] == pytest.approx(0.1 * 50, rel=0.01)
    with pytest.raises(FormatError, match=r"'k' shows no head: .* heads\.empty_share: 0"):
        points_of({**record, "landmarks_px": [], "landmarks_depth_m": []})


def test_landmark_networks_of_other_runs_are_taken_or_refused(config):
    first = runs.train(override(config, {"schedule.max_samples": 8}, "test")).run
    again = override(config, {"landmarks.run": str(first), "schedule.max_samples": 8, "seed": 5}, "test")
    tensors = [read_weights(run / "weights.safetensors")[0] for run in (first, runs.train(again).run)]
    names = [name for name in tensors[0] if name.startswith("landmarks.")]
    assert names and all(torch.equal(tensors[0][name], tensors[1][name]) for name in names)
    with pytest.raises(FormatError, match=r"landmarks\.run: .* no landmark network with landmark_features 8"):
        runs.check(override(again, {"network.landmark_features": 8}, "test"))


# ---------------------------------------------------------------- training


def test_both_sides_step_in_turn_and_the_encoder_and_landmarks_do_not(config):
    changes = {"output.checkpoint_steps": 1, "output.keep_checkpoints": 99, "schedule.max_samples": 64}
    config = override(config, changes, "test")
    run = runs.train(config).run
    states = [load_checkpoint(path, config)["modules"] for path in checkpoints(run / "checkpoints")]
    moved = {
        name: [
            any(not torch.equal(before[module][key], after[module][key]) for key in before[module] if part in key)
            for before, after in itertools.pairwise(states)
        ]
        for name, module, part in (
            ("generator", "network", "decoder.first"), ("landmarks", "network", "landmarks."),
            ("discriminator", "discriminator", "layers"),
        )
    }  # fmt: skip
    assert all(moved["generator"]) and len(moved["generator"]) == 7 and not any(moved["landmarks"])
    assert moved["discriminator"] == [False, False, True, False, False, False, True]
    line = [line for line in RunDir(run).lines() if line["kind"] == "train"][-1]
    assert set(line["terms"]) == {*LossConfig().used, "discriminator", "loss_discriminator"}


def test_the_mean_face_and_spread_of_features_are_those_of_the_training_samples(config):
    run = runs.train(override(config, {"schedule.max_samples": 8}, "test")).run
    system = runs.system_named("frontal")
    reader = open_reader(config, system)
    training, held_out = splits(config, reader)
    assert len(held_out)
    task = system.build(config, reader, torch.device("cpu"))
    batches = [single(reader, int(position), torch.device("cpu")) for position in training]
    network = runs.load_trained(run).module
    assert torch.allclose(network.mean_face, torch.cat([task.truth(b) for b in batches]).mean(0), atol=1e-5)
    features = torch.cat([task.features(b, task.pictures(b)) for b in batches])
    assert torch.allclose(network.feature_mean, features.mean(0), atol=1e-6)
    assert torch.allclose(network.feature_spread, features.std(0, correction=0), atol=1e-5)


def test_faces_start_gray_or_as_the_mean_companion_and_never_where_tanh_is_flat(config):
    torch.manual_seed(0)
    bare = FrontalNetwork(NetworkConfig(**SMALL))
    initialise(bare, 0)
    made = bare(torch.randn(2, 12))
    assert (made.face == 0.5).all() and (made.mask == 0.5).all()
    short = {"schedule.max_samples": 8, "landmarks.samples": 8, "schedule.lr": [1e-8, 1e-8]}
    network = runs.load_trained(runs.train(override(config, {**SUPERVISED, **short}, "test")).run).module
    face, _ = network.decoded(torch.randn(2, 12))
    assert float((face - network.mean_face).abs().max()) < 0.011 and face.max() < 0.991
    assert not runs.load_trained(runs.train(override(config, short, "test")).run).module.start.any()


def test_a_training_from_companions_gets_clearly_better_than_their_mean(config):
    changes = {
        **SUPERVISED, "landmarks.samples": 8, "schedule.max_samples": 480, "schedule.optimiser": "muon",
        "schedule.lr": [5e-3, 1e-5], "schedule.beta1": [0.9, 0.9], "schedule.decay": "cosine",
        "output.evaluate_epochs": 999,
    }  # fmt: skip
    run = runs.train(override(config, changes, "test")).run
    metrics = [line["metrics"] for line in RunDir(run).lines() if line["kind"] == "test"][-1]
    assert metrics["psnr"] > metrics["mean_psnr"] + 3 and metrics["ssim"] > metrics["mean_ssim"]


def test_flows_find_a_shift_and_their_inverse_undoes_it():
    torch.manual_seed(0)
    coarse = nn.functional.interpolate(torch.rand(1, 3, 10, 10), size=(80, 80), mode="bicubic").clamp(0, 1)
    shifted = coarse.roll(3, dims=3)
    flow = appearance.flow_between(coarse[0], shifted[0])
    inside = flow[20:60, 20:60]
    assert (inside[..., 0].mean() * 80).item() == pytest.approx(3, abs=0.3)
    assert (inside[..., 1].mean() * 80).item() == pytest.approx(0, abs=0.3)
    bent = 0.03 * torch.sin(torch.linspace(0, 6, 80))[None, :, None, None].expand(2, 80, 80, 2)
    there_and_back = appearance.moved(appearance.moved(coarse.expand(2, -1, -1, -1), bent), appearance.inverse(bent))
    assert float((there_and_back - coarse)[..., 10:70, 10:70].abs().mean()) < 0.01


def test_faces_of_components_follow_the_features_and_are_sharper_than_the_mean():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    where = torch.linspace(-1, 1, 9)
    companions = torch.stack([(((x - 20 - 3 * w) ** 2 + (y - 20) ** 2) < 90).float().expand(3, -1, -1) for w in where])
    companions = 1 - companions * (0.5 + 0.2 * where.view(-1, 1, 1, 1))  # discs: the darker, the further to the right
    owners = torch.arange(9).repeat_interleave(20)
    features = torch.zeros(180, 12)
    features[:, 0] = where[owners] / where[owners].std(correction=0)
    network = FrontalNetwork(NetworkConfig(**SMALL, components=2, mask=False))
    initialise(network, 0)
    network.appearance.fit(companions, features, owners)
    made = network(features[::20]).picture
    darkest = made.amin((1, 2, 3))
    assert (darkest.diff() < -0.02).all()
    mean = companions.mean(0).expand_as(made)
    assert losses.ssim(made, companions).mean() > losses.ssim(mean, companions).mean() + 0.03


def test_a_network_without_a_mask_is_trained_and_read(config):
    plain = {"network.mask": False, "loss.mask_area": 0, "loss.mask_variation": 0, "schedule.max_samples": 8}
    network = runs.load_trained(runs.train(override(config, plain, "test")).run).module
    assert network.mask_decoder is None and (network.decoded(torch.zeros(1, 12))[1] == 1).all()


def test_components_are_of_companions_alone(config):
    with pytest.raises(SpecError, match=r"components are those of companions: set loss\.l1 or loss\.ssim"):
        runs.check(override(config, {"network.components": 3}, "test"))
    short = {
        "schedule.max_samples": 8,
        "landmarks.samples": 8,
        "network.components": 3,
        "schedule.lr": [1e-8, 1e-8],
    }
    network = runs.load_trained(runs.train(override(config, {**SUPERVISED, **short}, "test")).run).module
    assert network.appearance.colours.flatten(1).norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    assert network.decoded(torch.zeros(2, 12))[1].min() > 0.9  # masks start open


def test_a_training_from_companions_has_no_discriminator_and_shows_what_is_asked_for(config):
    run = runs.train(override(config, {**SUPERVISED, "schedule.max_samples": 8, "output.images": True}, "test")).run
    assert "discriminator" not in load_checkpoint(checkpoints(run / "checkpoints")[-1], run_config(run))["modules"]
    line = [line for line in RunDir(run).lines() if line["kind"] == "test"][-1]
    assert set(line["terms"]) == {"l1", "ssim", "mask_area", "mask_variation"}
    assert line["metrics"]["mean_ssim"] > 0.8 and line["metrics"]["ssim"] < line["metrics"]["mean_ssim"]
    layout = json.loads((run / "eval" / "layout.json").read_text())
    assert layout["columns"] == ["input", "output", "mask", "composite", "truth"] and layout["tile_px"] == 40
    assert {"|yaw|", "occlusion share"} <= set(json.loads((run / "eval" / "splits.json").read_text())["test"])


def run_config(run: Path) -> FrontalConfig:
    from trainer.systems.registry import run_config as read_config

    return read_config(run)


def test_a_resumed_training_ends_as_one_that_was_never_stopped(config):
    config = override(config, {"output.checkpoint_steps": 2, "output.keep_checkpoints": 99}, "test")
    run = runs.train(config).run
    before = load_checkpoint(checkpoints(run / "checkpoints")[-1], config)["modules"]
    assert runs.resume(run, "2").state == "finished"
    after = load_checkpoint(checkpoints(run / "checkpoints")[-1], config)["modules"]
    assert all(torch.equal(after[m][n], t) for m, tensors in before.items() for n, t in tensors.items())


def test_the_full_networks_take_a_few_steps(people, tmp_path):
    config = load_config(find_jobspec(Path("train_frontal"), "training", []))
    changes = {
        "data.path": str(people), "data.batch_size": 1, "data.workers": 0, "network.encoder_features": 12,
        "schedule.max_samples": 3, "adversary.every": 2, "landmarks.samples": 2, "mean_samples": 2,
        "data.limit": 8, "data.test_limit": 1,
        "device.threads": 2, "device.precision": "32-true", "output.runs": str(tmp_path), "output.images": False,
        "output.tensorboard": False, "output.log_steps": 1,
    }  # fmt: skip
    config = override(config, changes, "test")
    assert config.network.output_px == 320 and config.loss.adversarial
    run = runs.train(config).run
    lines = [line["terms"] for line in RunDir(run).lines() if line["kind"] == "train"]
    assert len(lines) == 3 and ["discriminator" in terms for terms in lines] == [False, True, False]


# ---------------------------------------------------------------- what is refused


def test_what_does_not_fit_is_refused_in_one_line(config, small):
    with pytest.raises(SpecError, match=r"output_px is 200; .* give 40, 80, 160, 320"):
        override(config, {"network.output_px": 200}, "test")
    with pytest.raises(SpecError, match=r"encoder_features is 7, the encoder dlib gives 12: set it to that"):
        runs.check(override(config, {"network.encoder_features": 7}, "test"))
    with pytest.raises(SpecError, match=r"network\.mask is false: set loss\.mask_area"):
        runs.check(override(config, {"network.mask": False}, "test"))
    with pytest.raises(SpecError, match="nothing says whose face"):
        override(config, {"loss.texture": 0, "loss.identity": 0}, "test")
    with pytest.raises(DatasetError, match="not neutral: add it to the labels"):
        runs.check(override(config, {"data.path": str(small)}, "test"))
    network = FrontalNetwork(NetworkConfig(**SMALL))
    with pytest.raises(SpecError, match=r"takes features \(N, 12\) of a face, not \(1, 128\)"):
        network(torch.zeros(1, 128))


def test_an_encoder_without_gradients_trains_no_identity_term(config, monkeypatch):
    monkeypatch.setattr(Colours, "differentiable", False)
    with pytest.raises(SpecError, match=r"gives no gradients: set loss\.identity to 0"):
        runs.check(config)
    runs.check(override(config, {"loss.identity": 0}, "test"))
