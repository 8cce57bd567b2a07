"""Where the UNet's lessons count most."""

import numpy as np
import pytest

from tools.demo_model.focus import focus
from tools.demo_model.scenes import Item, Land, Scene


def one_shape(x: float, radius: float) -> Scene:
    """A star on plain blue."""
    return Scene((Item("star", "red", "", "", x, 0.5, radius),), "blue", "plain", "", None)


@pytest.mark.parametrize("radius", [0.13, 0.3, 0.42])
def test_outlines_count_more_than_what_is_the_same_for_all_shapes(radius: float) -> None:
    """The cells around the outline weigh more than the corner and the middle; the mean stays 1."""
    weights = focus(one_shape(0.5, radius), 16)
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    outline = weights[8, 8 + int(0.9 * radius * 16)]
    assert outline > 1.9 * weights[0, 0]


def test_small_shapes_count_no_less_than_large_ones() -> None:
    """The fewer cells an outline has, the more each of them weighs."""
    small, large = (focus(one_shape(0.3, radius), 16).max() for radius in (0.14, 0.4))
    assert small > 2 * large


def test_landscapes_count_evenly() -> None:
    """They have no outline that one word decides."""
    land = Scene((), "", "", "", Land("day", "sun", "hills", "", 1))
    assert np.array_equal(focus(land, 32), np.ones((32, 32), np.float32))
