"""Words for a scene: full captions in varied wording, and at times only a part of it."""

from random import Random

from tools.demo_model.palette import SYNONYMS
from tools.demo_model.scenes import Item, Land, Scene

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc", "ball"),
    "moon": ("moon", "crescent", "crescent moon"),
    "ring": ("ring", "ring", "donut"),
    "cross": ("cross", "cross", "plus sign"),
    "diamond": ("diamond", "diamond", "rhombus"),
}
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "tiny", "little"),
    "large": ("large", "large", "big", "huge"),
}
PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "polka dot"),
    "checkered": ("checkered", "chequered"),
}
PREFIXES = (
    "a picture of ", "a drawing of ", "a painting of ", "an illustration of ",
    "a photo of ", "an image of ",
)  # fmt: skip
SUFFIXES = (", flat colours", ", minimalist", ", high quality", ", simple art", ", clean, sharp")
TIME_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("by day", "during the day", "under a blue sky", "on a sunny day"),
    "sunset": ("at sunset", "in the evening", "under an orange sky", "at dusk"),
    "night": ("at night", "under a starry sky", "by night", "under the stars"),
}
GROUND_WORDS: dict[str, tuple[str, ...]] = {
    "hills": ("green hills", "rolling hills", "a meadow", "green fields"),
    "mountains": ("mountains", "snowy mountains", "high mountains", "mountain peaks"),
    "sea": ("the sea", "the ocean", "blue water", "a calm sea"),
    "desert": ("a desert", "the desert", "sand dunes", "a sandy desert"),
    "snow": ("snow", "a snowy field", "snowy hills", "a winter landscape"),
}
THING_WORDS: dict[str, tuple[str, ...]] = {
    "house": ("a house", "a small house", "a cottage"),
    "tree": ("a tree", "a green tree", "one tree"),
    "trees": ("trees", "two trees", "some trees"),
    "house and tree": ("a house and a tree", "a house beside a tree", "a house with a tree"),
    "boat": ("a boat", "a sailing boat", "a red boat", "a ship"),
    "cactus": ("a cactus", "a green cactus"),
}


def caption(scene: Scene, rng: Random) -> str:
    """One of the many ways to say what is in the picture."""
    if scene.land is not None:
        return _decorated(_land_words(scene.land, rng), rng)
    if len(scene.items) == 2:
        return _decorated(_pair_words(scene, rng), rng)
    if rng.random() < 0.1:
        return _part(scene, rng)
    return _decorated(single_words(scene, rng), rng)


def with_article(words: str) -> str:
    """Put a or an before the words."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _decorated(words: str, rng: Random) -> str:
    lot = rng.random()
    if lot < 0.2:
        return rng.choice(PREFIXES) + words
    if lot < 0.35:
        return words + rng.choice(SUFFIXES)
    return words.capitalize() if lot < 0.4 else words


def _colour(name: str, rng: Random) -> str:
    return rng.choice(SYNONYMS.get(name, (name,))) if rng.random() < 0.15 else name


def _thing(item: Item, rng: Random) -> str:
    size = rng.choice(SIZE_WORDS[item.size]) + " " if item.size else ""
    shape = rng.choice(SHAPE_WORDS.get(item.shape, (item.shape,)))
    return f"{size}{_colour(item.colour, rng)} {shape}"


def _place(item: Item, rng: Random) -> str:
    if item.place in ("", "centre"):
        return rng.choice(("", "", "", " in the centre", " in the middle"))
    if item.place in ("left", "right"):
        return f" on the {item.place}"
    if item.place in ("top", "bottom"):
        return f" at the {item.place}"
    return f" in the {item.place}" + rng.choice(("", " corner"))


def _ground(scene: Scene, rng: Random) -> str:
    pattern = ""
    if scene.pattern != "plain":
        pattern = rng.choice(PATTERN_WORDS[scene.pattern]) + " "
    elif rng.random() < 0.1:
        pattern = "plain "
    return f"{_colour(scene.background, rng)} {pattern}"


def single_words(scene: Scene, rng: Random) -> str:
    """The shape, its place and its background, in one of several orders."""
    item = scene.items[0]
    thing, place, ground = _thing(item, rng), _place(item, rng), _ground(scene, rng)
    lot = rng.random()
    if lot < 0.62:
        return f"{with_article(thing)}{place} on {with_article(ground)}background"
    if lot < 0.74:
        return f"{with_article(ground)}background with {with_article(thing)}{place}"
    if lot < 0.86:
        return f"{thing}{place}, {ground}background"
    return f"{thing}{place} on {ground}".strip()


def _part(scene: Scene, rng: Random) -> str:
    """Only some of the words, so that a short (negative) prompt means something too."""
    item = scene.items[0]
    shape = rng.choice(SHAPE_WORDS.get(item.shape, (item.shape,)))
    return rng.choice(
        (
            with_article(_thing(item, rng)),
            with_article(shape),
            shape,
            _colour(item.colour, rng),
            f"{_ground(scene, rng)}background",
        )
    )


def _pair_words(scene: Scene, rng: Random) -> str:
    first, second = (with_article(_thing(item, rng)) for item in scene.items)
    ground = with_article(f"{_ground(scene, rng)}background")
    lot = rng.random()
    if lot < 0.15:
        return f"{first} and {second} on {ground}"
    to_the = "to the " if scene.relation in ("left of", "right of") and lot < 0.5 else ""
    return f"{first} {to_the}{scene.relation} {second} on {ground}"


def _land_words(land: Land, rng: Random) -> str:
    ground, time = rng.choice(GROUND_WORDS[land.ground]), rng.choice(TIME_WORDS[land.time])
    words = ground
    if land.thing:
        joint = "on" if land.ground in ("sea", "hills") else "in"
        words = f"{rng.choice(THING_WORDS[land.thing])} {joint} {ground}"
    light = land.light and f" with {rng.choice(('a', 'the'))} {land.light}"
    return f"{words} {time}{light}"
