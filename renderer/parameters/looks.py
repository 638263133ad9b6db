"""Sections of a spec about how people look: layers of the skin, and clothes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from renderer.parameters.limits import Gauss, Uniform, check_weights
from renderer.strict import knob


@dataclass(frozen=True)
class SkinSpec:
    """Layers over the face texture, made for each head (`renderer.head.skin_layers`); at 0 there are none."""

    melanin: Gauss = knob(Gauss(0), "darker or lighter than the texture, 99.9 % limit, optical density", 0, 2)
    blood: Gauss = knob(Gauss(0), "redder or paler than the texture, 99.9 % limit, optical density", 0, 2)
    flush: Uniform = knob(Uniform(0, 0), "redness of cheeks, nose and ears", 0, 1)
    mottle: Uniform = knob(Uniform(0, 0), "unevenness of the tone", 0, 1)
    pores: Uniform = knob(Uniform(0, 0), "depth of pores and fine lines", 0, 1)
    gloss: Uniform = knob(Uniform(0, 0), "shine of forehead, nose, cheekbones and lips", 0, 1)
    freckles_share: float = knob(0.0, "share of fair heads with freckles; of others less", 0, 1)
    moles: Uniform = knob(Uniform(0, 0), "how many moles", 0, 100)
    stubble_share: float = knob(0.0, "share of men with a beard's shadow", 0, 1)
    make_up_share: float = knob(0.0, "share of women with coloured lips, lids and brows", 0, 1)


GARMENTS = ("tee", "vneck", "scoop", "tank", "jumper", "rollneck", "shirt", "hoodie", "jacket")


@dataclass(frozen=True)
class ClothesSpec:
    """The body below the head, always dressed. It occludes like hair, and is no face."""

    share: float = knob(0.0, "share of heads with a body; the others end at the neck", 0, 1)
    kinds: Mapping[str, float] = knob(
        dict.fromkeys(GARMENTS, 1.0), "weights of the kinds of garment", 0, 1e6, options=GARMENTS
    )
    texture_share: float = knob(0.5, "share of garments with a material texture in place of one colour", 0, 1)
    folds_m: Uniform = knob(Uniform(0.001, 0.006), "depth of folds", 0, 0.03)
    follow: Uniform = knob(Uniform(0.2, 1.0), "share of the head's yaw that the body turns, too", 0, 1)
    lean_deg: Gauss = knob(Gauss(10), "pitch and roll of the body, 99.9 % limit", 0, 45)

    def check(self) -> None:
        check_weights("kinds", self.kinds)
