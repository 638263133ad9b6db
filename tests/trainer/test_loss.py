"""The seven terms by name: zero for the truth, independent of image and minibatch size, and as their names say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from renderer.errors import SpecError
from trainer.augmentation.samples import Samples
from trainer.ramp import Ramp
from trainer.systems.uvnet.config import TERMS, LossConfig
from trainer.systems.uvnet.losses import landmark_term, landmarks_in_view, loss_terms, sample_at, total_loss

SEVEN = ("uv", "mask", "occluded_mask", "uv_dudx", "uv_dudy", "uv_dvdx", "uv_dvdy")


def plane(size: int = 32) -> Samples:
    """A face that fills the middle half; U = x, V = y in image units."""
    axis = (torch.arange(size) + 0.5) / size
    mask = torch.zeros(1, 1, size, size)
    mask[..., size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    uv = torch.stack([axis[None].expand(size, size), axis[:, None].expand(size, size)])[None] * mask
    return Samples(torch.zeros(1, 3, size, size), uv, mask, mask * 0.5)


def always(weight: float) -> Ramp:
    return Ramp(weight, weight)


def truth(target: Samples) -> torch.Tensor:
    return torch.cat([target.uv, target.mask, target.occluded_mask], 1)


def test_the_truth_has_no_loss_and_the_terms_have_the_names_that_plots_use():
    terms = loss_terms(truth(plane()), plane(), LossConfig())
    assert tuple(terms) == SEVEN == TERMS[:7]
    assert all(value.shape == (1,) and value.item() == 0 for value in terms.values())


def test_each_term_sees_its_own_mistake_alone():
    target = plane()
    config = LossConfig()

    def wrong(change) -> dict[str, float]:
        prediction = truth(target).clone()
        change(prediction)
        return {k: v.item() for k, v in loss_terms(prediction, target, config).items() if v.item() > 1e-7}

    assert wrong(lambda p: p[:, 0].add_(0.1)) == {"uv": pytest.approx(0.1 / 2 / 4)}  # half the channels, a quarter face
    assert wrong(lambda p: p[:, 2].add_(0.1)) == {"mask": pytest.approx(0.1)}
    assert wrong(lambda p: p[:, 3].sub_(0.1)) == {"occluded_mask": pytest.approx(0.1)}
    slope = torch.arange(32) * 0.01
    assert wrong(lambda p: p[:, 0].add_(slope[None, None])).keys() == {"uv", "uv_dudx"}
    assert wrong(lambda p: p[:, 0].add_(slope[None, :, None])).keys() == {"uv", "uv_dudy"}
    assert wrong(lambda p: p[:, 1].add_(slope[None, None])).keys() == {"uv", "uv_dvdx"}
    assert wrong(lambda p: p[:, 1].add_(slope[None, :, None])).keys() == {"uv", "uv_dvdy"}


def test_free_overshoot_forgives_masks_beyond_the_truth_and_nothing_else():
    target, config = plane(), LossConfig(overshoot="free")

    def masks(change, config: LossConfig = config) -> tuple[float, float]:
        prediction = truth(target).clone()
        change(prediction)
        terms = loss_terms(prediction, target, config)
        return terms["mask"].item(), terms["occluded_mask"].item()

    def apart(p: torch.Tensor) -> torch.Tensor:
        return p[:, 2].add_(0.4 * (2 * target.mask[:, 0] - 1))  # 1.4 on the face, -0.4 off it

    assert masks(apart) == (0, 0)
    assert masks(apart, LossConfig())[0] == pytest.approx(0.4)
    assert masks(lambda p: p[:, 2].add_(0.4))[0] == pytest.approx(0.4 * 3 / 4)  # off the face, three quarters
    assert masks(lambda p: p[:, 2].sub_(0.4))[0] == pytest.approx(0.4 / 4)
    assert masks(lambda p: p[:, 2].mul_(-1))[0] == pytest.approx(2 / 4)  # farther than wrong costs more, not the same
    # half hidden: neither side is free
    assert masks(lambda p: p[:, 3].add_(0.4 * target.mask[:, 0]))[1] == pytest.approx(0.1)
    assert masks(lambda p: p[:, 3].sub_(0.4 * target.mask[:, 0]))[1] == pytest.approx(0.1)


def test_gradients_beside_the_border_do_not_count():
    target = plane()
    prediction = truth(target).clone()
    prediction[:, :2] += (1 - target.mask) * 5  # whatever lies outside the face
    terms = loss_terms(prediction, target, LossConfig())
    assert all(terms[name].item() == 0 for name in SEVEN if name.startswith("uv"))


def test_the_loss_does_not_depend_on_image_or_minibatch_size():
    def off(size: int, copies: int) -> dict[str, float]:
        target = plane(size)
        axis = (torch.arange(size) + 0.5) / size
        prediction = truth(target)
        prediction = prediction + 0.1 * torch.stack([axis[None] ** 2 * axis[:, None]] * 4).reshape(1, 4, size, size)
        many = Samples(*(getattr(target, n).repeat(copies, 1, 1, 1) for n in ("input", "uv", "mask", "occluded_mask")))
        return {
            k: v.mean().item() for k, v in loss_terms(prediction.repeat(copies, 1, 1, 1), many, LossConfig()).items()
        }

    small, many, large = off(64, 1), off(64, 5), off(256, 1)
    assert small == pytest.approx(many)
    assert small == pytest.approx(large, rel=0.12)  # the eroded border is a share of the side


def test_terms_are_weighted_summed_or_averaged_and_left_out_at_zero():
    target, prediction = plane(), truth(plane()) + 0.1
    config = LossConfig(uv=always(2), uv_dudx=always(0), mask=always(0))
    terms = loss_terms(prediction, target, config)
    assert set(SEVEN) - set(terms) == {"uv_dudx", "mask"}
    expected = sum(v.item() * (2 if k == "uv" else 1) for k, v in terms.items())
    assert total_loss(terms, config).item() == pytest.approx(expected)
    assert total_loss(terms, replace(config, combine="mean")).item() == pytest.approx(expected / 5)


def test_a_weight_may_grow_from_nothing_while_training_goes_on():
    target, prediction = plane(), truth(plane()) + 0.1
    config = LossConfig(mask=Ramp(0, 8))
    terms = loss_terms(prediction, target, config)
    start, middle, end = (total_loss(terms, config, progress).item() for progress in (0.0, 0.5, 1.0))
    assert "mask" in terms and start > 0
    assert middle - start == pytest.approx(4 * terms["mask"].item()) and end - middle == pytest.approx(middle - start)


def test_landmarks_and_presence_are_optional_terms():
    target = replace(plane(), landmarks=torch.tensor([[[16.0, 12.0], [2.0, 2.0], [float("nan")] * 2]]))
    canonical = torch.tensor([[0.5, 0.375], [0.0, 0.0], [0.2, 0.2]])
    assert landmark_term(target.uv, target, canonical).item() == pytest.approx(0, abs=1e-6)
    wrong = target.uv + torch.tensor([0.1, 0.0])[:, None, None]
    assert landmark_term(wrong, target, canonical).item() == pytest.approx(0.05)
    config = LossConfig(landmarks=always(1), face_present=always(1))
    terms = loss_terms(torch.zeros(1, 4, 32, 32), target, config, canonical)
    assert terms["face_present"].item() == 1 and terms["landmarks"].item() == pytest.approx((0.5 + 0.375) / 2)
    with pytest.raises(SpecError, match="needs landmarks"):
        loss_terms(torch.zeros(1, 4, 32, 32), plane(), config, canonical)


def test_a_landmark_that_the_head_itself_hides_is_no_target():
    target = replace(plane(), landmarks=torch.tensor([[[16.0, 12.0], [16.0, 20.0]]]))
    canonical = torch.tensor([[0.5, 0.375], [0.9, 0.1]])  # the second lies behind a part of the face with another UV
    assert landmarks_in_view(target, canonical).tolist() == [[True, False]]
    assert landmark_term(target.uv, target, canonical).item() == pytest.approx(0, abs=1e-6)


def test_landmark_loss_has_a_gradient_and_no_nan():
    target = replace(plane(), landmarks=torch.full((1, 3, 2), float("nan")))
    prediction = torch.zeros(1, 4, 32, 32, requires_grad=True)
    terms = loss_terms(prediction, target, LossConfig(landmarks=always(1)), torch.zeros(3, 2))
    total_loss(terms, LossConfig(landmarks=always(1))).backward()
    assert prediction.grad is not None and prediction.grad.isfinite().all()


def test_values_are_read_at_pixel_centres():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    points = torch.tensor([[[0.5, 0.5], [3.5, 2.5], [1.0, 0.5]]])
    assert sample_at(image, points)[0, :, 0].tolist() == pytest.approx([0, 11, 0.5], abs=1e-5)


def test_balanced_masks_make_no_constant_answer_better_than_another():
    target = plane()  # a quarter is face
    balanced = LossConfig(balance=Ramp(1, 0))

    def mask_term(value: float, progress: float) -> float:
        prediction = torch.full((1, 4, 32, 32), value)
        return loss_terms(prediction, target, balanced, progress=progress)["mask"].item()

    assert mask_term(0.0, 0.0) == pytest.approx(0.5) == pytest.approx(mask_term(1.0, 0.0))
    assert mask_term(0.0, 1.0) == pytest.approx(0.25) and mask_term(1.0, 1.0) == pytest.approx(0.75)
    assert mask_term(0.0, 0.5) == pytest.approx(0.375)
    nobody = replace(target, mask=torch.zeros(1, 1, 32, 32))
    assert loss_terms(torch.full((1, 4, 32, 32), 0.3), nobody, balanced, progress=0)["mask"].item() == pytest.approx(
        0.3
    )
