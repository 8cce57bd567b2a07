"""The named colours of the drawn world, and the words that captions use for them."""

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (222, 38, 44),
    "orange": (248, 138, 24),
    "yellow": (254, 216, 40),
    "green": (40, 164, 66),
    "teal": (22, 176, 176),
    "blue": (34, 82, 216),
    "purple": (130, 52, 190),
    "pink": (250, 132, 182),
    "brown": (124, 74, 38),
    "white": (252, 252, 250),
    "grey": (142, 146, 152),
    "black": (22, 22, 28),
}

SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("scarlet", "crimson"),
    "yellow": ("golden",),
    "teal": ("turquoise", "cyan"),
    "purple": ("violet",),
    "pink": ("rose",),
    "grey": ("gray",),
}


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Blend `share` of the second colour into the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def second_tone(colour: RGB) -> RGB:
    """The tone that a pattern lays over its colour: lighter on dark, darker on light."""
    light = sum(colour) > 500
    return mix(colour, (0, 0, 0), 0.17) if light else mix(colour, (255, 255, 255), 0.24)
