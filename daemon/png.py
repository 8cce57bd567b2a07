"""PNG as chunks: texts in, texts out; pixels are never touched.  PURE

W3C's PNG specification, third edition: eight bytes of signature, then chunks of length, type, data and
CRC-32. A stranger's file is read within bounds: its size, its pixels, how many chunks it has, and what
its compressed texts may grow to.
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 2**27
"""134 megapixels: eight times the largest picture that a prompt may ask for."""
MAX_CHUNKS = 20_000
MAX_TEXT = 2**20
"""Bytes of all texts together, once decompressed."""

_KEYWORD = range(1, 80)
"""Bytes that a keyword may have."""


class BadPicture(Exception):
    """The bytes are no sound PNG, or larger than anyone's parameters need; the message says which."""


class Chunk(NamedTuple):
    """One chunk, its CRC checked."""

    kind: bytes
    data: bytes

    def packed(self) -> bytes:
        """As it stands in a file."""
        crc = zlib.crc32(self.data, zlib.crc32(self.kind))
        return len(self.data).to_bytes(4, "big") + self.kind + self.data + crc.to_bytes(4, "big")


def chunks(data: bytes) -> Iterator[Chunk]:
    """All chunks, from IHDR to IEND. Raises `BadPicture` where the file is damaged or out of bounds."""
    if len(data) > MAX_BYTES:
        raise BadPicture(f"it has more than {MAX_BYTES >> 20} MiB")
    if not data.startswith(SIGNATURE):
        raise BadPicture("it is no PNG")
    offset = len(SIGNATURE)
    for number in range(MAX_CHUNKS):
        chunk = _chunk(data, offset)
        if number == 0:
            _check_header(chunk)
        yield chunk
        offset += 12 + len(chunk.data)
        if chunk.kind == b"IEND":
            return
    raise BadPicture(f"it has more than {MAX_CHUNKS} chunks")


def texts(data: bytes) -> dict[str, str]:
    """The texts of tEXt, zTXt and iTXt chunks by keyword; of two under one keyword the first.

    Raises `BadPicture`, also for texts that are too long.
    """
    found: dict[str, str] = {}
    room = MAX_TEXT
    for chunk in chunks(data):
        reader = _READERS.get(chunk.kind)
        if reader is not None:
            keyword, text, size = reader(chunk.data, room)
            room -= size
            found.setdefault(keyword, text)
    return found


def with_texts(data: bytes, added: Iterable[Chunk]) -> bytes:
    """The same picture with more chunks right after its header. Raises `BadPicture` if that is none.

    What follows goes over as it stands, unread: of a large picture, checking it costs more than writing it.
    """
    header = next(chunks(data)).packed()
    end = len(SIGNATURE) + len(header)
    return b"".join([data[:end], *(chunk.packed() for chunk in added), memoryview(data)[end:]])


def without_texts(data: bytes) -> bytes:
    """The same picture without any text. Raises `BadPicture`."""
    kept = (chunk for chunk in chunks(data) if chunk.kind not in _READERS)
    return SIGNATURE + b"".join(chunk.packed() for chunk in kept)


def text(keyword: str, words: str) -> Chunk:
    """A tEXt chunk where Latin-1 can hold the words, which every reader knows, else iTXt.

    Pillow, which A1111 and ComfyUI write with, chooses the same way. A NUL is left out: neither may hold one.
    """
    words = words.replace("\0", "")
    try:
        return Chunk(b"tEXt", _keyword(keyword) + b"\0" + words.encode("latin-1"))
    except UnicodeEncodeError:
        return international(keyword, words)


def international(keyword: str, words: str) -> Chunk:
    """An iTXt chunk: UTF-8, not compressed, of no language."""
    return Chunk(b"iTXt", _keyword(keyword) + b"\0\0\0\0\0" + words.replace("\0", "").encode())


def _keyword(keyword: str) -> bytes:
    encoded = keyword.encode("latin-1")
    assert len(encoded) in _KEYWORD, keyword
    return encoded


def _chunk(data: bytes, offset: int) -> Chunk:
    length = int.from_bytes(data[offset : offset + 4], "big")
    end = offset + 12 + length
    if end > len(data) or len(data) < offset + 12:
        raise BadPicture("it is cut off")
    kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + length]
    if zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end], "big"):
        raise BadPicture(f"its {kind.decode('latin-1')!r} chunk is damaged")
    return Chunk(kind, body)


def _check_header(chunk: Chunk) -> None:
    if chunk.kind != b"IHDR" or len(chunk.data) != 13:
        raise BadPicture("it does not begin with a header")
    width, height = int.from_bytes(chunk.data[:4], "big"), int.from_bytes(chunk.data[4:8], "big")
    if not 0 < width * height <= MAX_PIXELS:
        raise BadPicture(f"it is {width} × {height} pixels")


Read = tuple[str, str, int]
"""Keyword, text, and how many bytes that was."""


def _plain(data: bytes, room: int) -> Read:
    keyword, _, words = data.partition(b"\0")
    return keyword.decode("latin-1"), _within(words, room).decode("latin-1"), len(words)


def _compressed(data: bytes, room: int) -> Read:
    keyword, _, rest = data.partition(b"\0")
    if rest[:1] != b"\0":
        raise BadPicture("a text is compressed in a way that there is not")
    words = _inflate(rest[1:], room)
    return keyword.decode("latin-1"), words.decode("latin-1"), len(words)


def _international(data: bytes, room: int) -> Read:
    keyword, _, rest = data.partition(b"\0")
    flags, (_, _, words) = rest[:2], _parts(rest[2:])
    if flags not in (b"\0\0", b"\1\0"):
        raise BadPicture("a text is compressed in a way that there is not")
    words = _inflate(words, room) if flags[0] else _within(words, room)
    return keyword.decode("latin-1"), words.decode("utf-8", "replace"), len(words)


def _parts(rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Language, translated keyword, text."""
    language, _, rest = rest.partition(b"\0")
    translated, _, words = rest.partition(b"\0")
    return language, translated, words


def _inflate(data: bytes, room: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        return _within(stream.decompress(data, room + 1), room)
    except zlib.error as error:
        raise BadPicture(f"a text cannot be decompressed: {error}") from error


def _within(words: bytes, room: int) -> bytes:
    if len(words) > room:
        raise BadPicture(f"its texts are longer than {MAX_TEXT >> 20} MiB")
    return words


_READERS = {b"tEXt": _plain, b"zTXt": _compressed, b"iTXt": _international}
