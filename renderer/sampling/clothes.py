"""What people wear on their bodies, and how the bodies stand under their heads. Pure numpy."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from renderer.head.body import limited
from renderer.parameters.params import RGB, Clothes, Garment, Pose
from renderer.parameters.spec import Spec
from renderer.sampling.streams import Streams

_NECK_DEG: Final = (65.0, 35.0, 30.0)  # yaw, pitch and roll of a head on its body, at most
_UNDER: Final = {"jacket": ("shirt", "tee", "rollneck", "vneck")}  # what is worn beneath
_CLOTH: Final = ("weave", "knit", "plaid", "stripes", "dots", "floral", "fur", "leather", "geometric", "camouflage")
_GREYS: Final = 0.4  # share of garments in black, grey, white or nearly so


def draw_clothes(spec: Spec, s: Streams, p: str, pose: Pose, textures: Sequence[str]) -> Clothes | None:
    """Body and clothes of one head; None where it ends at the neck.

    textures: names of material textures, of which those of cloth are used.
    """
    c = spec.clothes
    if not s.share(p + "clothes.on", c.share):
        return None
    follow, lean = s.uniform(p + "clothes.follow", c.follow), s(p + "clothes.lean").normal(0, c.lean_deg.sigma, 2)
    ahead = math.pi if pose.away else 0.0
    wanted = ahead + follow * (pose.yaw_rad - ahead), math.radians(float(lean[0])), math.radians(float(lean[1]))
    turned = [
        angle - limited(angle - body, limit)
        for angle, body, limit in zip((pose.yaw_rad, pose.pitch_rad, pose.roll_rad), wanted, _NECK_DEG, strict=True)
    ]
    cloth = [name for name in textures if name.startswith((*_CLOTH, "own/"))] or textures
    kind = s.weighted(p + "clothes.kind", c.kinds)
    kinds = [kind]
    if kind in _UNDER:
        kinds.insert(0, s.pick(p + "clothes.under", _UNDER[kind]))
    arms = s(p + "clothes.arms").normal(0.4, 0.12, 2)
    return Clothes(
        yaw_rad=turned[0],
        pitch_rad=turned[1],
        roll_rad=turned[2],
        arms_rad=(float(arms[0]), float(arms[1])),
        garments=tuple(_garment(spec, s, f"{p}clothes.{n}.", kind, cloth) for n, kind in enumerate(kinds)),
    )


def _garment(spec: Spec, s: Streams, p: str, kind: str, textures: Sequence[str]) -> Garment:
    textured = s.share(p + "textured", spec.clothes.texture_share)
    colour = _cloth_colour(s(p + "colour"))
    return Garment(
        kind=kind,
        colour=colour,
        trim=colour if s.share(p + "plain_trim", 0.6) else _cloth_colour(s(p + "trim")),
        texture=s.pick(p + "texture", textures) if textured else "",
        texture_scale=float(np.exp(s(p + "texture_scale").uniform(math.log(0.7), math.log(6.0)))),
        roughness=float(s(p + "roughness").uniform(0.5, 1.0)),
        thickness_m=float(s(p + "thickness").uniform(0.002, 0.004)),
        folds_m=s.uniform(p + "folds", spec.clothes.folds_m),
        seed=int(s(p + "seed").integers(2**31 - 1)),
    )


def _cloth_colour(rng: np.random.Generator) -> RGB:
    grey, hue, saturation, value = (float(v) for v in rng.random(4))
    if grey < _GREYS:
        return colorsys.hsv_to_rgb(hue, 0.15 * saturation, (0.02, 0.05, 0.2, 0.75)[int(4 * value)])
    return colorsys.hsv_to_rgb(hue, 0.3 + 0.6 * saturation, 0.04 + 0.6 * value**1.5)
