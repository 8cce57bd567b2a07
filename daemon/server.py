"""uvicorn on a socket of ours, living and ending inside a block.

uvicorn's own entry point takes over the process's signals and waits for open streams for ever; here the
block's end closes the streams first and the server after them. Its connections offer what `sse` needs to tell
a thousand clients without waking a thousand tasks.
"""

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from daemon.sse import AT_ONCE, Streams

GRACE = 0.5
"""Seconds that clients have to take the ends of their answers; those that do not read by then are cut off."""

_LOOK = 0.01

_OPTIONS = [
    # What waits for a client that has stopped reading is stale: the kernel's own megabytes of it help nobody.
    (socket.SOL_SOCKET, "SO_SNDBUF", 64 * 1024),
    (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", 16 * 1024),
    # Milliseconds after which a client that takes nothing is gone; the kernel would keep it for good.
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 20_000),
]
"""For each connection: on Linux it has what its listener had. Other systems lack one or the other."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError with the address in its message."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where it is told the protocol. Without it an answer's body waits behind
    # its head for the client's delayed acknowledgement: 40 ms for each picture.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for level, name, value in _OPTIONS:
            if hasattr(socket, name):
                listener.setsockopt(level, getattr(socket, name), value)
        listener.bind((host, port))
        # Now, not when the server starts: of two daemons on one port the second must hear it here.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        advice = "; choose another --port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}{advice}") from error
    return listener


class Connection(HttpToolsProtocol):
    """uvicorn's own, which offers `sse.AT_ONCE`, and tells each of its requests that it is lost."""

    overtaken: tuple[RequestResponseCycle, ...] = ()
    """Requests behind which another one came before they were answered."""

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        # Nothing here leads back to the connection once it is lost: no garbage is left to collect.
        # And nothing is kept as an attribute: one more would cost each connection a kilobyte.
        write = partial(_write_at_once, self.transport, self.flow)
        self.scope["extensions"] = {AT_ONCE: {"write": write}}
        last = self.cycle
        super().on_headers_complete()
        if last is not None and not last.response_complete:
            self.overtaken = (*(one for one in self.overtaken if not one.response_complete), last)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop. uvicorn tells the last request only; a stream before it would stay for good."""
        super().connection_lost(exc)
        for cycle in self.overtaken:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()


def _write_at_once(transport: asyncio.Transport, flow: FlowControl, chunk: bytes) -> bool:
    if flow.write_paused or transport.is_closing():
        return False
    transport.write(chunk)
    return True


@asynccontextmanager
async def serving(application: ASGIApp, streams: Streams, listener: socket.socket) -> AsyncIterator[None]:
    """Answer requests on `listener` until the block ends; open streams then end cleanly, at once."""
    allow_many_files()
    config = uvicorn.Config(
        application,
        http=Connection,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    # Only uvicorn's own entry point builds this, and it would take over our signals with it.
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    async with anyio.create_task_group() as tasks:
        await tasks.start(streams.run)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await _end(server, streams, listener)
            tasks.cancel_scope.cancel()


async def _end(server: uvicorn.Server, streams: Streams, listener: socket.socket) -> None:
    """Let every request that is being answered come to its end, streams first, and no longer than `GRACE`.

    uvicorn's own `shutdown` does the same in steps of a tenth of a second, which a restart would show.
    """
    for each in server.servers:
        each.close()
    listener.close()
    connections, requests = server.server_state.connections, server.server_state.tasks
    for connection in list(connections):
        connection.shutdown()
    streams.close()
    with anyio.move_on_after(GRACE):
        while requests or connections:
            await anyio.sleep(_LOOK)  # uvicorn rings no bell for either
    # A request that is cut off here is no news to anyone.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    for request in list(requests):
        request.cancel()
    for connection in list(connections):
        connection.transport.abort()
    if requests:
        await asyncio.wait(list(requests), timeout=GRACE)


def allow_many_files() -> None:
    """Raise the limit of open files: each stream is one, and most systems begin with a thousand."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16_384 if hard == resource.RLIM_INFINITY else min(hard, 16_384)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
