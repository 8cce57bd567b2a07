"""uvicorn on a socket of ours, living and ending inside a block.

uvicorn's own entry point takes over the process's signals and waits for open streams for ever; here the
block's end closes the streams first and the server after them.
"""

import errno
import logging
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
        # Now, not when the server starts: of two daemons on one port the second must hear it here.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        advice = "; choose another --port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}{advice}") from error
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
            # A request that is cut off here is no news to anyone.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            await server.shutdown(sockets=[listener])
