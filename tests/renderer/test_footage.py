"""Own footage becomes a data set of frames and vertices, or is refused in one line that says what does not fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from renderer.cli import main
from renderer.errors import FormatError, HeadforgeError
from renderer.format.dataset import open_dataset
from renderer.format.point_cache import write_mdd, write_pc2
from renderer.report import proof
from renderer.report.video import Movie
from renderer.run.footage import read_footage, read_obj
from trainer.data.reader import SampleReader
from trainer.data.video import Frames
from trainer.systems.capture.mesh import mesh_of
from trainer.viewer.dataset_page import dataset_data

CUBE = 0.2 * (np.indices((2, 2, 2)).reshape(3, -1).T - 0.5)
FACES = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8)]


def moved(frames: int) -> np.ndarray:
    return CUBE + 0.01 * np.arange(frames)[:, None, None]


def film(path: Path, frames: int, width: int = 48, fps: float = 30.0) -> None:
    movie = Movie(path, fps)
    for number in range(frames):
        movie.add(np.full((64, width, 3), 40 + 20 * number, np.uint8))
    movie.close()


def opened(path: Path) -> Frames:
    return Frames(str(path), max_side=10**6)


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    """Two shots of 5 and 3 frames."""
    folder = tmp_path / "footage"
    folder.mkdir()
    lines = [f"v {x} {y} {z}" for x, y, z in CUBE] + ["f " + " ".join(f"{c}/1" for c in face) for face in FACES]
    (folder / "head.obj").write_text("\n".join(lines))
    film(folder / "a.mp4", 5)
    film(folder / "b.mp4", 3)
    write_pc2(folder / "a.pc2", moved(5))
    write_mdd(folder / "b.mdd", moved(3), 30.0)
    return folder


def test_footage_becomes_a_data_set_that_the_trainer_reads(footage: Path, tmp_path: Path) -> None:
    out = tmp_path / "anna"
    command = ["import-capture", str(footage), "--out", str(out)]
    tried = CliRunner().invoke(main, [*command, "--dry-run"])
    assert tried.exit_code == 0 and not out.exists(), tried.output
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(main, command).exit_code == 0  # again: nothing is left to do
    data = open_dataset(out)
    assert len(data) == 8 and data.clip_frames == 5 and data.info["fps"] == 30.0
    assert [entry.index for _, entry in data.entries()] == [0, 1, 2, 3, 4, 5, 6, 7]
    verdict = proof.verify(out, 1)
    assert verdict.problems == [] and verdict.samples == 8 and verdict.complete
    reader = SampleReader(out, ("input", "vertices"))
    assert reader.shapes == {"input": (3, 64, 48), "vertices": (3, 1, 8)}
    sample = reader.read(6)  # frame 1 of the second shot
    assert np.allclose(sample["vertices"][:, 0].T, moved(3)[1], atol=1e-7)
    levels = np.clip(sample["input"].astype(np.float32), 0, 1) ** (1 / 2.2) * 255
    assert levels.mean() == pytest.approx(60, abs=3)  # video has lost a little
    mesh = mesh_of(data.info)
    assert mesh.vertices == 8 and mesh.triangles.shape == (7, 3) and len(mesh.animated) == 8
    page = dataset_data(out, tmp_path)
    assert [view["name"] for view in page["views"]] == ["input"] and len(page["keys"]) == 8
    (next((out / "shards").glob("*5-*.json"))).unlink()
    assert "missing" in "\n".join(proof.conclude(out).problems)


def wrong_length(folder: Path) -> None:
    write_pc2(folder / "a.pc2", moved(4))


def wrong_mesh(folder: Path) -> None:
    write_pc2(folder / "a.pc2", moved(5)[:, :7])


def wrong_rate(folder: Path) -> None:
    write_mdd(folder / "b.mdd", moved(3), 25.0)


def wrong_unit(folder: Path) -> None:
    write_pc2(folder / "a.pc2", 100 * moved(5))


def other_size(folder: Path) -> None:
    film(folder / "b.mp4", 3, width=32)


def other_fps(folder: Path) -> None:
    film(folder / "b.mp4", 3, fps=25.0)
    write_mdd(folder / "b.mdd", moved(3), 25.0)


def no_cache(folder: Path) -> None:
    (folder / "a.pc2").unlink()


def no_mesh(folder: Path) -> None:
    (folder / "head.obj").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (wrong_length, "a.pc2 has 4 frames, .*a.mp4 has 5: they are not of one shot"),
        (wrong_mesh, "a.pc2 moves 7 vertices, the mesh has 8"),
        (wrong_rate, "b.mdd has 25 frames per second, .*b.mp4 has 30"),
        (wrong_unit, "shows a mesh of 20 m: no head; caches must be in metres"),
        (other_size, "b.mp4 has size .32, 64., .*a.mp4 has .48, 64."),
        (other_fps, "b.mp4 has frame rate 25.0, .*a.mp4 has 30.0"),
        (no_cache, "a.mp4 has 0 point caches"),
        (no_mesh, "has 0 .obj files"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(footage: Path, spoil: object, words: str) -> None:
    spoil(footage)  # type: ignore[operator]
    with pytest.raises(HeadforgeError) as caught:
        read_footage(footage, opened)
    assert re.search(words, str(caught.value)) and "\n" not in str(caught.value)


def test_a_file_that_is_no_mesh_is_refused(tmp_path: Path) -> None:
    for content in ("", "v 0 0 x", "v 0 0 0\nf 1 2 3"):
        (tmp_path / "a.obj").write_text(content)
        with pytest.raises(FormatError, match=r"a\.obj"):
            read_obj(tmp_path / "a.obj")
