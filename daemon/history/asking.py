"""The daemon of a home, if one runs: a killed one leaves its address behind, and another has its port."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from daemon import address
from daemon.settings import Home

if TYPE_CHECKING:
    from daemon.client import Client


@contextmanager
def daemon_of(home: Home) -> Iterator["Client | None"]:
    """A connection to the running daemon; None if there is none."""
    if address.read(home) is None:
        yield None
        return
    from daemon import client  # only now: it takes a quarter of a second to import

    with ExitStack() as stack:
        try:
            daemon = stack.enter_context(client.connected(home))
        except client.NotRunning:
            daemon = None
        yield daemon
