"""Made-up rooms and streets: pictures on the walls of a box, and things that stand in it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from renderer.backdrops.box import Box
from renderer.backdrops.flat import Points, leaves, sky
from renderer.backdrops.paint import Colour, Painter

_MOST_PX: Final = 700  # along a side of a wall's picture


def room(p: Painter, side: int) -> Image.Image:
    """Walls with windows, doors, shelves and pictures; floor, ceiling, furniture."""
    width, height, depth = p.among(2.4, 6), p.among(2.3, 3.2), p.among(1.6, 7)
    eye = (p.among(-0.3, 0.3) * width, p.among(1.0, 1.75))
    box = Box(width, height, depth, eye, math.radians(p.among(-40, 40)), p.among(0.7, 1.6), p.among(-0.25, 0.2))
    density = side / 3.2
    paint = p.colour((0.35, 1.0), saturation=0.6)
    sizes = {"left": (depth, height), "right": (depth, height), "back": (width, height)}
    walls = {name: _wall(p, size, density, paint) for name, size in sizes.items()}
    floor = (_px(width, density), _px(depth, density))
    walls["floor"] = p.lit(p.texture(floor, repeat=(1.0, 4.0)))
    walls["ceiling"] = p.gradient(floor, p.colour((0.6, 1.0), saturation=0.2), 0.15)
    for _ in range(int(p.rng.integers(0, 4))):
        lamp = (max(2, round(p.among(0.05, 0.25) * floor[0])), max(2, round(p.among(0.05, 0.25) * floor[1])))
        walls["ceiling"].paste(Image.new("RGB", lamp, (255, 250, 240)), _at(p, floor, lamp))
    picture = box.seen(walls, Image.new("RGB", (side, side)), shaded=True)
    blocks = [
        (p.among(-0.45, 0.45) * width, -p.among(0.8, depth), [p.among(0.3, 1.6), p.among(0.3, 1.1), p.among(0.3, 0.9)])
        for _ in range(int(p.rng.integers(0, 6)))
    ]
    for x, z, metres in sorted(blocks, key=lambda block: block[1]):
        _block(p, picture, box, np.array([x, 0.0, z]), np.array(metres))
    return p.lit(picture) if p.chance(0.4) else picture


def street(p: Painter, side: int) -> Image.Image:
    """Facades on both sides, a road, sky, trees and blocks for cars and kiosks."""
    width, height, depth = p.among(7, 26), p.among(5, 22), p.among(15, 70)
    eye = (p.among(-0.35, 0.35) * width, p.among(1.4, 1.8))
    box = Box(width, height, depth, eye, math.radians(p.among(-50, 50)), p.among(0.7, 1.8), p.among(-0.2, 0.15))
    density = side / 11
    ground = (_px(width, density), _px(depth, density))
    walls = {"floor": p.lit(_road(p, ground))}
    for name, size in {"left": (depth, height), "right": (depth, height), "back": (width, height)}.items():
        if p.chance(0.85):
            walls[name] = _facade(p, size, density)
    picture = box.seen(walls, sky(p, side), shaded=False)
    things = [
        (x * width, -p.among(3, depth), p.chance(0.5))
        for x in p.rng.choice((-0.42, -0.3, 0.3, 0.42), int(p.rng.integers(0, 9)))
    ]
    for x, z, is_tree in sorted(things, key=lambda thing: thing[1]):
        if is_tree:
            _tree(p, picture, box, np.array([x, 0.0, z]), p.among(3, 9))
        else:
            metres = np.array([p.among(0.4, 2.0), p.among(0.8, 2.4), p.among(0.4, 4.0)])
            _block(p, picture, box, np.array([x, 0.0, z]), metres)
    return picture


# ---------------------------------------------------------------- on walls


def _px(metres: float, density: float) -> int:
    return int(min(_MOST_PX, max(8, round(metres * density))))


def _at(p: Painter, size: tuple[int, ...], part: tuple[int, ...]) -> tuple[int, int]:
    """Where a part may lie in a picture."""
    x, y = (round(p.among(0, max(1, whole - n))) for whole, n in zip(size, part, strict=True))
    return x, y


def _wall(p: Painter, metres: tuple[float, float], density: float, paint: Colour) -> Image.Image:
    """Paint or wallpaper, a skirting board, and what hangs or stands before it."""
    size = (_px(metres[0], density), _px(metres[1], density))
    wall = p.gradient(size, p.near(paint, 0.1), 0.12)
    if p.chance(0.3):
        wall = Image.blend(wall, p.texture(size, repeat=(0.8, 4.0)), p.among(0.1, 0.7))
    draw = ImageDraw.Draw(wall)
    draw.rectangle((0, size[1] * 0.96, *size), fill=p.near(paint, 0.5))
    for _ in range(int(p.rng.integers(0, 1 + max(1, round(1.6 * metres[0]))))):
        draw_part, wide, high, foot = (
            (_window, p.among(0.6, 2.2), p.among(0.8, 1.6), p.among(0.7, 1.0)),
            (_door, p.among(0.75, 1.0), p.among(1.95, 2.1), 0.0),
            (_picture, p.among(0.2, 1.0), p.among(0.2, 0.9), p.among(1.1, 1.6)),
            (_poster, p.among(0.3, 1.2), p.among(0.4, 1.5), p.among(0.8, 1.4)),
            (_shelf, p.among(0.5, 2.0), p.among(0.8, 2.2), p.among(0.0, 0.6)),
        )[int(p.rng.choice(5, p=(0.2, 0.12, 0.25, 0.13, 0.3)))]
        part = (_px(wide, density), _px(high, density))
        left = round(p.among(-0.2, 1.0) * size[0])
        top = size[1] - round(foot * density) - part[1]
        wall.paste(draw_part(p, part), (left, top))
    return wall


def _framed(p: Painter, inner: Image.Image, share: float) -> Image.Image:
    """Within a frame that takes this share of the shorter side."""
    edge = max(1, round(share * min(inner.size)))
    outer = p.gradient(inner.size, spread=0.2)
    outer.paste(inner.resize([max(1, n - 2 * edge) for n in inner.size]), (edge, edge))
    return outer


def _window(p: Painter, size: tuple[int, int]) -> Image.Image:
    """Bright sky over something green or built, with bars, and curtains at times."""
    view = p.gradient(size, (255, 255, 255) if p.chance(0.5) else p.colour((0.7, 1.0), saturation=0.5), 0.15)
    below = round(p.among(0.0, 0.8) * size[1])
    if below > 2:
        view.paste(p.fill((size[0], below)), (0, size[1] - below))
    draw, bar = ImageDraw.Draw(view), p.colour((0.3, 1.0), saturation=0.3)
    thick = max(1, size[0] // 25)
    for x in np.linspace(0, size[0], int(p.rng.integers(2, 5)))[1:-1]:
        draw.line((x, 0, x, size[1]), fill=bar, width=thick)
    for y in np.linspace(0, size[1], int(p.rng.integers(2, 4)))[1:-1]:
        draw.line((0, y, size[0], y), fill=bar, width=thick)
    window = _framed(p, view, 0.05)
    if p.chance(0.4):
        wide = max(2, round(p.among(0.1, 0.35) * size[0]))
        curtain = p.lit(p.stripes((wide, size[1])))
        window.paste(curtain, (0, 0))
        window.paste(curtain, (size[0] - wide, 0))
    return window


def _door(p: Painter, size: tuple[int, int]) -> Image.Image:
    door = p.gradient(size, spread=0.15)
    panel = p.gradient((max(1, size[0] * 3 // 5), max(1, size[1] // 3)), spread=0.15)
    for y in (0.1, 0.55):
        door.paste(panel, (size[0] // 5, round(y * size[1])))
    return _framed(p, door, 0.06)


def _picture(p: Painter, size: tuple[int, int]) -> Image.Image:
    return _framed(p, p.fill(size), p.among(0.03, 0.2))


def _poster(p: Painter, size: tuple[int, int]) -> Image.Image:
    poster = p.fill(size)
    part = (max(2, size[0] * 4 // 5), max(2, round(size[1] * p.among(0.1, 0.4))))
    poster.paste(p.lettering(part), _at(p, size, part))
    return poster


def _shelf(p: Painter, size: tuple[int, int]) -> Image.Image:
    """Boards with books and boxes."""
    wood = p.colour((0.1, 0.9), saturation=0.8)
    shelf = p.gradient(size, p.near(wood, 0.5), 0.3)
    draw, rows = ImageDraw.Draw(shelf), int(p.rng.integers(2, 7))
    high = size[1] / rows
    for row in range(rows):
        x, foot = 0.0, (row + 1) * high
        while x < size[0]:
            wide, tall = high * p.among(0.08, 0.3), high * p.among(0.45, 0.9)
            if p.chance(0.1):
                x += wide * 4  # a gap
            elif p.chance(0.12):
                item = (max(2, round(3 * wide)), max(2, round(tall * 0.8)))
                shelf.paste(p.fill(item), (round(x), round(foot - item[1])))
                x += 3 * wide
            else:
                draw.rectangle((x, foot - tall, max(x, x + wide - 1), foot), fill=p.colour())
                x += wide
        draw.rectangle((0, foot - max(1, 0.06 * high), size[0], foot), fill=wood)
    return shelf


def _facade(p: Painter, metres: tuple[float, float], density: float) -> Image.Image:
    """Houses side by side: windows by floors, shops with signs below."""
    size = (_px(metres[0], density), _px(metres[1], density))
    px = size[0] / metres[0], size[1] / metres[1]
    facade, x = p.flat(size), 0
    while x < size[0]:
        wide = min(size[0] - x, max(8, round(p.among(5, 16) * px[0])))
        house = (
            p.texture((wide, size[1]), repeat=(1.0, 5.0)) if p.chance(0.6) else p.gradient((wide, size[1]), spread=0.2)
        )
        house = Image.blend(
            house, Image.new("RGB", house.size, p.colour((0.25, 0.95), saturation=0.6)), p.among(0.2, 0.9)
        )
        step_x, step_y = p.among(1.6, 3.5) * px[0], p.among(2.7, 3.6) * px[1]
        pane = (max(2, round(step_x * p.among(0.35, 0.75))), max(2, round(step_y * p.among(0.4, 0.75))))
        glass, frame = p.colour((0.05, 0.6), saturation=0.4), p.colour((0.4, 1.0), saturation=0.3)
        draw = ImageDraw.Draw(house)
        for row in range(1, int(size[1] / step_y) + 1):
            for column in range(int(wide / step_x)):
                left, top = round((column + 0.2) * step_x), round(size[1] - (row + 0.85) * step_y)
                corner = (left + pane[0], top + pane[1])
                draw.rectangle((left - 1, top - 1, *corner), fill=frame)
                draw.rectangle((left, top, corner[0] - 1, corner[1] - 1), fill=p.near(glass, 0.6))
        shop = (wide, max(2, round(0.75 * step_y)))
        house.paste(p.gradient(shop, p.colour((0.05, 0.6)), 0.5), (0, size[1] - shop[1]))
        sign = (max(2, wide * 3 // 5), max(2, round(0.22 * step_y)))
        house.paste(p.lettering(sign), (wide // 6, size[1] - shop[1] - sign[1]))
        facade.paste(house, (x, 0))
        x += wide
    return facade


def _road(p: Painter, size: tuple[int, int]) -> Image.Image:
    """Its picture's lower edge is at the camera."""
    grey = p.colour((0.2, 0.7), saturation=0.25)
    road = Image.blend(p.texture(size, repeat=(2.0, 5.0)), Image.new("RGB", size, grey), p.among(0.5, 0.95))
    draw, walk = ImageDraw.Draw(road), p.near(grey, 0.4)
    edge = round(p.among(0.1, 0.3) * size[0])
    draw.rectangle((0, 0, edge, size[1]), fill=walk)
    draw.rectangle((size[0] - edge, 0, *size), fill=walk)
    if p.chance(0.6):
        for y in range(0, size[1], 24):
            draw.rectangle((size[0] // 2 - 1, y, size[0] // 2 + 1, y + 12), fill=(225, 225, 215))
    return road


# ---------------------------------------------------------------- things that stand


def _block(p: Painter, picture: Image.Image, box: Box, foot: Points, size: Points) -> None:
    """A cuboid: furniture, a car, a kiosk. foot: of the middle of its front edge, metres."""
    if -foot[2] < 0.6:
        return
    wide, high, deep = size
    x, y, z = (np.array([[-1, 1, 1, -1] * 2, [0, 0, 1, 1] * 2, [0] * 4 + [-1] * 4]).T * [wide / 2, high, deep] + foot).T
    corners = box.project(np.stack([x, y, z], axis=1), picture.width)
    draw, base = ImageDraw.Draw(picture), p.colour()
    beside = (1, 5, 6, 2) if box.eye_m[0] > foot[0] else (0, 4, 7, 3)
    for face, light in (((3, 2, 6, 7), 1.15), (beside, 0.6), ((0, 1, 2, 3), 0.9)):
        colour = tuple(min(255, int(light * c)) for c in base)
        draw.polygon([tuple(corners[i, :2].tolist()) for i in face], fill=colour)
    (left, bottom), (right, top) = corners[0, :2], corners[2, :2]
    front = (int(right - left), int(bottom - top))
    if min(front) > 4 and max(front) < 2 * picture.width and p.chance(0.6):
        inside = (max(2, int(0.9 * front[0])), max(2, int(0.9 * front[1])))
        cover = Image.blend(p.fill(inside), Image.new("RGB", inside, base), p.among(0.3, 0.9))
        picture.paste(cover, (int(left + 0.05 * front[0]), int(top + 0.05 * front[1])))


def _tree(p: Painter, picture: Image.Image, box: Box, foot: Points, high: float) -> None:
    bottom, top = box.project(np.stack([foot, foot + np.array([0, high, 0])]), picture.width)[:, :2]
    tall = bottom[1] - top[1]
    if not 8 < tall < 6 * picture.width:
        return
    draw = ImageDraw.Draw(picture)
    draw.line((*bottom, *top), fill=(60, 48, 38), width=max(1, round(0.04 * tall)))
    green = (int(p.among(35, 110)), int(p.among(70, 130)), int(p.among(15, 60)))
    clumps = top + p.rng.normal(0, 0.18, (9, 2)) * tall + [0, 0.2 * tall]
    for shade in (0.6, 1.0):
        leaves(p, draw, clumps, 0.07 * tall, max(1.5, 0.02 * tall), green, shade)
