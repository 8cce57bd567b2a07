"""Histories on disk for tests that damage them: a few thousand real rows, sealed and not."""

import random
from pathlib import Path

from msgspec.structs import replace

from daemon.events import codec, opening
from daemon.events.codec import Row
from daemon.events.store import Store
from tests.stories import NOON, accepted, created, previewed


def rows(count: int, previous: bytes = codec.GENESIS, start: int = 1) -> list[Row]:
    """Chained rows, `start` and on; each with a text of its own length, so that no two are alike."""
    made = []
    for seq in range(start, start + count):
        event = (accepted(), created(), previewed(seq))[seq % 3]
        row = codec.seal(event, seq=seq, ts=NOON, cause=None, previous=previous)
        made.append(row)
        previous = row.hash
    return made


def kept(some: list[Row]) -> list[Row]:
    """Rows as the database gives them back: most have the beginning of their hash."""
    return [replace(row, hash=codec.kept(row)) for row in some]


def write(path: Path, *, sealed: int, loose: int) -> list[Row]:
    """`sealed` rows in a segment, checkpointed, and `loose` ones after, left as a kill leaves them."""
    every = rows(sealed + loose)
    store = Store(path)
    batch(store, every[:sealed])
    if sealed:
        cursor = store.cursor()
        store.seal(cursor, sealed)
        cursor.close()
        store.checkpoint()
    batch(store, every[sealed:])
    kill(store, path)
    return every


def batch(store: Store, some: list[Row]) -> None:
    """Commit in small groups, as a daemon does."""
    for at in range(0, len(some), 7):
        store.commit(some[at : at + 7])
        store.transfer()


def kill(store: Store, path: Path) -> None:
    """Leave the files as they are now: closing would seal and checkpoint, so what it does is undone."""
    kept = on_disk(path)
    store.close()
    put_back(path, kept)


def on_disk(path: Path) -> dict[Path, bytes]:
    """Everything of the history on disk, as it is now."""
    return {file: file.read_bytes() for file in _every(path)}


def put_back(path: Path, kept: dict[Path, bytes]) -> None:
    """Undo what happened to the files since."""
    for file in _every(path):
        file.unlink()
    for file, was in kept.items():
        file.write_bytes(was)


def files(path: Path) -> list[Path]:
    """The database, its write-ahead log, and the journal."""
    return [path, path.with_name(f"{path.name}.wal"), opening.journal_of(path)]


def _every(path: Path) -> list[Path]:
    """Those that there are, and the segments."""
    return [file for file in [*files(path), *opening.segments_of(path).iterdir()] if file.exists()]


def flip(path: Path, at: int) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << random.Random(at).randrange(8)
    path.write_bytes(content)
