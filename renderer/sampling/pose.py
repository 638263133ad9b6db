"""How a head is turned, and from where the second camera looks at it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from renderer.parameters.params import Head, Pose, Vec3
from renderer.parameters.spec import CameraSpec, PoseSpec, Spec
from renderer.sampling import people
from renderer.sampling.streams import Streams

_NOTHING: Final = (0.0,)  # in place of an empty list of angles


def draw_pose(spec: Spec, s: Streams, p: str, number: int, index: int, places: Sequence[Vec3]) -> Pose:
    """Of head `number` of sample `index`. places: of the heads of a group; empty where further heads stand in a row."""
    q = spec.pose
    listed_yaw, listed_pitch = _listed(q, s, p, index // max(1, spec.sequence.frames))
    yaw = s.moving_gauss(p + "pose.yaw", q.yaw_deg) + s.moving_uniform(p + "pose.yaw_uniform", q.yaw_uniform_deg)
    yaw_rad = math.radians(yaw + q.yaw_fixed_deg + listed_yaw)
    position = (0.0, 0.0, 0.0)
    if number and places:
        position = places[number]
        faced = people.towards(s, p, position, places[:number])
        yaw_rad = yaw_rad if faced is None else faced
    elif number:
        position = people.in_row(s, p, number)
    away = s.share(p + "pose.away", q.away_share)
    return Pose(
        yaw_rad=yaw_rad + math.pi * away,
        pitch_rad=math.radians(s.moving_gauss(p + "pose.pitch", q.pitch_deg) + listed_pitch),
        roll_rad=math.radians(s.moving_gauss(p + "pose.roll", q.roll_deg)),
        position_m=position,
        away=away,
    )


def _listed(q: PoseSpec, s: Streams, p: str, turn: int) -> tuple[float, float]:
    """Yaw and pitch in degrees from the lists of a spec. turn: number of the image, or of the clip."""
    yaws, pitches = q.yaws_deg or _NOTHING, q.pitches_deg or _NOTHING
    if q.in_turn:
        return yaws[turn % len(yaws)], pitches[turn // len(yaws) % len(pitches)]
    return (
        yaws[int(s(p + "pose.yaws").integers(len(yaws)))],
        pitches[int(s(p + "pose.pitches").integers(len(pitches)))],
    )


def second_yaw_rad(camera: CameraSpec, s: Streams, heads: Sequence[Head]) -> float:
    """Turn of the second camera about the vertical axis; positive: it stands to the viewer's right.

    Where the first head looks: a frontal face is seen from a side, and one that looks to a side more from the front.
    """
    low, high = camera.second_yaw_deg.low, camera.second_yaw_deg.high
    yaw_rad = float(s("camera.second").uniform(math.radians(low), math.radians(high)))
    if camera.second_side == "faced" and heads:
        return math.copysign(yaw_rad, math.sin(heads[0].pose.yaw_rad))
    if camera.second_side == "random":
        return yaw_rad * (1 if s.share("camera.second.side", 0.5) else -1)
    return yaw_rad
