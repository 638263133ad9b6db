"""Who a head is, drawn at random: macro parameters and shape sliders. numpy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from renderer.head.model import HeadModel
from renderer.parameters.params import Identity
from renderer.parameters.spec import IdentitySpec

_OFF_THE_HEAD: Final = ("asym/asymm-breast", "asym/asymm-trunk")


def random_identity(i: IdentitySpec, rng_of: Callable[[str], np.random.Generator], model: HeadModel) -> Identity:
    """An identity of macros and sliders. rng_of: topic -> its stream of random numbers."""
    macros: dict[str, float] = {}
    if i.macros:
        african, asian, caucasian = rng_of("identity.ancestry").dirichlet((1.0, 1.0, 1.0))
        macros = {
            "sex": float(rng_of("identity.sex").random()),
            "age": float(rng_of("identity.age").uniform(i.age.low, i.age.high)),
            "weight": float(rng_of("identity.weight").beta(2, 2)),
            "muscle": float(rng_of("identity.muscle").beta(2, 2)),
            "african": float(african),
            "asian": float(asian),
            "caucasian": float(caucasian),
        }
    rng = rng_of("identity.sliders")
    available = [name for name in model.sliders if not name.startswith(_OFF_THE_HEAD)]
    count = min(len(available), round(rng.uniform(i.sliders.low, i.sliders.high)))
    sliders: dict[str, float] = {}
    for name in rng.permutation(len(available))[:count]:
        slider = available[int(name)]
        info = model.slider_info[slider]
        value = float(rng.uniform(i.strength.low, i.strength.high) * rng.choice((-1, 1)))
        value = abs(value) if info["neg"] is None else -abs(value) if info["pos"] is None else value
        twin = info["mirror"]
        one_sided = bool(rng.random() < i.asymmetric_share)
        sliders[slider] = value
        if twin and not one_sided:
            sliders[twin] = value
    return Identity(macros, dict(sorted(sliders.items())))
