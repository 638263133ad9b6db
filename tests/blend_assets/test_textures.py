"""Textures and worlds: what they promise to whoever maps them onto a head or lights one with them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from blend_assets.synthetic import textures
from blend_assets.synthetic import worlds as panoramas


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    return {name: textures.synthesise(name) for name in textures.TEXTURES}


@pytest.fixture(scope="module")
def worlds() -> dict[str, np.ndarray]:
    return {name: panoramas.synthesise(name) for name in panoramas.WORLDS}


def _steps(image: np.ndarray, axis: int) -> np.ndarray:
    """Mean absolute step between neighbouring rows or columns; the last one is across the seam."""
    values = image.astype(float)
    return np.abs(np.roll(values, -1, axis) - values).mean(axis=tuple(a for a in range(3) if a != axis))


def test_there_are_more_textures_than_the_thesis_had_photographs():
    assert len(textures.TEXTURES) >= 72
    assert len({family for family, _ in textures.TEXTURES.values()}) >= 12
    assert len({seed for _, seed in textures.TEXTURES.values()}) == len(textures.TEXTURES)


def test_a_texture_is_a_picture_with_contrast(images):
    for name, image in images.items():
        assert image.shape == (256, 256, 3) and image.dtype == np.uint8, name
        assert image.std() > 8, f"{name} is flat"


def test_no_two_textures_look_alike(images):
    small = np.stack([x.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3)).ravel() for x in images.values()])
    distance = np.abs(small[:, None, ::7] - small[None, :, ::7]).mean(axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 8


def test_textures_differ_in_colour_and_in_spatial_frequency(images):
    mean = np.stack([x.mean(axis=(0, 1)) for x in images.values()])
    assert (mean.std(axis=0) > 25).all()
    fine = np.array([np.abs(np.diff(x.astype(float), axis=1)).mean() / x.std() for x in images.values()])
    assert np.percentile(fine, 90) > 2 * np.percentile(fine, 10)


def test_textures_wrap_around_without_a_seam(images):
    for name, image in images.items():
        for axis in (0, 1):
            steps = _steps(image, axis)
            assert steps[-1] <= 1.3 * steps[:-1].max() + 2, f"{name} has a seam along axis {axis}"


def test_the_seam_check_sees_a_seam():
    ramp = np.broadcast_to(np.arange(256)[None, :, None], (256, 256, 3))
    steps = _steps(ramp, 1)
    assert steps[-1] > 1.3 * steps[:-1].max() + 2


def test_a_texture_depends_on_its_name_alone(images):
    for name in list(images)[::10]:
        assert np.array_equal(textures.synthesise(name), images[name])


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(KeyError, match="brick_01"):
        textures.synthesise("brick_99")
    with pytest.raises(KeyError, match="studio_01"):
        panoramas.synthesise("studio_99")


def test_png_files_hold_the_pixels_uncompressed(images):
    image = images["brick_01"]
    data = textures.png_bytes(image)
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.mode == "RGB" and np.array_equal(np.asarray(opened), image)
    assert len(data) > image.size  # stored blocks have one spelling, whatever the zlib
    assert data == textures.png_bytes(image.copy())


def test_write_all_writes_every_texture_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    few = dict(list(textures.TEXTURES.items())[::40])
    monkeypatch.setattr(textures, "TEXTURES", few)
    names = textures.write_all(tmp_path / "new")
    assert len(names) >= 3 and names == [f"{name}.png" for name in few]
    assert sorted(names) == sorted(p.name for p in (tmp_path / "new").iterdir())
    again = textures.write_all(tmp_path / "again")
    assert all((tmp_path / "new" / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in again)


def test_worlds_are_finite_bounded_and_of_high_range(worlds):
    assert len(worlds) >= 8
    for name, world in worlds.items():
        assert world.shape == (256, 512, 3) and world.dtype == np.float32, name
        assert np.isfinite(world).all() and world.min() >= 0 and world.max() <= panoramas.MAX_RADIANCE, name
        assert 0.1 < world.mean() < 3, f"{name} is of no use as a light"
        assert world.max() > 5 * np.median(world), f"{name} has no lights"


def test_worlds_close_round_the_horizon_and_at_the_poles(worlds):
    for name, world in worlds.items():
        tame = np.minimum(world, 4.0)
        steps = _steps(tame, 1)
        assert steps[-1] <= 1.3 * steps[:-1].max() + 0.01, f"{name} has a seam"
        for pole in (tame[0], tame[-1]):
            assert np.abs(np.roll(pole, -1, 0) - pole).max() < 0.5, f"{name} is pinched at a pole"


def test_skies_are_above_the_ground(worlds):
    upper, lower = worlds["noon_01"][:100], worlds["noon_01"][156:]
    assert upper[..., 2].mean() > 2 * lower[..., 2].mean()


def test_world_files_hold_the_same_radiance_in_half_floats(tmp_path: Path, monkeypatch, worlds):
    monkeypatch.setattr(panoramas, "WORLDS", ("noon_01", "neon_01"))
    assert panoramas.write_all(tmp_path) == ["noon_01.exr", "neon_01.exr"]
    with OpenEXR.File(str(tmp_path / "noon_01.exr")) as file:
        pixels = file.channels()["RGB"].pixels
        assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
    assert pixels.dtype == np.float16
    np.testing.assert_array_equal(pixels, worlds["noon_01"].astype(np.float16))
