"""The events since the last seal, in a plain file: append and fdatasync. A row that stands here is committed.

The database takes the rows in a moment later, and it forgets in silence: a deleted or damaged write-ahead
log opens as a shorter database. Where the two disagree at the next open, this file says what is missing. It
starts anew each time that its rows have been sealed into a segment.

A record is its length and CRC-32 (4 bytes each, little-endian) and MessagePack. The first is the `Base`
that the rest builds on. A torn last record was never acknowledged and is cut off.
"""

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from daemon.events.codec import Row, bears, chain
from daemon.files import write_whole


class Base(msgspec.Struct, frozen=True):
    """Where the journal starts: the last row that is sealed elsewhere."""

    epoch: str
    seq: int
    hash: bytes


class Read(msgspec.Struct, frozen=True):
    """What a journal on disk says."""

    base: Base
    rows: list[Row]
    """As far as they chain from the base, in order."""
    sound: bytes
    """The file's content up to there."""
    damage: str | None
    """What is wrong beyond, in words; None for nothing at all or a torn last record."""


_encoder = msgspec.msgpack.Encoder()
_base_decoder = msgspec.msgpack.Decoder(Base)
_row_decoder = msgspec.msgpack.Decoder(Row)


class Journal:
    """The open file, at its end."""

    def __init__(self, path: Path, content: bytes) -> None:
        """Start the journal anew with `records`, whole and fsynced, in place of what was there."""
        write_whole(path, content, durable=True)
        self._fd: int | None = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._size = len(content)

    def close(self) -> None:
        """Give the file back; once is enough."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    @property
    def closed(self) -> bool:
        """Nothing can be written any more."""
        return self._fd is None

    def append(self, rows: Sequence[Row]) -> None:
        """Make the rows durable, or raise OSError and have none of them in the file.

        Where they cannot be taken out again, the journal is closed: nothing may follow them.
        """
        content = records(rows)
        descriptor = self._descriptor()
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fdatasync(descriptor)
        except OSError:
            self._cut()
            raise
        self._size += len(content)

    def _cut(self) -> None:
        descriptor = self._descriptor()
        try:
            os.ftruncate(descriptor, self._size)
            os.fsync(descriptor)
        except OSError:
            self.close()
            raise

    def _descriptor(self) -> int:
        if self._fd is None:
            raise OSError("the journal is closed")
        return self._fd


def records(values: Iterable[Base | Row]) -> bytes:
    """What a journal has of them on disk; the first one of a whole journal is its base."""
    return b"".join(map(_record, values))


def read(path: Path) -> Read | None:
    """What the file says, as far as it can be believed; None if it is missing or its base is unreadable."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    records = _records(content)
    first = next(records, None)
    if first is None:
        return None
    base = _base_decoder.decode(first[0])
    rows: list[Row] = []
    head, sound = base.hash, first[1]
    for body, end in records:
        row = _row_decoder.decode(body)
        follows = chain(head, row)
        if row.seq != base.seq + len(rows) + 1 or not bears(row, follows):
            return Read(base, rows, content[:sound], f"its record of event {row.seq} does not follow")
        rows.append(replace(row, hash=follows))
        head, sound = follows, end
    damage = _damage(content[sound:])
    return Read(base, rows, content[:sound], damage)


def _record(value: Base | Row) -> bytes:
    body = _encoder.encode(value)
    return len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body


def _records(content: bytes) -> Iterator[tuple[bytes, int]]:
    """The sound records from the start, each with the offset of its end."""
    at = 0
    while len(content) >= at + 8:
        end = at + 8 + int.from_bytes(content[at : at + 4], "little")
        body = content[at + 8 : end]
        # Zeros, as a power cut leaves them, would pass as an empty record with the right checksum.
        if (
            not body
            or end > len(content)
            or zlib.crc32(body) != int.from_bytes(content[at + 4 : at + 8], "little")
        ):
            return
        yield body, end
        at = end


def _damage(rest: bytes) -> str | None:
    """A torn last record is no damage: it was never acknowledged. Whole records behind a bad one are."""
    if len(rest) < 8:
        return None
    end = 8 + int.from_bytes(rest[:4], "little")
    return None if end > len(rest) else f"{len(rest)} bytes at its end are damaged"
