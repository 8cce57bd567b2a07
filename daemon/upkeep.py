"""What commands ask of a daemon's history: its copies up to now, its tables anew, old pictures gone."""

from datetime import datetime
from typing import Annotated

import anyio
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemon import finals
from daemon.answers import error, json, wished
from daemon.events.log import Log
from daemon.history import copies
from daemon.projections import rebuilding
from daemon.projections.state import State
from daemon.settings import Home


class Copying(msgspec.Struct, forbid_unknown_fields=True):
    """Copies for readers."""

    anew: bool = False
    """Even those that reach far enough: one of them is damaged."""


class Rebuilding(msgspec.Struct, forbid_unknown_fields=True):
    """The tables made again."""

    dry_run: bool = False
    """Only say where they differ."""


class Pruning(msgspec.Struct, forbid_unknown_fields=True):
    """Pictures to delete."""

    before: Annotated[datetime, msgspec.Meta(tz=True)]
    """Finished before then."""
    project: str | None = None


class Upkeep:
    """The routes."""

    def __init__(self, log: Log[State], home: Home) -> None:
        """Over the log of this home."""
        self._log = log
        self._home = home
        self._one_at_a_time = anyio.Lock()

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/api/history/tail", self._copy, methods=["POST"]),
            Route("/api/tables/rebuild", self._rebuild, methods=["POST"]),
            Route("/api/prune", self._prune, methods=["POST"]),
        ]

    async def _copy(self, request: Request) -> Response:
        """Bring the copies in `history/` up to now; answers as of which event they are."""
        wish = await wished(request, Copying)
        if isinstance(wish, Response):
            return wish
        async with self._one_at_a_time:
            return json(await copies.bring_up(self._log, self._home.segments, anew=wish.anew))

    async def _rebuild(self, request: Request) -> Response:
        """Make the tables anew from the log, or say where they differ from it."""
        wish = await wished(request, Rebuilding)
        if isinstance(wish, Response):
            return wish
        async with self._one_at_a_time:
            if wish.dry_run:
                return json({"drifts": await rebuilding.compare(self._log)})
            return json(await rebuilding.rebuild(self._log))

    async def _prune(self, request: Request) -> Response:
        """Delete a portion of the pictures that were finished before a time; answers how many are left."""
        wish = await wished(request, Pruning)
        if isinstance(wish, Response):
            return wish
        try:
            return json(await finals.prune(self._log, self._home, wish.before, wish.project))
        except OSError as fault:
            return error(500, str(fault))
