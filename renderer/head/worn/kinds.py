"""Every kind of fitted thing by name: how it is drawn and built, and what its slots are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from renderer.head.worn.hair import (
    HAIR_SLOTS,
    Beard,
    Hair,
    Wisps,
    beard,
    beard_random,
    hair,
    hair_random,
    wisps,
    wisps_random,
)
from renderer.head.worn.hats import HAT_SLOTS, Hat, hat, hat_random
from renderer.head.worn.held import (
    HEADPHONE_SLOTS,
    HELD_SLOTS,
    Headphones,
    Held,
    headphones,
    headphones_random,
    held,
    held_random,
)
from renderer.head.worn.masks import MASK_SLOTS, FaceMask, Muffler, face_mask, mask_random, muffler, muffler_random
from renderer.head.worn.site import Fitted, Site
from renderer.head.worn.touch import HAND_SLOTS, Touch, touch_random, touching_hand


@dataclass(frozen=True)
class Kind:
    """A kind of fitted thing.

    random: draws its shape, a frozen dataclass. build: the thing on a head, from the shape's `asdict`. slots: what its
    parts are made of: cloth (colour and pattern), plain (the colour alone), trim (the second colour), skin (the
    head's own) or strands.
    """

    random: Callable[[np.random.Generator], Any]
    build: Callable[[Site, Mapping[str, Any]], Fitted]
    slots: tuple[str, ...]

    @property
    def solid(self) -> bool:
        """Does what comes later lie over it? Hair gives way."""
        return "strands" not in self.slots


PATTERNS: Final = ("plain", "stripes", "checks", "dots", "marl")
"""Of cloth; marl is mottled."""

KINDS: Final[Mapping[str, Kind]] = {
    "mask": Kind(mask_random, lambda site, shape: face_mask(site, FaceMask(**shape)), MASK_SLOTS),
    "beard": Kind(beard_random, lambda site, shape: beard(site, Beard(**shape)), HAIR_SLOTS),
    "hair": Kind(hair_random, lambda site, shape: hair(site, Hair(**shape)), HAIR_SLOTS),
    "wisps": Kind(wisps_random, lambda site, shape: wisps(site, Wisps(**shape)), HAIR_SLOTS),
    "hat": Kind(hat_random, lambda site, shape: hat(site, Hat(**shape)), HAT_SLOTS),
    "muffler": Kind(muffler_random, lambda site, shape: muffler(site, Muffler(**shape)), MASK_SLOTS),
    "headphones": Kind(headphones_random, lambda site, shape: headphones(site, Headphones(**shape)), HEADPHONE_SLOTS),
    "held": Kind(held_random, lambda site, shape: held(site, Held(**shape)), HELD_SLOTS),
    "touch": Kind(touch_random, lambda site, shape: touching_hand(site, _touch(shape)), HAND_SLOTS),
}


def _touch(shape: Mapping[str, Any]) -> Touch:
    return Touch(**{**shape, "off_m": tuple(shape["off_m"])})
