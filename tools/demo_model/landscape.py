"""Draws the small landscapes: a sky with sun, moon or stars, a ground, and a thing on it."""

from math import pi, sin
from random import Random

from PIL import Image, ImageDraw

from tools.demo_model.palette import RGB, mix
from tools.demo_model.scenes import Land

SKIES: dict[str, tuple[RGB, RGB]] = {
    "day": ((92, 176, 244), (204, 234, 252)),
    "sunset": ((150, 62, 150), (255, 176, 84)),
    "night": ((14, 18, 58), (50, 62, 132)),
}
# How much of which colour the hour lays over everything on the ground.
TINTS: dict[str, tuple[RGB, float]] = {
    "day": ((255, 255, 255), 0.0),
    "sunset": ((190, 70, 80), 0.28),
    "night": ((14, 20, 64), 0.52),
}
GROUND_TONES: dict[str, tuple[RGB, RGB]] = {
    "hills": ((120, 192, 88), (58, 150, 70)),
    "mountains": ((128, 134, 158), (66, 144, 80)),
    "sea": ((38, 120, 196), (24, 92, 170)),
    "desert": ((240, 204, 128), (224, 172, 88)),
    "snow": ((232, 240, 250), (250, 252, 255)),
}


class Painter:
    """A canvas with the lots of one landscape; lengths are shares of the canvas."""

    def __init__(self, land: Land, size: int) -> None:
        self.land, self.size, self.rng = land, size, Random(land.seed)
        self.picture = _sky(land.time, size)
        self.pen = ImageDraw.Draw(self.picture)

    def tone(self, colour: RGB) -> RGB:
        """The colour in the light of the hour."""
        return mix(colour, *TINTS[self.land.time])

    def polygon(self, points: list[tuple[float, float]], colour: RGB) -> None:
        """Fill the polygon."""
        self.pen.polygon([(x * self.size, y * self.size) for x, y in points], fill=colour)

    def disc(self, x: float, y: float, r: float, colour: RGB) -> None:
        """Fill the disc."""
        box = [(value * self.size) for value in (x - r, y - r, x + r, y + r)]
        self.pen.ellipse((box[0], box[1], box[2], box[3]), fill=colour)

    def wave(self, level: float, height: float, colour: RGB) -> None:
        """Fill everything below a gently rolling line."""
        phase, turns = self.rng.uniform(0, 2 * pi), self.rng.uniform(0.8, 1.5)
        line = [(i / 40, level + height * sin(phase + turns * 2 * pi * i / 40)) for i in range(41)]
        self.polygon([*line, (1, 1.01), (0, 1.01)], colour)


def draw_land(land: Land, size: int) -> Image.Image:
    """Paint the landscape as an RGB picture."""
    canvas = Painter(land, size)
    if land.time == "night":
        _stars(canvas)
    _light(canvas)
    _ground(canvas)
    _thing(canvas)
    return canvas.picture


def _sky(time: str, size: int) -> Image.Image:
    top, bottom = SKIES[time]
    column = Image.new("RGB", (1, 64))
    for row in range(64):
        column.putpixel((0, row), mix(top, bottom, min(1.0, row / 40)))
    return column.resize((size, size), Image.Resampling.BILINEAR)


def _stars(canvas: Painter) -> None:
    for _ in range(14):
        x, y = canvas.rng.uniform(0.04, 0.96), canvas.rng.uniform(0.04, 0.5)
        canvas.disc(x, y, canvas.rng.uniform(0.008, 0.014), (250, 246, 214))


def _light(canvas: Painter) -> None:
    low = canvas.land.time == "sunset"
    x = canvas.rng.choice((0.24, 0.5, 0.76)) + canvas.rng.uniform(-0.04, 0.04)
    y = canvas.rng.uniform(0.36, 0.44) if low else canvas.rng.uniform(0.18, 0.24)
    if canvas.land.light == "sun":
        canvas.disc(x, y, 0.12, (255, 226, 110) if low else (255, 220, 50))
    if canvas.land.light == "moon":
        _crescent(canvas, x, y)


def _crescent(canvas: Painter, x: float, y: float) -> None:
    cover = Image.new("L", canvas.picture.size, 0)
    pen = ImageDraw.Draw(cover)
    for right, up, r, fill in ((0.0, 0.0, 0.11, 255), (0.055, 0.02, 0.092, 0)):
        box = [v * canvas.size for v in (x + right - r, y - up - r, x + right + r, y - up + r)]
        pen.ellipse((box[0], box[1], box[2], box[3]), fill=fill)
    canvas.picture.paste((246, 240, 206), mask=cover)


def _ground(canvas: Painter) -> None:
    far, near = (canvas.tone(colour) for colour in GROUND_TONES[canvas.land.ground])
    if canvas.land.ground == "sea":
        _sea(canvas, far, near)
        return
    if canvas.land.ground == "mountains":
        _mountains(canvas, far)
    else:
        canvas.wave(0.6, 0.05, far)
    canvas.wave(0.77, 0.025, near)


def _sea(canvas: Painter, far: RGB, near: RGB) -> None:
    canvas.polygon([(0, 0.6), (1, 0.6), (1, 1.01), (0, 1.01)], far)
    canvas.wave(0.86, 0.018, near)


def _mountains(canvas: Painter, tone: RGB) -> None:
    white = canvas.tone((250, 252, 255))
    for centre, shade in ((0.78, 0.14), (0.2, 0.07), (0.5, 0.0)):
        x, top = centre + canvas.rng.uniform(-0.08, 0.08), canvas.rng.uniform(0.28, 0.42)
        slope = 0.78
        foot = slope * (0.82 - top)
        canvas.polygon([(x, top), (x + foot, 0.82), (x - foot, 0.82)], mix(tone, (0, 0, 0), shade))
        cap, notch = slope * 0.11, top + 0.085
        canvas.polygon(
            [(x, top), (x + cap, top + 0.11), (x + 0.03, notch), (x, top + 0.125),
             (x - 0.03, notch), (x - cap, top + 0.11)], white)  # fmt: skip


def _thing(canvas: Painter) -> None:
    thing, rng = canvas.land.thing, canvas.rng
    x = rng.choice((0.3, 0.5, 0.7)) + rng.uniform(-0.03, 0.03)
    other = x + (0.27 if x < 0.5 else -0.27)
    if "house" in thing:
        _house(canvas, x, 0.84)
    if thing == "boat":
        _boat(canvas, x, 0.74)
    if thing == "cactus":
        _cactus(canvas, x, 0.88)
    if "tree" in thing:
        _tree(canvas, other if "house" in thing else x, 0.86)
    if thing == "trees":
        _tree(canvas, other, 0.9)


def _house(canvas: Painter, x: float, y: float) -> None:
    wall, roof = canvas.tone((250, 240, 222)), canvas.tone((206, 56, 48))
    night = canvas.land.time == "night"
    window = (255, 214, 90) if night else canvas.tone((92, 150, 200))
    canvas.polygon([(x - 0.13, y - 0.17), (x + 0.13, y - 0.17), (x + 0.13, y), (x - 0.13, y)], wall)
    canvas.polygon([(x - 0.17, y - 0.17), (x, y - 0.32), (x + 0.17, y - 0.17)], roof)
    door = canvas.tone((112, 66, 36))
    canvas.polygon([(x + 0.02, y - 0.11), (x + 0.08, y - 0.11), (x + 0.08, y), (x + 0.02, y)], door)
    left, top = x - 0.09, y - 0.13
    canvas.polygon([(left, top), (left + 0.07, top), (left + 0.07, top + 0.06), (left, top + 0.06)], window)


def _tree(canvas: Painter, x: float, y: float) -> None:
    bark, snowy = canvas.tone((112, 70, 40)), canvas.land.ground in ("snow", "mountains")
    canvas.polygon([(x - 0.02, y - 0.14), (x + 0.02, y - 0.14), (x + 0.02, y), (x - 0.02, y)], bark)
    leaf = canvas.tone((24, 104, 66) if snowy else (30, 122, 50))
    if not snowy:
        canvas.disc(x, y - 0.22, 0.11, leaf)
        return
    for top, width in ((0.2, 0.11), (0.28, 0.09), (0.36, 0.07)):
        base = y - top + 0.13
        canvas.polygon([(x, y - top - 0.01), (x + width, base), (x - width, base)], leaf)


def _boat(canvas: Painter, x: float, y: float) -> None:
    hull, sail = canvas.tone((196, 50, 44)), canvas.tone((252, 250, 244))
    canvas.polygon([(x - 0.17, y), (x + 0.17, y), (x + 0.11, y + 0.08), (x - 0.11, y + 0.08)], hull)
    canvas.polygon([(x + 0.01, y - 0.31), (x + 0.01, y - 0.02), (x + 0.15, y - 0.02)], sail)
    canvas.polygon([(x - 0.015, y - 0.26), (x - 0.015, y - 0.02), (x - 0.12, y - 0.02)], sail)


def _cactus(canvas: Painter, x: float, y: float) -> None:
    green = canvas.tone((38, 140, 72))
    for left, top, width, height in (
        (-0.035, 0.34, 0.07, 0.34), (-0.12, 0.25, 0.05, 0.11), (-0.12, 0.18, 0.1, 0.045),
        (0.07, 0.28, 0.05, 0.11), (0.02, 0.21, 0.1, 0.045),
    ):  # fmt: skip
        box = [(x + left) * canvas.size, (y - top) * canvas.size,
               (x + left + width) * canvas.size, (y - top + height) * canvas.size]  # fmt: skip
        canvas.pen.rounded_rectangle((box[0], box[1], box[2], box[3]), radius=0.022 * canvas.size, fill=green)
