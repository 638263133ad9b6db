"""Augmentation: pure functions of (samples, draws), applied on the device in the order of `AugmentConfig`.

`Samples` holds linear light until `tone`, picture values in [0, 1] after it. The last step, always: clip to [0, 1] and
round to 256 levels, as a photo has. Each stage has a switch, a range and a schedule in the config.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import occlusion
from trainer.config import (
    AugmentConfig,
    Blur,
    ChannelShuffle,
    Contrast,
    CropScale,
    Exposure,
    Gamma,
    Mirror,
    NoFace,
    Noise,
    QuarterTurns,
)
from trainer.config import Occlusion as OcclusionConfig
from trainer.device import constant
from trainer.draws import Draws
from trainer.mirrored import turned
from trainer.occlusion import EnvironmentBank

BASE_GAMMA: Final = 2.2  # linear light to picture values, where gamma is not varied
LEVELS: Final = 256
LANDMARK_PARTNERS: Final = (  # of the 68 iBUG landmarks in a mirror: jaw, brows, bridge, nostrils, eyes, lips
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip


@dataclass(frozen=True)
class Samples:
    """A minibatch on its way to the network.

    input: (N, 3, H, W) float32. uv: (N, 2, H, W) float32, 0 outside the mask. mask, occluded_mask: (N, 1, H, W)
    float32 in [0, 1]; the occluded mask is the face that stays visible. landmarks: (N, 68, 2) pixels or None.
    """

    input: Tensor
    uv: Tensor
    mask: Tensor
    occluded_mask: Tensor
    landmarks: Tensor | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.input.shape[2], self.input.shape[3]


def augment(
    samples: Samples, config: AugmentConfig, draws: Draws, bank: EnvironmentBank | None, progress: float
) -> Samples:
    """All stages that are on. progress: share of the training that is done, in [0, 1], for the schedules.

    bank: environments; may be None if no stage that is on needs one.
    """
    if config.quarter_turns.enabled:
        samples = quarter_turns(samples, config.quarter_turns, draws.fork("quarter_turns"), progress)
    if config.mirror.enabled:
        samples = mirror(samples, config.mirror, draws.fork("mirror"), progress)
    if config.crop_scale.enabled:
        samples = crop_scale(samples, config.crop_scale, draws.fork("crop_scale"), progress)
    if config.no_face.enabled and bank:
        samples = no_face(samples, config.no_face, draws.fork("no_face"), bank, progress)
    if config.occlusion.enabled and bank:
        samples = occlude(samples, config.occlusion, draws.fork("occlusion"), bank, progress)
    if config.channel_shuffle.enabled:
        samples = channel_shuffle(samples, config.channel_shuffle, draws.fork("channel_shuffle"), progress)
    if config.exposure.enabled:
        samples = exposure(samples, config.exposure, draws.fork("exposure"), progress)
    samples = tone(samples, config.gamma, draws.fork("gamma"), progress)
    if config.contrast.enabled:
        samples = contrast(samples, config.contrast, draws.fork("contrast"), progress)
    if config.blur.enabled:
        samples = blur(samples, config.blur, draws.fork("blur"), progress)
    if config.noise.enabled:
        samples = noise(samples, config.noise, draws.fork("noise"), progress)
    return quantise(samples)


def plain(samples: Samples) -> Samples:
    """What evaluation sees: no augmentation, base gamma, clipped and in 256 levels."""
    return quantise(replace(samples, input=samples.input.clamp(min=0) ** (1 / BASE_GAMMA)))


def needs_environments(config: AugmentConfig) -> bool:
    """Does a stage that is on cut from environments?"""
    return config.occlusion.enabled or config.no_face.enabled


def _choose(chosen: Tensor, there: Tensor, otherwise: Tensor) -> Tensor:
    """Per sample: `there` where chosen (N,), else `otherwise`."""
    return torch.where(chosen.reshape(-1, *[1] * (there.dim() - 1)), there, otherwise)


# ---------------------------------------------------------------- geometry


def quarter_turns(samples: Samples, config: QuarterTurns, draws: Draws, progress: float) -> Samples:
    """Rotate by 0, 90, 180 or 270 degrees. Images must be square."""
    turns = draws.integers("turns", 4) * draws.happens("share", config.share.at(progress))
    result = samples
    for k in (1, 2, 3):
        chosen = turns == k
        result = replace(
            result,
            input=_choose(chosen, torch.rot90(samples.input, k, (2, 3)), result.input),
            uv=_choose(chosen, torch.rot90(samples.uv, k, (2, 3)), result.uv),
            mask=_choose(chosen, torch.rot90(samples.mask, k, (2, 3)), result.mask),
            occluded_mask=_choose(chosen, torch.rot90(samples.occluded_mask, k, (2, 3)), result.occluded_mask),
        )
        if samples.landmarks is not None and result.landmarks is not None:
            x, y = samples.landmarks.unbind(-1)
            side = float(samples.size[1])
            turned = {1: (y, side - x), 2: (side - x, side - y), 3: (side - y, x)}[k]
            result = replace(result, landmarks=_choose(chosen, torch.stack(turned, -1), result.landmarks))
    return result


def mirror(samples: Samples, config: Mirror, draws: Draws, progress: float) -> Samples:
    """Exchange left and right: U turns about the face's midline, and landmarks change places with their partners."""
    chosen = draws.happens("share", config.share.at(progress))
    mask = samples.mask.flip(3)
    uv = turned(samples.uv, config.centre_u) * (mask > 0)
    landmarks = samples.landmarks
    if landmarks is not None:
        x, y = landmarks[:, constant(LANDMARK_PARTNERS, torch.int64, landmarks.device)].unbind(-1)
        landmarks = _choose(chosen, torch.stack([samples.size[1] - x, y], -1), landmarks)
    return Samples(
        _choose(chosen, samples.input.flip(3), samples.input),
        _choose(chosen, uv, samples.uv),
        _choose(chosen, mask, samples.mask),
        _choose(chosen, samples.occluded_mask.flip(3), samples.occluded_mask),
        landmarks,
    )


def crop_scale(samples: Samples, config: CropScale, draws: Draws, progress: float) -> Samples:
    """A window of another size and place, turned, scaled to the full image. Outside the image: its border, and no face.

    The input is interpolated; UV and masks take the nearest pixel, since mixed labels are no labels.
    """
    chosen = draws.happens("share", config.share.at(progress))
    low, high = (math.log(s) for s in config.scale)
    scale = torch.exp(draws.uniform("scale", low=low, high=high))
    shift = draws.uniform("shift", 2, low=-config.shift, high=config.shift) * 2  # grid units: the side is 2 long
    turn = draws.uniform("turn", low=-config.turn_deg, high=config.turn_deg) * (math.pi / 180)
    cosine, sine, aspect = torch.cos(turn), torch.sin(turn), samples.size[0] / samples.size[1]
    rows = [cosine / scale, -sine / scale * aspect, shift[:, 0], sine / scale / aspect, cosine / scale, shift[:, 1]]
    grid = F.affine_grid(torch.stack(rows, -1).reshape(-1, 2, 3), list(samples.input.shape), align_corners=False)
    labels = torch.cat([samples.uv, samples.mask, samples.occluded_mask], 1)
    labels = F.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    picture = F.grid_sample(samples.input, grid, mode="bilinear", padding_mode="border", align_corners=False)
    landmarks = samples.landmarks
    if landmarks is not None:
        half = constant((samples.size[1] / 2, samples.size[0] / 2), torch.float32, landmarks.device)
        x, y = (landmarks - half - shift[:, None] * half).unbind(-1)  # from the window's middle
        c, s = (scale * cosine)[:, None], (scale * sine)[:, None]
        moved = torch.stack([c * x + s * y, c * y - s * x], -1) + half
        landmarks = _choose(chosen, moved, landmarks)
    return Samples(
        _choose(chosen, picture, samples.input),
        _choose(chosen, labels[:, :2], samples.uv),
        _choose(chosen, labels[:, 2:3], samples.mask),
        _choose(chosen, labels[:, 3:4], samples.occluded_mask),
        landmarks,
    )


# ---------------------------------------------------------------- content


def no_face(samples: Samples, config: NoFace, draws: Draws, bank: EnvironmentBank, progress: float) -> Samples:
    """Replace some samples by a crop of an environment without any face."""
    chosen = draws.happens("share", config.share.at(progress))
    picture = occlusion.random_crops(bank, draws, (0.1, 0.9), samples.size)
    landmarks = samples.landmarks
    if landmarks is not None:
        landmarks = _choose(chosen, torch.full_like(landmarks, math.nan), landmarks)
    keep = (~chosen).to(samples.mask.dtype).reshape(-1, 1, 1, 1)
    return Samples(
        _choose(chosen, picture, samples.input),
        samples.uv * keep,
        samples.mask * keep,
        samples.occluded_mask * keep,
        landmarks,
    )


def occlude(samples: Samples, config: OcclusionConfig, draws: Draws, bank: EnvironmentBank, progress: float) -> Samples:
    """Blend an occluder over some inputs; the occluded mask keeps the face that stays visible."""
    chosen = draws.happens("share", config.share.at(progress)).reshape(-1, 1, 1, 1)
    opacity = occlusion.opacities(bank, config, draws.fork("shape"), samples.size) * chosen
    colour = occlusion.random_crops(bank, draws.fork("colour"), config.crop, samples.size)
    return replace(
        samples,
        input=samples.input * (1 - opacity) + colour * opacity,
        occluded_mask=samples.occluded_mask * (1 - opacity),
    )


# ---------------------------------------------------------------- light and camera

_ORDERS: Final = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def channel_shuffle(samples: Samples, config: ChannelShuffle, draws: Draws, progress: float) -> Samples:
    """R, G and B in a random order."""
    order = constant(_ORDERS, torch.int64, samples.input.device)[draws.integers("order", len(_ORDERS))]
    shuffled = samples.input.gather(1, order[:, :, None, None].expand_as(samples.input))
    return replace(samples, input=_choose(draws.happens("share", config.share.at(progress)), shuffled, samples.input))


def exposure(samples: Samples, config: Exposure, draws: Draws, progress: float) -> Samples:
    """Multiply the light by 2^stops."""
    stops = draws.uniform("stops", low=config.stops[0], high=config.stops[1])
    stops = stops * draws.happens("share", config.share.at(progress))
    return replace(samples, input=samples.input * torch.exp2(stops).reshape(-1, 1, 1, 1))


def tone(samples: Samples, config: Gamma, draws: Draws, progress: float) -> Samples:
    """Linear light to picture values: clip at 1, then light^(1/gamma)."""
    gamma = torch.full((len(draws),), BASE_GAMMA, device=samples.input.device)
    if config.enabled:
        drawn = draws.uniform("gamma", low=config.gamma[0], high=config.gamma[1])
        gamma = torch.where(draws.happens("share", config.share.at(progress)), drawn, gamma)
    return replace(samples, input=samples.input.clamp(0, 1) ** (1 / gamma).reshape(-1, 1, 1, 1))


def contrast(samples: Samples, config: Contrast, draws: Draws, progress: float) -> Samples:
    """Scale the distance from the image's mean."""
    factor = draws.uniform("factor", low=config.factor[0], high=config.factor[1])
    factor = torch.where(draws.happens("share", config.share.at(progress)), factor, torch.ones_like(factor))
    mean = samples.input.mean((1, 2, 3), keepdim=True)
    return replace(samples, input=mean + (samples.input - mean) * factor.reshape(-1, 1, 1, 1))


def blur(samples: Samples, config: Blur, draws: Draws, progress: float) -> Samples:
    """Gaussian blur, its width drawn per sample."""
    sigma = draws.uniform("sigma", low=config.sigma_px[0], high=config.sigma_px[1]).clamp(min=1e-3)
    radius = max(1, math.ceil(3 * config.sigma_px[1]))
    offsets = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # one per sample and channel
    n, c, h, w = samples.input.shape
    flat = F.pad(samples.input, [radius] * 4, mode="replicate").reshape(1, n * c, h + 2 * radius, w + 2 * radius)
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=n * c)
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=n * c)
    chosen = draws.happens("share", config.share.at(progress))
    return replace(samples, input=_choose(chosen, flat.reshape(n, c, h, w), samples.input))


def noise(samples: Samples, config: Noise, draws: Draws, progress: float) -> Samples:
    """Gaussian noise of random magnitude, independent per pixel and channel."""
    limit = config.limit.at(progress)
    if limit <= 0:
        return samples
    sigma = draws.uniform("sigma", high=limit) * draws.happens("share", config.share.at(progress))
    return replace(
        samples, input=samples.input + sigma.reshape(-1, 1, 1, 1) * draws.normal("noise", *samples.input.shape[1:])
    )


def quantise(samples: Samples) -> Samples:
    """Clip to [0, 1] and round to 256 levels."""
    return replace(samples, input=torch.round(samples.input.clamp(0, 1) * (LEVELS - 1)) / (LEVELS - 1))


# ---------------------------------------------------------------- masks


def erode(mask: Tensor, radius_px: int) -> Tensor:
    """Morphological erosion by a square of side 2 radius + 1; beyond the image counts as face. (N, 1, H, W)."""
    return -F.max_pool2d(-mask, 2 * radius_px + 1, stride=1, padding=radius_px)
