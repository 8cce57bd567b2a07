"""Pixels → the small pictures that are kept of each step, made where previews are encoded, not sampled."""

import numpy as np
from PIL import Image

from daemon.gpu import formats
from daemon.prompts import Keep
from daemon.strips import Thumbnail

STEP = 128
"""Pixels of a kept step's longer side, at most: a 1024² picture's latent is as large."""
FINAL = 256
_QUALITY = 75
"""Of JPEG. WebP of the same quality is a fifteenth smaller and takes seven times as long, at every step."""


def of_step(pixels: formats.Pixels, encoded: bytes, step: int, sigma: float, keep: Keep) -> Thumbnail | None:
    """What is kept of a step whose preview is `pixels`, and `encoded` as it was shown."""
    match keep:
        case "none":
            return None
        case "all":
            height, width, _ = pixels.shape
            return Thumbnail(step, sigma, width, height, encoded)
        case "strip":
            return _small(pixels, STEP, step, sigma, final=False)


def of_final(pixels: formats.Pixels, step: int, keep: Keep) -> Thumbnail | None:
    """What is kept of the finished picture beside itself."""
    return None if keep == "none" else _small(pixels, FINAL, step, 0.0, final=True)


def _small(pixels: formats.Pixels, side: int, step: int, sigma: float, *, final: bool) -> Thumbnail:
    height, width, _ = pixels.shape
    if max(height, width) > side:
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX, reducing_gap=2.0))
    height, width, _ = pixels.shape
    return Thumbnail(step, sigma, width, height, formats.encode(pixels, "jpeg", _QUALITY), final)
