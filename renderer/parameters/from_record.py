"""Parameters out of a sample's record: the inverse of `params.to_record`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renderer.parameters.params import (
    Clothes,
    Deform,
    Expression,
    Garment,
    Head,
    Identity,
    Interior,
    PcaIdentity,
    Pose,
    Skin,
    Surface,
    Wear,
    Worn,
)


def tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a parameter class as JSON has them, lists as tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _clothes(raw: dict[str, Any]) -> Clothes:
    return Clothes(**tuples(raw) | {"garments": tuple(Garment(**tuples(one)) for one in raw["garments"])})


def identity_from_record(raw: Mapping[str, Any]) -> Identity:
    """The identity of a record's head."""
    pca = raw.get("pca")
    return Identity(**{**raw, "pca": PcaIdentity(**tuples(pca)) if pca else None})


def head_from_record(raw: Mapping[str, Any]) -> Head:
    """The inverse of `params.to_record` for one head."""
    skin = raw["surface"].get("skin")
    return Head(
        identity=identity_from_record(raw["identity"]),
        expression=Expression(**raw["expression"]),
        pose=Pose(**tuples(raw["pose"])),
        deform=Deform(**tuples(raw["deform"])),
        surface=Surface(**tuples(raw["surface"]) | ({"skin": Skin(**tuples(skin))} if skin else {})),
        interior=Interior(**raw["interior"]),
        wear=Wear(
            **tuples({**raw["wear"], "fitted": [Worn(**tuples(thing)) for thing in raw["wear"].get("fitted", ())]})
        ),
        clothes=_clothes(raw["clothes"]) if raw.get("clothes") else None,
    )
