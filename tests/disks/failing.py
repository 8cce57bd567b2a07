"""A log in a process of its own, on a disk that fails when it is told to: `Writer`.

`failing.c` is preloaded there and makes single system calls fail for single files. The process does what it
is told, a line at a time: run as `python -m tests.disks.failing PATH`.
"""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import duckdb
import msgspec
import pytest
from anyio import to_thread

from daemon.events import store
from daemon.events.log import Log, opened
from daemon.events.rounds import LogFailed
from daemon.events.types import DaemonStopped
from daemon.projections import rebuilding, restoring, tables
from daemon.projections.state import State

SOURCE = Path(__file__).with_name("failing.c")
PATIENCE = 180


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`failing.c`, compiled; without a compiler the test is skipped."""
    library = tmp_path_factory.mktemp("failing") / "failing.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no C compiler here")
    return library


class Answer(msgspec.Struct):
    """What came of one line."""

    value: Any = None
    error: str | None = None


class Writer:
    """The process."""

    def __init__(self, path: Path, shim: Path, folder: Path) -> None:
        """A log at `path`; `folder` tells the shim what is to fail."""
        self._folder = folder
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "tests.disks.failing", str(path)]
        env = {**os.environ, "LD_PRELOAD": str(shim), "FAILING": str(folder)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)
        self.position = self._answer().value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        """As `kill -9`."""
        self.process.kill()
        self.process.communicate()

    def ask(self, line: str) -> Answer:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._answer()

    def ended(self) -> str:
        """Wait until it has ended by itself; what it said."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return said

    @contextmanager
    def halted(self) -> Iterator[None]:
        """None of its threads does anything while the block runs: its files are those of one moment."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def failing(self, call: str, name: str, error: int = errno.EIO) -> Iterator[None]:
        """`sync`, `write`, `cut` or `read` fail for the file of this name while the block runs."""
        rule = self._folder / call
        rule.with_suffix(".new").write_text(f"/{name} {error}")
        rule.with_suffix(".new").rename(rule)
        try:
            yield
        finally:
            rule.unlink()

    def _answer(self) -> Answer:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return msgspec.json.decode(line, type=Answer)


async def _append(log: Log[State], count: str) -> list[int]:
    """So many events, by as many callers at once; their numbers."""
    seqs: list[int] = []

    async def one() -> None:
        seqs.append((await log.append(DaemonStopped(reason="x" * 300))).seq)

    async with anyio.create_task_group() as tasks:
        for _ in range(int(count)):
            tasks.start_soon(one)
    return sorted(seqs)


async def _seal(log: Log[State], _: str) -> None:
    await log._seal()


async def _read(log: Log[State], _: str) -> list[int]:
    return [recorded.seq for recorded in await log.read(0, 10**6)]


async def _count(log: Log[State], _: str) -> int:
    """As those ask who read beside the writer."""

    def counted(connection: duckdb.DuckDBPyConnection) -> int:
        return int(connection.execute("SELECT count(*) FROM events").fetchall()[0][0])

    return await log.aside(counted)


async def _rebuild(log: Log[State], _: str) -> int:
    return (await rebuilding.rebuild(log)).position


_WORDS: dict[str, Callable[[Log[State], str], Any]] = {
    "append": _append, "seal": _seal, "read": _read, "count": _count, "rebuild": _rebuild
}  # fmt: skip


async def _obey(path: Path) -> None:
    async with opened(path, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        _say(Answer(log.position))
        while line := await to_thread.run_sync(sys.stdin.readline):
            word, _, rest = line.strip().partition(" ")
            _say(await _outcome(partial(_WORDS[word], log, rest)))
        tasks.cancel_scope.cancel()


async def _outcome(work: Callable[[], Any]) -> Answer:
    try:
        return Answer(await work())
    except (LogFailed, duckdb.Error, OSError, ExceptionGroup) as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, LogFailed | duckdb.Error | OSError):
            raise
        return Answer(error=f"{type(first).__name__}: {first}")


def _say(answer: Answer) -> None:
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    store.SPARE = 0  # the real refusal, not our own look ahead
    anyio.run(_obey, Path(sys.argv[1]))
