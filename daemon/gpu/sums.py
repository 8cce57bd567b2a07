"""SHA-256 of weights, worked out once for as long as a file does not change, in a thread of the daemon's.

What is known is kept in one file of the home, replaced whole, so that a daemon that starts again need not
read gigabytes to say what it works with. A file is told apart by its path, size, time of change and inode.
A missing, foreign or damaged list costs the work of making it again, nothing else.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import anyio
import msgspec
from anyio import from_thread, to_thread
from anyio.abc import TaskStatus

from daemon.files import write_whole

CHUNK = 2**23
"""Bytes between two looks at whether the answer is still wanted."""

logger = logging.getLogger(__name__)


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file as it lies there at a moment; one of the same name with other content is another `File`."""

    path: str
    """Absolute, links resolved."""
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """None if there is no plain file."""
        try:
            real = path.resolve()
            status = real.stat()
        except OSError:
            return None
        if not real.is_file():
            return None
        return cls(path=str(real), size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the list."""

    file: File
    sha256: str


_LIST = msgspec.json.Decoder(list[_Known])


class Sums:
    """The sums of files, those that are asked for first worked out first. `run` is the task that does it."""

    def __init__(self, path: Path) -> None:
        """`path` is where they are kept."""
        self._path = path
        self._known: dict[File, str | None] = dict(_kept(path))
        """None for one that was gone, or another one, by the time it was read."""
        self._wanted: deque[File] = deque()
        self._bell = anyio.Event()

    def __repr__(self) -> str:
        return f"<Sums {len(self._known)} known, {len(self._wanted)} wanted>"

    def want(self, files: Iterable[File]) -> None:
        """Have these worked out; `of` waits for them."""
        new = [file for file in files if file not in self._known and file not in self._wanted]
        if new:
            self._wanted.extend(new)
            self._ring()

    async def of(self, file: File) -> str | None:
        """The sum in hexadecimal, once it is known; None for a file that is no longer what it was."""
        self.want([file])
        while file not in self._known:
            await self._bell.wait()
        return self._known[file]

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Work out what is wanted, until cancelled."""
        task_status.started()
        while True:
            while not self._wanted:
                await self._bell.wait()
            file = self._wanted[0]
            self._known[file] = digest = await to_thread.run_sync(_digest, file)
            if digest is not None:
                await to_thread.run_sync(self._keep)
            self._wanted.popleft()
            self._ring()

    def _ring(self) -> None:
        self._bell.set()
        self._bell = anyio.Event()

    def _keep(self) -> None:
        known = list(self._known.items())
        lines = [_Known(file=file, sha256=digest) for file, digest in known if digest is not None]
        try:
            write_whole(self._path, msgspec.json.encode(lines), durable=False)
        except OSError as error:
            logger.warning("%s could not be written: %s", self._path, error)


def _kept(path: Path) -> Iterable[tuple[File, str]]:
    try:
        return [(line.file, line.sha256) for line in _LIST.decode(path.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        logger.warning("%s cannot be read, sums are worked out anew: %s", path, error)
        return []


def _digest(file: File) -> str | None:
    """Runs in one of anyio's threads, and ends early there when its task is cancelled."""
    path, digest = Path(file.path), hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as content:
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                from_thread.check_cancelled()
    except OSError as error:
        logger.warning("the SHA-256 of %s is not known: %s", path, error)
        return None
    return digest.hexdigest() if File.at(path) == file else None
