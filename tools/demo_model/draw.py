"""Draws a scene as a picture: flat shapes with clean, supersampled edges."""

from math import cos, pi, sin

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from tools.demo_model.landscape import draw_land
from tools.demo_model.palette import COLOURS, second_tone
from tools.demo_model.scenes import Item, Scene

Points = list[tuple[float, float]]
SCALE = 4  # Drawn this many times larger, then averaged down: the antialiasing.


def draw(scene: Scene, size: int) -> Image.Image:
    """Paint the scene as an RGB picture of size x size pixels."""
    if scene.land is not None:
        return draw_land(scene.land, size * SCALE).reduce(SCALE)
    picture = _background(scene.background, scene.pattern, size)
    for item in scene.items:
        picture.paste(COLOURS[item.colour], mask=mask(item, size))
    return picture


def pixels(scene: Scene, size: int) -> npt.NDArray[np.uint8]:
    """The picture as an array of height x width x 3 bytes."""
    return np.asarray(draw(scene, size))


def _background(colour: str, pattern: str, size: int) -> Image.Image:
    base = COLOURS[colour]
    picture = Image.new("RGB", (size, size), base)
    if pattern != "plain":
        picture.paste(second_tone(base), mask=_pattern_mask(pattern, size * SCALE).reduce(SCALE))
    return picture


def _pattern_mask(pattern: str, size: int) -> Image.Image:
    picture = Image.new("L", (size, size), 0)
    pen = ImageDraw.Draw(picture)
    step = size / 8
    for row in range(8):
        top = row * step
        if pattern == "striped" and row % 2:
            pen.rectangle((0, top, size, top + step - 1), fill=255)
        elif pattern != "striped":
            _pattern_row(pen, pattern, row, step)
    return picture


def _pattern_row(pen: ImageDraw.ImageDraw, pattern: str, row: int, step: float) -> None:
    for column in range(8):
        x, y = column * step, row * step
        if pattern == "dotted":
            inset = step * 0.28
            pen.ellipse((x + inset, y + inset, x + step - inset, y + step - inset), fill=255)
        elif (row + column) % 2:
            pen.rectangle((x, y, x + step - 1, y + step - 1), fill=255)


def mask(item: Item, size: int) -> Image.Image:
    """Where the item covers the picture, 0 to 255, with soft edges one pixel wide."""
    large = size * SCALE
    picture = Image.new("L", (large, large), 0)
    pen = ImageDraw.Draw(picture)
    x, y, r = item.x * large, item.y * large, item.radius * large
    if item.shape in ("circle", "ring", "moon"):
        _round(pen, item.shape, x, y, r)
    else:
        for outline in OUTLINES[item.shape]:
            pen.polygon([(x + r * u, y + r * v) for u, v in outline], fill=255)
    return picture.reduce(SCALE)


def _round(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: float) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=255)
    if shape == "ring":
        hole = 0.56 * r
        pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    if shape == "moon":
        hole, shift = 0.84 * r, 0.48 * r
        pen.ellipse((x + shift - hole, y - hole, x + shift + hole, y + hole), fill=0)


def _around(corners: int, turn: float, radii: tuple[float, ...] = (1.0,)) -> Points:
    """Corners on a circle from `turn` on, their radii taken in rotation."""
    angles = [turn + 2 * pi * i / corners for i in range(corners)]
    return [(radii[i % len(radii)] * cos(a), radii[i % len(radii)] * sin(a)) for i, a in enumerate(angles)]


def _heart() -> Points:
    turns = [2 * pi * i / 72 for i in range(72)]
    return [
        (sin(t) ** 3, -(13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t)) / 16.5 - 0.12)
        for t in turns
    ]


def _box(width: float, height: float) -> Points:
    return [(-width, -height), (width, -height), (width, height), (-width, height)]


OUTLINES: dict[str, tuple[Points, ...]] = {
    "square": (_box(0.86, 0.86),),
    "triangle": ([(0.0, -0.9), (1.0, 0.8), (-1.0, 0.8)],),
    "diamond": ([(0.0, -1.05), (0.78, 0.0), (0.0, 1.05), (-0.78, 0.0)],),
    "star": (_around(10, -pi / 2, (1.08, 0.46)),),
    "heart": (_heart(),),
    "cross": (_box(0.32, 0.95), _box(0.95, 0.32)),
    "hexagon": (_around(6, 0.0),),
}
