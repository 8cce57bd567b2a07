"""uvicorn on a socket of ours, living and ending inside a block.

uvicorn's own entry point takes over the process's signals and waits for open streams for ever; here the
block's end closes the streams first and the server after them.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from starlette.types import ASGIApp

from daemon.sse import Streams


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError with the address in its message."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error
    return listener


@asynccontextmanager
async def serving(application: ASGIApp, streams: Streams, listener: socket.socket) -> AsyncIterator[None]:
    """Answer requests on `listener` until the block ends; open streams then end cleanly, at once."""
    config = uvicorn.Config(
        application,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    # Only uvicorn's own entry point builds this, and it would take over our signals with it.
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            streams.close()
            await server.shutdown(sockets=[listener])
