"""What a person can ask of the queue over HTTP: pause, resume, cancel, another priority, and how it stands.

Each is answered once it is in the log. Asking for what is so already changes nothing and is no error.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemon.answers import error, json, sender, whole, wished
from daemon.events.log import Log
from daemon.events.types import CancelRequested, Event
from daemon.projections import decisions
from daemon.projections.decisions import Scope
from daemon.projections.laws import Refused, Unknown
from daemon.projections.state import State
from daemon.prompts import Priority
from daemon.settings import VERSION, Settings
from daemon.stages import Stages

FAILURES_SHOWN = 5
"""Of the ended frames that are in memory."""


class Priorities(msgspec.Struct, forbid_unknown_fields=True):
    """Another priority for a job."""

    priority: Priority


class Cancellation(msgspec.Struct, forbid_unknown_fields=True):
    """What to cancel."""

    scope: Scope


class Control:
    """The routes of the queue."""

    def __init__(
        self, log: Log[State], settings: Settings, devices: Callable[[], list[str]], stages: Stages
    ) -> None:
        """`devices` answers the devices' names, `stages` what keeps them from sampling."""
        self._log = log
        self._settings = settings
        self._devices = devices
        self._stages = stages

    def routes(self) -> list[Route]:
        """Where they are."""
        post = ["POST"]
        return [
            Route("/api/status", self._status),
            Route("/api/queue/pause", self._pause, methods=post),
            Route("/api/queue/resume", self._resume, methods=post),
            Route("/api/cancel", self._cancel_all, methods=post),
            Route("/api/jobs/{job}/cancel", self._cancel_job, methods=post),
            Route("/api/jobs/{job}/priority", self._prioritise, methods=post),
        ]

    async def _status(self, request: Request) -> Response:
        """All that `safelight status` shows, as of one position."""
        state = self._log.state
        newest = (state.frames[number] for number in sorted(state.frames, reverse=True))
        failed = (frame for frame in newest if frame.status == "failed")
        return json(
            {
                "position": self._log.position,
                "version": VERSION,
                "model": self._settings.model,
                "inbox": str(self._settings.home.inbox),
                "devices": self._devices(),
                "loading": self._stages.now,
                "paused_by": state.paused_by,
                "frames": [state.frames[number] for number in sorted(state.open)],
                "failed": list(islice(failed, FAILURES_SHOWN)),
            }
        )

    async def _pause(self, request: Request) -> Response:
        return await self._decide(partial(decisions.pause, by=sender(request)))

    async def _resume(self, request: Request) -> Response:
        return await self._decide(partial(decisions.resume, by=sender(request)))

    async def _cancel_job(self, request: Request) -> Response:
        job = whole(request.path_params["job"], 0)
        return await self._decide(partial(decisions.cancel_job, job=job, by=sender(request)))

    async def _cancel_all(self, request: Request) -> Response:
        """`{"scope": "all"}`, or `all-but-running`."""
        wish = await wished(request, Cancellation)
        if isinstance(wish, Response):
            return wish
        return await self._decide(partial(decisions.cancel_all, scope=wish.scope, by=sender(request)))

    async def _prioritise(self, request: Request) -> Response:
        """`{"priority": 5}`."""
        wish = await wished(request, Priorities)
        if isinstance(wish, Response):
            return wish
        job = whole(request.path_params["job"], 0)
        decision = partial(decisions.reprioritise, job=job, priority=wish.priority, by=sender(request))
        return await self._decide(decision)

    async def _decide(self, decision: Callable[[State], Sequence[Event]]) -> Response:
        """Have it decided, and say what came of it: which frames were asked to stop."""
        try:
            recorded = await self._log.decide(decision)
        except Unknown as refusal:
            return error(404, str(refusal))
        except Refused as refusal:
            return error(409, str(refusal))
        stopped = [each.event.frame for each in recorded if isinstance(each.event, CancelRequested)]
        return json({"position": self._log.position, "changed": bool(recorded), "frames": stopped})
