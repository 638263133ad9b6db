"""Occluders made while training: shapes before the face, patches that lie on it, pieces of other samples."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from trainer.augmentation.donors import DonorBank
from trainer.augmentation.draws import Draws
from trainer.augmentation.faces import FaceBoxes, face_boxes
from trainer.augmentation.light import LUMINANCE, log_uniform, weighted
from trainer.augmentation.photo_config import Cutouts
from trainer.augmentation.pictures import PictureBank
from trainer.augmentation.samples import Samples, change_some

HARMONICS: Final = 3  # of a shape's outline
DENT: Final = 0.12  # largest amplitude of each
SQUARENESS: Final = (1.2, 10.0)  # exponents of superellipses: nearly a diamond to nearly a box
USUAL_LIGHT: Final = 0.2  # where there is no face


def cut_out(
    samples: Samples,
    config: Cutouts,
    draws: Draws,
    pictures: PictureBank,
    donors: DonorBank | None,
    progress: float,
) -> Samples:
    """Put one or more occluders over some samples; those behind are hidden by those before."""
    chosen = draws.happens("share", config.share.at(progress))
    count = draws.integers("count", config.most) + 1
    for number in range(config.most):
        own = draws.fork(f"occluder {number}")
        which = chosen & (count > number)
        piece = own.happens("piece", config.pieces_share if donors else 0.0)
        samples = change_some(which & ~piece, samples, own, lambda part, o: _shape(part, config, o, pictures))
        if donors is not None:
            samples = change_some(which & piece, samples, own, lambda part, o: _piece(part, config, o, donors))
    return samples


def _covered(part: Samples, colour: Tensor, opacity: Tensor) -> Samples:
    """colour: (N, 3, H, W), premultiplied."""
    picture = part.input * (1 - opacity) + colour
    return replace(part, input=picture.clamp(min=0), occluded_mask=part.occluded_mask * (1 - opacity))


def _targets(boxes: FaceBoxes, draws: Draws) -> Tensor:
    """A place in the middle or at the edge of each face, (N, 2) pixels."""
    return boxes.centre + draws.uniform("place", 2, low=-0.5, high=0.5) * boxes.side[:, None]


def _face_colour(part: Samples) -> Tensor:
    """Mean of the face that is seen, (N, 3, 1, 1); gray without a face."""
    seen = part.occluded_mask.sum((2, 3), keepdim=True)
    mean = (part.input * part.occluded_mask).sum((2, 3), keepdim=True) / seen.clamp(min=1)
    return torch.where(seen > 1, mean, USUAL_LIGHT)


def _piece(part: Samples, config: Cutouts, draws: Draws, donors: DonorBank) -> Samples:
    """A piece of another sample over each, in its own light."""
    boxes = face_boxes(part.mask, draws.fork("face"))
    piece = donors.placed(draws.fork("piece"), _targets(boxes, draws), config.piece_scale, part.size)
    return _covered(part, piece[:, :3], piece[:, 3:].clamp(0, 1))


def _shape(part: Samples, config: Cutouts, draws: Draws, pictures: PictureBank) -> Samples:
    """A shape with the surface of a picture, or of one colour, over each."""
    opacity = _opacity(part, config, draws)
    surface = pictures.crops(draws.fork("surface"), (0.1, 1.0), part.size, turn_deg=180)
    detail = draws.uniform("detail", 1, 1, 1)
    surface = 0.5 + (surface - 0.5) * detail
    face = _face_colour(part)
    alike = draws.happens("face colour", config.face_colour_share)[:, None, None, None]
    surface = torch.where(alike, weighted(surface, LUMINANCE) * face, surface * weighted(face, LUMINANCE))
    stops = draws.uniform("stops", 1, 1, 1, low=config.stops[0], high=config.stops[1])
    stops = torch.where(alike, stops / 3, stops)  # a hand is about as bright as the face
    return _covered(part, 2 * surface * torch.exp2(stops) * opacity, opacity)


def _opacity(part: Samples, config: Cutouts, draws: Draws) -> Tensor:
    """(N, 1, H, W): superellipses with a dented outline, in the plane of the picture or of the face's UV map."""
    boxes = face_boxes(part.mask, draws.fork("face"))
    height, width = part.size
    target = _targets(boxes, draws)
    x = (torch.arange(width, device=target.device) + 0.5 - target[:, :1]) / boxes.side[:, None]
    y = (torch.arange(height, device=target.device) + 0.5 - target[:, 1:]) / boxes.side[:, None]
    flat = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], 1)
    on_face = draws.happens("on face", config.on_face_share) & boxes.found
    surface = part.uv - draws.uniform("on face place", 2, 1, 1)
    places = torch.where(on_face[:, None, None, None], surface, flat)
    turn = draws.uniform("turn", 1, 1, low=-1, high=1) * math.pi
    # patches on faces mostly lie straight, as masks and glasses do
    turn = torch.where(on_face[:, None, None], turn * draws.happens("askew", 0.3)[:, None, None], turn)
    across = places[:, 0] * torch.cos(turn) - places[:, 1] * torch.sin(turn)
    down = places[:, 0] * torch.sin(turn) + places[:, 1] * torch.cos(turn)
    half = (log_uniform(draws, "size", config.size, 2) / 2)[:, :, None, None]
    across, down = across / half[:, 0], down / half[:, 1]
    power = log_uniform(draws, "squareness", SQUARENESS)[:, None, None]
    radius = (across.abs().clamp(1e-4, 50) ** power + down.abs().clamp(1e-4, 50) ** power) ** (1 / power)
    edge = _edge(across, down, draws)
    soft = draws.uniform("soft", low=config.soft_px[0], high=config.soft_px[1])
    per_px = half.amin(1) * (boxes.side / soft)[:, None, None]  # the width of the edge is stated along the short side
    opacity = ((edge - radius) * per_px + 0.5).clamp(0, 1)[:, None]
    return torch.where(on_face[:, None, None, None], opacity * (part.mask > 0), opacity)


def _edge(across: Tensor, down: Tensor, draws: Draws) -> Tensor:
    """Distance of the outline in the direction of each place, (N, H, W): 1 + sum dent cos(k angle + phase).

    cos(k angle) and sin(k angle) come from those of the angle by turning on: a cosine of each pixel would take longer.
    """
    dents = draws.uniform("dents", HARMONICS, high=DENT)
    phases = draws.uniform("phases", HARMONICS, high=2 * math.pi)
    length = (across * across + down * down).sqrt_().clamp_(min=1e-6)
    cosine, sine = across / length, down / length
    c, s = cosine, sine
    edge = torch.ones_like(across)
    for k in range(HARMONICS):
        c, s = c * cosine - s * sine, s * cosine + c * sine
        dent, phase = dents[:, k, None, None], phases[:, k, None, None]
        edge += dent * torch.cos(phase) * c - dent * torch.sin(phase) * s
    return edge
