"""The running daemon's log as it grows, through restarts of the daemon.

The event stream is the bell; the events come from the log's pages, after the last one that was seen. So
nothing is missed and nothing comes twice, whatever the stream leaves out for a slow client.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from daemon import client
from daemon.client import Client, NotRunning
from daemon.settings import Home

Message = dict[str, Any]

_QUIET = 60.0
"""Seconds without a word, not even a keep-alive, after which the daemon counts as gone."""
_LOOK = 0.3
"""Seconds between looks for a daemon that is not there."""


def followed(home: Home, after: int, epoch: str, say: Callable[[str], None]) -> Iterator[Message]:
    """Each event after `after` as `/api/log` tells it, for ever. `say` is told what else happens."""
    position, waiting = after, False
    while True:
        try:
            with client.connected(home) as daemon:
                if waiting:
                    say("the daemon is back")
                waiting = False
                if daemon.address.epoch != epoch:
                    say("the history is another one now; it is told from its beginning")
                    position, epoch = 0, daemon.address.epoch
                for message in _growing(daemon, position):
                    position = message["seq"]
                    yield message
        except (NotRunning, httpx.TransportError):
            pass  # said below, once
        if not waiting:
            say("no daemon runs now; waiting for it")
        waiting = True
        time.sleep(_LOOK)  # a command's own process; nothing tells when a daemon comes back


def _growing(daemon: Client, position: int) -> Iterator[Message]:
    """All events after `position`, until the stream ends."""
    stream = daemon.http.stream("GET", "/api/events", params={"after": position}, timeout=_QUIET)
    with stream as answer:
        for message in _pages(daemon, position):
            position = message["seq"]
            yield message
        for line in answer.iter_lines():
            if line.startswith("id: ") and int(line.rpartition(".")[2]) > position:
                for message in _pages(daemon, position):
                    position = message["seq"]
                    yield message


def _pages(daemon: Client, position: int) -> Iterator[Message]:
    while events := daemon.get("/api/log", after=position, limit=1000)["events"]:
        yield from events
        position = events[-1]["seq"]
