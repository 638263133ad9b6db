"""Projections against an analytic scene: a ball in perspective, its UV, picture and points known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.uvmaps import grid, textures
from trainer.uvmaps.points import find_landmarks, find_points, regular_points

SIZE, RADIUS, DISTANCE, FOCAL = 128, 1.0, 4.0, 2.8  # ball radius, distance of its centre, focal length in half-widths
SPAN = 2.0  # radians of longitude and latitude that U and V span


def texture_at(u: Tensor, v: Tensor) -> Tensor:
    """A texture as a function: colour at (u, v), stacked on axis -3."""
    return torch.stack([0.5 + 0.4 * torch.sin(14 * u), 0.5 + 0.4 * torch.sin(11 * v + 2 * u), 0.2 + 0.6 * u * v], -3)


def texture(size: int = 512) -> Tensor:
    line = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(1 - line, line, indexing="ij")
    return texture_at(u, v)[None]


def ball(size: int, yaw: float = 0.0) -> tuple[Tensor, Tensor]:
    """UV (1, 2, S, S) at pixel centres and whether the pixel shows the face area, (1, 1, S, S)."""
    line = ((torch.arange(size, dtype=torch.float64) + 0.5) / size * 2 - 1) / FOCAL
    y, x = torch.meshgrid(-line, line, indexing="ij")
    direction = torch.stack([x, y, -torch.ones_like(x)])
    direction /= direction.norm(dim=0)
    b = direction[2] * DISTANCE  # ray from (0, 0, DISTANCE) against the ball at the origin
    root = b**2 - (DISTANCE**2 - RADIUS**2)
    hit = torch.tensor([0.0, 0.0, DISTANCE], dtype=torch.float64)[:, None, None] + direction * (
        -b - root.clamp(0).sqrt()
    )
    longitude = torch.atan2(hit[0], hit[2]) - yaw
    latitude = torch.asin((hit[1] / RADIUS).clamp(-1, 1))
    u, v = longitude / SPAN + 0.5, latitude / SPAN + 0.5
    face = (root > 0) & (u > 0) & (u < 1) & (v > 0) & (v < 1)
    return torch.stack([u, v])[None].float(), face[None, None].float()


def place_of(points_uv: Tensor, size: int, yaw: float = 0.0) -> Tensor:
    """Pixels (x, y) of UVs on the ball, (K, 2); NaN where they face away."""
    longitude = (points_uv[:, 0].double() - 0.5) * SPAN + yaw
    latitude = (points_uv[:, 1].double() - 0.5) * SPAN
    at = torch.stack([longitude.sin() * latitude.cos(), latitude.sin(), longitude.cos() * latitude.cos()], 1)
    seen = at[:, 2] > RADIUS / DISTANCE + 0.05
    scale = FOCAL / (DISTANCE - at[:, 2])
    pixels = torch.stack([(at[:, 0] * scale + 1) / 2 * size, (1 - at[:, 1] * scale) / 2 * size], 1)
    return torch.where(seen[:, None], pixels, math.nan).float()


def scene(size: int = SIZE, yaw: float = 0.3, over: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """image, uv (as half floats, zero outside), antialiased mask, and the picture of the textured ball."""
    fine_uv, fine_face = ball(size * over, yaw)
    background = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 0.3
    fine = texture_at(fine_uv[:, 0], fine_uv[:, 1]) * fine_face
    cover = torch.nn.functional.avg_pool2d(fine_face, over)
    textured = torch.nn.functional.avg_pool2d(fine, over) + background * (1 - cover)
    uv, face = ball(size, yaw)
    image = background * (1 - cover) + 0.6 * cover
    return image, (uv * face).half().float(), cover * face, textured


def test_a_known_texture_through_the_uv_map_gives_the_textured_render() -> None:
    image, uv, mask, textured = scene()
    drawn = textures.texture_projection(image, uv, mask, texture())
    pure = mask > 0.999
    error = (drawn - textured).abs()
    assert int(pure.sum()) > 2000
    assert float(error[pure.expand_as(error)].mean()) < 0.004
    core = 1 - torch.nn.functional.max_pool2d(1 - pure.float(), 3, 1, 1) > 0
    assert int(core.sum()) > 2000 and float(error[core.expand_as(error)].max()) < 0.01
    # Not the maximum over the rim: there the 2 x 2 values of a pixel reach over the edge of the mask, by design
    assert float(error[pure.expand_as(error)].quantile(0.99)) < 0.04
    assert float(error.mean()) < 0.004  # mixed pixels and background included


def test_without_a_mask_the_picture_is_returned_as_it_is() -> None:
    image, uv, mask, _ = scene(32)
    nothing = torch.zeros_like(mask)
    assert torch.equal(textures.texture_projection(image, uv, nothing, texture(16)), image)
    assert torch.equal(grid.grid_lines(image, uv, nothing), image)
    assert torch.equal(grid.grid_points(image, uv, nothing), image)
    filled, weight = textures.inverse_texture_projection(image, uv, nothing, 16)
    assert float(filled.abs().sum()) == 0 and float(weight.sum()) == 0


def test_a_texture_with_its_rows_on_top_is_looked_up_upright() -> None:
    corners = torch.zeros(1, 3, 2, 2)
    corners[0, 0, 0, 1] = 1  # red: top right, that is U = 0.75, V = 0.75
    uv = torch.tensor([0.75, 0.75]).view(1, 2, 1, 1)
    assert textures.sample_texture(corners, uv).flatten().tolist() == [1, 0, 0]


def test_inverse_then_forward_projection_returns_the_input_inside_the_mask() -> None:
    _, uv, mask, textured = scene()
    pure = (mask > 0.999).float()
    splatted, weight = textures.inverse_texture_projection(textured, uv, pure, 1024)
    back, known = textures.sample_known(splatted, weight, uv)
    inside = (pure > 0).expand_as(back)
    assert float(known[pure > 0].min()) > 0.1
    error = (back - textured).abs()[inside]
    assert float(error.max()) < 1e-5  # no two pixels share a texel of a texture this fine


def test_the_inverse_projection_recovers_the_texture() -> None:
    _, uv, mask, textured = scene()
    splatted, weight = textures.inverse_texture_projection(textured, uv, (mask > 0.999).float(), 64)
    known = (weight > 0.3).expand_as(splatted)
    assert float(known.float().mean()) > 0.5
    assert float((splatted - texture(64)).abs()[known].mean()) < 0.02


def test_the_splat_keeps_the_weight_of_every_pixel_inside_the_texture() -> None:
    uv = torch.full((1, 2, 3, 3), 0.5)
    _, weight = textures.inverse_texture_projection(torch.rand(1, 3, 3, 3), uv, torch.ones(1, 1, 3, 3), 7)
    assert float(weight.sum()) == pytest.approx(9)
    assert float(weight[0, 0, 3, 3]) == pytest.approx(9)  # the middle of 7 x 7 is a texel's centre


def test_a_minibatch_gives_what_its_images_give_alone() -> None:
    parts = [scene(48, yaw) for yaw in (-0.5, 0.4)]
    image, uv, mask, _ = (torch.cat(p) for p in zip(*parts, strict=True))
    together = [
        textures.texture_projection(image, uv, mask, texture(64)),
        textures.inverse_texture_projection(image, uv, mask, 32)[0],
        grid.grid_lines(image, uv, mask, 8),
        grid.grid_points(image, uv, mask, 8),
    ]
    for i, (im, u, m, _) in enumerate(parts):
        alone = [
            textures.texture_projection(im, u, m, texture(64)),
            textures.inverse_texture_projection(im, u, m, 32)[0],
            grid.grid_lines(im, u, m, 8),
            grid.grid_points(im, u, m, 8),
        ]
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[i : i + 1], b, atol=2e-5, rtol=0)


def test_points_are_found_where_they_are_to_a_fraction_of_a_pixel() -> None:
    _, uv, mask, _ = scene()
    points = regular_points(20)
    found = find_points(uv, mask, points)[0]
    truth = place_of(points, SIZE, 0.3)
    both = torch.isfinite(found).all(1) & torch.isfinite(truth).all(1)
    assert int(both.sum()) > 150
    distance = (found - truth)[both].norm(dim=1)
    assert float(distance.median()) < 0.05 and float(distance.max()) < 0.5


def test_points_that_the_picture_does_not_show_are_nan() -> None:
    _, uv, mask, _ = scene(yaw=1.0)
    found = find_points(uv, mask, torch.tensor([[0.2, 0.5], [0.99, 0.5]]))[0]
    assert torch.isfinite(found[0]).all() and torch.isnan(found[1]).all()


def test_of_two_faces_the_larger_one_gives_the_points() -> None:
    small, large = ball(40), ball(80)
    uv, mask = torch.zeros(1, 2, 80, 120), torch.zeros(1, 1, 80, 120)
    for (u, m), left in ((small, 0), (large, 40)):
        height, width = u.shape[2:]
        uv[:, :, :height, left : left + width] = u * m
        mask[:, :, :height, left : left + width] = m
    found = find_points(uv, mask, torch.tensor([[0.5, 0.5]]))[0, 0]
    assert found.tolist() == pytest.approx([80, 40], abs=0.2)


def test_landmarks_on_the_rim_are_found_just_outside_the_face_area() -> None:
    _, uv, mask, _ = scene(yaw=0.0)
    rim = torch.tensor([[0.999, 0.5], [0.5, 0.5]])
    assert torch.isnan(find_points(uv, mask, rim)[0, 0]).all()
    found = find_landmarks(uv, mask, rim, reach_uv=0.05)[0]
    assert float((found - place_of(rim, SIZE)).norm(dim=1).max()) < 1.0


def test_grid_lines_lie_where_uv_is_a_multiple_of_their_distance() -> None:
    _, uv, mask, _ = scene()
    image, black = torch.ones(1, 3, SIZE, SIZE), ((0, 0, 0), (0, 0, 0))
    drawn = grid.grid_lines(image, uv, mask, count=10, width_px=1.0, colours=black)
    changed = (drawn - image).abs().amax(1)[0]
    pure = (mask > 0.999)[0, 0]
    away = (uv * 10 - (uv * 10).round()).abs().amin(1)[0] / 10
    slope = torch.maximum(grid.slope(uv[:, :1], mask > 0.999), grid.slope(uv[:, 1:], mask > 0.999))[0, 0]
    far = pure & (away > 1.5 * slope)
    assert int(far.sum()) > 500 and float(changed[far].max()) == 0
    middle = torch.nn.functional.avg_pool2d(pure.float()[None], 9, 1, 4)[0] > 0.999
    on_line = middle & (away < 0.1 * slope)
    assert int(on_line.sum()) > 50 and float(changed[on_line].min()) > 0.1
    thick = grid.grid_lines(image, uv, mask, count=10, width_px=3.0, colours=black)
    dense = grid.grid_lines(image, uv, mask, count=20, width_px=1.0, colours=black)
    touched = [float(((d - image).abs().amax(1) > 0.05).float().sum()) for d in (drawn, thick, dense)]
    assert touched[1] > 1.7 * touched[0] and touched[2] > 1.5 * touched[0]


def test_dots_are_drawn_at_their_place_and_clipped_at_the_border() -> None:
    points = torch.tensor([[[10.5, 20.5], [0.0, 0.0], [math.nan, math.nan], [500.0, 3.0]]])
    drawn = grid.draw_points(torch.zeros(1, 3, 32, 32), points, 1.5, (1, 1, 1))[0, 0]
    assert float(drawn[20, 10]) == 1 and float(drawn[0, 0]) > 0.5
    assert float(drawn[26:, :].max()) == 0
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    disc = drawn.clone()
    disc[:5, :5] = 0
    assert float((disc * x).sum() / disc.sum()) == pytest.approx(10.5, abs=1e-3)
    assert float((disc * y).sum() / disc.sum()) == pytest.approx(20.5, abs=1e-3)


def test_holes_are_filled_from_what_lies_around_them() -> None:
    whole = texture(64)
    weight = torch.ones(1, 1, 64, 64)
    weight[:, :, 20:30, 20:30] = 0
    filled = textures.fill_holes(whole * weight, weight)
    assert torch.equal(filled * weight, whole * weight)
    assert float((filled - whole).abs()[:, :, 20:30, 20:30].mean()) < 0.1


def test_accumulation_beats_averaging_when_something_passes_by() -> None:
    accumulator = textures.TextureAccumulator(size=64)
    mean, count = torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    for frame in range(9):
        _, uv, mask, picture = scene(96, yaw=-0.4 + 0.1 * frame, over=2)
        picture = picture.clone()
        picture[:, :, :, 70 - 8 * frame : 86 - 8 * frame] = 1.0  # a white post that moves through the picture
        pure = (mask > 0.99).float()
        accumulator.add(picture, uv, pure)
        one, weight = textures.inverse_texture_projection(picture, uv, pure, 64)
        mean, count = mean + one * (weight > 0.05), count + (weight > 0.05)
    median, share = accumulator.texture()
    often = (share > 0.7).expand(1, 3, 64, 64)
    assert float(often.float().mean()) > 0.2
    error = [float((t - texture(64)).abs()[often].mean()) for t in (median, mean / count.clamp(min=1))]
    assert error[0] < 0.05 and error[0] < 0.5 * error[1]


def test_a_face_swapped_with_itself_stays_what_it_is() -> None:
    _, uv, mask, textured = scene()
    same = textures.face_swap(textured, uv, mask, textured, uv, mask)
    assert float((same - textured).abs().mean()) < 0.005


def cover(uv: Tensor, other_uv: Tensor, other_mask: Tensor) -> Tensor:
    """How well the other picture saw what lies at each pixel."""
    _, weight = textures.inverse_texture_projection(other_mask, other_uv, other_mask, 48)
    return textures.sample_texture((torch.nn.functional.avg_pool2d((weight > 0.3).float(), 7, 1, 3)), uv)


def test_a_swapped_face_shows_the_other_texture_in_the_colours_of_the_first() -> None:
    image, uv, mask, goal = scene(yaw=0.2)
    _, other_uv, other_mask, other = scene(yaw=-0.2)
    flat = torch.lerp(image, image.new_tensor([0.5, 0.5, 0.3]).view(1, 3, 1, 1).expand_as(image), mask)
    noisy = flat + mask * 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    swapped = textures.face_swap(noisy, uv, mask, other, other_uv, other_mask)
    inside = torch.nn.functional.avg_pool2d(mask, 13, 1, 6) > 0.999
    both = (inside & (cover(uv, other_uv, other_mask) > 0.99)).expand_as(swapped)
    assert int(both.sum()) > 3000
    pattern, wanted = (t[both].view(3, -1) for t in (swapped, goal))
    for channel in range(3):  # the pattern is the other's; its colours were fitted
        assert float(torch.corrcoef(torch.stack([pattern[channel], wanted[channel]]))[0, 1]) > 0.9, channel
        assert float(pattern[channel].mean()) == pytest.approx(float(noisy[both].view(3, -1)[channel].mean()), abs=0.05)
    outside = (mask == 0).expand_as(swapped)
    assert torch.equal(swapped[outside], noisy[outside])


def test_points_need_no_loop_over_numpy() -> None:
    """Everything works on float32 tensors of any size, also of one pixel."""
    uv, mask = torch.full((1, 2, 1, 1), 0.5), torch.ones(1, 1, 1, 1)
    assert torch.isnan(find_points(uv, mask, regular_points(4))).all()
    assert np.isfinite(grid.grid_lines(torch.rand(1, 3, 1, 1), uv, mask).numpy()).all()
