"""Every kind of fitted thing by name: how it is drawn and built, and what its slots are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from renderer.head.worn.hats import HAT_SLOTS, Hat, hat, hat_random
from renderer.head.worn.masks import MASK_SLOTS, FaceMask, face_mask, mask_random
from renderer.head.worn.site import Fitted, Site
from renderer.head.worn.touch import HAND_SLOTS, Touch, touch_random, touching_hand


@dataclass(frozen=True)
class Kind:
    """A kind of fitted thing.

    random: draws its shape, a frozen dataclass. build: the thing on a head, from the shape's `asdict`. slots: what its
    parts are made of: cloth (colour and pattern), trim (the second colour alone), skin (the head's own) or strands.
    """

    random: Callable[[np.random.Generator], Any]
    build: Callable[[Site, Mapping[str, Any]], Fitted]
    slots: tuple[str, ...]


PATTERNS: Final = ("plain", "stripes", "checks", "dots", "marl")
"""Of cloth; marl is mottled."""

KINDS: Final[Mapping[str, Kind]] = {
    "mask": Kind(mask_random, lambda site, shape: face_mask(site, FaceMask(**shape)), MASK_SLOTS),
    "hat": Kind(hat_random, lambda site, shape: hat(site, Hat(**shape)), HAT_SLOTS),
    "touch": Kind(touch_random, lambda site, shape: touching_hand(site, _touch(shape)), HAND_SLOTS),
}


def _touch(shape: Mapping[str, Any]) -> Touch:
    return Touch(**{**shape, "off_m": tuple(shape["off_m"])})
