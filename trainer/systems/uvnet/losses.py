"""UV-net's loss: seven L1 terms by name, and two optional ones (Ronkainen 2017, section 3.7).

Every term is a mean over the pixels of each sample, then over the samples. So its size does not depend on the image
size or the minibatch, and the mean over processes equals the term of the whole minibatch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from renderer.errors import SpecError
from trainer.augmentation.samples import Samples
from trainer.augmentation.stages import erode
from trainer.data.device import constant
from trainer.systems.uvnet.config import TERMS, LossConfig

IN_VIEW_UV = 0.03  # a landmark is seen where the true UV at its pixel is this close to its own: else it lies behind
LEAST_FACE = 0.02  # share of a picture from which on it is to be called a face
PART_OF_FACE = 0.12  # share of the UV square that what is shown of a face spans: below, a cheek or an ear, not a face
WHOLE_FACE = 0.3  # from here on a face; a profile spans half
REFERENCE_SIZE_PX = 128  # UV changes per pixel shrink as images grow; they are stated per 1/128 of the image's side


def loss_terms(
    prediction: Tensor,
    target: Samples,
    config: LossConfig,
    landmark_uv: Tensor | None = None,
    progress: float = 1.0,
) -> dict[str, Tensor]:
    """Unweighted terms by name, those of weight 0 left out; each (N,) float32, one value per sample.

    prediction: (N, 4, H, W): U, V, mask, occluded mask; (N, 5, H, W) with the face score of the network for
    photographs. landmark_uv: (68, 2), for the term "landmarks".
    progress: share of the training that is done, for `config.balance`.
    """
    # planes, whatever the network's layout: what follows goes over each of them many times
    uv, mask, occluded_mask = torch.split(prediction[:, :4].float().contiguous(), [2, 1, 1], 1)
    difference = uv - target.uv
    weight = pixel_weights(target.mask, config.balance.at(progress))
    terms = {
        "uv": lambda: _mean(difference.abs() * target.mask),
        "mask": lambda: _mean(mask_error(mask, target.mask, config) * weight),
        "occluded_mask": lambda: _mean(mask_error(occluded_mask, target.occluded_mask, config) * weight),
    }
    active = active_terms(config)
    if not {"uv_dudx", "uv_dudy", "uv_dvdx", "uv_dvdy"}.isdisjoint(active):
        for name, value in change_terms(difference, erode(target.mask, config.erosion_px)).items():
            terms[name] = lambda value=value: value  # type: ignore[misc]
    if config.landmarks.used:
        if target.landmarks is None or landmark_uv is None:
            raise SpecError("loss.landmarks needs landmarks in the data: set its weight to 0")
        terms["landmarks"] = lambda: landmark_term(uv, target, landmark_uv)
    terms["face_score"] = lambda: face_score_term(prediction, target)
    terms["face_present"] = lambda: (mask.amax((1, 2, 3)) - target.mask.amax((1, 2, 3))).abs()
    return {name: terms[name]() for name in active}


def change_terms(difference: Tensor, eroded: Tensor) -> dict[str, Tensor]:
    """Errors of the four changes of UV per pixel, inside the eroded mask, (N,) each.

    difference: (N, 2, H, W), UV minus the true one. eroded: (N, 1, H, W).
    """
    terms = {}
    for axis, dim in (("x", 3), ("y", 2)):
        inside = eroded.narrow(dim, 0, eroded.shape[dim] - 1)
        means = (difference.diff(dim=dim).abs() * inside).mean((2, 3)) * (difference.shape[dim] / REFERENCE_SIZE_PX)
        terms[f"uv_dud{axis}"], terms[f"uv_dvd{axis}"] = means.unbind(1)
    return terms


def mask_error(prediction: Tensor, target: Tensor, config: LossConfig) -> Tensor:
    """|prediction - target|, or with `config.overshoot: free` 0 above 1 on the face and below 0 off it. (N, 1, H, W).

    The last layer is linear: where overshoot counts, pixels that are as good as settled pull as hard as wrong ones.
    With `config.masks: entropy` the prediction is a probability, and the error its cross entropy.
    """
    if config.masks == "entropy":
        return F.binary_cross_entropy(prediction, target, reduction="none")
    error = (prediction - target).abs()
    if config.overshoot == "counts":
        return error
    settled = ((target >= 1) & (prediction > 1)) | ((target <= 0) & (prediction < 0))
    return error.masked_fill(settled, 0.0)


def pixel_weights(mask: Tensor, balance: float) -> Tensor:
    """Weights of mean 1 that raise the face's share of the mask terms towards one half. (N, 1, H, W), or a scalar 1.

    Without them "no face anywhere" is a comfortable place for L1, which short trainings may not leave.
    """
    if balance == 0:
        return mask.new_ones(())
    share = mask.mean((1, 2, 3), keepdim=True)
    bounded = share.clamp(1e-3, 1 - 1e-3)
    face, background = 0.5 / bounded, torch.where(share > 0, 0.5 / (1 - bounded), 1.0)
    return (1 + balance * (background - 1)) + mask * (balance * (face - background))


def active_terms(config: LossConfig) -> list[str]:
    """The terms whose weight is not always 0, in the order of `TERMS`."""
    return [name for name in TERMS if getattr(config, name).used]


def total_loss(terms: dict[str, Tensor], config: LossConfig, progress: float = 1.0) -> Tensor:
    """The weighted terms' sum or mean, as configured. terms: (N,) each. Returns a scalar."""
    weighted = torch.stack([getattr(config, name).at(progress) * values.mean() for name, values in terms.items()])
    return weighted.sum() if config.combine == "sum" else weighted.mean()


def face_score_term(prediction: Tensor, target: Samples) -> Tensor:
    """Cross entropy of the face score, (N,); 0 for pictures that show so little of a face that either answer is right.

    prediction: (N, 5, H, W), the last plane the score, alike at all pixels. A picture of a part of a face is none of a
    face: the finder has to look again in a larger window.
    """
    area, spanned = target.mask.mean((1, 2, 3)), uv_spanned(target)
    score, face = prediction[:, 4].float().mean((1, 2)), (spanned > WHOLE_FACE).float()
    known = (area == 0) | (spanned < PART_OF_FACE) | ((area > LEAST_FACE) & (spanned > WHOLE_FACE))
    return F.binary_cross_entropy(score, face, reduction="none") * known


def uv_spanned(target: Samples) -> Tensor:
    """Area of the smallest rectangle of the UV square that holds all UVs of a picture, (N,); 0 without a face."""
    on_face = target.mask > 0
    low = target.uv.masked_fill(~on_face, math.inf).amin((2, 3))
    high = target.uv.masked_fill(~on_face, -math.inf).amax((2, 3))
    return (high - low).clamp(min=0).prod(1)


def landmark_term(uv: Tensor, target: Samples, landmark_uv: Tensor) -> Tensor:
    """Mean |UV error| at the landmarks in view, (N,); 0 where none is. uv: (N, 2, H, W). landmark_uv: (68, 2)."""
    assert target.landmarks is not None
    seen = landmarks_in_view(target, landmark_uv).to(uv.dtype)
    error = (sample_at(uv, target.landmarks) - landmark_uv).abs().mean(-1) * seen
    return error.sum(1) / seen.sum(1).clamp(min=1)


def landmarks_in_view(target: Samples, landmark_uv: Tensor) -> Tensor:
    """Which landmarks the image shows, (N, 68) bool: on the target mask, and the true UV there is their own.

    Those that the head itself hides are projected onto other parts of the face, where they would contradict the UV map.
    """
    assert target.landmarks is not None
    points = target.landmarks
    on_face = sample_at(target.mask, points)[..., 0] > 0.99
    own = (sample_at(target.uv, points) - landmark_uv).abs().amax(-1) < IN_VIEW_UV
    return torch.isfinite(points).all(-1) & on_face & own


def sample_at(image: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of (N, C, H, W) at pixels (N, K, 2) given as (x, y); (N, K, C). NaN points read pixel (0, 0)."""
    size = constant((image.shape[3], image.shape[2]), image.dtype, image.device)
    grid = torch.nan_to_num(points.to(image.dtype)) / size * 2 - 1
    values = F.grid_sample(image, grid[:, :, None], mode="bilinear", padding_mode="zeros", align_corners=False)
    return values[..., 0].transpose(1, 2)


def _mean(values: Tensor) -> Tensor:
    return values.mean((1, 2, 3))
