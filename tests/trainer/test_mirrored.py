import pytest
import torch

from renderer.format.sample_format import CENTRE_U
from trainer.augmentation.mirror import Averaged, agreement, seen_in_mirror


def face() -> torch.Tensor:
    """What a perfect network says of a face that looks to one side: (1, 4, 32, 32)."""
    line = (torch.arange(32) + 0.5) / 32
    v, u = torch.meshgrid(1 - line, line, indexing="ij")
    mask = ((u - 0.4) ** 2 + (v - 0.5) ** 2 < 0.1).float()
    return torch.stack([u**2, v, mask, mask])[None]


class Perfect:
    """Knows a face and its mirror image, which it tells apart by a mark in the pictures; errs by as much in both."""

    def __init__(self, error: torch.Tensor) -> None:
        self.error = error

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        turned = face().flip(3)
        turned = torch.cat([2 * CENTRE_U - turned[:, :1], turned[:, 1:]], 1)
        return torch.where(pictures[:, :1, :1, :1] > 0, face(), turned) + self.error


def marked() -> torch.Tensor:
    picture = torch.zeros(1, 3, 32, 32)
    picture[..., 0] = 1
    return picture


def test_a_mirror_image_is_seen_alike() -> None:
    assert torch.allclose(seen_in_mirror(Perfect(torch.zeros(4, 1, 1)), marked()), face(), atol=1e-6)


def test_averaging_removes_what_is_wrong_to_one_side_and_nothing_else() -> None:
    network = Perfect(torch.tensor([0.05, 0.02, 0.1, -0.1])[:, None, None])
    rest = (Averaged(network)(marked()) - face()).mean((0, 2, 3))
    assert torch.allclose(rest, torch.tensor([0.0, 0.02, 0.1, -0.1]), atol=1e-6)


def test_agreement_is_one_for_a_mirror_image_and_none_for_a_guess() -> None:
    seen, nothing = face(), torch.zeros(1, 4, 32, 32)
    shifted = seen + torch.tensor([0.04, 0.04, 0, 0])[:, None, None]
    assert agreement(seen, seen).item() == pytest.approx(1)
    assert agreement(seen, shifted).item() == pytest.approx(0.75, abs=0.01)
    assert agreement(seen, nothing).item() == agreement(nothing, nothing).item() == 0
