"""A home with the folders of drops, and ways to drop files and to take them without a daemon or a wait."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.arrivals import QUIET, Arrivals, Overview
from daemon.drops import Drop, claim_all, claimed, finish_all, prepare
from daemon.settings import DEMO, Home

GOOD = b'{"prompt": "a fox"}'


class House:
    """A home without a daemon. Its clock stands still unless it is told to go on."""

    def __init__(self, root: Path) -> None:
        """The folders are made."""
        self.home = Home(root)
        self.now = 1000.0
        self.arrivals = Arrivals(self.home.inbox, DEMO)
        prepare(self.home)

    def put(self, name: bytes | str, content: bytes = GOOD) -> Path:
        """Drop a file, written and closed."""
        path = self.home.inbox / os.fsdecode(name)
        path.write_bytes(content)
        return path

    def look(self) -> Overview:
        """One scan."""
        return self.arrivals.look_over(self.now)

    def claim(self) -> list[Drop]:
        """Scan, and claim what is ready."""
        drops, refused = claim_all(self.look().ready, self.home, DEMO)
        assert not refused
        return drops

    def take(self) -> Overview:
        """Scan, claim what is ready and file it away; answers what is left."""
        drops = self.claim()
        assert finish_all(drops, self.home) == ([], None)
        assert not list(claimed(self.home).iterdir())
        return self.look()

    def take_once_quiet(self) -> Overview:
        """Let everything be seen, and have nothing change for long enough."""
        self.look()
        self.now += QUIET
        return self.take()

    def done(self) -> list[str]:
        """Names in `done/`."""
        return names(self.home.done)

    def rejected(self) -> list[str]:
        """Names in `rejected/` without the reports."""
        return [name for name in names(self.home.rejected) if not name.endswith(".error.json")]


def names(folder: Path) -> list[str]:
    """What lies in a folder, hidden files left out."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@contextmanager
def writing(path: Path) -> Iterator[int]:
    """Have the file open for appending."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
