"""Point caches are what other programs read and write, and files that are none are refused in one line."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from renderer.errors import FormatError
from renderer.format.point_cache import read_mdd, read_pc2, read_point_cache, write_mdd, write_pc2
from renderer.head.model import HeadModel
from renderer.labels.vertices import skin_mesh


def moving(frames: int = 5, count: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (frames, count, 3)).astype(np.float32)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    points = moving()
    write_pc2(tmp_path / "a.pc2", points)
    write_mdd(tmp_path / "a.mdd", points, 30.0)
    for name, fps in (("a.pc2", None), ("a.mdd", pytest.approx(30.0, rel=1e-5))):
        cache = read_point_cache(tmp_path / name)
        assert cache.points.dtype == np.float32 and np.array_equal(cache.points, points)
        assert cache.fps == fps


def test_headers_are_those_of_the_formats(tmp_path: Path) -> None:
    points = moving(2, 3)
    write_pc2(tmp_path / "a.pc2", points)
    write_mdd(tmp_path / "a.mdd", points, 25.0)
    assert (tmp_path / "a.pc2").read_bytes()[:32] == b"POINTCACHE2\0" + struct.pack("<iiffi", 1, 3, 0.0, 1.0, 2)
    assert (tmp_path / "a.mdd").read_bytes()[:16] == struct.pack(">iiff", 2, 3, 0.0, 0.04)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pc2", b"POINTCACHE", "does not begin with POINTCACHE2"),
        ("a.pc2", b"POINTCACHE2\0" + struct.pack("<iiffi", 1, 3, 0, 1, 2) + b"\0" * 71, "cut short"),
        ("a.mdd", struct.pack(">ii", 2, 3) + b"\0" * 8, "cut short"),
        ("a.mdd", b"", "cut short"),
        ("a.mdd", struct.pack(">iiffff", 1, 1, 0, np.nan, 0, 0), "not finite"),
        ("a.abc", b"", "must end in .pc2 or .mdd"),
    ],
)
def test_a_file_that_is_no_cache_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=words) as caught:
        read_point_cache(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (read_pc2, read_mdd):
        with pytest.raises(FormatError, match=r"cannot read .*none"):
            read(tmp_path / "none")


@pytest.mark.blender
def test_blenders_mesh_cache_moves_the_head_through_the_same_positions(model: HeadModel, tmp_path: Path) -> None:
    used, faces = skin_mesh(model)
    rest = model.identity_vertices()
    units = [{}, {"jawOpen": 0.7}, {"mouthSmileLeft": 1.0, "browInnerUp": 0.5}]
    points = np.stack([model.expressed(rest, u)[used] for u in units]).astype(np.float32)
    np.savez(tmp_path / "mesh.npz", rest=rest[used], faces=faces)
    write_pc2(tmp_path / "head.pc2", points)
    write_mdd(tmp_path / "head.mdd", points, 30.0)
    script = Path(__file__).with_name("blender_mesh_cache.py")
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, capture_output=True)
    for kind in ("pc2", "mdd"):
        moved = np.load(tmp_path / f"{kind}.npy")
        assert moved.shape == points.shape
        assert np.abs(moved - points).max() < 1e-6
        assert np.abs(moved[1] - moved[0]).max() > 0.01  # the mesh did move
