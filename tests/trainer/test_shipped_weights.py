"""The weights that come with headforge: their files, what they say of themselves, and a face in a free picture."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from renderer.errors import FormatError
from renderer.format.sample_format import UV_FRAME
from trainer import weights
from trainer.commands.apply import apply_ as apply_command
from trainer.systems.runs import load_trained
from trainer.systems.uvnet import trained
from trainer.systems.uvnet.photo_network import PhotoNet
from trainer.training.checkpoint import read_weights
from trainer.uvmaps.finding import find_faces, options_of

MEGABYTES = 12
SHIPPED = weights.SAFETENSORS
ASTRONAUT = Path(__import__("skimage").__file__).parent / "data" / "astronaut.png"
FACE = (174, 68, 272, 200)  # left, top, right, bottom of the astronaut's face, read off the picture by eye


def share_of(box: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union."""
    wide, high = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return shared / (sum(areas) - shared)


def test_they_are_small_and_their_card_tells_which_files_it_is_about() -> None:
    files = sorted(path for path in weights.FOLDER.iterdir() if path.suffix not in (".py", ".pyc") and path.is_file())
    assert [path.name for path in files] == ["MODEL_CARD.md", "photo.onnx", "photo.safetensors"]
    assert sum(path.stat().st_size for path in files) <= MEGABYTES * 1e6
    card = (weights.FOLDER / "MODEL_CARD.md").read_text("utf-8")
    for path in (SHIPPED, weights.ONNX):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in card, path.name
    assert read_weights(SHIPPED)[2]["run_id"] in card


def test_they_are_of_the_network_for_photographs_and_of_todays_uv_frame() -> None:
    found = load_trained(SHIPPED)
    assert isinstance(found.module, PhotoNet) and found.header["uv_frame"] == UV_FRAME
    assert {t.dtype for t in read_weights(SHIPPED)[0].values()} == {torch.float16, torch.int64}
    assert options_of(trained.load(SHIPPED)).min_face > 0


def test_onnx_computes_what_torch_computes() -> None:
    network = load_trained(SHIPPED).module
    session = onnxruntime.InferenceSession(str(weights.ONNX), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(5)
    for size in ((2, 3, 96, 96), (1, 3, 50, 130)):
        picture = torch.rand(size, generator=generator)
        (found,) = session.run(None, {"image": picture.numpy()})
        expected = network(picture).numpy()
        assert np.abs(found - expected).max() < 1e-3 and expected.std() > 0.01


def test_without_further_arguments_a_photo_gives_its_face(tmp_path: Path) -> None:
    result = CliRunner().invoke(apply_command, [str(ASTRONAUT), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    faces = json.loads((tmp_path / "astronaut.json").read_text())["frames"][0]["faces"]
    assert faces and share_of(tuple(faces[0]["box"]), FACE) > 0.5
    assert (tmp_path / "astronaut.lines.png").is_file()


def test_neither_blender_nor_a_head_pack_nor_a_data_set_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['bpy'] = None; from renderer.cli import main; "
        f"main(['apply', {str(ASTRONAUT)!r}, '--out', {str(tmp_path / 'out')!r}])"
    )
    home = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path), "PIP_NO_INDEX": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "astronaut.json").read_text())["frames"][0]["faces"]


def test_a_picture_of_noise_shows_no_face() -> None:
    picture, network = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2)), trained.load(SHIPPED)
    assert find_faces(network, picture, options_of(network)) == []


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "photo.safetensors"
    other.write_bytes(weights.ONNX.read_bytes()[:1000])
    with pytest.raises(FormatError, match="is not a safetensors file") as caught:
        trained.load(other)
    assert len(str(caught.value).splitlines()) == 1
