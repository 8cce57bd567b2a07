"""What goes into a file comes out of Pillow, bit for bit where the format loses nothing."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from daemon import png, reprints
from daemon.gpu import formats
from daemon.gpu.formats import Pixels
from tests.pictures import pillow_texts
from tests.test_reprints import RECIPE

SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))
STRIPED = (600, 701)
"""Height and width of a picture whose rows two threads share."""


def picture(height: int, width: int, seed: int = 1, grain: int = 256) -> Pixels:
    """Noise on a slope: every byte value, and wrapping round from row to row."""
    noise = np.random.default_rng(seed).integers(0, grain, (height, width, 3))
    slope = np.arange(height)[:, None, None] * 3
    return (noise + slope).astype(np.uint8)


def read(data: bytes) -> Pixels:
    """By Pillow, which checks every checksum."""
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGB"
    return np.asarray(image)


@given(SHAPES, st.integers(0, 9), st.sampled_from([1, 4, 256]))
def test_a_png_is_the_pixels(shape: tuple[int, int], seed: int, grain: int) -> None:
    """Of any shape, smooth or grainy."""
    pixels = picture(*shape, seed, grain)
    assert np.array_equal(read(formats.png(pixels)), pixels)


@pytest.mark.parametrize("grain", [1, 256])
def test_a_large_png_is_the_pixels_too(grain: int) -> None:
    """Where two threads share the rows, the stream is whole, and our own reader finds every chunk sound."""
    pixels = picture(*STRIPED, grain=grain)
    assert pixels.nbytes > formats._STRIPE
    data = formats.png(pixels)
    assert np.array_equal(read(data), pixels)
    assert [chunk.kind for chunk in png.chunks(data)] == [b"IHDR", b"IDAT", b"IEND"]


def test_a_final_is_the_pixels_and_the_texts() -> None:
    """With the recipe in it, as it lies on disk, Pillow reads the same pixels and both texts."""
    pixels = picture(*STRIPED)
    data = png.with_texts(formats.png(pixels), reprints.texts(RECIPE))
    assert np.array_equal(read(data), pixels)
    assert pillow_texts(data) == png.texts(data)
    assert png.texts(data).keys() == {"safelight", "parameters"}


def test_a_png_is_hardly_larger_than_pillows() -> None:
    """Its quick level and one filter for all rows cost some bytes, not many."""
    slope = np.linspace(0, 200, 512)
    smooth = (slope[:, None, None] + slope[None, :, None] / 4 + [0, 2, 5]).astype(np.uint8)
    pixels = smooth + np.random.default_rng(1).integers(0, 5, smooth.shape, np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=6)
    assert len(formats.png(pixels)) < 1.25 * len(out.getvalue())


@pytest.mark.parametrize(("format", "magic"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")])
def test_quality_costs_bytes_and_shows(format: str, magic: bytes) -> None:
    """JPEG and WebP resemble the picture, the more the higher the quality."""
    pixels = np.kron(picture(8, 12), np.ones((8, 8, 1), np.uint8))
    files = [formats.encode(pixels, format, quality) for quality in (20, 95)]  # type: ignore[arg-type]  # a literal
    errors = [np.abs(read(file).astype(int) - pixels).mean() for file in files]
    assert all(file.startswith(magic) for file in files)
    assert len(files[0]) < len(files[1])
    assert errors[1] < errors[0] < 60
