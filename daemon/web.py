"""HTTP: the viewer's files, the event stream, pictures by id, and the few things a person can ask for.

Pictures are reached by frame number and step, never by path. Whatever changes something is answered once
it is in the log.
"""

import hashlib
import random
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon import reprints, schema, stock
from daemon.answers import MAX_BODY, body, error, json, limit, sender, whole, wished
from daemon.archive import Archive
from daemon.arrivals import Outlook
from daemon.control import Control
from daemon.events.log import Log
from daemon.events.types import Event, JobAccepted, Recorded, Source
from daemon.faults import Fault
from daemon.gallery import Gallery
from daemon.guards import LINES, Guard, media_type
from daemon.pictures import Recent
from daemon.projections import decisions, throughput
from daemon.projections.laws import Refused
from daemon.projections.state import KEPT, State
from daemon.samplers import SAMPLERS, SCHEDULERS
from daemon.settings import PAGE, VERSION, Settings
from daemon.sheets import Sheet, read
from daemon.sse import Streams
from daemon.stages import Stages
from daemon.upkeep import Upkeep

STREAM = "/api/events"


class Web:
    """The routes' common ground: what they read and whom they ask."""

    def __init__(
        self,
        log: Log[State],
        settings: Settings,
        recent: Recent,
        devices: Callable[[], list[str]],
        inbox: Callable[[], Outlook],
        stages: Stages,
    ) -> None:
        """`recent` holds the previews of frames being made; `devices` answers the devices' names; `inbox`
        what lies there still; `stages` has what keeps devices from sampling.
        """
        self._devices = devices
        self._inbox = inbox
        self._log = log
        self._settings = settings
        self._lacks = stock.lacking(settings.home)
        self._recent = recent
        self._stages = stages
        self.streams = Streams(log, self.snapshot)
        stages.listen(lambda: self.streams.tell(b"loading", msgspec.json.encode({"loading": stages.now})))

    def application(self, port: int, token: str | None) -> ASGIApp:
        """The whole ASGI application, guards outermost."""
        return Guard(_Fork(self.streams, Starlette(routes=self.routes())), port=port, token=token)

    def routes(self) -> list[BaseRoute]:
        """All that there are; docs/http.md describes them."""
        return [
            Route("/", self._page),
            Route(STREAM, self.streams),
            Route("/api/health", self._health),
            Route("/api/frames/{frame}/cancel", self._cancel, methods=["POST"]),
            Route("/api/inbox", self._waiting),
            Route("/api/jobs", self._submit, methods=["POST"]),
            Route("/api/stock", self._stock),
            *Archive(self._log, self._settings).routes(),
            *Control(self._log, self._settings, self._devices, self._stages).routes(),
            *Upkeep(self._log, self._settings.home).routes(),
            *Gallery(self._log, self._settings.home, self._recent).routes(),
            Route("/schema/prompt.json", self._schema),
            Mount("/static", _Fresh(directory=PAGE)),
        ]

    def snapshot(self) -> bytes:
        """What a fresh client of the stream gets, as JSON: all that is open, and what ended of late."""
        state = self._log.state
        ended = sorted(state.frames.keys() - state.open.keys())[-KEPT:]
        shown = sorted({*ended, *state.open})
        return msgspec.json.encode(
            {
                "position": self._log.position,
                "version": VERSION,
                "model": self._settings.model,
                "inbox": str(self._settings.home.inbox),
                "devices": self._devices(),
                "paused_by": state.paused_by,
                "frames": [state.frames[number] for number in shown],
                "older": state.next_frame - 1 - len(shown),
                "paces": throughput.told(state.paces.values()),
            }
        )

    async def _page(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    async def _health(self, request: Request) -> Response:
        log = self._log
        return json(
            {"version": VERSION, "epoch": log.epoch, "position": log.position, "open": len(log.state.open)}
        )

    async def _waiting(self, request: Request) -> Response:
        """Files in the inbox that are not taken yet, and why; `more` counts those beyond `?limit=`."""
        outlook = self._inbox()
        most = limit(request)
        waiting = [{"name": each.name, "why": each.why} for each in outlook.waiting[:most]]
        more = max(0, len(outlook.waiting) - most)
        return json(
            {"position": self._log.position, "waiting": waiting, "more": more, "ignored": outlook.ignored}
        )

    async def _stock(self, request: Request) -> Response:
        """What a prompt may name: files of the home, samplers, schedulers; and the model if it names none."""
        there = await to_thread.run_sync(stock.look, self._settings.home)
        return json(
            {
                "position": self._log.position,
                "model": self._settings.model,
                **msgspec.structs.asdict(there),
                "samplers": list(SAMPLERS.values()),
                "schedulers": list(SCHEDULERS),
            }
        )

    async def _schema(self, request: Request) -> Response:
        return Response(schema.text(), media_type="application/schema+json")

    async def _submit(self, request: Request) -> Response:
        """Prompts, as in a file: 201 with the job, or the jobs if they came as a list; 422 with the same
        faults as a rejected file.

        With a `key`, or an `Idempotency-Key`, that was used before, 200 with what it led to then.
        """
        content = await body(request)
        if content is None:
            return error(413, f"a prompt has at most {MAX_BODY} bytes")
        lines = media_type(request.headers) in LINES
        verdict = (
            read(content, self._settings.model, self._lacks, lines=True) if lines else self._read(content)
        )
        if not isinstance(verdict, Sheet):
            return json({"faults": verdict}, 422)
        claim = verdict.claim or _claim(request)
        digest = hashlib.sha256(content).hexdigest()
        name, rest = sender(request), verdict.not_carried
        source = Source(kind="http", name=name, sha256=digest, claim=claim, not_carried=rest)
        seeds = [random.getrandbits(32) for _ in verdict.prompts]
        decision = partial(decisions.accept_once, prompts=verdict.prompts, source=source, drawn_seeds=seeds)
        new = await self._log.decide(decision, needs=decisions.claim_keys(claim, len(seeds)))
        jobs = [_numbers(recorded.event) for recorded in new or await self._recorded_under(claim)]
        return json({"jobs": jobs} if verdict.several else jobs[0], 201 if new else 200)

    def _read(self, content: bytes) -> Sheet | list[Fault]:
        return reprints.read(content, self._settings.model, self._lacks)

    async def _recorded_under(self, claim: str) -> list[Recorded]:
        """What a drop or request with the same key led to."""
        keys = decisions.claim_keys(claim, 1)
        await self._log.recall(keys)
        seqs = [found.seq for _, key in keys if (found := self._log.state.claims.get(str(key)))]
        events = await self._log.read(min(seqs) - 1, max(seqs) - min(seqs) + 1)
        named = {claim, *(f"{claim}.{index}" for index in range(len(events)))}
        return [
            one for one in events if isinstance(one.event, JobAccepted) and one.event.source.claim in named
        ]

    async def _cancel(self, request: Request) -> Response:
        """Stop a frame; the body may say which step was being looked at, and that what there is should be
        decoded and kept: `{"step": 7, "keep_partial": true}`.
        """
        frame = _frame_of(request)
        looked_at = await wished(request, _LookedAt)
        if isinstance(looked_at, Response):
            return looked_at
        if not 0 < frame < self._log.state.next_frame:
            return error(404, f"there is no frame {frame}")
        step, keep = looked_at.step, looked_at.keep_partial
        decision = partial(decisions.cancel, frame=frame, by=sender(request), step=step, keep_partial=keep)
        try:
            await self._log.decide(decision, needs=[("frames", frame)])
        except Refused as refusal:
            return error(409, str(refusal))
        return json({"position": self._log.position})


class _Fork:
    """Streams go straight to where they are served: a thousand of them would keep a thousand times all that
    other requests pass on their way.
    """

    def __init__(self, streams: Streams, rest: ASGIApp) -> None:
        self._streams = streams
        self._rest = rest

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        stream = (scope["type"], scope.get("method"), scope.get("path")) == ("http", "GET", STREAM)
        return (self._streams if stream else self._rest)(scope, receive, send)


class _Fresh(StaticFiles):
    """Files that a browser asks about each time: yesterday's page does not fit today's daemon."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As starlette answers, by ETag, with the wish to be asked again."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


class _LookedAt(msgspec.Struct, forbid_unknown_fields=True):
    step: Annotated[int, msgspec.Meta(ge=0, lt=2**31)] = 0
    keep_partial: bool = False


def _numbers(event: Event) -> dict[str, Any]:
    """The numbers that a person goes on with."""
    assert isinstance(event, JobAccepted)
    return {"job": event.job, "frames": list(range(event.first_frame, event.first_frame + len(event.seeds)))}


def _claim(request: Request) -> str:
    """Names the request: what the client calls it by `Idempotency-Key`, so that it may safely ask again."""
    key = request.headers.get("idempotency-key")
    return uuid.uuid4().hex if key is None else hashlib.sha256(f"key {key}".encode()).hexdigest()


def _frame_of(request: Request) -> int:
    """The frame that the address names; 0, which none has, where that is no number."""
    return whole(request.path_params["frame"], 0)
