"""Node trees of every material and of the world. Built once into the scene file; samples only set values.

Nodes that a sample sets carry a name; everything that `scene.py` sets is listed in the docstring of its builder.
Coordinates are moved by the mapping of a texture node itself: Cycles makes it one matrix, where a Mapping node costs
six sines and cosines at every hit.
"""

from __future__ import annotations

from typing import Any

import bpy

from renderer.head.skin_layers import MOST as LAYER_RANGE


class _Tree:
    """Short hand for building node trees."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree
        tree.nodes.clear()

    def node(self, kind: str, name: str = "", inputs: dict[Any, Any] | None = None, **settings: Any) -> bpy.types.Node:
        node = self.tree.nodes.new(kind)
        if name:
            node.name = node.label = name
        for key, value in settings.items():
            setattr(node, key, value)
        for socket, value in (inputs or {}).items():
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, node.inputs[socket])
            else:
                node.inputs[socket].default_value = value
        return node

    def value(self, name: str, default: float) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeValue", name)
        node.outputs[0].default_value = default
        return node.outputs[0]

    def colour(self, name: str) -> bpy.types.NodeSocket:
        return self.node("ShaderNodeRGB", name).outputs[0]

    def mix_colour(self, factor: Any, a: Any, b: Any) -> bpy.types.NodeSocket:
        node = self.node("ShaderNodeMix", data_type="RGBA", inputs={0: factor, 6: a, 7: b})
        return node.outputs[2]

    def mix_shader(self, factor: Any, a: Any, b: Any) -> bpy.types.NodeSocket:
        return self.node("ShaderNodeMixShader", inputs={0: factor, 1: a, 2: b}).outputs[0]

    def output(self, kind: str, shader: bpy.types.NodeSocket) -> None:
        self.node(kind, inputs={"Surface": shader})


def _material(name: str) -> tuple[bpy.types.Material, _Tree]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    material.use_fake_user = True
    return material, _Tree(material.node_tree)


def skin(name: str, graded: bool = False, layered: bool = False) -> bpy.types.Material:
    """Texture, solid colour and face texture blended, then diffuse, glossy and subsurface mixed.

    Sets: texture (image, mapping), noise (mapping), noise_on, colour, colour_mix, face (image, mapping), face_uv
    (uv_map), face_mix, gloss_mix, roughness, subsurface; if graded face_gamma, face_saturation; if layered layers,
    relief (images, of `renderer.head.skin_layers`). These are materials of their own: at rest their nodes would still
    round colours differently.
    """
    material, t = _material(name)
    rest = t.node("ShaderNodeAttribute", attribute_name="rest").outputs["Vector"]
    texture = t.node("ShaderNodeTexImage", "texture", {"Vector": rest}, projection="BOX", projection_blend=0.25)
    noise = t.node("ShaderNodeTexNoise", "noise", {"Vector": rest, "Scale": 1.0, "Detail": 4.0})
    noise_colour = t.node("ShaderNodeBrightContrast", inputs={"Color": noise.outputs["Color"], "Contrast": 1.2})
    material_colour = t.mix_colour(t.value("noise_on", 0.0), texture.outputs["Color"], noise_colour.outputs[0])
    blend = t.mix_colour(t.value("colour_mix", 0.5), material_colour, t.colour("colour"))
    face_uv = t.node("ShaderNodeUVMap", "face_uv", uv_map="uv_skin")
    face = t.node("ShaderNodeTexImage", "face", {"Vector": face_uv.outputs[0]}, extension="EXTEND")
    face_colour = face.outputs["Color"]
    if graded:
        gamma, saturation = t.value("face_gamma", 1.0), t.value("face_saturation", 1.0)
        face_colour = t.node("ShaderNodeGamma", inputs={"Color": face_colour, "Gamma": gamma}).outputs[0]
        graded_inputs = {"Color": face_colour, "Saturation": saturation}
        face_colour = t.node("ShaderNodeHueSaturation", inputs=graded_inputs).outputs[0]
    rough: Any = t.value("roughness", 0.5)
    bumps: dict[str, Any] = {}
    if layered:
        face_colour, rough, bumps = _layers(t, face_colour, rough)
    albedo = t.mix_colour(t.value("face_mix", 0.0), blend, face_colour)
    diffuse = t.node("ShaderNodeBsdfDiffuse", inputs={"Color": albedo, **bumps}).outputs[0]
    glossy = t.node("ShaderNodeBsdfAnisotropic", inputs={"Color": albedo, "Roughness": rough, **bumps}).outputs[0]
    opaque = t.mix_shader(t.value("gloss_mix", 0.2), diffuse, glossy)
    soft = t.node(
        "ShaderNodeBsdfPrincipled",
        inputs={
            "Base Color": albedo,
            "Roughness": rough,
            "Subsurface Weight": 0.6,
            "Subsurface Radius": (0.01, 0.003, 0.0015),
            "Subsurface Scale": 1.0,
            **bumps,
        },
    ).outputs[0]
    t.output("ShaderNodeOutputMaterial", t.mix_shader(t.value("subsurface", 0.0), opaque, soft))
    return material


def _layers(t: _Tree, colour: Any, rough: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Colour and roughness of a face under its layers, and the normal that their relief gives."""
    uv = t.node("ShaderNodeUVMap", uv_map="uv_skin").outputs[0]
    factor = t.node("ShaderNodeTexImage", "layers", {"Vector": uv}, extension="EXTEND")
    relief = t.node("ShaderNodeTexImage", "relief", {"Vector": uv}, extension="EXTEND").outputs["Color"]
    split = t.node("ShaderNodeSeparateColor", inputs={0: relief})
    doubled = {0: factor.outputs["Color"], 1: (LAYER_RANGE,) * 3}
    full = t.node("ShaderNodeVectorMath", operation="MULTIPLY", inputs=doubled).outputs[0]
    painted = t.node("ShaderNodeVectorMath", operation="MULTIPLY", inputs={0: colour, 1: full}).outputs[0]
    dull = t.node("ShaderNodeMath", operation="MULTIPLY_ADD", inputs={0: split.outputs["Green"], 1: -0.6, 2: 1.0})
    smooth = t.node("ShaderNodeMath", operation="MULTIPLY", inputs={0: rough, 1: dull.outputs[0]}).outputs[0]
    bump = t.node("ShaderNodeBump", inputs={"Strength": 1.0, "Distance": 0.0005, "Height": split.outputs["Red"]})
    return painted, smooth, {"Normal": bump.outputs[0]}


def plain(name: str, roughness: float = 0.5) -> bpy.types.Material:
    """One colour. Sets: colour, roughness."""
    material, t = _material(name)
    shader = t.node("ShaderNodeBsdfPrincipled", inputs={"Base Color": t.colour("colour")})
    t.tree.links.new(t.value("roughness", roughness), shader.inputs["Roughness"])
    t.output("ShaderNodeOutputMaterial", shader.outputs[0])
    return material


def black(name: str) -> bpy.types.Material:
    """Reflects nothing, as the thesis shows eyes and mouth interior."""
    material, t = _material(name)
    t.output(
        "ShaderNodeOutputMaterial", t.node("ShaderNodeBsdfDiffuse", inputs={"Color": (0.0, 0.0, 0.0, 1.0)}).outputs[0]
    )
    return material


def card(name: str, gloss: float) -> bpy.types.Material:
    """A picture with alpha: hair, brows, lashes, eyes, teeth, hats. Sets: picture (image), colour (tint)."""
    material, t = _material(name)
    uv = t.node("ShaderNodeUVMap", uv_map="uv")
    picture = t.node("ShaderNodeTexImage", "picture", {"Vector": uv.outputs[0]}, extension="EXTEND")
    tint = t.node(
        "ShaderNodeMix",
        data_type="RGBA",
        blend_type="MULTIPLY",
        inputs={0: 1.0, 6: picture.outputs["Color"], 7: t.colour("colour")},
    ).outputs[2]
    diffuse = t.node("ShaderNodeBsdfDiffuse", inputs={"Color": tint}).outputs[0]
    glossy = t.node(
        "ShaderNodeBsdfAnisotropic", inputs={"Color": (1.0, 1.0, 1.0, 1.0), "Roughness": 0.3 if gloss < 0.1 else 0.1}
    ).outputs[0]
    surface = t.mix_shader(gloss, diffuse, glossy)
    clear = t.node("ShaderNodeBsdfTransparent").outputs[0]
    t.output("ShaderNodeOutputMaterial", t.mix_shader(picture.outputs["Alpha"], clear, surface))
    return material


def lens(name: str) -> bpy.types.Material:
    """Spectacle lens. Sets: tint (0 clear, 1 opaque), dark (colour of what is not let through), reflected (factor)."""
    material, t = _material(name)
    clear = t.node("ShaderNodeBsdfTransparent").outputs[0]
    dark = t.node("ShaderNodeBsdfDiffuse", "dark", inputs={"Color": (0.01, 0.01, 0.01, 1.0)}).outputs[0]
    mirror = t.node("ShaderNodeBsdfAnisotropic", inputs={"Roughness": 0.05}).outputs[0]
    body = t.mix_shader(t.value("tint", 0.0), clear, dark)
    t.output("ShaderNodeOutputMaterial", t.node("ShaderNodeMixShader", "reflected", {1: body, 2: mirror}).outputs[0])
    return material


def prop(name: str) -> bpy.types.Material:
    """A prop before the face. Sets: texture (image), textured, colour, roughness."""
    material, t = _material(name)
    rest = t.node("ShaderNodeAttribute", attribute_name="rest").outputs["Vector"]
    texture = t.node("ShaderNodeTexImage", "texture", {"Vector": rest}, projection="BOX", projection_blend=0.25)
    texture.texture_mapping.scale = (4.0, 4.0, 4.0)
    albedo = t.mix_colour(t.value("textured", 0.0), t.colour("colour"), texture.outputs["Color"])
    shader = t.node("ShaderNodeBsdfPrincipled", inputs={"Base Color": albedo, "Roughness": t.value("roughness", 0.5)})
    t.output("ShaderNodeOutputMaterial", shader.outputs[0])
    return material


def cloth(name: str) -> bpy.types.Material:
    """Woven cloth of one colour or with a pattern of two; `rest` is metres across (X) and along (Z) it.

    Sets: colour, second_colour, roughness, stripes, checks, dots and marl (mapping) and each of them with _on.
    """
    material, t = _material(name)
    rest = t.node("ShaderNodeAttribute", attribute_name="rest").outputs["Vector"]
    stripes = t.node("ShaderNodeTexWave", "stripes", {"Vector": rest, "Scale": 0.3}, bands_direction="Z")
    dots = t.node("ShaderNodeTexVoronoi", "dots", {"Vector": rest, "Scale": 1.0, "Randomness": 0.0})
    patterns = {
        "stripes": t.node("ShaderNodeMath", operation="GREATER_THAN", inputs={0: stripes.outputs[1], 1: 0.5}),
        "checks": t.node("ShaderNodeTexChecker", "checks", {"Vector": rest, "Scale": 1.0}),
        "dots": t.node("ShaderNodeMath", operation="LESS_THAN", inputs={0: dots.outputs["Distance"], 1: 0.3}),
        "marl": t.node("ShaderNodeTexNoise", "marl", {"Vector": rest, "Scale": 1.0, "Detail": 3.0}),
    }
    colour, second = t.colour("colour"), t.colour("second_colour")
    albedo = colour
    for pattern, node in patterns.items():
        share = node.outputs["Fac" if pattern in ("checks", "marl") else 0]
        on = t.node("ShaderNodeMath", operation="MULTIPLY", inputs={0: t.value(f"{pattern}_on", 0.0), 1: share})
        albedo = t.mix_colour(on.outputs[0], albedo, second)
    weave = t.node("ShaderNodeTexNoise", inputs={"Vector": rest, "Scale": 700.0, "Detail": 2.0}).outputs["Fac"]
    bump = t.node("ShaderNodeBump", inputs={"Strength": 0.25, "Distance": 0.0006, "Height": weave}).outputs[0]
    shader = t.node("ShaderNodeBsdfPrincipled", inputs={"Base Color": albedo, "Normal": bump, "Sheen Weight": 0.15})
    t.tree.links.new(t.value("roughness", 0.8), shader.inputs["Roughness"])
    t.output("ShaderNodeOutputMaterial", shader.outputs[0])
    return material


def strands(name: str) -> bpy.types.Material:
    """Hair; `rest` is a number of the strand's own (X) and the share of its length (Z).

    Sets: colour, second_colour (of some strands and of the tips), roughness.
    """
    material, t = _material(name)
    rest = t.node("ShaderNodeAttribute", attribute_name="rest").outputs["Vector"]
    own, _, along = t.node("ShaderNodeSeparateXYZ", inputs={0: rest}).outputs
    mixed = t.node("ShaderNodeMath", operation="MULTIPLY_ADD", inputs={0: own, 1: 0.5, 2: 0.0}).outputs[0]
    lighter = t.node("ShaderNodeMath", operation="MULTIPLY_ADD", inputs={0: along, 1: 0.35, 2: mixed}).outputs[0]
    albedo = t.mix_colour(lighter, t.colour("colour"), t.colour("second_colour"))
    diffuse = t.node("ShaderNodeBsdfDiffuse", inputs={"Color": albedo}).outputs[0]
    rough = t.value("roughness", 0.4)
    glossy = t.node("ShaderNodeBsdfAnisotropic", inputs={"Color": (0.8, 0.75, 0.7, 1.0), "Roughness": rough}).outputs[0]
    t.output("ShaderNodeOutputMaterial", t.mix_shader(0.05, diffuse, glossy))
    return material


def trim(name: str) -> bpy.types.Material:
    """Hems, loops, straps. Sets: colour, second_colour (unused), roughness."""
    material, t = _material(name)
    t.colour("second_colour")
    shader = t.node("ShaderNodeBsdfPrincipled", inputs={"Base Color": t.colour("colour")})
    t.tree.links.new(t.value("roughness", 0.6), shader.inputs["Roughness"])
    t.output("ShaderNodeOutputMaterial", shader.outputs[0])
    return material


def garment(name: str) -> bpy.types.Material:
    """A garment. Sets: texture (image, mapping), textured, colour, roughness."""
    material, t = _material(name)
    rest = t.node("ShaderNodeAttribute", attribute_name="rest").outputs["Vector"]
    texture = t.node("ShaderNodeTexImage", "texture", {"Vector": rest}, projection="BOX", projection_blend=0.25)
    albedo = t.mix_colour(t.value("textured", 0.0), t.colour("colour"), texture.outputs["Color"])
    fuzz = {
        "Base Color": albedo,
        "Roughness": t.value("roughness", 0.8),
        "Sheen Weight": 0.15,
        "Specular IOR Level": 0.25,
    }
    t.output("ShaderNodeOutputMaterial", t.node("ShaderNodeBsdfPrincipled", inputs=fuzz).outputs[0])
    return material


def world(name: str) -> bpy.types.World:
    """Panorama, coloured noise or one colour.

    Sets: panorama (image, mapping), noise (mapping), colour, kind_noise, kind_plain, strength.
    """
    world = bpy.data.worlds.new(name)
    world.use_nodes = True
    world.use_fake_user = True
    t = _Tree(world.node_tree)
    direction = t.node("ShaderNodeTexCoord").outputs["Generated"]
    panorama = t.node("ShaderNodeTexEnvironment", "panorama", {"Vector": direction})
    noise = t.node("ShaderNodeTexNoise", "noise", {"Vector": direction, "Scale": 1.0, "Detail": 5.0})
    contrast = t.node("ShaderNodeBrightContrast", inputs={"Color": noise.outputs["Color"], "Contrast": 1.5})
    colour = t.colour("colour")
    picture = t.mix_colour(t.value("kind_noise", 0.0), panorama.outputs["Color"], contrast.outputs[0])
    radiance = t.mix_colour(t.value("kind_plain", 0.0), picture, colour)
    background = t.node("ShaderNodeBackground", "background", {"Color": radiance, "Strength": t.value("strength", 1.0)})
    t.output("ShaderNodeOutputWorld", background.outputs[0])
    return world
