"""What lies in the inbox: which files are ready to be taken, in which order, and why the others wait.

Each scan lists the folder; a file is read when it is new or has changed. Whether it is ready is decided by
`_waits_for`, the rule of decision 10. What earlier scans saw is kept by name, so that a file that waits
costs one `lstat` a scan, and so that "quiet for two seconds" is what we saw ourselves: no clock of a writer
or a server is believed.
"""

import logging
import os
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec

from daemon import leases, png, reprints
from daemon.agreement import Lacks, nothing_lacks
from daemon.faults import Fault, whole_fault
from daemon.prompts import MAX_BYTES
from daemon.sheets import Sheet, read

QUIET = 2.0
"""Seconds without a change after which a file that does not parse, or may grow, is taken as finished."""
_AGAIN = 0.02
"""Seconds after which a file that is open for writing is looked at again: watchers do not tell of its end."""
_SLOWER = 16
"""It is looked at again after this part of the time for which it has been quiet."""
_KEPT_BYTES = 32 * 2**20
"""Of files whose jobs are kept in memory between look and claim; those of others are read anew."""

_OUR_FAULT = "cannot be judged: a fault of Safelight itself, told in its log"

logger = logging.getLogger(__name__)

Mark = tuple[int, int, int]
"""Inode, size and time of the last write in nanoseconds: a file changed if its mark did."""
Verdict = Sheet | list[Fault]


class Form(msgspec.Struct, frozen=True):
    """A kind of file that the inbox takes, by its ending."""

    read: Callable[[bytes, str, Lacks], Verdict]
    """Content, the model of jobs that name none, and what knows the files they name → jobs or faults."""
    limit: int
    """Bytes; of a longer file one more is read, and `read` says so."""
    grows: bool
    """What stands there so far may be whole and yet not all."""


FORMS = {
    ".json": Form(reprints.read, MAX_BYTES, grows=False),
    ".jsonl": Form(partial(read, lines=True), MAX_BYTES, grows=True),
    ".png": Form(reprints.of_picture, png.MAX_BYTES, grows=False),
}
_NO_FILES = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""What is rejected unopened. Folders are left alone, like all that has another ending."""


class Waiting(msgspec.Struct, frozen=True):
    """A file that is not taken yet."""

    name: str
    why: str
    trouble: bool = False
    """The machine will not do it; the file is as it should be."""


class Outlook(msgspec.Struct, frozen=True):
    """What a scan left in the inbox."""

    waiting: Sequence[Waiting] = ()
    ignored: int = 0
    """Entries that are no business of ours: hidden, temporary, with another ending, folders."""


class Arrival(msgspec.Struct, kw_only=True):
    """One entry of the inbox that could be taken, as the scans saw it."""

    name: str
    form: Form
    """By the ending of its name."""
    mark: Mark
    mode: int
    arrived: int
    """Time of the entry's last change in nanoseconds: a rename or link into the folder sets it."""
    since: float
    """When we first saw this mark, by our own clock."""
    data: bytes | None = None
    """What was read, while there is room for it in memory; never from one scan to the next."""
    verdict: Verdict | None = None
    """What `data` came to."""
    unread: bool = True
    jobs: int = 0
    """In it; 0 if it does not parse."""
    priority: int = 0
    written_to: bool | None = None
    """It is open for writing somewhere; None where the system cannot say."""
    why: str | None = None
    """Why it waits; None when it is ready."""
    trouble: bool = False
    puzzling: bool = False
    """Judging it met a bug of ours."""

    def forget(self) -> None:
        """Have the next scan read it again: it is not what it was."""
        self.unread, self.data, self.verdict = True, None, None


class Overview(msgspec.Struct, frozen=True):
    """What one scan came to."""

    ready: Sequence[Arrival] = ()
    """In the order in which they are to be taken: those to reject, then by priority, arrival and name."""
    waiting: Sequence[Waiting] = ()
    ignored: int = 0
    again: float | None = None
    """Seconds until a file that waits may be ready; None if only a change can make it so."""


class Arrivals:
    """The entries of one folder. Not for two threads at once."""

    def __init__(self, folder: Path, model: str, lacks: Lacks = nothing_lacks) -> None:
        """`model` is the checkpoint of prompts that name none; `lacks` knows the files that there are."""
        self._folder = folder
        self._model = model
        self._lacks = lacks
        self._seen: dict[str, Arrival] = {}

    def __repr__(self) -> str:
        return f"<Arrivals {self._folder}, {len(self._seen)} seen>"

    def look_over(self, now: float) -> Overview:
        """Scan the folder at `now`, in seconds of a clock that only goes forward. Raises OSError."""
        found, ignored = _scan(self._folder, now)
        self._seen = {arrival.name: self._known(arrival) for arrival in found}
        room = _KEPT_BYTES
        for arrival in self._seen.values():
            self._look(arrival, now)
            room -= len(arrival.data or b"")
            if room < 0:
                arrival.data = arrival.verdict = None
        arrivals = self._seen.values()
        ready = sorted((it for it in arrivals if it.why is None), key=_order)
        waiting = [Waiting(shown(it.name), it.why, it.trouble) for it in arrivals if it.why is not None]
        again = min((pause for it in arrivals if (pause := _pause(it, now)) is not None), default=None)
        return Overview(ready, waiting, ignored, again)

    def _known(self, found: Arrival) -> Arrival:
        """What an earlier scan knows of the entry, if it has not changed since."""
        earlier = self._seen.get(found.name)
        if earlier is None or (earlier.mark, earlier.mode) != (found.mark, found.mode):
            return found
        earlier.data = earlier.verdict = None
        return earlier

    def _look(self, arrival: Arrival, now: float) -> None:
        """Find out why it waits, if it does; read it where that can tell anything new."""
        if stat.S_ISREG(arrival.mode) and (arrival.unread or arrival.written_to):
            try:
                self._read(arrival)
            except OSError as error:
                arrival.forget()
                arrival.why, arrival.trouble = f"cannot be read: {error.strerror}", True
                return
        arrival.trouble = arrival.puzzling
        arrival.why = _OUR_FAULT if arrival.puzzling else _waits_for(arrival, now)

    def _read(self, arrival: Arrival) -> None:
        with Opened(f"{self._folder}/{arrival.name}") as descriptor:
            arrival.written_to = leases.written_to(descriptor)
            arrival.data = read_at_most(descriptor, arrival.form.limit, arrival.mark)
            if mark_of(os.fstat(descriptor)) != arrival.mark:
                arrival.written_to = True
        verdict = arrival.verdict = self._judged(arrival, arrival.data)
        arrival.jobs = len(verdict.prompts) if isinstance(verdict, Sheet) else 0
        arrival.priority = verdict.priority if isinstance(verdict, Sheet) else 0
        arrival.unread, arrival.puzzling = False, verdict is None

    def _judged(self, arrival: Arrival, data: bytes) -> Verdict | None:
        """What it comes to. A bug of ours must not let one file end us at every start, and so stop all
        others: it waits, for a Safelight that can read it.
        """
        try:
            return arrival.form.read(data, self._model, self._lacks)
        except Exception:  # whatever it is: see above
            logger.exception(
                "%s met a fault of Safelight itself and waits; please report this", shown(arrival.name)
            )
            return None


def _order(arrival: Arrival) -> tuple[bool, int, int, bytes]:
    return arrival.jobs > 0, -arrival.priority, arrival.arrived, os.fsencode(arrival.name)


def _waits_for(arrival: Arrival, now: float) -> str | None:
    """The rule of decision 10."""
    quiet = now - arrival.since
    if not stat.S_ISREG(arrival.mode):
        return None
    whole = arrival.jobs > 0 and not arrival.form.grows
    if arrival.written_to and not (whole and quiet >= QUIET):
        return "still being written: it is open in another program"
    if whole or quiet >= QUIET:
        return None
    end = f"{datetime.now(UTC) + timedelta(seconds=QUIET - quiet):%H:%M:%S} UTC unless it changes"
    return f"more lines may come, taken at {end}" if arrival.jobs else f"does not parse, rejected at {end}"


def _pause(arrival: Arrival, now: float) -> float | None:
    """Seconds until time alone may make a waiting file ready."""
    quiet = now - arrival.since
    if arrival.why is None or arrival.unread:
        return None
    if arrival.written_to:
        return max(_AGAIN, quiet / _SLOWER)
    return max(0.0, QUIET - quiet)


def _scan(folder: Path, now: float) -> tuple[list[Arrival], int]:
    """The entries that could be taken, and the number of the others."""
    found, ignored = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            form = form_of(entry.name)
            if form is None:
                ignored += entry.name != CLAIMED
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # gone again
                continue
            if stat.S_ISDIR(status.st_mode):
                ignored += 1
            else:
                found.append(_arrival(entry.name, form, status, now))
    return found, ignored


def _arrival(name: str, form: Form, status: os.stat_result, now: float) -> Arrival:
    mode = stat.S_IFMT(status.st_mode)
    return Arrival(
        name=name, form=form, mark=mark_of(status), mode=mode, arrived=status.st_ctime_ns, since=now
    )


CLAIMED = ".claimed"
"""The folder inside the inbox of drops between claim and end."""


def mark_of(status: os.stat_result) -> Mark:
    """What tells a file from another one and from itself at another time."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def form_of(name: str) -> Form | None:
    """What the inbox takes a file of this name for; None if it does not take it."""
    return None if name.startswith((".", "~")) else FORMS.get(name[name.rfind(".") :].lower())


def verdict_of(form: Form, mode: int, data: bytes, model: str, lacks: Lacks) -> Verdict:
    """What an entry of this form, type and content comes to."""
    if mode in _NO_FILES:
        return [whole_fault(f"is {_NO_FILES[mode]}, not a file", "Drop the file itself.")]
    return form.read(data, model, lacks)


class Opened:
    """A descriptor of a regular file, neither following a link nor blocking on a pipe. Raises OSError.

    By hand, since thousands of files a second go here and `contextmanager` costs more than the open itself.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def read_at_most(descriptor: int, limit: int, mark: Mark) -> bytes:
    """The file's first `limit` bytes and one more, without room for more than its mark says it has."""
    return os.pread(descriptor, min(limit, mark[1]) + 1, 0)


def shown(name: str) -> str:
    r"""A file's name for people, terminals and the log: what cannot be shown, as `\xNN`."""
    if name.isprintable():
        return name
    decoded = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in decoded)
