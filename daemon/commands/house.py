"""What `doctor` looks at in a home: its folders, leftovers, the history, and whether its daemon runs."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon import mounts
from daemon.client import NotRunning, connected
from daemon.commands.findings import Finding, bad, good, note
from daemon.settings import Home


class Running:
    """What the running daemon of a home says of itself; empty when there is none."""

    def __init__(self, home: Home) -> None:
        """Ask it, once."""
        self.url: str | None = None
        self.why = ""
        self.previews: set[str] = set()
        self.position = 0
        try:
            with connected(home) as daemon:
                status = daemon.get("/api/status")
                self.url = daemon.address.url
        except NotRunning as error:
            self.why = str(error)
            return
        self.previews = {frame["preview"] for frame in status["frames"] if frame["preview"]}
        self.position = status["position"]

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self.url is None else int(self.url.rpartition(":")[2])


def daemon_of(running: Running) -> Iterator[Finding]:
    """Whether it runs."""
    if running.url is None:
        yield note("daemon", running.why)
    else:
        yield good("daemon", f"runs at {running.url}")


def folders(home: Home) -> Iterator[Finding]:
    """Whether the daemon can write where it must, and files can be moved from the inbox by rename."""
    if not home.root.is_dir():
        yield note("home", f"{home.root} is not there yet", "the first safelight up makes it")
        return
    places = [folder for folder in (home.inbox, home.done, home.rejected, home.frames) if folder.is_dir()]
    for folder in places:
        if (error := _unwritable(folder)) is not None:
            yield bad(folder.name, f"{folder} cannot be written: {error}", f"chown or chmod it: {folder}")
        else:
            yield good(folder.name, f"{folder} can be written")
    if home.inbox in places:
        try:
            mounts.check_moves(home.inbox, [folder for folder in places[1:] if folder != home.frames])
        except OSError as error:
            yield bad("file system", str(error.strerror), "put inbox, done and rejected on one file system")
        else:
            yield good("file system", "inbox, done and rejected are on one")


def inbox(home: Home) -> Iterator[Finding]:
    """Whether dropped files are heard of at once."""
    if not home.inbox.is_dir():
        return
    kind = mounts.unwatchable(home.inbox)
    if kind is None:
        yield good("watching", "the inbox is watched, and looked at once a second")
    else:
        yield note("watching", f"the inbox is on {kind}: it is looked at once a second, not watched")


def stale(home: Home, running: Running) -> Iterator[Finding]:
    """Preview files that belong to no picture being made."""
    found = {f"{home.frames.name}/{path.name}" for path in home.frames.glob("task_*_preview.*")}
    left = sorted(found - running.previews)
    if not left:
        yield good("previews", "no stale preview files")
        return
    names = f"{left[0]}{f' and {len(left) - 1} more' if len(left) > 1 else ''}"
    if running.url is None:
        yield note(
            "previews", f"left by a crash: {names}", "the next start removes those it knows; delete the rest"
        )
    else:
        yield note("previews", f"stale: {names}", "delete them: no picture is being made there")


def history(home: Home, running: Running) -> Iterator[Finding]:
    """Whether the history can be read."""
    if running.url is not None:
        yield good("history", f"{running.position} events, by the daemon's word")
        return
    if not home.history.exists():
        yield note("history", "there is none yet")
        return
    import duckdb

    try:
        with duckdb.connect(home.history, read_only=True) as connection:
            row = connection.execute("SELECT count(*), max(seq) FROM events").fetchone()
    except duckdb.Error as error:
        advice = "the next safelight up mends it from journal and segments, or says what is lost"
        yield bad("history", f"{home.history.name} cannot be read: {str(error).splitlines()[0]}", advice)
        return
    assert row is not None
    if row[0] != (row[1] or 0):
        yield bad(
            "history", f"{row[1] - row[0]} of {row[1]} events are missing", "safelight up mends it if it can"
        )
    else:
        yield good("history", f"{row[0]} events")


def _unwritable(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", suffix=".tmp", dir=folder):
            return None
    except OSError as error:
        return os.strerror(error.errno or 0)
