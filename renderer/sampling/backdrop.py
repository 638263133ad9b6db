"""What stands behind everything: draws of `environment.backdrop` and its companions."""

from __future__ import annotations

import math

from renderer.head.catalog import Catalog
from renderer.parameters.params import Backdrop, Vec3
from renderer.parameters.spec import EnvironmentSpec
from renderer.sampling.streams import Streams


def draw_rotation(e: EnvironmentSpec, s: Streams) -> Vec3:
    """Of the surroundings, radians; Blender's third axis is the vertical."""
    if not e.rotate:
        return 0.0, 0.0, 0.0
    x, y, z = s.angles("environment.rotation")
    return (x, y, z) if e.rotate_about == "any" else (0.0, 0.0, z)


def draw_backdrop(e: EnvironmentSpec, s: Streams, catalog: Catalog) -> Backdrop | None:
    """None: the camera sees the surroundings."""
    p = "environment.backdrop."
    kind = s.weighted(p + "kind", e.backdrop)
    if kind == "world":
        return None
    names = {"panorama": catalog.hdris, "photo": catalog.backdrops}.get(kind, {})
    x, y = s(p + "across").random(2)
    return Backdrop(
        kind=kind,
        name=s.pick(p + "name", list(names)),
        seed=int(s(p + "seed").integers(2**31 - 1)),
        across=(float(x), float(y)),
        zoom=float(s(p + "zoom").random()),
        mirror=s.share(p + "mirror", 0.5),
        blur=s.uniform(p + "blur", e.backdrop_blur) if s.share(p + "blurred", e.backdrop_blur_share) else 0.0,
        gain=math.exp2(s.uniform(p + "stops", e.backdrop_stops)),
    )
