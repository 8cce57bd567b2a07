"""PNG chunks: what goes in comes out, Pillow reads the same, and a stranger's file is read within bounds."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import png
from daemon.png import BadPicture, Chunk
from tests.pictures import pillow_texts, pixels, saved

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)


@given(WORDS, WORDS)
def test_texts_go_in_and_come_out_and_pixels_stay(one: str, other: str) -> None:
    """By our reading and by Pillow's, whatever the words hold."""
    bare = saved()
    filled = png.with_texts(bare, [png.text("parameters", one), png.international("safelight", other)])
    assert png.texts(filled) == {"parameters": one, "safelight": other}
    assert pillow_texts(filled) == {"parameters": one, "safelight": other}
    assert pixels(filled) == pixels(bare)


@given(WORDS)
def test_what_pillow_writes_is_read_compressed_or_not(words: str) -> None:
    """tEXt, zTXt and both kinds of iTXt."""
    for compressed in (False, True):
        assert png.texts(saved({"parameters": words}, compressed=compressed)) == {"parameters": words}


def test_latin_1_goes_as_the_chunk_that_every_reader_knows() -> None:
    """And what it cannot hold as iTXt, as Pillow does it."""
    assert png.text("parameters", "a café").kind == b"tEXt"
    assert png.text("parameters", "eine Füchsin 🦊").kind == b"iTXt"


def test_chunks_packed_again_are_the_same_file() -> None:
    """Nothing is added or left out on the way through."""
    data = saved({"a": "b"})
    assert png.SIGNATURE + b"".join(chunk.packed() for chunk in png.chunks(data)) == data


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_picture_is_refused_and_never_misread(data: st.DataObject) -> None:
    """One bit flipped anywhere, or the file cut anywhere."""
    whole = saved({"parameters": "a fox"})
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for broken in (bytes(flipped), whole[:place]):
        with pytest.raises(BadPicture):
            png.texts(broken)


def with_header(width: int, height: int) -> bytes:
    """A PNG that says it is so large."""
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header, *others = png.chunks(saved())
    changed = Chunk(b"IHDR", sizes + header.data[8:])
    return png.SIGNATURE + b"".join(chunk.packed() for chunk in (changed, *others))


BOMB = zlib.compress(bytes(200 * 2**20), 9)
"""200 MiB of nothing in 200 KiB."""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "no PNG", id="nothing"),
        pytest.param(b"\xff\xd8\xff\xe0JFIF", "no PNG", id="a JPEG"),
        pytest.param(png.SIGNATURE, "cut off", id="a signature alone"),
        pytest.param(png.SIGNATURE + Chunk(b"IEND", b"").packed(), "header", id="no header"),
        pytest.param(with_header(2**31 - 1, 2**31 - 1), "pixels", id="too many pixels"),
        pytest.param(with_header(0, 8), "0 × 8", id="no pixels"),
        pytest.param(
            png.with_texts(saved(), [Chunk(b"zTXt", b"parameters\0\0" + BOMB)]), "longer", id="zTXt bomb"
        ),
        pytest.param(
            png.with_texts(saved(), [Chunk(b"iTXt", b"prompt\0\1\0\0\0" + BOMB)]), "longer", id="iTXt bomb"
        ),
        pytest.param(
            png.with_texts(saved(), [png.text("a", "x" * 600_000), png.text("b", "x" * 600_000)]),
            "longer",
            id="too much text in all",
        ),
        pytest.param(
            png.with_texts(saved(), [png.text("a", "b")] * png.MAX_CHUNKS), "chunks", id="too many chunks"
        ),
        pytest.param(
            png.with_texts(saved(), [Chunk(b"zTXt", b"a\0\0rubbish")]), "decompressed", id="rubbish in zTXt"
        ),
        pytest.param(png.with_texts(saved(), [Chunk(b"zTXt", b"a\0\7x")]), "no", id="an unknown compression"),
        pytest.param(bytes(png.MAX_BYTES + 1), "64 MiB", id="too large"),
    ],
)
def test_what_is_out_of_bounds_is_refused(data: bytes, why: str) -> None:
    """Each by its reason, and without being unpacked first."""
    with pytest.raises(BadPicture, match=why):
        png.texts(data)
