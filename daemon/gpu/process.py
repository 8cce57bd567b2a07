"""A device's child process and the pipes to it."""

import logging
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream

from daemon.gpu import wire

GRACE = 0.1
"""Seconds that a child gets to end after its input is closed, before it is killed. It has nothing to save;
one that is just importing torch hears of it late, and all who wait for the daemon's end would wait for that.
"""
LAST_WORDS = 1.0
"""Seconds in which what a dead child printed must have come through."""

logger = logging.getLogger(__name__)


class ChildDied(Exception):
    """The child process is gone; the message gives its exit status and its last words."""


class Child:
    """A running child process. Make one with `started`."""

    def __init__(self, process: Process) -> None:
        """Only one task may receive, and only one may send, at a time."""
        self._process = process
        self._buffer = bytearray()
        self._received: deque[wire.Reply] = deque()
        self._sending = anyio.Lock()
        self._last_words: deque[str] = deque(maxlen=12)
        self._fell_silent = anyio.Event()

    def __repr__(self) -> str:
        return f"<Child {self._process.pid}>"

    async def send(self, command: wire.Command) -> None:
        """Hand a command down. One that finds the child dead is dropped: `receive` tells of the death."""
        assert self._process.stdin is not None
        async with self._sending:
            try:
                await self._process.stdin.send(wire.pack(command))
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                logger.debug("%r is gone, %s was not sent", self, type(command).__name__)

    async def receive(self) -> wire.Reply:
        """The next reply. Raises `ChildDied` once there can be no more."""
        assert self._process.stdout is not None
        while not self._received:
            try:
                self._buffer += await self._process.stdout.receive(2**20)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                raise ChildDied(await self._epitaph()) from None
            self._received.extend(wire.unpack(self._buffer, wire.REPLIES))
        return self._received.popleft()

    async def _epitaph(self) -> str:
        status = await self._process.wait()
        with anyio.move_on_after(LAST_WORDS):
            await self._fell_silent.wait()
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
        words = " | ".join(self._last_words)
        return f"the device's process {how}" + (f": {words}" if words else "")

    async def listen(self, stderr: ByteReceiveStream) -> None:
        """Pass on what libraries in the child print."""
        rest = ""
        async for text in TextReceiveStream(stderr, errors="replace"):
            *lines, rest = (rest + text).split("\n")
            for line in filter(None, map(str.strip, lines)):
                self._last_words.append(line)
                logger.debug("%r: %s", self, line)
        self._fell_silent.set()


@asynccontextmanager
async def started(*arguments: str) -> AsyncIterator[Child]:
    """A child, told what `daemon.gpu.child` takes; gone, one way or the other, when the block ends."""
    command = [sys.executable, "-m", "daemon.gpu.child", *arguments]
    async with await anyio.open_process(command) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        child = Child(process)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child.listen, process.stderr)
            try:
                yield child
            finally:
                with anyio.CancelScope(shield=True):
                    await _end(process)
                tasks.cancel_scope.cancel()


async def _end(process: Process) -> None:
    """Closing its input tells the child that its daemon is gone; one that does not hear is killed."""
    assert process.stdin is not None
    await process.stdin.aclose()
    with anyio.move_on_after(GRACE):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
