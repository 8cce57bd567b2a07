"""What `doctor` looks at in a home: its folders, leftovers, the history, and whether its daemon runs."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.client import NotRunning, connected
from daemon.commands.findings import Finding, bad, good, note
from daemon.settings import Home

POLLED = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse", "9p", "afs", "ceph", "glusterfs", "lustre", "sshfs")
"""File systems that tell no watcher of what other machines do there."""


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
    systems = {folder.stat().st_dev for folder in places if folder != home.frames}
    if len(systems) > 1:
        yield bad(
            "file system",
            "inbox, done and rejected are not on one file system, so files cannot be moved by rename",
            "put the whole home on one file system",
        )
    elif systems:
        yield good("file system", "inbox, done and rejected are on one")


def inbox(home: Home) -> Iterator[Finding]:
    """Whether dropped files are heard of at once."""
    if not home.inbox.is_dir():
        return
    kind = file_system(home.inbox)
    if kind is not None and kind.split(".")[0] in POLLED:
        yield note("watching", f"the inbox is on {kind}: it is looked at once a second, not watched")
    else:
        yield good("watching", "the inbox is watched" + (f" ({kind})" if kind else ""))


def stale(home: Home, running: Running) -> Iterator[Finding]:
    """Preview files that belong to no picture being made."""
    found = {f"{home.frames.name}/{path.name}" for path in home.frames.glob("*_preview.png")}
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


def file_system(folder: Path) -> str | None:
    """The kind of file system that a folder is on, where the system tells (Linux)."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    return kind_of(folder.resolve(), lines)


def kind_of(folder: Path, mountinfo: list[str]) -> str | None:
    """The same by the lines of `/proc/self/mountinfo` (proc(5)): of the deepest mount that holds it."""
    kinds: dict[Path, str] = {}
    for line in mountinfo:
        mounted, _, source = line.partition(" - ")
        path = mounted.split()[4].encode().decode("unicode_escape")
        kinds[Path(path)] = source.split()[0]  # a later mount on the same place hides the earlier one
    holding = [path for path in kinds if folder.is_relative_to(path)]
    return kinds[max(holding, key=lambda path: len(path.parts))] if holding else None


def _unwritable(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(prefix=".doctor-", suffix=".tmp", dir=folder):
            return None
    except OSError as error:
        return os.strerror(error.errno or 0)
