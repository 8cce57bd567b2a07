"""Tells by measurement what a picture of one shape shows: its shape and its two colours."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from tools.demo_model.draw import mask
from tools.demo_model.palette import COLOURS
from tools.demo_model.scenes import SHAPES, Item

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
GRID = 48
NAMES = list(COLOURS)
PALETTE = np.array(list(COLOURS.values()), np.float32)


@dataclass(frozen=True)
class Verdict:
    """What was found; `fit` says how well the outline agrees with that shape, 0 to 1."""

    shape: str
    colour: str
    background: str
    fit: float


def judge(picture: Bytes) -> Verdict:
    """Measure the picture: nearest palette colours, then the best overlapping outline."""
    labels = _nearest(picture)
    edge = np.concatenate(
        [labels[:3].ravel(), labels[-3:].ravel(), labels[:, :3].ravel(), labels[:, -3:].ravel()]
    )
    background = _commonest(edge)
    others = labels[labels != background]
    colour = _commonest(others) if len(others) else background
    covered = _nearer(picture, colour, background)
    shape, fit = _best_outline(covered)
    return Verdict(shape, NAMES[colour], NAMES[background], fit)


def _nearest(picture: Bytes) -> npt.NDArray[np.intp]:
    apart = picture[:, :, None, :].astype(np.float32) - PALETTE
    labels: npt.NDArray[np.intp] = (apart**2).sum(-1).argmin(-1)
    return labels


def _commonest(labels: npt.NDArray[np.intp]) -> int:
    return int(np.bincount(labels.ravel(), minlength=len(NAMES)).argmax())


def _nearer(picture: Bytes, colour: int, background: int) -> Flags:
    """Pixels nearer to the shape's colour than to the background's, on the line between."""
    line = PALETTE[colour] - PALETTE[background]
    along = (picture.astype(np.float32) - PALETTE[background]) @ line
    covered: Flags = along > 0.5 * float(line @ line)
    return covered


def _best_outline(covered: Flags) -> tuple[str, float]:
    found = _framed(covered)
    fits = {shape: _overlap(found, outline) for shape, outline in _outlines().items()}
    best = max(fits, key=lambda shape: fits[shape])
    return best, fits[best]


def _overlap(one: Flags, other: Flags) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _framed(covered: Flags) -> Flags:
    """The covered part cut out and stretched to a standard square; specks do not count."""
    rows = np.flatnonzero(covered.sum(1) > 1)
    columns = np.flatnonzero(covered.sum(0) > 1)
    if len(rows) < 3 or len(columns) < 3:
        return np.zeros((GRID, GRID), bool)
    part = covered[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    grown = Image.fromarray(part.astype(np.uint8) * 255).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(grown) > 127


@cache
def _outlines() -> dict[str, Flags]:
    items = {s: Item(s, "red", "", "", 0.5, 0.5, 0.4) for s in SHAPES}
    return {shape: _framed(np.asarray(mask(item, 192)) > 127) for shape, item in items.items()}
