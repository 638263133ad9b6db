"""(spec, seed, index) -> parameters of one sample. Pure numpy; Blender is not needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final

import numpy as np

from renderer.format.sample_format import sample_key
from renderer.head.catalog import Catalog
from renderer.head.identity import random_identity
from renderer.head.model import HEAD_HEIGHT_M, HeadModel
from renderer.head.pca import PCA_FACE, load_pca
from renderer.head.props import PROPS
from renderer.parameters.limits import Gauss
from renderer.parameters.params import (
    RGB,
    Camera,
    Deform,
    Environment,
    Expression,
    Head,
    Identity,
    Interior,
    Light,
    PcaIdentity,
    Pose,
    Prop,
    SampleParams,
    Statue,
    Surface,
    Vec3,
    Wear,
)
from renderer.parameters.spec import LightSpec, Spec
from renderer.sampling import people
from renderer.sampling.backdrop import draw_backdrop, draw_rotation
from renderer.sampling.clothes import draw_clothes
from renderer.sampling.colours import random_colour
from renderer.sampling.expression import draw_expression
from renderer.sampling.looks import draw_skin, match_face
from renderer.sampling.pose import draw_pose, second_yaw_rad
from renderer.sampling.shots import perform, shot_kind
from renderer.sampling.streams import Streams, streams
from renderer.sampling.wear import draw_wear

SENSOR_MM: Final = 36.0  # full frame
NEUTRAL_FOCAL_MM: Final = 85.0  # a portrait lens
NEUTRAL_FILL: Final = 0.8
COMPANION_GRAY: Final = 0.5  # radiance of what is behind a companion, and of its plain light


def draw(spec: Spec, seed: int, index: int, catalog: Catalog, head: HeadModel, tag: str) -> SampleParams:
    """Parameters of sample `index` of the data set (spec, seed)."""
    s = streams(spec.sequence, seed, index, spec.groups.of, spec.shot.actor_seed)
    count = _head_count(spec, s)
    camera = _camera(spec, s, count)
    places = people.in_group(s, camera, count) if spec.heads.company == "group" else []
    heads = tuple(_head(spec, s, f"head{i}.", i, index, places, catalog, head) for i in range(count))
    return SampleParams(
        index=index,
        seed=seed,
        key=sample_key(tag, index),
        spec=spec.name,
        camera=camera,
        light=_light(spec, s),
        environment=_environment(spec, s, catalog),
        heads=heads,
        props=_props(spec, s, catalog),
        cycles_seed=int(Streams(seed, index)("cycles.seed").integers(2**31 - 1)),  # frames differ in noise
        second_camera_yaw_rad=second_yaw_rad(spec.camera, s, heads),
        extra=_place(spec, index),
        statues=_statues(spec, s, index, camera, heads, catalog, head),
    )


def neutral(params: SampleParams, own_light: bool = False) -> SampleParams:
    """The companion of a sample: same identity and skin, frontal, at rest, bare, under plain light.

    own_light: in the light of the sample and its surroundings instead, which `renderer.blender.passes` leaves unseen.
    """
    plain = Deform((1.0, 1.0, 1.0), 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, (0.0, 0.0, 0.0), 0)
    heads = tuple(
        replace(
            head,
            expression=Expression({}, False, False, 0.0, 0.0),
            pose=Pose(0.0, 0.0, 0.0, (0.0, 0.0, 0.0)),
            deform=plain,
            wear=Wear(),
            clothes=None,
        )
        for head in params.heads[:1]
    )
    distance_m = _distance_m(NEUTRAL_FOCAL_MM, NEUTRAL_FILL)
    camera = replace(params.camera, focal_mm=NEUTRAL_FOCAL_MM, distance_m=distance_m, shift_x=0.0, shift_y=0.0)
    companion = replace(params, heads=heads, statues=(), props=(), camera=camera)
    if "subject" in params.extra:  # noise and all, the companions of a subject in plain light are one picture
        random = Streams(params.seed, params.extra["subject"])("group.cycles.seed")
        companion = replace(companion, cycles_seed=int(random.integers(2**31 - 1)))
    if own_light:
        return replace(companion, environment=replace(params.environment, backdrop=None))
    return replace(
        companion,
        light=Light(False, (0.0, 0.0, 1.0), 0.0, 0.1, (1.0, 1.0, 1.0)),
        environment=Environment(
            "gray", "", 1.0, (0.0, 0.0, 0.0), 1.0, False, (COMPANION_GRAY,) * 3, 1.0, (0.0, 0.0, 0.0)
        ),
    )


def _place(spec: Spec, index: int) -> dict[str, int | str]:
    """Clip and frame of a sample, with what kind of shot the clip is, or subject and view, for its record."""
    if spec.groups.of > 1:
        return dict(zip(("subject", "view"), divmod(index, spec.groups.of), strict=True))
    if not spec.sequence.frames:
        return {}
    clip, frame = divmod(index, spec.sequence.frames)
    kind = {"kind": shot_kind(spec.shot, clip)} if spec.shot.kinds else {}
    return {"clip": clip, "frame": frame, **kind}


def _head_count(spec: Spec, s: Streams) -> int:
    coin = float(s("heads.count").random())
    if coin < spec.heads.empty_share:
        return 0
    if coin < spec.heads.empty_share + spec.heads.several_share and spec.heads.most > 1:
        return int(s("heads.several").integers(2, spec.heads.most + 1))
    return 1


def _camera(spec: Spec, s: Streams, count: int) -> Camera:
    c, apart = spec.camera, 1.0 if count < 2 else 1.5
    focal = s.uniform("camera.focal", c.focal_mm)
    if c.distance_m.high:
        distance = s.uniform("camera.distance", c.distance_m) * apart
        fill = _fill(focal, distance)
    else:
        fill = s.uniform("camera.fill", c.fill) / apart
        distance = _distance_m(focal, fill)
    # A head of height `fill` whose centre lies (1/2 + fill/6) from the image's centre is two thirds out of the frame.
    limit = Gauss((0.5 + fill / 6.0) * c.shift + c.shift_widths)
    return Camera(
        focal_mm=focal,
        sensor_mm=SENSOR_MM,
        distance_m=distance,
        shift_x=s.moving_gauss("camera.shift_x", limit),
        shift_y=s.moving_gauss("camera.shift_y", limit),
    )


def _fill(focal_mm: float, distance_m: float) -> float:
    """Height of the average head in the image, in frame heights."""
    return focal_mm / SENSOR_MM * HEAD_HEIGHT_M / distance_m


def _distance_m(focal_mm: float, fill: float) -> float:
    """Of the camera from the head that it shows at `fill`; the inverse of `_fill`."""
    return focal_mm / SENSOR_MM * HEAD_HEIGHT_M / fill


def _light(spec: Spec, s: Streams) -> Light:
    return Light(
        on=s.share("light.on", spec.light.sun_share),
        direction=_light_direction(spec.light, *s.moving_units("light.direction", 2)),
        strength=s.uniform("light.strength", spec.light.strength),
        angle_rad=math.radians(s.uniform("light.angle", spec.light.angle_deg)),
        colour=random_colour(s("light.colour"), spec.light.colour, 1.0),
    )


def _light_direction(light: LightSpec, first: float, second: float) -> Vec3:
    """From the head to the light. first, second: uniform in [0, 1)."""
    if light.direction == "angles":
        elevation = math.radians(light.elevation_deg.low + (light.elevation_deg.high - light.elevation_deg.low) * first)
        azimuth = math.radians(light.azimuth_deg.low + (light.azimuth_deg.high - light.azimuth_deg.low) * second)
        level = math.cos(elevation)
        return level * math.sin(azimuth), math.sin(elevation), level * math.cos(azimuth)
    z = first  # uniform on the half sphere
    flat, turn = math.sqrt(1.0 - z * z), -math.pi + 2 * math.pi * second
    return flat * math.cos(turn), flat * math.sin(turn), z


def _environment(spec: Spec, s: Streams, catalog: Catalog) -> Environment:
    e = spec.environment
    kind = s.weighted("environment.kind", e.kinds)
    gray = float(s("environment.gray").uniform(e.gray.low, e.gray.high))
    tint = random_colour(s("environment.tint"), 1.0, 1.0)
    return Environment(
        kind=kind,
        name=s.pick("environment.name", list(catalog.hdris)) if kind == "hdri" else "",
        scale=s.uniform("environment.scale", e.scale),
        rotation_rad=draw_rotation(e, s),
        strength=s.uniform("environment.strength", e.strength),
        mirror=s.share("environment.mirror", 0.5),
        colour=(gray, gray, gray) if kind == "gray" else tint,
        noise_scale=s.uniform("environment.noise_scale", e.noise_scale),
        noise_offset=s.vec3("environment.noise_offset", -100, 100),
        backdrop=draw_backdrop(e, s, catalog),
    )


def _statues(
    spec: Spec, s: Streams, index: int, camera: Camera, heads: Sequence[Head], catalog: Catalog, model: HeadModel
) -> tuple[Statue, ...]:
    if not s.share("statue.on", spec.heads.statue_share):
        return ()
    shape = _head(spec, s, "statue.", 0, index, [], catalog, model)
    return (people.statue(s, shape, camera, heads, catalog),)


def _head(
    spec: Spec, s: Streams, p: str, number: int, index: int, places: Sequence[Vec3], catalog: Catalog, model: HeadModel
) -> Head:
    identity = _identity(spec, s, p, index, model)
    looks = identity  # what hair, beard and skin layers are to fit
    if identity.pca is not None:
        looks = replace(identity, macros=load_pca(model.folder).macros(identity.pca.shape_q))
    pose = draw_pose(spec, s, p, number, index, places)
    return Head(
        identity=identity,
        expression=(perform if spec.shot.kinds else draw_expression)(spec, s, p, identity, model),
        pose=pose,
        deform=_deform(spec, s, p),
        surface=_surface(spec, s, p, looks, catalog, model),
        interior=_interior(spec, s, p, catalog),
        wear=draw_wear(spec.occluders, s, p, looks, catalog),
        clothes=draw_clothes(spec, s, p, pose, list(catalog.textures)),
    )


def _identity(spec: Spec, s: Streams, p: str, index: int, model: HeadModel) -> Identity:
    i = spec.identity
    if i.kind == "sliders":
        return random_identity(i, lambda topic: s(p + topic), model)
    if i.given:
        q = i.given[index // spec.groups.of % len(i.given)]
    else:
        q = tuple(s(p + "identity.pca").uniform(-1, 1, i.pca.shape + i.pca.texture).round(6).tolist())
    return Identity({}, {}, PcaIdentity(q, i.pca.shape))


def _deform(spec: Spec, s: Streams, p: str) -> Deform:
    d = spec.deform
    rng = s(p + "pose.scale")
    scale = tuple(float(v) for v in rng.uniform(spec.pose.scale.low, spec.pose.scale.high, 3))
    return Deform(
        scale=(scale[0], scale[1], scale[2]),
        twist_rad=math.radians(s.uniform(p + "deform.twist", d.twist_deg)),
        bend_rad=math.radians(s.uniform(p + "deform.bend", d.bend_deg)),
        taper=s.uniform(p + "deform.taper", d.taper),
        stretch=s.uniform(p + "deform.stretch", d.stretch),
        noise_m=s.uniform(p + "deform.noise", d.noise_m),
        noise_size_m=s.uniform(p + "deform.noise_size", d.noise_size_m),
        noise_offset_m=s.vec3(p + "deform.noise_offset", -10, 10),
        noise_seed=int(s(p + "deform.noise_seed").integers(2**31 - 1)),
    )


def _surface(spec: Spec, s: Streams, p: str, identity: Identity, catalog: Catalog, model: HeadModel) -> Surface:
    u = spec.surface
    kind = s.weighted(p + "surface.kind", u.kinds)
    own = spec.identity.kind == "pca"
    faces = [PCA_FACE] if own else [*catalog.faces, *catalog.own_faces]
    textured, faced = kind == "mixed", kind in ("mixed", "skin")
    face = match_face(s, p, identity, faces, model) if u.face_match else s.pick(p + "surface.face", faces)
    return Surface(
        kind=kind,
        texture=s.pick(p + "surface.texture", list(catalog.textures)) if textured else "",
        texture_scale=s.uniform(p + "surface.texture_scale", u.texture_scale),
        texture_rotation_rad=s.angles(p + "surface.texture_rotation"),
        texture_offset=s.vec3(p + "surface.texture_offset", 0, 1),
        colour=random_colour(s(p + "surface.colour"), 1.0, None) if textured else (0.5, 0.5, 0.5),
        colour_mix=s.uniform(p + "surface.colour_mix", u.colour_mix),
        face=face if faced else "",
        face_mix={"mixed": s.uniform(p + "surface.face_mix", u.face_mix), "skin": 1.0}.get(kind, 0.0),
        flip=not own and s.share(p + "surface.flip", u.flip_share),
        gloss_mix=s.uniform(p + "surface.gloss_mix", u.gloss_mix),
        roughness=s.uniform(p + "surface.roughness", u.roughness),
        subsurface=1.0 if s.share(p + "surface.subsurface", u.subsurface_share) else 0.0,
        noise_scale=s.uniform(p + "surface.noise_scale", u.noise_scale),
        noise_offset=s.vec3(p + "surface.noise_offset", -100, 100),
        face_gamma=s.uniform(p + "surface.face_gamma", u.face_gamma),
        face_saturation=s.uniform(p + "surface.face_saturation", u.face_saturation),
        skin=draw_skin(spec, s, p, identity, model) if faced else None,
    )


def _interior(spec: Spec, s: Streams, p: str, catalog: Catalog) -> Interior:
    i = spec.interior

    def some(topic: str, share: float, names: Sequence[str]) -> str:
        return s.pick(f"{p}interior.{topic}", names) if s.share(f"{p}interior.{topic}_on", share) else ""

    return Interior(
        eyes=s.share(p + "interior.eyes", i.eyes_share),
        mouth=s.share(p + "interior.mouth", i.mouth_share),
        iris=s.pick(p + "interior.iris", list(catalog.irises)),
        teeth=s.pick(p + "interior.teeth", list(catalog.teeth)),
        brows=some("brows", i.brows_share, list(catalog.brows)),
        lashes=some("lashes", i.lashes_share, list(catalog.lashes)),
    )


def _props(spec: Spec, s: Streams, catalog: Catalog) -> tuple[Prop, ...]:
    kinds = []
    if s.share("prop.hand_on", spec.occluders.hand_share):
        kinds.append("hand")
    if s.share("prop.other_on", spec.occluders.prop_share):
        kinds.append(s.pick("prop.kind", sorted(set(PROPS) - {"hand"})))
    return tuple(_prop(s, f"prop{i}.", kind, catalog) for i, kind in enumerate(kinds))


def _prop(s: Streams, p: str, kind: str, catalog: Catalog) -> Prop:
    random, _ = PROPS[kind]
    place = s(p + "position")
    skin = kind == "hand"
    return Prop(
        kind=kind,
        shape=asdict(random(s(p + "shape"))),
        position_m=(float(place.normal(0, 0.06)), float(place.normal(-0.03, 0.06)), float(place.uniform(0.15, 0.22))),
        rotation_rad=s.angles(p + "rotation"),
        scale=float(s(p + "scale").uniform(0.8, 1.2)),
        colour=_skin_colour(s(p + "colour")) if skin else random_colour(s(p + "colour"), 1.0, None),
        roughness=float(s(p + "roughness").uniform(0.2, 1.0)),
        texture="" if skin else s.pick(p + "texture", ["", *catalog.textures]),
    )


def _skin_colour(rng: np.random.Generator) -> RGB:
    tone, red = float(rng.uniform(0.06, 0.75)), float(rng.uniform(0.5, 0.7))
    return (tone, tone * red, tone * red * 0.75)
