"""Augmentation is a pure function of samples and draws; labels follow the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from renderer.errors import AssetError
from trainer.augmentation import stages as aug
from trainer.augmentation.banks import Banks
from trainer.augmentation.config import STAGES, AugmentConfig
from trainer.augmentation.donors import DonorBank
from trainer.augmentation.draws import Draws
from trainer.augmentation.occluders import EnvironmentBank, load_environments, opacities
from trainer.augmentation.pictures import PictureBank
from trainer.augmentation.samples import Samples
from trainer.ramp import Ramp
from trainer.systems.uvnet.losses import sample_at
from trainer.uvmaps.head_pose import landmark_uv as head_pack_landmarks

CPU = torch.device("cpu")
ALWAYS = Ramp(1, 1)


def draws(count: int, seed: int = 0) -> Draws:
    return Draws.for_samples(seed, 0, torch.arange(count), CPU)


def only(stage: str, **changes) -> AugmentConfig:
    """All stages off but one, which every sample gets."""
    stages = {s: replace(getattr(AugmentConfig(), s), enabled=s == stage, share=ALWAYS) for s in STAGES}
    if stage:
        stages[stage] = replace(stages[stage], **changes)
    return AugmentConfig(**stages)


@pytest.fixture
def samples(synthetic) -> Samples:
    """Twelve faces of 64 x 64 with landmarks."""
    made = [synthetic.face(i, 64) for i in range(12)]
    images = {n: torch.tensor(np.stack([m[0][n] for m in made])).float().permute(0, 3, 1, 2) for n in made[0][0]}
    mask = (images["mask"] >= 0.999).float()
    points = torch.tensor([m[1]["landmarks_px"][0] for m in made]).float()
    foreground = torch.cat([images["input"] * images["mask"][:, :1], images["mask"][:, :1]], 1)
    uv, face, seen = images["uv"] * mask[:, :1], mask[:, :1], mask[:, :1] * mask[:, 1:]
    return Samples(images["input"], uv, face, seen, points, foreground)


@pytest.fixture
def bank(environments: Path) -> EnvironmentBank:
    return load_environments(environments, 64)


@pytest.fixture
def banks(bank: EnvironmentBank) -> Banks:
    """Three of each kind."""
    rng = torch.Generator().manual_seed(0)
    pictures = torch.rand(3, 24, 8, generator=rng).repeat_interleave(5, 1).repeat_interleave(5, 2)
    pieces = torch.rand(3, 4, 64, 64, generator=rng) * (torch.arange(64) < 40)
    return Banks(bank, PictureBank(pictures), DonorBank(pieces.half()))


def equal(a: Samples, b: Samples) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("input", "uv", "mask", "occluded_mask"))


# ---------------------------------------------------------------- draws


def test_draws_are_uniform_normal_and_uncorrelated():
    many = draws(64)
    uniform, normal = many.uniform("a", 4096), many.normal("b", 4096)
    assert uniform.min() >= 0 and uniform.max() < 1
    histogram = torch.histc(uniform, 64, 0, 1) / uniform.numel() * 64
    assert (histogram - 1).abs().max() < 0.08  # 4,096 expected per bin: five standard deviations
    assert normal.mean().abs() < 0.01 and abs(normal.std() - 1) < 0.01 and normal.isfinite().all()
    table = torch.cat([uniform, many.uniform("c", 4096)])  # neighbours in sample and topic
    correlation = torch.corrcoef(table)
    assert (correlation - torch.eye(len(table))).abs().max() < 0.09
    lagged = torch.corrcoef(torch.stack([uniform[:, :-1].flatten(), uniform[:, 1:].flatten()]))[0, 1]
    assert lagged.abs() < 0.01
    assert set(many.integers("d", 3, 100).unique().tolist()) == {0, 1, 2}


def test_draws_depend_on_seed_epoch_and_position_alone():
    position = torch.tensor([5, 70, 9])
    whole = Draws.for_samples(1, 2, position, CPU).uniform("a", 7)
    alone = Draws.for_samples(1, 2, position[1:2], CPU).uniform("a", 7)
    assert torch.equal(whole[1:2], alone)
    for other in (Draws.for_samples(0, 2, position, CPU), Draws.for_samples(1, 3, position, CPU)):
        assert not torch.equal(other.uniform("a", 7), whole)
    known = Draws.for_samples(0, 0, torch.tensor([0, 1, 2**40]), CPU).uniform("a")
    assert known.tolist() == pytest.approx(KNOWN, abs=1e-7)  # the same on every machine, or runs cannot be repeated


KNOWN = [0.06586223840713501, 0.8025839924812317, 0.842522919178009]


# ---------------------------------------------------------------- all stages


@pytest.mark.parametrize("stage", ["", *STAGES])
def test_a_stage_is_pure_and_does_not_depend_on_the_rest_of_the_minibatch(samples, banks, stage):
    config = only(stage)
    before = samples.input.clone()
    first = aug.augment(samples, config, draws(12), banks, 0.0)
    assert equal(first, aug.augment(samples, config, draws(12), banks, 0.0))
    assert torch.equal(samples.input, before)
    few = samples.only(torch.arange(3, 5))
    part = aug.augment(few, config, Draws.for_samples(0, 0, torch.arange(3, 5), CPU), banks, 0.0)
    assert torch.allclose(part.input, first.input[3:5], atol=1.01 / 255)  # one level, where rounding is on edge
    assert torch.equal(part.mask, first.mask[3:5])
    other = aug.augment(samples, config, draws(12, seed=1), banks, 0.0)
    assert equal(first, other) == (stage in ("", "mirror", "gray"))  # these have nothing to draw but whom they get


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_no_sample_draws_changes_nothing(samples, banks, stage):
    config = only(stage, share=Ramp(0, 0))
    assert equal(aug.augment(samples, config, draws(12), banks, 0.0), aug.plain(samples))


@pytest.mark.parametrize("stage", STAGES)
def test_those_that_a_stage_leaves_out_stay_and_the_others_get_what_they_always_get(samples, banks, stage):
    none, half, full = (
        aug.augment(samples, only(stage, share=Ramp(share, share)), draws(12), banks, 0.0) for share in (0, 0.5, 1)
    )
    found = []
    for i in range(12):
        like_full, like_none = (equal(half.only(torch.tensor([i])), r.only(torch.tensor([i]))) for r in (full, none))
        assert like_full or like_none
        found.append(like_full)
    assert 0 < sum(found) < 12


def test_the_result_has_256_levels_in_zero_to_one(samples, banks):
    every = AugmentConfig(**{s: replace(getattr(AugmentConfig(), s), enabled=True, share=ALWAYS) for s in STAGES})
    result = aug.augment(samples, every, draws(12), banks, 0.0)
    levels = result.input * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert result.input.min() >= 0 and result.input.max() <= 1 and len(levels.round().unique()) > 50
    for target in (result.mask, result.occluded_mask):
        assert target.min() >= 0 and target.max() <= 1
    assert (result.occluded_mask <= result.mask).all() and (result.uv[:, :1] * (1 - result.mask) == 0).all()


# ---------------------------------------------------------------- geometry


def cropped(samples: Samples, height: int) -> Samples:
    """The upper rows: pictures that are not square."""
    rest = {n: getattr(samples, n)[:, :, :height] for n in ("input", "uv", "mask", "occluded_mask")}
    return Samples(**rest, landmarks=samples.landmarks)


@pytest.mark.parametrize(
    ("stage", "changes", "height"),
    [("quarter_turns", {}, 64), ("crop_scale", {}, 64), ("crop_scale", {"turn_deg": 90.0}, 56)],
)
def test_uv_and_landmarks_follow_the_picture(samples, synthetic, stage, changes, height):
    samples = cropped(samples, height)
    result = aug.augment(samples, only(stage, **changes), draws(12), Banks(), 0.0)
    canonical = torch.tensor(synthetic.landmark_uv).float()
    inside = sample_at(result.mask, result.landmarks)[..., 0] > 0.99
    assert inside.sum() > 300
    error = (sample_at(result.uv, result.landmarks) - canonical).abs().amax(-1)[inside]
    assert error.max() < 0.03  # a pixel is 0.02 in UV
    assert error.median() < 0.012
    moved = (result.landmarks - samples.landmarks).abs().amax((1, 2)) > 1
    assert moved.sum() >= 6
    # the colour of the synthetic faces codes UV, so the picture must agree with the labels as well
    shown = result.input**aug.BASE_GAMMA
    ratio = (shown[:, 0] / shown[:, 1])[result.mask[:, 0] > 0.5]
    wanted = (result.uv[:, 0] / result.uv[:, 1].clamp(min=1e-3))[result.mask[:, 0] > 0.5]
    unclipped = (ratio.log() - wanted.log()).abs()
    assert unclipped.median() < 0.06


def test_a_mirror_turns_u_about_the_midline_and_exchanges_landmarks(samples):
    config = only("mirror").mirror
    result = aug.mirror(samples, config, draws(12), 0.0)
    assert torch.equal(result.input, samples.input.flip(3)) and torch.equal(result.mask, samples.mask.flip(3))
    partners = list(aug.LANDMARK_PARTNERS)
    there = sample_at(samples.uv, samples.landmarks)[:, partners]
    here = sample_at(result.uv, result.landmarks)
    inside = sample_at(result.mask, result.landmarks)[..., 0] > 0.9999
    assert inside.sum() > 300
    assert torch.allclose(here[..., 0][inside], 2 * config.centre_u - there[..., 0][inside], atol=1e-3)
    assert torch.allclose(here[..., 1][inside], there[..., 1][inside], atol=1e-3)
    back = aug.mirror(result, config, draws(12), 0.0)
    assert torch.allclose(back.uv, samples.uv, atol=1e-6) and torch.allclose(back.landmarks, samples.landmarks)
    half = aug.mirror(samples, replace(config, share=Ramp(0.5, 0.5)), draws(12), 0.0)
    kinds = {(torch.equal(h, s), torch.equal(h, s.flip(2))) for h, s in zip(half.input, samples.input, strict=True)}
    assert kinds == {(True, False), (False, True)}


def test_the_head_packs_landmarks_are_symmetric_about_the_midline(head_pack):
    uv = head_pack_landmarks()
    mirrored = uv[list(aug.LANDMARK_PARTNERS)]
    mirrored[:, 0] = 2 * AugmentConfig().mirror.centre_u - mirrored[:, 0]
    assert (mirrored - uv).abs().mean() < 5e-4


def test_a_crop_turns_the_picture_about_its_middle_by_the_drawn_angle(samples):
    config = replace(AugmentConfig().crop_scale, share=ALWAYS, scale=(1.0, 1.0), shift=0.0, turn_deg=90.0)
    result = aug.crop_scale(samples, config, draws(12), 0.0)
    angle = draws(12).uniform("turn", low=-90, high=90) * torch.pi / 180
    was, now = samples.landmarks - 32, result.landmarks - 32
    assert torch.allclose(now.norm(dim=-1), was.norm(dim=-1), atol=1e-3)
    turned = torch.atan2(was[..., 1], was[..., 0]) - torch.atan2(now[..., 1], now[..., 0]) - angle[:, None]
    assert torch.cos(turned).min() > 0.9999 and angle.abs().max() > 1


def test_all_four_turns_come_up(samples):
    result = aug.augment(samples, only("quarter_turns"), draws(12), Banks(), 0.0)
    plain = aug.plain(samples)
    kinds = {
        next(k for k in range(4) if torch.equal(torch.rot90(plain.mask[i], k, (1, 2)), result.mask[i]))
        for i in range(12)
    }
    assert kinds == {0, 1, 2, 3}


# ---------------------------------------------------------------- occlusion


def test_the_occluded_mask_is_what_the_occluder_leaves_visible(samples, bank):
    config = only("occlusion")
    result = aug.occlude(samples, config.occlusion, draws(12), bank, 0.0)
    opacity = opacities(bank, config.occlusion, draws(12).fork("shape"), (64, 64))
    assert torch.allclose(result.occluded_mask, samples.occluded_mask * (1 - opacity))
    assert torch.equal(result.mask, samples.mask) and torch.equal(result.uv, samples.uv)
    untouched = (opacity == 0).expand_as(samples.input)
    assert torch.equal(result.input[untouched], samples.input[untouched]) and untouched.any()
    assert (result.input != samples.input)[(opacity > 0.5).expand_as(samples.input)].float().mean() > 0.95


def test_the_cover_is_in_range_and_edges_are_soft_or_hard_as_asked(bank):
    soft = replace(AugmentConfig().occlusion, cover=(0.3, 0.5), binary_share=0.0, softness=(0.3, 0.3), oversample=1)
    hard = replace(soft, binary_share=1.0)
    cover = opacities(bank, soft, draws(64), (32, 32)).mean((1, 2, 3))
    found = cover[cover > 0]
    assert len(found) >= 48 and found.min() >= 0.3 and found.max() <= 0.5 and found.std() > 0.02

    def between(config):
        opacity = opacities(bank, config, draws(64), (32, 32))
        return float(((opacity > 0.01) & (opacity < 0.99)).float().mean())

    assert between(hard) < 0.02 < 0.1 < between(soft)


def test_crops_differ_stay_in_their_environment_and_turn(environments: Path):
    flat = EnvironmentBank(torch.cat([torch.full((3, 16, 32), float(i)) for i in range(3)], 1), 3, 16)
    which = torch.tensor([0, 1, 2, 2])
    side = torch.tensor([0.2, 0.9, 0.5, 1.0])
    crop = flat.crops(which, torch.rand(4, 2, generator=torch.Generator().manual_seed(0)), side, torch.rand(4), (8, 8))
    assert torch.allclose(crop, which.float()[:, None, None, None].expand_as(crop), atol=1e-5)
    coloured = EnvironmentBank(
        torch.arange(9.0).reshape(3, 3).repeat_interleave(16, 1)[..., None].expand(3, 48, 32), 3, 16
    )
    channel = torch.tensor([2, 0, 1, 2])  # one of (channel, environment), which has the value 3 channel + environment
    crop = coloured.crops(which, torch.full((4, 2), 0.9), side, torch.rand(4), (8, 8), channel)
    assert torch.allclose(crop, (3.0 * channel + which)[:, None, None, None].expand(4, 1, 8, 8), atol=1e-4)
    ramp = EnvironmentBank(torch.linspace(0, 1, 64)[None, :, None].expand(3, 64, 128).contiguous(), 1, 64)
    one = torch.zeros(2, dtype=torch.long)
    down, across = ramp.crops(
        one, torch.full((2, 2), 0.5), torch.full((2,), 0.5), torch.tensor([0.0, torch.pi / 2]), (8, 8)
    )
    assert (down[0].diff(dim=0) > 0.03).all() and down[0].diff(dim=1).abs().max() < 1e-5
    assert (across[0].diff(dim=1) > 0.03).all() and across[0].diff(dim=0).abs().max() < 1e-5


def test_a_folder_without_environments_says_what_to_do(tmp_path: Path):
    with pytest.raises(AssetError, match=r"augment\.environments"):
        load_environments(tmp_path, 64)


def test_samples_without_a_face_have_empty_targets(samples, bank):
    result = aug.no_face(samples, replace(AugmentConfig().no_face, share=Ramp(0.5, 0.5)), draws(12), bank, 0.0)
    gone = result.mask.sum((1, 2, 3)) == 0
    assert 0 < gone.sum() < 12
    for target in (result.uv, result.occluded_mask):
        assert target[gone].abs().sum() == 0
    assert result.landmarks[gone].isnan().all() and result.landmarks[~gone].isfinite().all()
    assert torch.equal(result.input[~gone], samples.input[~gone])


# ---------------------------------------------------------------- light and camera


def test_exposure_gamma_and_contrast_do_what_their_names_say(samples):
    stops = replace(AugmentConfig().exposure, stops=(1.0, 1.0))
    assert torch.allclose(aug.exposure(samples, stops, draws(12), 0).input, samples.input * 2)
    linear = replace(AugmentConfig().gamma, gamma=(1.0, 1.0))
    assert torch.allclose(aug.tone(samples, linear, draws(12), 0).input, samples.input.clamp(0, 1))
    plain = aug.tone(samples, replace(AugmentConfig().gamma, enabled=False), draws(12), 0).input
    assert torch.allclose(plain, samples.input.clamp(0, 1) ** (1 / 2.2))
    none = replace(AugmentConfig().contrast, factor=(0.0, 0.0), share=ALWAYS)
    flat = aug.contrast(samples, none, draws(12), 0).input
    assert torch.allclose(flat, samples.input.mean((1, 2, 3), keepdim=True).expand_as(flat))


def test_channels_are_permuted_as_a_whole(samples):
    shuffled = aug.channel_shuffle(samples, replace(AugmentConfig().channel_shuffle, share=ALWAYS), draws(12), 0).input
    orders = set()
    for old, new in zip(samples.input, shuffled, strict=True):
        orders.add(tuple(next(c for c in range(3) if torch.equal(old[c], new[i])) for i in range(3)))
    assert len(orders) >= 4 and all(sorted(order) == [0, 1, 2] for order in orders)


def test_noise_has_the_drawn_size_and_ends_at_zero(samples):
    config = replace(AugmentConfig().noise, limit=Ramp(0.2, 0.0))
    gray = replace(samples, input=torch.full((12, 3, 64, 64), 0.5))
    sigma = (aug.noise(gray, config, draws(12), 0.0).input - 0.5).std((1, 2, 3))
    assert torch.allclose(sigma, draws(12).uniform("sigma", high=0.2), rtol=0.05, atol=1e-4) and sigma.std() > 0.02
    half = (aug.noise(gray, config, draws(12), 0.5).input - 0.5).std((1, 2, 3))
    assert torch.allclose(half, sigma / 2, rtol=0.01)
    assert torch.equal(aug.noise(gray, config, draws(12), 1.0).input, gray.input)


def test_blur_keeps_the_mean_and_spreads_a_point(samples):
    point = torch.zeros(2, 3, 33, 33)
    point[:, :, 16, 16] = 1
    config = replace(AugmentConfig().blur, sigma_px=(1.5, 1.5), share=ALWAYS)
    result = aug.blur(replace(samples, input=point), config, draws(2), 0).input
    assert torch.allclose(result.sum((2, 3)), torch.ones(2, 3), atol=1e-4)
    x = torch.arange(33.0) - 16
    variance = (result.sum(2) * x**2).sum(-1)
    assert torch.allclose(variance, torch.full((2, 3), 2.25), rtol=0.03)


def test_erosion_equals_a_loop_over_pixels():
    mask = (torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)) > 0.15).float()
    for radius in (1, 2):
        eroded = aug.erode(mask, radius)
        for y in range(12):
            for x in range(12):
                window = mask[0, 0, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
                assert eroded[0, 0, y, x] == window.min()
        assert 0 < eroded.sum() < mask.sum()
