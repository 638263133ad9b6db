"""Materials take the values of a sample: those of the parts of heads, of what is worn, and of props."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import bpy
import numpy as np
import numpy.typing as npt

from renderer.blender.images import Images
from renderer.head.catalog import Catalog
from renderer.head.parts import Part, PartBuilder
from renderer.head.pca import PCA_FACE, load_pca
from renderer.head.skin_layers import MOST, SkinPainter
from renderer.head.worn.kinds import KINDS, PATTERNS
from renderer.parameters.params import Head, Prop, Statue, Vec3

_PLAIN: Mapping[str, tuple[float, float, float]] = {
    "mouth": (0.25, 0.05, 0.05),
    "sockets": (0.5, 0.25, 0.2),
    "eyes": (0.75, 0.72, 0.7),
    "teeth": (0.8, 0.75, 0.65),
    "tongue": (0.5, 0.15, 0.15),
}


class PartMaterials:
    """Owns one copy of a material for each object that shows it."""

    def __init__(self, parts: PartBuilder, catalog: Catalog, images: Images) -> None:
        self._parts, self._catalog, self._images = parts, catalog, images
        self._copies: dict[str, bpy.types.Material] = {}

    def of_part(self, part: Part, head: Head, number: int) -> list[bpy.types.Material]:
        black, interior, kind = bpy.data.materials["black"], head.interior, part.kind
        if kind == "skin":
            mouth = self._plain(f"{number}.mouth", "mouth", _PLAIN["mouth"]) if interior.mouth else black
            sockets = self._plain(f"{number}.sockets", "sockets", _PLAIN["sockets"]) if interior.eyes else black
            return [self._skin(head, number), mouth, sockets]
        if kind == "body":
            return [self._copy(f"{number}.{_skin_kind(head)}", _skin_kind(head))]  # as the skin was set
        if kind == "clothes":
            return self._garment(part, head, number)
        if kind == "glasses":
            frame = self._plain(f"{number}.frame", "frame", head.wear.glasses_colour)
            lens = self._copy(f"{number}.lens", "lens")
            lens.node_tree.nodes["tint"].outputs[0].default_value = head.wear.lens_tint
            lens.node_tree.nodes["dark"].inputs["Color"].default_value = (*head.wear.lens_colour, 1.0)
            lens.node_tree.nodes["reflected"].inputs[0].default_value = head.wear.lens_mirror
            return [frame, lens]
        if kind == "fitted":
            return self._fitted_materials(part, head, number)
        shown = {"eyes": interior.eyes, "teeth": interior.mouth, "tongue": interior.mouth}.get(kind, True)
        if not shown:
            return [black]
        if ":" not in part.name:  # a part of the base mesh, which has no picture
            return [self._plain(f"{number}.bare.{kind}", "bare", _PLAIN[kind])]
        tint = {"hair": head.wear.hair_tint, "hat": head.wear.hat_tint, "brows": head.wear.hair_tint}.get(
            kind, (1.0, 1.0, 1.0)
        )
        return [self._card(part, kind, number, tint, interior.iris)]

    def _fitted_materials(self, part: Part, head: Head, number: int) -> list[bpy.types.Material]:
        """By slot of a fitted thing."""
        place = int(part.name.split(":")[1])
        thing = head.wear.fitted[place]
        made: dict[str, bpy.types.Material] = {}
        for slot in dict.fromkeys(KINDS[thing.kind].slots):
            if slot == "skin":
                made[slot] = self._copy(f"{number}.{_skin_kind(head)}", _skin_kind(head))  # as the skin was set
                continue
            colours = (thing.second_colour if slot == "trim" else thing.colour, thing.second_colour)
            made[slot] = self._copy(f"{number}.fitted.{place}.{slot}", slot)
            nodes = made[slot].node_tree.nodes
            for name, colour in zip(("colour", "second_colour"), colours, strict=True):
                nodes[name].outputs[0].default_value = (*colour, 1.0)
            nodes["roughness"].outputs[0].default_value = thing.roughness
            if slot == "cloth":
                for pattern in PATTERNS[1:]:
                    nodes[f"{pattern}_on"].outputs[0].default_value = float(pattern == thing.pattern)
                    move(nodes[pattern], scale=(1 / thing.pattern_m,) * 3)
        assert part.topology.slots is not None
        return [made[slot] for slot in KINDS[thing.kind].slots][: int(part.topology.slots.max()) + 1]

    def of_prop(self, part: Part, prop: Prop | Statue, key: str) -> list[bpy.types.Material]:
        material = self._copy(key, "prop")
        nodes = material.node_tree.nodes
        nodes["texture"].image = self._images.load(self._catalog.textures[prop.texture]) if prop.texture else None
        nodes["textured"].outputs[0].default_value = float(bool(prop.texture))
        nodes["colour"].outputs[0].default_value = (*prop.colour, 1.0)
        nodes["roughness"].outputs[0].default_value = prop.roughness
        count = 1 if part.topology.slots is None else int(part.topology.slots.max()) + 1
        return [material] * count

    def _skin(self, head: Head, number: int) -> bpy.types.Material:
        s, kind = head.surface, _skin_kind(head)
        material = self._copy(f"{number}.{kind}", kind)
        nodes = material.node_tree.nodes
        nodes["texture"].image = self._images.load(self._catalog.textures[s.texture]) if s.texture else None
        move(nodes["texture"], scale=(s.texture_scale,) * 3, rotation=s.texture_rotation_rad, location=s.texture_offset)
        move(nodes["noise"], scale=(s.noise_scale,) * 3, location=s.noise_offset)
        nodes["colour"].outputs[0].default_value = (*s.colour, 1.0)
        if s.face == PCA_FACE and head.identity.pca is not None:
            picture = load_pca(self._parts.model.folder).picture(head.identity.pca.texture_q)
            nodes["face"].image = self._images.canvas(f"{number}.face", picture[::-1] / np.float32(255), is_data=False)
            nodes["face_uv"].uv_map = "uv_skin"
            move(nodes["face"], scale=(1.0, 1.0, 1.0))
        else:
            self._set_face(nodes, s.face, s.flip)
        for name, value in (
            ("noise_on", float(s.kind == "noise")),
            ("colour_mix", s.colour_mix if s.kind == "mixed" else float(s.kind != "noise")),
            ("face_mix", s.face_mix if s.face else 0.0),
            ("gloss_mix", s.gloss_mix),
            ("roughness", s.roughness),
            ("subsurface", s.subsurface),
            *((("face_gamma", s.face_gamma), ("face_saturation", s.face_saturation)) if kind != "skin" else ()),
        ):
            nodes[name].outputs[0].default_value = value
        if s.skin:
            layers = self._painter.paint(s.skin)
            relief = np.stack([layers.relief, layers.shine, 0 * layers.shine], axis=-1)
            for name, colours in (("layers", layers.factor / MOST), ("relief", relief)):
                nodes[name].image = self._images.canvas(f"{number}.{name}", colours)
        return material

    def _garment(self, part: Part, head: Head, number: int) -> list[bpy.types.Material]:
        """Materials of a garment and of its trim."""
        assert head.clothes is not None
        layer = int(part.name.split(":")[1])
        garment, materials = head.clothes.garments[layer], []
        assert part.topology.slots is not None
        slots = ("main", garment.colour), ("trim", garment.trim)
        for slot, colour in slots[: int(part.topology.slots.max()) + 1]:
            material = self._copy(f"{number}.{layer}.garment.{slot}", "garment")
            nodes = material.node_tree.nodes
            textured = garment.texture if slot == "main" or garment.trim == garment.colour else ""
            nodes["texture"].image = self._images.load(self._catalog.textures[textured]) if textured else None
            move(nodes["texture"], scale=(garment.texture_scale,) * 3)
            nodes["textured"].outputs[0].default_value = float(bool(textured))
            nodes["colour"].outputs[0].default_value = (*colour, 1.0)
            nodes["roughness"].outputs[0].default_value = garment.roughness
            materials.append(material)
        return materials

    def _set_face(self, nodes: bpy.types.Nodes, name: str, flip: bool) -> None:
        if not name:
            nodes["face"].image = None
            location, scale = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        else:
            path, canonical = self._catalog.face_texture(name)
            nodes["face"].image = self._images.load(path)
            nodes["face_uv"].uv_map = "uv" if canonical else "uv_skin"
            location, scale = self._parts.mirror_map(canonical) if flip else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        move(nodes["face"], scale=scale, location=location)

    def _card(self, part: Part, kind: str, number: int, tint: Vec3, iris: str) -> bpy.types.Material:
        material = self._copy(f"{number}.{kind}", kind)
        path = self._catalog.irises[iris] if kind == "eyes" else self._parts.picture(part)
        nodes = material.node_tree.nodes
        nodes["picture"].image = self._images.load(path)
        nodes["colour"].outputs[0].default_value = (*tint, 1.0)
        return material

    def _plain(self, key: str, kind: str, colour: Vec3) -> bpy.types.Material:
        material = self._copy(key, kind)
        material.node_tree.nodes["colour"].outputs[0].default_value = (*colour, 1.0)
        return material

    def _copy(self, key: str, kind: str) -> bpy.types.Material:
        """The material of one object: a copy of the kind's, made once."""
        if key not in self._copies:
            self._copies[key] = bpy.data.materials[kind].copy()
            self._copies[key].name = key
        return self._copies[key]

    @cached_property
    def _painter(self) -> SkinPainter:
        return SkinPainter(self._parts.model)


def _skin_kind(head: Head) -> str:
    """The material that a head's skin needs."""
    return "layered_skin" if head.surface.skin else "graded_skin" if head.surface.graded else "skin"


def move(
    texture: bpy.types.Node,
    *,
    scale: Sequence[float] | npt.NDArray[np.float64],
    rotation: Vec3 = (0.0, 0.0, 0.0),
    location: Vec3 = (0.0, 0.0, 0.0),
) -> None:
    """Texture coordinates are scaled, then turned, then moved."""
    mapping = texture.texture_mapping
    mapping.vector_type = "POINT"
    mapping.scale, mapping.rotation, mapping.translation = scale, rotation, location
