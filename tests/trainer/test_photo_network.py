"""The network for photographs, its encoder's published weights, its face score, and how faces are found with it."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from renderer.errors import FormatError, SpecError
from renderer.format.sample_format import CENTRE_U, UV_FRAME
from trainer.augmentation.samples import Samples
from trainer.networks.lite0 import Depthwise, Lite0
from trainer.systems.registry import parse_config
from trainer.systems.uvnet import trained
from trainer.systems.uvnet.config import LossConfig, NetworkConfig, UVNetConfig
from trainer.systems.uvnet.losses import face_score_term, mask_error
from trainer.systems.uvnet.photo_network import PhotoNet, make_photo_network
from trainer.systems.uvnet.system import UVNetSystem
from trainer.training.checkpoint import check_architecture, save_weights
from trainer.uvmaps.finding import FOR_PHOTOGRAPHS, Options, find_faces, read_faces, window_around

TINY = NetworkConfig(kind="photo", decoder_features=(8, 8, 8, 8))


def published(seed: int) -> OrderedDict[str, Tensor]:
    """Weights as the package lists them: those of the encoder in order, and more that it does not take."""
    generator, tensors = torch.Generator().manual_seed(seed), OrderedDict[str, Tensor]()
    for number, (name, tensor) in enumerate(Lite0().state_dict().items()):
        values = torch.rand(tensor.shape, generator=generator) + 0.5 if tensor.is_floating_point() else tensor + 7
        tensors[f"_{number}.{name.rsplit('.', 1)[1]}"] = values
    return OrderedDict(**tensors, **{"_fc.weight": torch.zeros(1000, 1280)})


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (17, 70)])
def test_pictures_of_any_size_give_uvs_masks_and_one_face_score(size: tuple[int, int]) -> None:
    network = make_photo_network(TINY, 0).eval()
    found = network(torch.rand(2, 3, *size))
    assert found.shape == (2, 5, *size)
    assert bool((found[:, 2:] > 0).all()) and bool((found[:, 2:] < 1).all())
    assert found[:, 4].flatten(1).std(1).tolist() == [0, 0]
    assert found[0, 2].std() > 0  # masks differ from pixel to pixel


def test_every_weight_learns() -> None:
    network = make_photo_network(TINY, 0)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_weights_are_a_function_of_the_seed() -> None:
    one, same, other = (make_photo_network(TINY, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["encoder.stem.0.weight"], other["encoder.stem.0.weight"])
    assert not torch.equal(one["last.weight"], other["last.weight"])


def test_the_encoder_takes_published_weights_tensor_by_tensor() -> None:
    weights = published(3)
    network = make_photo_network(TINY, 0, weights)
    for mine, theirs in zip(network.encoder.state_dict().values(), weights.values(), strict=False):
        assert torch.equal(mine, theirs)


def test_weights_of_another_network_are_refused() -> None:
    wrong = published(3)
    wrong["_0.weight"] = torch.zeros(16, 3, 3, 3)
    with pytest.raises(FormatError, match=r"stem\.0\.weight does not fit"):
        make_photo_network(TINY, 0, wrong)


def test_maps_of_the_encoder_halve_from_one_to_the_next() -> None:
    maps = Lite0().eval()(torch.rand(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 32, 48), (24, 16, 24), (40, 8, 12), (112, 4, 6), (192, 2, 3)]


def test_what_is_frozen_stays_and_the_rest_learns() -> None:
    network = make_photo_network(TINY, 0)
    network.freeze(2)
    network.train()
    before = {name: t.clone() for name, t in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    optimiser.step()
    changed = {name for name, t in network.state_dict().items() if not torch.equal(t, before[name])}
    frozen = ("encoder.stem", "encoder.stages.0.", "encoder.stages.1.")
    assert not [name for name in changed if name.startswith(frozen)]
    assert {"encoder.stages.2.0.layers.0.weight", "encoder.stages.2.0.layers.1.running_mean"} <= changed
    assert not network.encoder.stages[1].training and network.encoder.stages[2].training


def test_features_by_themselves_are_convolved_in_float32_where_others_are_not() -> None:
    layer, x = Depthwise(4, 4, 3, 1, 1, groups=4), torch.rand(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert nn.Conv2d(4, 4, 3)(x).dtype == torch.bfloat16
        assert layer(x.bfloat16()).dtype == torch.float32
    assert torch.equal(layer(x), nn.Conv2d.forward(layer, x))


@pytest.mark.parametrize(
    "raw",
    [{"pretrained": True}, {"frozen_stages": 2}, {"loss": {"face_score": 1.0}}, {"loss": {"masks": "entropy"}}],
)
def test_what_only_the_network_for_photographs_has_is_refused_with_another(raw: dict[str, object]) -> None:
    parse_config({"network": {"kind": "photo"}, **raw}, "test")
    with pytest.raises(SpecError, match=r"needs network\.kind: photo"):
        parse_config(raw, "test")


def test_weights_from_before_there_were_kinds_are_those_of_the_first(tmp_path: Path) -> None:
    config = UVNetConfig(network=NetworkConfig(levels=1, initial_features=4, filter_sizes=(3, 3)))
    older = config.architecture()
    del older["network"]["kind"], older["network"]["decoder_features"]
    check_architecture("uvnet", older, config, tmp_path)
    with pytest.raises(FormatError, match=r"network\.kind 'uvnet' there, 'photo' here"):
        check_architecture("uvnet", older, UVNetConfig(network=TINY), tmp_path)


# ---------------------------------------------------------------- losses


def test_the_face_score_is_held_against_whether_there_is_a_face() -> None:
    mask, uv = torch.zeros(5, 1, 10, 10), torch.zeros(5, 2, 10, 10)
    mask[:3, :, :5], mask[3, 0, 0, 0] = 1, 1  # half of the picture, a hundredth, nothing
    across, down = torch.linspace(0, 1, 10), torch.linspace(0.1, 0.9, 5)
    whole = torch.stack(torch.meshgrid(across, down, indexing="xy"))
    for number, part in enumerate((1.0, 0.2, 0.5)):  # a face, a cheek, something between
        uv[number, :, :5] = whole * part
    prediction = torch.full((5, 5, 10, 10), 0.25)
    found = face_score_term(prediction, Samples(torch.zeros(5, 3, 10, 10), uv, mask, mask))
    yes, no = (-torch.tensor(value).log().item() for value in (0.25, 0.75))
    assert found.tolist() == pytest.approx([yes, no, 0, no, no])


def test_masks_may_count_by_cross_entropy() -> None:
    prediction, target = torch.tensor([0.9, 0.1]).reshape(2, 1, 1, 1), torch.ones(2, 1, 1, 1)
    entropy = mask_error(prediction, target, LossConfig(masks="entropy")).flatten()
    assert entropy.tolist() == pytest.approx([-torch.tensor(v).log().item() for v in (0.9, 0.1)])
    assert mask_error(prediction, target, LossConfig()).flatten().tolist() == pytest.approx([0.1, 0.9])


# ---------------------------------------------------------------- finding


class Blobs:
    """Blue is face; its score is how red the brightest red of a picture is."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, picture: Tensor) -> Tensor:
        self.seen.append(picture)
        mask = (picture[:, 2:3] > 0.5).float()
        score = picture[:, :1].amax((2, 3), keepdim=True).expand_as(mask)
        return torch.cat([torch.full_like(picture[:, :2], 0.5), mask, mask, score], 1)


def two_blobs() -> Tensor:
    picture = torch.zeros(1, 3, 200, 400)
    picture[:, 2, 60:140, 60:140] = 1
    picture[:, 2, 60:140, 260:340] = 1
    picture[:, 0, 90:110, 90:110] = 0.9  # the left one has a high score, the right one a low one
    picture[:, 0, 90:110, 290:310] = 0.3
    return picture


def test_windows_without_a_face_by_their_score_are_dropped() -> None:
    sure = find_faces(Blobs(), two_blobs(), FOR_PHOTOGRAPHS)
    every = find_faces(Blobs(), two_blobs(), replace(FOR_PHOTOGRAPHS, min_face=0.1))
    assert [face.box for face in sure] == [pytest.approx((60, 60, 140, 140), abs=3)]
    assert [round(face.score, 1) for face in every] == [0.9, 0.3]  # the surest first


def test_further_passes_read_the_face_in_windows_around_it() -> None:
    network, picture = Blobs(), two_blobs()
    find_faces(network, picture, replace(FOR_PHOTOGRAPHS, network_px=100, window=2.0, last_window=1.6, mirrored=False))
    for seen, window in zip(network.seen[-2:], (2.0, 1.6), strict=True):
        assert seen.shape[2:] == (100, 100) and seen[:, 2].mean().item() == pytest.approx(window**-2, abs=0.03)
    off = window_around((80, 70, 150, 150), 2.0)  # half of it is beside the face
    [face] = read_faces(network, picture, [off], replace(FOR_PHOTOGRAPHS, min_face=0.0))
    assert face.box == pytest.approx((60, 60, 140, 140), abs=3)


@pytest.mark.parametrize(("mirrored", "u", "readings"), [(False, 0.53, 3), (True, CENTRE_U, 4)])
def test_only_the_last_pass_is_read_in_the_mirror_too(mirrored: bool, u: float, readings: int) -> None:
    blobs = Blobs()

    def leaning(part: Tensor) -> Tensor:
        return blobs(part) + torch.tensor([0.03, 0, 0, 0, 0])[:, None, None]

    options = replace(FOR_PHOTOGRAPHS, network_px=100, passes=3, mirrored=mirrored)
    [face] = find_faces(leaning, two_blobs(), options)
    assert [part.shape[2:] for part in blobs.seen].count((100, 100)) == readings
    assert face.uv[:, 0][face.mask[:, 0] > 0.99].mean().item() == pytest.approx(u, abs=1e-3)


@pytest.mark.parametrize(
    ("network", "header", "wanted"),
    [
        (NetworkConfig(levels=1, initial_features=4, filter_sizes=(3, 3)), {}, Options()),
        (TINY, {"input_px": "96"}, replace(FOR_PHOTOGRAPHS, network_px=96)),
        (TINY, {"finder": json.dumps({"min_face": 0.7})}, replace(FOR_PHOTOGRAPHS, min_face=0.7)),
        (TINY, {"finder": json.dumps({"mirrored": False})}, replace(FOR_PHOTOGRAPHS, mirrored=False)),
    ],
)
def test_weights_say_how_faces_are_found_with_them(
    network: NetworkConfig, header: dict[str, str], wanted: Options, tmp_path: Path
) -> None:
    path, config = tmp_path / "w.safetensors", UVNetConfig(network=network)
    module = UVNetSystem().modules(config)["network"]
    save_weights(path, module.state_dict(), config, {"run_id": "x", "uv_frame": UV_FRAME, **header})
    assert trained.load(path).finder == wanted


def test_a_finder_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    about = {"run_id": "x", "uv_frame": UV_FRAME, "finder": '{"min_head": 0.5}'}
    save_weights(path, PhotoNet(TINY).state_dict(), UVNetConfig(network=TINY), about)
    with pytest.raises(FormatError, match="of finding faces"):
        trained.load(path)
