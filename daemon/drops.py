"""One drop at a time: claim it, file it away. Plain synchronous file work.

Claiming renames the file into `.claimed/`, into a folder whose name says which drop it is, so that what a
crash leaves there can be finished. Until the log knows a drop's fate it stays there; then it goes to
`done/` or, with what is wrong beside it, to `rejected/`.
"""

import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from daemon import leases
from daemon.arrivals import (
    CLAIMED,
    Arrival,
    Mark,
    Verdict,
    Waiting,
    limit_of,
    mark_of,
    opened,
    shown,
    verdict_of,
)
from daemon.events.types import Source
from daemon.files import write_whole
from daemon.mounts import check_moves
from daemon.settings import Home
from daemon.sheets import Sheet

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
    mark: Mark
    source: Source
    verdict: Verdict


def claimed(home: Home) -> Path:
    """The folder of drops between claim and end."""
    return home.inbox / CLAIMED


def prepare(home: Home) -> None:
    """Have the folders that a drop goes through. Raises OSError if files cannot be moved between them."""
    folders = (claimed(home), home.done, home.rejected)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    check_moves(home.inbox, list(folders))


def claim_all(arrivals: Iterable[Arrival], home: Home, model: str) -> tuple[list[Drop], list[Waiting]]:
    """Claim files that were found ready; answers those that could not be, each with its reason, beside them.

    One that is not ready any more is in neither: it is forgotten, for a fresh look.
    """
    drops, refused = [], []
    for arrival in arrivals:
        try:
            drop = claim(arrival, home, model)
        except FileNotFoundError:  # someone took it away again
            arrival.forget()
        except OSError as error:
            refused.append(Waiting(shown(arrival.name), f"cannot be taken: {error.strerror}", trouble=True))
        else:
            if drop is None:
                arrival.forget()
            else:
                drops.append(drop)
    return drops, refused


def finish_all(drops: Iterable[Drop], home: Home) -> tuple[list[Drop], str | None]:
    """File drops away; answers those that could not be, and the last reason. They are to be tried again."""
    unfiled, reason = [], None
    for drop in drops:
        try:
            finish(drop, home)
        except OSError as error:
            if not os.path.lexists(drop.path):
                logger.warning("%s was taken away from %s by someone", drop.source.name, drop.path.parent)
                continue
            with suppress(OSError):  # done/ or rejected/ may be gone
                prepare(home)
            unfiled.append(drop)
            reason = f"cannot be moved on: {error.strerror}"
    return unfiled, reason


def claim(arrival: Arrival, home: Home, model: str) -> Drop | None:
    """Claim a file that was found ready; None if it is not any more and has to be looked at again.

    `model` is the checkpoint of prompts that name none. Raises OSError with the file where it was.
    """
    path = home.inbox / arrival.name
    if not stat.S_ISREG(arrival.mode):
        return _grip(path, arrival.mark, b"", verdict_of(arrival.name, arrival.mode, b"", model), home)
    with opened(path) as descriptor:
        if mark_of(os.fstat(descriptor)) != arrival.mark:
            return None
        written_to = leases.written_to(descriptor)
        data = os.pread(descriptor, arrival.form.limit + 1, 0)
        verdict = arrival.verdict if data == arrival.data else None
        verdict = verdict or verdict_of(arrival.name, arrival.mode, data, model)
        # What was closed when it was found ready and is open now has a new writer; the rest was waited for.
        if (written_to and not arrival.written_to) or isinstance(verdict, Sheet) is not (arrival.jobs > 0):
            return None
        drop = _grip(path, arrival.mark, data, verdict, home)
        if drop is not None and written_to is False and not leases.undisturbed(descriptor):
            let_go(drop, home)
            return None
        return drop


def left_claimed(home: Home, model: str) -> list[Drop]:
    """The drops that an earlier run claimed and did not finish, under their old claims."""
    drops = []
    for folder in sorted(claimed(home).iterdir()):
        try:
            drops += [_left(path, model) for path in folder.iterdir()]
        except OSError as error:
            logger.warning("%s stays claimed: %s", shown(folder.name), error)
        else:
            _forget_if_empty(folder)
    return drops


def finish(drop: Drop, home: Home) -> None:
    """File a drop away once the log knows its fate: in `done/`, or in `rejected/` with its faults."""
    if mark_of(drop.path.lstat()) != drop.mark:
        logger.warning("%s was written to after it was taken; what came later was not read", drop.source.name)
    if isinstance(drop.verdict, Sheet):
        drop.path.rename(_free(home.done, drop.name))
    else:
        target = _free(home.rejected, drop.name)
        report = msgspec.json.encode({"file": drop.source.name, "faults": drop.verdict})
        beside = target.with_name(_report_name(target.name, drop.source.claim))
        write_whole(beside, msgspec.json.format(report, indent=2) + b"\n", durable=False)
        drop.path.rename(target)
    _forget_if_empty(drop.path.parent)


def _grip(path: Path, mark: Mark, data: bytes, verdict: Verdict, home: Home) -> Drop | None:
    """Rename it into `.claimed/`; None, with the file back, if it is another one by then."""
    identity = _identity(path.name, mark, data, verdict)
    folder = claimed(home) / identity
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        # Not over the other: both are drops, and one of them will be named a duplicate.
        raise OSError(errno.EEXIST, "an equal drop is being taken") from error
    target = folder / path.name
    try:
        path.rename(target)
    except OSError:
        folder.rmdir()
        raise
    source = _source(path.name, data, identity)
    drop = Drop(path=target, name=path.name, mark=mark, source=source, verdict=verdict)
    if mark_of(target.lstat()) != mark:
        let_go(drop, home)
        return None
    return drop


def let_go(drop: Drop, home: Home) -> None:
    """Put a claimed file back for a fresh look, not over one that took its name meanwhile."""
    drop.path.rename(_free(home.inbox, drop.name))
    _forget_if_empty(drop.path.parent)


def _left(path: Path, model: str) -> Drop:
    status = path.lstat()
    data = b""
    if stat.S_ISREG(status.st_mode):
        with opened(path) as descriptor:
            data = os.pread(descriptor, limit_of(path.name) + 1, 0)
    verdict = verdict_of(path.name, stat.S_IFMT(status.st_mode), data, model)
    source = _source(path.name, data, path.parent.name)
    return Drop(path=path, name=path.name, mark=mark_of(status), source=source, verdict=verdict)


def _identity(name: str, mark: Mark, data: bytes, verdict: Verdict) -> str:
    """Names the drop: by its key, or as this content, under this name, written at this moment."""
    if isinstance(verdict, Sheet) and verdict.claim is not None:
        return verdict.claim
    digest = hashlib.sha256(data)
    digest.update(os.fsencode(name))
    digest.update(mark[2].to_bytes(16, "little", signed=True))
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
