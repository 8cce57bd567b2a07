"""What counts most in the lessons: single shapes, and in them what lies around their outlines.

Most cells of a picture are the same whatever shape stands in it, so a plain mean over the cells
teaches colours in minutes and shapes in hours. Weights on the squared error leave its minimiser
where it is, for each cell is a regression of its own.
"""

import numpy as np
import numpy.typing as npt

from tools.demo_model.scenes import Item, Scene

# The ring in which shapes differ, in radii from the middle: further in all but the ring-shaped
# are filled, further out none is.
INNER, OUTER = 0.25, 1.2
# The outlines of a picture get together this share of what all its cells get evenly ...
SHARE = 0.9
# ... but no cell more than this, however small the shape.
MOST = 8.0

Weights = npt.NDArray[np.float32]


def focus(scene: Scene, side: int) -> Weights:
    """How much each latent cell of the picture counts: side x side, 1 on average."""
    weights = np.ones((side, side), np.float32)
    for item in scene.items:
        band = _band(item, side)
        extra = SHARE * side**2 / max(1, int(band.sum())) / len(scene.items)
        weights += band * min(MOST, extra)
    even: Weights = weights / weights.mean()
    return even


def _band(item: Item, side: int) -> npt.NDArray[np.bool_]:
    middles = (np.arange(side) + 0.5) / side
    apart = np.hypot(middles[None, :] - item.x, middles[:, None] - item.y) / item.radius
    found: npt.NDArray[np.bool_] = (apart > INNER) & (apart < OUTER)
    return found


def practice(scene: Scene) -> float:
    """How often a scene comes up while shapes come first."""
    if len(scene.items) != 1:
        return 0.3
    item = scene.items[0]
    aside = item.size == "small" or item.place != "centre"
    return (1.4 if aside else 1.0) * (1.0 if scene.pattern == "plain" else 0.6)
