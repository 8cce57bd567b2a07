"""One dropped file at a time: look at it, claim it, file it away. Plain synchronous file work.

A file is looked at, and claimed the moment that it parses; one that does not parse gets `QUIET` seconds
after its last write first, since it may still be being written. Claiming renames it into `.claimed/`
in a folder whose name says which drop it is, so that what a crash leaves there can be finished.
"""

import errno
import hashlib
import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from daemon.events.types import Source
from daemon.faults import Fault
from daemon.files import write_whole
from daemon.prompts import MAX_BYTES, Prompt, parse
from daemon.settings import Home

QUIET = 2.0
"""Seconds without a write after which a file that does not parse is taken as finished."""

_LOOKS = 3
"""Tries to read a file that changes meanwhile; then it waits for the next scan."""
_NAME_BYTES = 255
"""Longest name that Linux and macOS file systems take."""
_REPORT_ROOM = _NAME_BYTES - len(".error.json") - 40
"""Of a name that a report's is made of; the rest is for the temporary name it is written under."""

logger = logging.getLogger(__name__)


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed file and what it came to."""

    path: Path
    """Where it lies in `.claimed/`."""
    name: str
    """As it was dropped."""
    source: Source
    verdict: Prompt | list[Fault]


class _Look(msgspec.Struct, frozen=True):
    """A file as it was read."""

    data: bytes
    mark: tuple[int, int, int]
    """Inode, size and time of the last write in nanoseconds: it changed if the file did."""

    @property
    def age(self) -> float:
        """Seconds since the last write."""
        return time.time() - self.mark[2] / 1e9


def claimed(home: Home) -> Path:
    """The folder of drops between claim and end."""
    return home.inbox / ".claimed"


def claim_ready(home: Home, model: str, limit: int) -> tuple[list[Drop], int]:
    """Claim up to `limit` files that are ready; answers them and how many had to be left in the inbox.

    `model` is the checkpoint of prompts that name none.
    """
    drops: list[Drop] = []
    waiting = 0
    for path in _candidates(home.inbox):
        if len(drops) == limit:
            break
        try:
            drop = _claim(path, home, model)
        except OSError as error:
            logger.warning("%s stays in the inbox: %s", shown(path.name), error)
            drop = None
        if drop is None:
            waiting += 1
        else:
            drops.append(drop)
    return drops, waiting


def left_claimed(home: Home, model: str) -> list[Drop]:
    """The drops that an earlier run claimed and did not finish, under their old claims."""
    drops = []
    for folder in sorted(claimed(home).iterdir()):
        try:
            for path in folder.iterdir():
                data = _look(path).data
                source = _source(path.name, data, folder.name)
                drops.append(Drop(path=path, name=path.name, source=source, verdict=parse(data, model)))
        except OSError as error:
            logger.warning("%s stays claimed: %s", shown(folder.name), error)
        else:
            _forget_if_empty(folder)
    return drops


def finish(drop: Drop, home: Home) -> None:
    """File a drop away once the log knows its fate: in `done/`, or in `rejected/` with its faults."""
    if isinstance(drop.verdict, Prompt):
        drop.path.rename(_free(home.done, drop.name))
        _forget_if_empty(drop.path.parent)
        return
    target = _free(home.rejected, drop.name)
    report = msgspec.json.encode({"file": drop.source.name, "faults": drop.verdict})
    beside = target.with_name(_report_name(target.name, drop.source.claim))
    write_whole(beside, msgspec.json.format(report, indent=2) + b"\n", durable=False)
    drop.path.rename(target)
    _forget_if_empty(drop.path.parent)


def shown(name: str) -> str:
    r"""A file's name for people and the log: bytes that are no UTF-8 as `\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _candidates(folder: Path) -> list[Path]:
    """Regular files that could be prompts, oldest first; hidden, temporary and foreign names stay."""
    with os.scandir(folder) as found:
        entries = [
            (_written(entry), entry.name)
            for entry in found
            if entry.name.endswith(".json")
            and not entry.name.startswith((".", "~"))
            and entry.is_file(follow_symlinks=False)
        ]
    return [folder / name for _, name in sorted(entries)]


def _written(entry: os.DirEntry[str]) -> int:
    """Time of the last write; 0 for a file that is gone again, which the claim will find out."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return 0


def _claim(path: Path, home: Home, model: str) -> Drop | None:
    look = _look(path)
    verdict = parse(look.data, model)
    if (
        isinstance(verdict, list) and abs(look.age) < QUIET
    ):  # a time in the future is a wrong clock, not a writer
        return None
    source = _source(path.name, look.data, _identity(path.name, look))
    target = claimed(home) / source.claim / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)
    if _mark(target.lstat()) != look.mark:
        # Written or swapped between our look and our grip: back it goes, for a fresh look.
        # Not over a file that took its name meanwhile.
        target.rename(_free(path.parent, path.name))
        _forget_if_empty(target.parent)
        return None
    return Drop(path=target, name=path.name, source=source, verdict=verdict)


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _look(path: Path) -> _Look:
    """Read a file, neither following a link nor blocking on a pipe; again if it changes meanwhile."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        for _ in range(_LOOKS):
            before = _mark(os.fstat(descriptor))
            file.seek(0)
            data = file.read(MAX_BYTES + 1)
            if _mark(os.fstat(descriptor)) == before:
                return _Look(data, before)
    raise OSError(errno.EBUSY, "is being written")


def _identity(name: str, look: _Look) -> str:
    """Names the drop: this content, under this name, written at this moment."""
    digest = hashlib.sha256(look.data)
    digest.update(os.fsencode(name))
    digest.update(look.mark[2].to_bytes(16, "little", signed=True))
    return digest.hexdigest()[:16]


def _source(name: str, data: bytes, claim: str) -> Source:
    return Source(kind="file", name=shown(name), sha256=hashlib.sha256(data).hexdigest(), claim=claim)


def _free(folder: Path, name: str) -> Path:
    """`name` in `folder`, or the first of `name~2`, `name~3` … that is free: no earlier file is lost."""
    target = folder / name
    number = 2
    while os.path.lexists(target):
        tail = f"~{number}{Path(name).suffix}"
        target = folder / f"{_cut(Path(name).stem, _NAME_BYTES - len(os.fsencode(tail)))}{tail}"
        number += 1
    return target


def _report_name(name: str, claim: str) -> str:
    """`NAME.error.json`; a name too long for that is cut, and its claim tells it from others cut alike."""
    if len(os.fsencode(name)) > _REPORT_ROOM:
        name = f"{_cut(name, _REPORT_ROOM - len(claim) - 1)}~{claim}"
    return f"{name}.error.json"


def _cut(name: str, room: int) -> str:
    """As much of a name as `room` bytes hold, without half a character at its end."""
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return name


def _forget_if_empty(folder: Path) -> None:
    """A claim ends with its file."""
    with suppress(OSError):
        folder.rmdir()
