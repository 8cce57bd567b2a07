"""One drop at a time: claim it, file it away. Plain synchronous file work.

Claiming renames the file into `.claimed/`, with the name of the claim before its own, so that what a crash
leaves there can be finished under the same claim. Until the log knows a drop's fate it stays there; then it
goes to `done/` or, with what is wrong beside it, to `rejected/`.
"""

import errno
import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from daemon import leases, stock
from daemon.agreement import Lacks
from daemon.arrivals import (
    CLAIMED,
    Arrival,
    Form,
    Mark,
    Opened,
    Verdict,
    Waiting,
    form_of,
    mark_of,
    read_at_most,
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
_CLAIM_BYTES = 16
_CLAIM_NAME = re.compile(f"[0-9a-f]{{{_CLAIM_BYTES}}}")
_REPORT_ROOM = _NAME_BYTES - len(".error.json") - 40
"""Of a name that a report's is made of; the rest is for the temporary name it is written under."""

logger = logging.getLogger(__name__)


class Ways(msgspec.Struct, frozen=True):
    """The folders that a drop goes through, as text: thousands of files a second go here, and a Path costs
    more than a system call.
    """

    inbox: str
    claimed: str
    done: str
    rejected: str

    @classmethod
    def of(cls, home: Home) -> Self:
        """Those of a home."""
        return cls(str(home.inbox), str(claimed(home)), str(home.done), str(home.rejected))


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A claimed file and what it came to."""

    path: str
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
    drops, refused, ways = [], [], Ways.of(home)
    seats, lacks = _occupied(ways), stock.lacking(home)
    for arrival in arrivals:
        try:
            drop = _claimed_if_there(arrival, home, ways, seats, model, lacks)
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
    unfiled, reason, ways = [], None, Ways.of(home)
    for drop in drops:
        try:
            finish(drop, ways)
        except OSError as error:
            if not os.path.lexists(drop.path):
                logger.warning("%s was taken away from %s by someone", drop.source.name, claimed(home))
                continue
            with suppress(OSError):  # done/ or rejected/ may be gone
                prepare(home)
            unfiled.append(drop)
            reason = f"cannot be moved on: {error.strerror}"
    return unfiled, reason


def _occupied(ways: Ways) -> set[str]:
    """The paths in `.claimed/`, before more come: listed at once, since to ask for each costs as much as a
    file's reading. Nobody else puts any there, and no two files of one scan have one name.
    """
    try:
        return {f"{ways.claimed}/{name}" for name in os.listdir(ways.claimed)}
    except FileNotFoundError:  # claiming finds that out, and makes it again
        return set()


def _claimed_if_there(
    arrival: Arrival, home: Home, ways: Ways, seats: set[str], model: str, lacks: Lacks
) -> Drop | None:
    """As `_claimed`; None too if someone took the file away again, or else the folder of claims."""
    try:
        return _claimed(arrival, ways, seats, model, lacks)
    except FileNotFoundError:
        if not Path(ways.claimed).is_dir():  # the inbox was emptied to the last, or made anew by someone
            prepare(home)
        return None


def _claimed(arrival: Arrival, ways: Ways, seats: set[str], model: str, lacks: Lacks) -> Drop | None:
    """The file, claimed; None if it is not ready any more. Raises OSError with the file where it was."""
    if not stat.S_ISREG(arrival.mode):
        verdict = verdict_of(arrival.form, arrival.mode, b"", model, lacks)
        return _grip(arrival, b"", verdict, ways, seats)
    with Opened(f"{ways.inbox}/{arrival.name}") as descriptor:
        if mark_of(os.fstat(descriptor)) != arrival.mark:
            return None
        written_to = leases.written_to(descriptor)
        data = read_at_most(descriptor, arrival.form.limit, arrival.mark)
        known = arrival.verdict if data == arrival.data else None
        verdict = known or verdict_of(arrival.form, arrival.mode, data, model, lacks)
        # What was closed when it was found ready and is open now has a new writer; the rest was waited for.
        if (written_to and not arrival.written_to) or isinstance(verdict, Sheet) is not (arrival.jobs > 0):
            return None
        drop = _grip(arrival, data, verdict, ways, seats)
        if drop is not None and written_to is False and not leases.undisturbed(descriptor):
            _let_go(drop, ways)
            return None
        return drop


def left_claimed(home: Home, model: str) -> list[Drop]:
    """The drops that an earlier run claimed and did not finish, under their old claims."""
    drops = []
    for path, claim, name in _seats(home):
        form = form_of(name)
        if form is None or not _CLAIM_NAME.fullmatch(claim):
            logger.warning("%s is no file of ours and stays in %s", shown(path.name), claimed(home))
            continue
        try:
            drops.append(_left(path, claim, name, form, model, stock.lacking(home)))
        except OSError as error:
            logger.warning("%s stays claimed: %s", shown(name), error)
    return drops


def finish(drop: Drop, ways: Ways) -> None:
    """File a drop away once the log knows its fate: in `done/`, or in `rejected/` with its faults."""
    if mark_of(os.lstat(drop.path)) != drop.mark:
        logger.warning("%s was written to after it was taken; what came later was not read", drop.source.name)
    if isinstance(drop.verdict, Sheet):
        os.rename(drop.path, _free(ways.done, drop.name))
    else:
        target = Path(_free(ways.rejected, drop.name))
        report = msgspec.json.encode({"file": drop.source.name, "faults": drop.verdict})
        beside = target.with_name(_report_name(target.name, drop.source.claim))
        write_whole(beside, msgspec.json.format(report, indent=2) + b"\n", durable=False)
        os.rename(drop.path, target)
    _leave(drop)


def _let_go(drop: Drop, ways: Ways) -> None:
    """Put a claimed file back for a fresh look, not over one that took its name meanwhile."""
    os.rename(drop.path, _free(ways.inbox, drop.name))
    _leave(drop)


def _grip(arrival: Arrival, data: bytes, verdict: Verdict, ways: Ways, seats: set[str]) -> Drop | None:
    """Rename it into `.claimed/`; None, with the file back, if it is another one by then."""
    digest = hashlib.sha256(data)
    claim = _claim_of(arrival, digest.copy(), verdict)
    seat = _seat(ways, claim, arrival.name)
    if seat in seats or (_is_long(arrival.name) and os.path.lexists(seat)):
        # Not over the other: both are drops, and one of them will be named a duplicate.
        raise OSError(errno.EEXIST, "an equal drop is being taken")
    os.rename(f"{ways.inbox}/{arrival.name}", seat)
    source = _source(arrival.name, digest.hexdigest(), claim, verdict)
    drop = Drop(path=seat, name=arrival.name, mark=arrival.mark, source=source, verdict=verdict)
    if mark_of(os.lstat(seat)) != arrival.mark:
        _let_go(drop, ways)
        return None
    return drop


def _claim_of(arrival: Arrival, content: "hashlib._Hash", verdict: Verdict) -> str:
    """Names the drop: by its key, or as this content, under this name, written at this moment."""
    if isinstance(verdict, Sheet) and verdict.claim is not None:
        return verdict.claim
    content.update(os.fsencode(arrival.name))
    content.update(arrival.mark[2].to_bytes(16, "little", signed=True))
    return content.hexdigest()[:16]


def _seat(ways: Ways, claim: str, name: str) -> str:
    """Where a claimed file lies: `CLAIM.NAME`, or `CLAIM/NAME` for a name too long for that.

    Making and removing a folder costs some file systems a hundred times a rename (ext4: 0.9 and 1.4 ms).
    """
    if not _is_long(name):
        return f"{ways.claimed}/{claim}.{name}"
    Path(ways.claimed, claim).mkdir(exist_ok=True)
    return f"{ways.claimed}/{claim}/{name}"


def _is_long(name: str) -> bool:
    """Too long for a claim before it."""
    return len(os.fsencode(name)) + _CLAIM_BYTES >= _NAME_BYTES


def _leave(drop: Drop) -> None:
    """The folder of a claim goes with its file."""
    if _is_long(drop.name):
        _forget_if_empty(Path(drop.path).parent)


def _seats(home: Home) -> Iterator[tuple[Path, str, str]]:
    """What lies in `.claimed/`: path, claim and the name as it was dropped."""
    for path in sorted(claimed(home).iterdir()):
        claim, _, name = path.name.partition(".")
        if path.is_dir() and not path.is_symlink():
            yield from ((inner, path.name, inner.name) for inner in path.iterdir())
            _forget_if_empty(path)
        else:
            yield path, claim, name


def _left(path: Path, claim: str, name: str, form: Form, model: str, lacks: Lacks) -> Drop:
    status = path.lstat()
    data = b""
    if stat.S_ISREG(status.st_mode):
        with Opened(str(path)) as descriptor:
            data = read_at_most(descriptor, form.limit, mark_of(status))
    verdict = verdict_of(form, stat.S_IFMT(status.st_mode), data, model, lacks)
    source = _source(name, hashlib.sha256(data).hexdigest(), claim, verdict)
    return Drop(path=str(path), name=name, mark=mark_of(status), source=source, verdict=verdict)


def _source(name: str, digest: str, claim: str, verdict: Verdict) -> Source:
    rest = verdict.not_carried if isinstance(verdict, Sheet) else []
    return Source(kind="file", name=shown(name), sha256=digest, claim=claim, not_carried=rest)


def _free(folder: str, name: str) -> str:
    """`name` in `folder`, or the first of `name~2`, `name~3` … that is free: no earlier file is lost."""
    target = f"{folder}/{name}"
    number = 2
    while os.path.lexists(target):
        tail = f"~{number}{Path(name).suffix}"
        target = f"{folder}/{_cut(Path(name).stem, _NAME_BYTES - len(os.fsencode(tail)))}{tail}"
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
    """The folder of a claim ends with its file."""
    with suppress(OSError):
        folder.rmdir()
