"""The drawn world that the demo model learns from, and the judge of what it paints."""

from random import Random

from tests.tools.demo_judge import judge
from tools.demo_model.draw import pixels
from tools.demo_model.palette import COLOURS
from tools.demo_model.scenes import SHAPES, Scene, held_out, placed, random_scene


def unseen_scenes(count: int) -> list[Scene]:
    """Scenes of one shape whose combination of shape and colours training never shows."""
    rng = Random(2026)
    kept: list[Scene] = []
    while len(kept) < count:
        shape = list(SHAPES)[len(kept) % len(SHAPES)]
        colour, background = rng.sample(list(COLOURS), 2)
        if held_out(shape, colour, background):
            kept.append(Scene((placed(rng, shape, colour),), background, "plain", "", None))
    return kept


def test_the_judge_is_right_about_drawn_pictures() -> None:
    """It reads shape, colour and background off a picture without a model."""
    for scene in unseen_scenes(100):
        item, found = scene.items[0], judge(pixels(scene, 128))
        wanted = (item.shape, item.colour, scene.background)
        assert (found.shape, found.colour, found.background) == wanted


def test_training_leaves_the_held_out_combinations_alone() -> None:
    """What the judge asks about has never been shown."""
    rng = Random(1)
    for scene in (random_scene(rng) for _ in range(3000)):
        if len(scene.items) == 1:
            item = scene.items[0]
            assert not held_out(item.shape, item.colour, scene.background)
