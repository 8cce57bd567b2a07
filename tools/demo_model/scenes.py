"""What can stand in a picture: shapes on backgrounds, pairs of shapes, small landscapes."""

from dataclasses import dataclass
from random import Random

from tools.demo_model.palette import COLOURS

# The weight of a shape in the data: those with points and notches need more practice.
SHAPES: dict[str, float] = {
    "circle": 1.1,
    "square": 1.5,
    "triangle": 1.1,
    "diamond": 1.7,
    "star": 1.8,
    "heart": 1.4,
    "ring": 1.0,
    "cross": 1.5,
    "moon": 1.2,
    "hexagon": 2.2,
}
PLACES: dict[str, tuple[float, float]] = {
    "centre": (0.5, 0.5),
    "left": (0.29, 0.5),
    "right": (0.71, 0.5),
    "top": (0.5, 0.29),
    "bottom": (0.5, 0.71),
    "top left": (0.29, 0.29),
    "top right": (0.71, 0.29),
    "bottom left": (0.29, 0.71),
    "bottom right": (0.71, 0.71),
}
RADII: dict[str, tuple[float, float]] = {"small": (0.18, 0.22), "": (0.25, 0.35), "large": (0.38, 0.43)}
PATTERNS = ("plain", "striped", "dotted", "checkered")
RELATIONS = ("left of", "right of", "above", "below")
TIMES = ("day", "sunset", "night")
GROUNDS = ("hills", "mountains", "sea", "desert", "snow")
THINGS: dict[str, tuple[str, ...]] = {
    "hills": ("house", "tree", "trees", "house and tree", ""),
    "mountains": ("house", "trees", "", ""),
    "sea": ("boat", "boat", ""),
    "desert": ("cactus", ""),
    "snow": ("house", "trees", "house and tree", ""),
}


@dataclass(frozen=True)
class Item:
    """One shape; `size` and `place` are the words for it, the numbers are what is drawn."""

    shape: str
    colour: str
    size: str
    place: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Land:
    """A landscape; `seed` decides the details that no word names."""

    time: str
    light: str
    ground: str
    thing: str
    seed: int


@dataclass(frozen=True)
class Scene:
    """A whole picture: either one or two items on a background, or a landscape."""

    items: tuple[Item, ...]
    background: str
    pattern: str
    relation: str
    land: Land | None


def held_out(shape: str, colour: str, background: str) -> bool:
    """Whether this combination is kept from training, one in six, for the judge."""
    names = list(COLOURS)
    number = 7 * list(SHAPES).index(shape) + 5 * names.index(colour) + names.index(background)
    return number % 6 == 0


def random_scene(rng: Random) -> Scene:
    """Draw lots for one training scene."""
    lot = rng.random()
    if lot < 0.22:
        return Scene((), "", "", "", _land(rng))
    return _pair(rng) if lot < 0.34 else _single(rng)


def _single(rng: Random) -> Scene:
    pattern = "plain" if rng.random() < 0.82 else rng.choice(PATTERNS[1:])
    background = rng.choice(list(COLOURS))
    while True:
        shape = _shape(rng)
        colour = rng.choice(list(COLOURS))
        if colour != background and not held_out(shape, colour, background):
            item = placed(rng, shape, colour)
            return Scene((item,), background, pattern, "", None)


def _shape(rng: Random) -> str:
    return rng.choices(list(SHAPES), list(SHAPES.values()))[0]


def placed(rng: Random, shape: str, colour: str) -> Item:
    """Draw lots for where and how large the shape stands."""
    place = "centre" if rng.random() < 0.68 else rng.choice(list(PLACES)[1:])
    sizes = ("", "", "large", "small") if place == "centre" else ("", "", "small")
    size = rng.choice(sizes)
    radius = rng.uniform(*RADII[size]) * (1.0 if place == "centre" else 0.75)
    reach = min(0.05, max(0.0, 0.48 - radius)) if place == "centre" else 0.03
    x, y = (at + rng.uniform(-reach, reach) for at in PLACES[place])
    return Item(shape, colour, size, place, x, y, radius)


def _pair(rng: Random) -> Scene:
    background, first, second = rng.sample(list(COLOURS), 3)
    relation = rng.choice(RELATIONS)
    axis = (0.24, 0.0) if relation in ("left of", "right of") else (0.0, 0.24)
    sign = -1 if relation in ("left of", "above") else 1
    items = []
    for colour, side in ((first, sign), (second, -sign)):
        x, y = (0.5 + side * a + rng.uniform(-0.03, 0.03) for a in axis)
        items.append(Item(_shape(rng), colour, "", "", x, y, rng.uniform(0.16, 0.21)))
    return Scene(tuple(items), background, "plain", relation, None)


def _land(rng: Random) -> Land | None:
    time, ground = rng.choice(TIMES), rng.choice(GROUNDS)
    lights = ("moon", "moon", "") if time == "night" else ("sun", "sun", "")
    thing = rng.choice(THINGS[ground])
    return Land(time, rng.choice(lights), ground, thing, rng.randrange(1 << 30))
