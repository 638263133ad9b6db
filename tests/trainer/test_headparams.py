"""Head parameters as a system: what it learns, measures, refuses, and takes from data and checkpoints."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from click.testing import CliRunner
from PIL import Image

from renderer.cli import main
from renderer.errors import FormatError, HeadforgeError, SpecError
from renderer.head.pack import load_head
from renderer.head.pca import load_pca
from renderer.strict import override
from trainer.data.pictures import picture_values
from trainer.evaluation.report import write_report
from trainer.networks.resnet50 import ResNet50
from trainer.systems import runs
from trainer.systems.headparams.config import HeadParamsConfig
from trainer.systems.headparams.heads import heads_in
from trainer.systems.headparams.metrics import distances
from trainer.systems.headparams.network import Regressor, load_pretrained, make_network
from trainer.systems.headparams.system import parameters_of
from trainer.systems.registry import parse_config
from trainer.training.checkpoint import read_weights, save_weights
from trainer.training.run_dir import RunDir

sys.path.insert(0, str(Path(__file__).parent))
import heads_of_four


@pytest.fixture(scope="session")
def heads(synthetic, tmp_path_factory) -> Path:
    """240 stand-ins for rendered heads. Read only."""
    encode = partial(heads_of_four.encoded, tag="abc123", seed=0)
    return synthetic.write_dataset(tmp_path_factory.mktemp("heads") / "heads", 240, 60, encode=encode)


@pytest.fixture
def config(heads, tmp_path) -> HeadParamsConfig:
    raw = {
        "name": "four",
        "system": "headparams",
        "data": {"path": str(heads), "batch_size": 16, "workers": 1, "cache": "memory", "test_share": 0.2},
        "network": {"kind": "small", "input_px": 64, "parameters": 4, "features": 8},
        "schedule": {"max_samples": 3200, "optimiser": "adam", "lr": [3e-3, 1e-4], "decay": "cosine"},
        "device": {"accelerator": "cpu", "threads": 1, "precision": "32-true"},
        "output": {"runs": str(tmp_path / "runs"), "log_steps": 50, "evaluate_epochs": 8, "tensorboard": False},
    }
    return parse_config(raw, "test")


def test_what_can_be_seen_is_learnt_and_what_cannot_stays_at_the_naive_guess(config, heads, tmp_path):
    run = runs.train(config).run
    report = write_report(run, heads, tmp_path / "report").values
    rows = report["splits"]["parameter"]
    assert [row["label"] for row in rows] == ["q0", "q1", "q2", "q3"]
    assert all(row["squared_error"] < 0.3 * row["naive_error"] for row in rows[:3])
    assert rows[3]["squared_error"] > 0.7 * rows[3]["naive_error"]
    assert sum(row["squared_error"] for row in rows) == pytest.approx(report["metrics"]["squared_error"], rel=1e-4)
    assert report["metrics"]["naive_error"] == pytest.approx(4 / 3, rel=0.3)
    assert len(report["splits"]["yaw"]) > 3
    assert (run / "eval" / "epoch-0008.png").is_file()
    assert {m["name"]: m["naive"] for m in json.loads(RunDir(run).meta.read_text())["system"]["metrics"]}[
        "squared_error"
    ] == "naive_error"


def test_the_mean_image_of_the_training_samples_travels_with_the_weights(config):
    config = override(config, {"schedule.max_samples": 16, "output.images": False}, "test")
    run = runs.train(config).run
    reader = runs.checks.open_reader(config, runs.system_named("headparams"))
    training, held_out = reader.split(0.2)
    assert len(held_out)
    pictures = [picture_values(torch.from_numpy(reader.read(int(p))["input"])) for p in training]
    wanted = torch.stack(pictures).mean(0)
    assert torch.allclose(read_weights(run / "weights.safetensors")[0]["mean"], wanted, atol=1e-6)
    assert torch.equal(runs.load_trained(run).module.mean, read_weights(run / "weights.safetensors")[0]["mean"])


def test_resnet_50_is_torchvisions_by_names_shapes_and_number():
    shapes = {name: tuple(tensor.shape) for name, tensor in ResNet50(1000).state_dict().items()}
    assert sum(p.numel() for p in ResNet50(1000).parameters()) == 25_557_032  # as torchvision's documents state
    assert len(shapes) == 320
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["layer4.2.conv3.weight"] == (2048, 512, 1, 1)
    assert ResNet50(36)(torch.zeros(2, 3, 64, 64)).shape == (2, 36)
    assert not any(getattr(module, "inplace", False) for module in ResNet50(1).modules())


def test_a_checkpoint_gives_all_layers_but_the_last(tmp_path):
    torch.manual_seed(1)
    published = ResNet50(1000)
    torch.save(published.state_dict(), tmp_path / "resnet50.pth")
    network = make_network(HeadParamsConfig().network, 0)
    load_pretrained(network.backbone, tmp_path / "resnet50.pth")
    own, given = network.backbone.state_dict(), published.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in own if not name.startswith("fc."))
    assert not own["fc.weight"].any() and own["fc.weight"].shape == (36, 2048)


def test_lite0_takes_its_encoder_from_a_checkpoint(tmp_path):
    config = override(HeadParamsConfig(), {"network.kind": "lite0", "network.input_px": 64}, "test").network
    torch.manual_seed(1)
    other, network = make_network(config, 1), make_network(config, 0)
    torch.save(other.backbone.encoder.state_dict(), tmp_path / "lite0.pth")
    load_pretrained(network.backbone, tmp_path / "lite0.pth")
    given, own = other.backbone.encoder.state_dict(), network.backbone.encoder.state_dict()
    assert len(own) > 200 and all(torch.equal(own[name], given[name]) for name in own)
    assert network.eval()(torch.rand(2, 3, 112, 112)).shape == (2, 36)
    torch.save(ResNet50(2).state_dict(), tmp_path / "resnet.pth")
    with pytest.raises(FormatError, match="no weights of EfficientNet-Lite0"):
        load_pretrained(network.backbone, tmp_path / "resnet.pth")


def test_checkpoints_that_do_not_fit_are_refused_in_one_line(config, tmp_path):
    backbone = make_network(HeadParamsConfig().network, 0).backbone
    wrong = {name: tensor[:1] for name, tensor in backbone.state_dict().items() if tensor.dim()}
    torch.save(wrong, tmp_path / "shape.pth")
    with pytest.raises(FormatError, match=r"conv1.weight is \(64, 3, 7, 7\) here, the file has \(1, 3, 7, 7\)"):
        load_pretrained(backbone, tmp_path / "shape.pth")
    torch.save({"epoch": 3}, tmp_path / "lacks.pth")
    with pytest.raises(FormatError, match=r"conv1\.weight .* the file lacks it"):
        load_pretrained(backbone, tmp_path / "lacks.pth")
    torch.save(ResNet50(2), tmp_path / "code.pth")  # a pickled object would run code
    with pytest.raises(FormatError, match="cannot be read as tensors by name"):
        load_pretrained(backbone, tmp_path / "code.pth")
    with pytest.raises(SpecError, match=r"none of network\.kind 'small'"):
        override(config, {"pretrained": str(tmp_path / "shape.pth")}, "test")
    big = override(config, {"network.kind": "resnet50", "pretrained": str(tmp_path / "shape.pth")}, "test")
    with pytest.raises(FormatError, match="is of another network"):
        runs.check(big)


def test_data_sets_that_do_not_fit_are_refused_in_one_line(config, small, tmp_path):
    with pytest.raises(SpecError, match=r"network\.parameters is 5, the heads of .* have 4"):
        runs.check(override(config, {"network.parameters": 5}, "test"))
    with pytest.raises(HeadforgeError, match=r"has no head parameters: render a spec with identity\.kind: pca"):
        runs.check(override(config, {"data.path": str(small)}, "test"))
    with pytest.raises(FormatError, match="'k' has no head parameters"):
        parameters_of({"key": "k", "heads": []})
    first = runs.train(override(config, {"schedule.max_samples": 16}, "test")).run
    with pytest.raises(FormatError, match=r"network\.features 8 there, 16 here"):
        runs.check(override(config, {"start": str(first), "network.features": 16}, "test"))


def test_vertices_move_as_the_basis_says():
    basis = torch.tensor([[3.0, 4.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 2.0]])  # two vertices
    difference = torch.tensor([[1.0, 0.0, 9.0], [0.0, -1.0, 9.0]])  # the third is of the texture
    assert distances(difference, basis).tolist() == [2.5, 1.0]


def test_pictures_of_any_size_are_scaled_and_others_refused():
    network = Regressor(override(HeadParamsConfig(), {"network.kind": "small", "network.input_px": 64}, "test").network)
    assert network(torch.zeros(2, 3, 112, 112)).shape == (2, 36)
    with pytest.raises(SpecError, match="takes square pictures"):
        network(torch.zeros(2, 3, 64, 48))
    assert np.isfinite(network.eval()(torch.rand(1, 3, 64, 64)).detach().numpy()).all()


def test_photos_become_textured_heads_of_the_pack_that_a_network_knows(head_pack, tmp_path, monkeypatch):
    config = parse_config({"system": "headparams", "network": {"kind": "small", "input_px": 64, "parameters": 5}}, "t")
    network = make_network(config.network, 0)
    torch.nn.init.constant_(network.backbone.fc.bias, 0.5)
    monkeypatch.setattr("trainer.systems.headparams.apply.cache_root", lambda: head_pack.parent)
    weights, photo = tmp_path / "weights.safetensors", tmp_path / "a.png"
    Image.new("RGB", (90, 70), (120, 90, 80)).save(photo)
    about = {"run_id": "r", "tag": "t", "pack": head_pack.name, "shape_parameters": "3"}
    save_weights(weights, network.state_dict(), config, about)
    ended = CliRunner().invoke(main, ["apply", str(photo), "--run", str(weights), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 0, ended.output
    about = json.loads((tmp_path / "out" / "a.head.json").read_text())
    assert about["q"] == [0.5] * 5 and set(about["on_average"]) >= {"sex", "age"}
    made = trimesh.load(tmp_path / "out" / "a.head.glb", force="mesh")
    pca = load_pca(head_pack)
    skin = load_head(head_pack).subdivided("skin").points(pca.vertices([0.5] * 3))
    assert np.abs(made.bounds - [skin.min(0), skin.max(0)]).max() < 1e-3
    texture = np.asarray(made.visual.material.baseColorTexture.convert("RGB"))
    assert np.array_equal(texture, pca.picture([0.5, 0.5]))
    refused = CliRunner().invoke(main, ["apply", str(photo), "--run", str(weights), "--maps", "npz"])
    assert refused.exit_code == 2 and "--maps is about UV maps" in refused.output
    save_weights(weights, network.state_dict(), config, {"run_id": "r", "tag": "t"})
    refused = CliRunner().invoke(main, ["apply", str(photo), "--run", str(weights)])
    assert refused.exit_code == 2 and "parameters of no head pack" in refused.output


def test_errors_in_millimetres_are_those_of_rebuilt_heads(head_pack):
    heads, rng = heads_in(head_pack, 26, torch.device("cpu")), np.random.default_rng(0)
    a, b = rng.uniform(-1, 1, (2, 36))
    wanted = 1000 * np.linalg.norm(heads.pca.vertices(a[:26]) - heads.pca.vertices(b[:26]), axis=1).mean()
    assert float(distances(torch.tensor(a - b)[None].float(), heads.basis_mm)) == pytest.approx(wanted, rel=1e-4)
    traits = heads.traits(torch.tensor(np.stack([a, b])))
    assert traits["trait.sex"][1] == heads.pca.trait("sex", b[:26]) and len(traits) == 5
