"""The kept steps of a frame's development: small pictures in one file for each frame, under `strips/`.

A file begins with the log's epoch, so that a strip of another history is never shown; then come records, a
head and a picture each, appended with one write as steps happen. A crash can tear the last record: heads say
how long each is, and its checksum whether it is whole, so a torn one is not seen, and cut off by the next
attempt at the frame. The log does not name strips, and a picture does not depend on them.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

_MAGIC = b"SAFELIGHT STRIP 1 %s\n"
_HEAD = struct.Struct("<4s?IdHHI")
"""Mark, whether it is the finished picture, step, sigma, width, height, the picture's bytes."""
_CRC = struct.Struct("<I")
"""CRC-32 of head and picture, between the two."""
_MARK = b"STEP"


class Thumbnail(msgspec.Struct, frozen=True):
    """A small picture of a step, or of the finished picture."""

    step: int
    sigma: float
    width: int
    height: int
    data: bytes
    """JPEG, or whatever the prompt's previews are."""
    final: bool = False


class Kept(msgspec.Struct, frozen=True):
    """A record of a strip."""

    step: int
    sigma: float
    width: int
    height: int
    size: int
    """Bytes of the picture."""
    final: bool
    place: int
    """Where in the file the picture begins."""
    head: bytes
    crc: int


def path_of(folder: Path, frame: int) -> Path:
    """Where a frame's strip lies."""
    return folder / f"{frame}.strip"


def begin(path: Path, epoch: str, step: int) -> None:
    """Have the file hold whole records of steps up to `step` and no others: an attempt goes on from there.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    keep = 0
    if path.exists():
        with path.open("rb") as file:
            for kept in _records(file, epoch):
                if kept.final or kept.step > step or _picture(file, kept) is None:
                    break
                keep = kept.place + kept.size
    with path.open("r+b" if keep else "wb") as file:
        if keep:
            file.truncate(keep)
        else:
            file.write(_magic(epoch))


def append(path: Path, thumbnail: Thumbnail) -> None:
    """Add a step to a strip that was begun, or raise OSError and leave it as it was."""
    data = thumbnail.data
    what = (thumbnail.final, thumbnail.step, thumbnail.sigma, thumbnail.width, thumbnail.height)
    head = _HEAD.pack(_MARK, *what, len(data))
    check = _CRC.pack(zlib.crc32(data, zlib.crc32(head)))
    with path.open("ab") as file:
        size = file.tell()
        try:
            file.write(head + check + data)
            file.flush()
        except OSError:
            os.ftruncate(file.fileno(), size)
            raise
        if thumbnail.final:
            os.fdatasync(file.fileno())


def index(path: Path, epoch: str) -> list[Kept]:
    """What a strip holds, in the order of steps, the finished picture last; nothing if there is no strip."""
    try:
        with path.open("rb") as file:
            return list(_records(file, epoch))
    except FileNotFoundError:
        return []


def read(path: Path, kept: Kept) -> bytes | None:
    """The picture of a record; None if it is not what was written. Raises OSError."""
    with path.open("rb") as file:
        return _picture(file, kept)


def discard(folder: Path, frame: int) -> None:
    """The frame's steps are not kept any longer, if they were."""
    path_of(folder, frame).unlink(missing_ok=True)


def _records(file: BinaryIO, epoch: str) -> Iterator[Kept]:
    magic = _magic(epoch)
    if file.read(len(magic)) != magic:
        return
    size = os.fstat(file.fileno()).st_size
    place = len(magic)
    while place + _HEAD.size + _CRC.size <= size:
        file.seek(place)
        head = file.read(_HEAD.size)
        (crc,) = _CRC.unpack(file.read(_CRC.size))
        mark, final, step, sigma, width, height, length = _HEAD.unpack(head)
        place += _HEAD.size + _CRC.size
        if mark != _MARK or place + length > size:
            return
        yield Kept(step, sigma, width, height, length, final, place, head, crc)
        place += length


def _picture(file: BinaryIO, kept: Kept) -> bytes | None:
    file.seek(kept.place)
    data = file.read(kept.size)
    return data if zlib.crc32(data, zlib.crc32(kept.head)) == kept.crc else None


def _magic(epoch: str) -> bytes:
    return _MAGIC % epoch.encode()
