"""Augmentation: pure functions of (samples, draws), applied on the device in the order of `AugmentConfig`.

`Samples` holds linear light until `tone`, picture values in [0, 1] after it. The last step, always: clip to [0, 1] and
round to 256 levels, as a photo has. Each stage has a switch, a range and a schedule in the config.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.augmentation import camera, cutouts, light, occluders
from trainer.augmentation.background import background
from trainer.augmentation.banks import Banks
from trainer.augmentation.config import (
    STAGES,
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
from trainer.augmentation.config import Occlusion as OcclusionConfig
from trainer.augmentation.draws import Draws
from trainer.augmentation.mirror import mirrored_maps
from trainer.augmentation.occluders import EnvironmentBank
from trainer.augmentation.photo_config import Background, Cutouts
from trainer.augmentation.samples import Samples, change_some
from trainer.augmentation.window import whole, window
from trainer.data.device import constant
from trainer.data.pictures import BASE_GAMMA, LEVELS

MIDDLE_GRAY: Final = 0.18  # linear light that cameras make of a scene's mean
BLACK: Final = 0.18 / 64  # meters see no darker than that: six stops
LANDMARK_PARTNERS: Final = (  # of the 68 iBUG landmarks in a mirror: jaw, brows, bridge, nostrils, eyes, lips
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
)  # fmt: skip


def augment(samples: Samples, config: AugmentConfig, draws: Draws, banks: Banks, progress: float) -> Samples:
    """All stages that are on. progress: share of the training that is done, in [0, 1], for the schedules.

    banks: must hold what the stages that are on need; without environments `no_face` and `occlusion` do nothing.
    """
    if not config.background.enabled:
        samples = replace(samples, foreground=None)
    with torch.autocast(samples.input.device.type, enabled=False):  # half floats would do for a network, not for labels
        for name in STAGES:
            section = getattr(config, name)
            if section.enabled or name == "gamma":
                samples = _BY_NAME[name](samples, section, draws.fork(name), banks, progress)
        return quantise(samples)


def plain(samples: Samples, side_px: int = 0) -> Samples:
    """What evaluation sees: no augmentation, base gamma, clipped and in 256 levels; scaled to `side_px` if above 0."""
    samples = whole(replace(samples, foreground=None), side_px)
    return quantise(replace(samples, input=samples.input.clamp(min=0) ** (1 / BASE_GAMMA)))


# ---------------------------------------------------------------- geometry


def quarter_turns(samples: Samples, config: QuarterTurns, draws: Draws, progress: float) -> Samples:
    """Rotate by 0, 90, 180 or 270 degrees. Images must be square."""
    turns = draws.integers("turns", 4) * draws.happens("share", config.share.at(progress))
    for k in (1, 2, 3):
        samples = change_some(turns == k, samples, draws, lambda part, _, k=k: _quarter_turned(part, k))  # type: ignore[misc]
    return samples


def _quarter_turned(samples: Samples, k: int) -> Samples:
    """All by k quarter turns."""
    landmarks, side = samples.landmarks, float(samples.size[1])
    if landmarks is not None:
        x, y = landmarks.unbind(-1)
        landmarks = torch.stack({1: (y, side - x), 2: (side - x, side - y), 3: (side - y, x)}[k], -1)
    images = {name: torch.rot90(t, k, (2, 3)) for name, t in samples.tensors().items() if name != "landmarks"}
    return Samples(**images, landmarks=landmarks)


def mirror(samples: Samples, config: Mirror, draws: Draws, progress: float) -> Samples:
    """Exchange left and right: U turns about the face's midline, and landmarks change places with their partners."""
    chosen = draws.happens("share", config.share.at(progress))
    return change_some(chosen, samples, draws, lambda part, _: _mirrored(part, config.centre_u))


def _mirrored(samples: Samples, centre_u: float) -> Samples:
    """All in the mirror."""
    mask, landmarks = samples.mask.flip(3), samples.landmarks
    if landmarks is not None:
        x, y = landmarks[:, constant(LANDMARK_PARTNERS, torch.int64, landmarks.device)].unbind(-1)
        landmarks = torch.stack([samples.size[1] - x, y], -1)
    uv = mirrored_maps(samples.uv, centre_u) * (mask > 0)
    rest = {name: t.flip(3) for name, t in samples.tensors().items() if name not in ("uv", "mask", "landmarks")}
    return Samples(**rest, uv=uv, mask=mask, landmarks=landmarks)


def crop_scale(samples: Samples, config: CropScale, draws: Draws, progress: float) -> Samples:
    """A window of another size and place, turned, scaled to the full image. Outside the image: its border, and no face.

    The input is interpolated; UV and masks take the nearest pixel, since mixed labels are no labels.
    """
    chosen = draws.happens("share", config.share.at(progress))
    return change_some(chosen, samples, draws, lambda part, own: _window(part, config, own))


def _window(samples: Samples, config: CropScale, draws: Draws) -> Samples:
    """A window of each."""
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
        landmarks = torch.stack([c * x + s * y, c * y - s * x], -1) + half
    foreground = samples.foreground
    if foreground is not None:
        foreground = F.grid_sample(foreground, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return Samples(picture, labels[:, :2], labels[:, 2:3], labels[:, 3:4], landmarks, foreground)


# ---------------------------------------------------------------- content


def no_face(samples: Samples, config: NoFace, draws: Draws, bank: EnvironmentBank, progress: float) -> Samples:
    """Replace some samples by a crop of an environment without any face."""

    def emptied(part: Samples, own: Draws) -> Samples:
        picture = occluders.random_crops(bank, own, (0.1, 0.9), part.size)
        landmarks = part.landmarks if part.landmarks is None else torch.full_like(part.landmarks, math.nan)
        empty = torch.zeros_like(part.mask)
        uv = torch.zeros_like(part.uv)
        return replace(part, input=picture, uv=uv, mask=empty, occluded_mask=empty, landmarks=landmarks)

    return change_some(draws.happens("share", config.share.at(progress)), samples, draws, emptied)


def occlude(samples: Samples, config: OcclusionConfig, draws: Draws, bank: EnvironmentBank, progress: float) -> Samples:
    """Blend an occluder over some inputs; the occluded mask keeps the face that stays visible."""

    def occluded(part: Samples, own: Draws) -> Samples:
        opacity = occluders.opacities(bank, config, own.fork("shape"), part.size)
        colour = occluders.random_crops(bank, own.fork("colour"), config.crop, part.size)
        picture = part.input * (1 - opacity) + colour * opacity
        return replace(part, input=picture, occluded_mask=part.occluded_mask * (1 - opacity))

    return change_some(draws.happens("share", config.share.at(progress)), samples, draws, occluded)


# ---------------------------------------------------------------- light and camera

_ORDERS: Final = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def channel_shuffle(samples: Samples, config: ChannelShuffle, draws: Draws, progress: float) -> Samples:
    """R, G and B in a random order."""

    def shuffled(part: Samples, own: Draws) -> Samples:
        order = constant(_ORDERS, torch.int64, part.input.device)[own.integers("order", len(_ORDERS))]
        return replace(part, input=part.input.gather(1, order[:, :, None, None].expand_as(part.input)))

    return change_some(draws.happens("share", config.share.at(progress)), samples, draws, shuffled)


def exposure(samples: Samples, config: Exposure, draws: Draws, progress: float) -> Samples:
    """Multiply the light by 2^stops, after the camera has metered it: by the geometric mean, as eyes judge it."""
    stops = draws.uniform("stops", low=config.stops[0], high=config.stops[1])
    if config.metered:
        mean = light.weighted(samples.input, light.LUMINANCE).clamp(min=BLACK).log2().mean((1, 2, 3))
        stops = stops + config.metered * (math.log2(MIDDLE_GRAY) - mean)
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

    def blurred(part: Samples, own: Draws) -> Samples:
        sigma = own.uniform("sigma", low=config.sigma_px[0], high=config.sigma_px[1]).clamp(min=1e-3)
        radius = max(1, math.ceil(3 * config.sigma_px[1]))
        offsets = torch.arange(-radius, radius + 1, device=sigma.device)
        kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)  # one per sample and channel
        n, c, h, w = part.input.shape
        flat = F.pad(part.input, [radius] * 4, mode="replicate").reshape(1, n * c, h + 2 * radius, w + 2 * radius)
        flat = F.conv2d(flat, kernel[:, None, None, :], groups=n * c)
        flat = F.conv2d(flat, kernel[:, None, :, None], groups=n * c)
        return replace(part, input=flat.reshape(n, c, h, w))

    return change_some(draws.happens("share", config.share.at(progress)), samples, draws, blurred)


def noise(samples: Samples, config: Noise, draws: Draws, progress: float) -> Samples:
    """Gaussian noise of random magnitude, independent per pixel and channel."""
    limit = config.limit.at(progress)
    if limit <= 0:
        return samples

    def noisy(part: Samples, own: Draws) -> Samples:
        sigma = own.uniform("sigma", high=limit).reshape(-1, 1, 1, 1)
        return replace(part, input=own.normal("noise", *part.input.shape[1:]).mul_(sigma).add_(part.input))

    return change_some(draws.happens("share", config.share.at(progress)), samples, draws, noisy)


def quantise(samples: Samples) -> Samples:
    """Clip to [0, 1] and round to 256 levels."""
    return replace(samples, input=samples.input.clamp(0, 1).mul_(LEVELS - 1).round_().div_(LEVELS - 1))


# ---------------------------------------------------------------- masks


def erode(mask: Tensor, radius_px: int) -> Tensor:
    """Morphological erosion by a square of side 2 radius + 1; beyond the image counts as face. (N, 1, H, W)."""
    return -F.max_pool2d(-mask, 2 * radius_px + 1, stride=1, padding=radius_px)


# ---------------------------------------------------------------- by name

_Stage = Callable[[Samples, Any, Draws, Banks, float], Samples]


def _alone(stage: Callable[[Samples, Any, Draws, float], Samples]) -> _Stage:
    """A stage that takes nothing from elsewhere."""
    return lambda samples, config, draws, banks, progress: stage(samples, config, draws, progress)


def _with_environments(stage: Callable[[Samples, Any, Draws, EnvironmentBank, float], Samples]) -> _Stage:
    """A stage that does nothing where there are no environments."""

    def run(samples: Samples, config: Any, draws: Draws, banks: Banks, progress: float) -> Samples:
        return stage(samples, config, draws, banks.environments, progress) if banks.environments else samples

    return run


def _background(samples: Samples, config: Background, draws: Draws, banks: Banks, progress: float) -> Samples:
    assert banks.pictures is not None, "background needs Banks.pictures"
    return background(samples, config, draws, banks.pictures, progress)


def _cut_out(samples: Samples, config: Cutouts, draws: Draws, banks: Banks, progress: float) -> Samples:
    assert banks.pictures is not None, "cutouts needs Banks.pictures"
    return cutouts.cut_out(samples, config, draws, banks.pictures, banks.donors, progress)


_BY_NAME: Final[Mapping[str, _Stage]] = {
    "no_face": _with_environments(no_face),
    "occlusion": _with_environments(occlude),
    "background": _background,
    "cutouts": _cut_out,
    "gamma": _alone(tone),
    **{f.__name__: _alone(f) for f in (quarter_turns, mirror, crop_scale, window)},
    **{f.__name__: _alone(f) for f in (channel_shuffle, exposure, contrast, blur, noise)},
    **{f.__name__: _alone(f) for f in (light.shade, light.vignette, light.white_balance)},
    **{f.__name__: _alone(f) for f in (light.tone_curve, light.saturation, light.gray)},
    **{f.__name__: _alone(f) for f in (camera.defocus, camera.motion, camera.sensor_noise)},
    **{f.__name__: _alone(f) for f in (camera.sharpen, camera.resolution, camera.jpeg)},
}
