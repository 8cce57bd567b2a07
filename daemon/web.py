"""HTTP: the viewer's files, the event stream, pictures by id, and the few things a person can ask for.

Pictures are reached by frame number and step, never by path. Whatever changes something is answered once
it is in the log.
"""

import hashlib
import secrets
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

import msgspec
from anyio import to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from daemon import reprints, schema, stock
from daemon.answers import MAX_BODY, body, error, json, sender, whole, wished
from daemon.arrivals import Outlook
from daemon.control import Control
from daemon.events import codec
from daemon.events.log import Log
from daemon.events.types import Event, JobAccepted, Recorded, Source
from daemon.faults import Fault
from daemon.guards import LINES, Guard, media_type
from daemon.pictures import Recent, picture_type
from daemon.projections import decisions, restoring
from daemon.projections.frames import Frame
from daemon.projections.laws import Refused
from daemon.projections.state import KEPT, State, row_key
from daemon.settings import PAGE, VERSION, Settings
from daemon.sheets import Sheet, read
from daemon.sse import Streams
from daemon.upkeep import Upkeep

_PAGE_MAX = 1000
_FOREVER = "private, max-age=31536000, immutable"


class Web:
    """The routes' common ground: what they read and whom they ask."""

    def __init__(
        self,
        log: Log[State],
        settings: Settings,
        recent: Recent,
        devices: Callable[[], list[str]],
        inbox: Callable[[], Outlook],
    ) -> None:
        """`recent` holds the previews of frames being made; `devices` answers the devices' names; `inbox`
        what lies there still.
        """
        self._devices = devices
        self._inbox = inbox
        self._log = log
        self._settings = settings
        self._lacks = stock.lacking(settings.home)
        self._recent = recent
        self.streams = Streams(log, self._snapshot)

    def application(self, port: int, token: str | None) -> Starlette:
        """The whole ASGI application, guards outermost."""
        routes = [
            Route("/", self._page),
            Route("/api/events", self.streams),
            Route("/api/health", self._health),
            Route("/api/frames", self._frames),
            Route("/api/frames/{frame}", self._frame),
            Route("/api/frames/{frame}/cancel", self._cancel, methods=["POST"]),
            Route("/api/inbox", self._waiting),
            Route("/api/jobs", self._jobs),
            Route("/api/jobs", self._submit, methods=["POST"]),
            Route("/api/log", self._events),
            *Control(self._log, self._settings, self._devices).routes(),
            *Upkeep(self._log, self._settings.home).routes(),
            Route("/frames/{frame}/preview", self._preview),
            Route("/frames/{frame}/final", self._final),
            Route("/schema/prompt.json", self._schema),
            Mount("/static", _Fresh(directory=PAGE)),
        ]
        return Starlette(routes=routes, middleware=[Middleware(Guard, port=port, token=token)])

    def _snapshot(self) -> bytes:
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
                "paces": [
                    {
                        "model": model,
                        "width": width,
                        "height": height,
                        "sampler": sampler,
                        **msgspec.structs.asdict(pace),
                    }
                    for (model, width, height, sampler), pace in state.paces.items()
                ],
            }
        )

    async def _page(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    async def _health(self, request: Request) -> Response:
        log = self._log
        return json(
            {"version": VERSION, "epoch": log.epoch, "position": log.position, "open": len(log.state.open)}
        )

    async def _frames(self, request: Request) -> Response:
        """A page of frames, newest first: `?before=` the last id seen, `?limit=`."""
        state = self._log.state
        return await self._rows(request, "frames", state.frames, state.next_frame)

    async def _jobs(self, request: Request) -> Response:
        """A page of jobs, newest first: `?before=` the last id seen, `?limit=`."""
        state = self._log.state
        return await self._rows(request, "jobs", state.jobs, state.next_job)

    async def _rows(
        self, request: Request, table: str, memory: Mapping[int, object], following: int
    ) -> Response:
        """The tables hold them all, memory what has changed since they were last written."""
        before, limit = min(_number(request, "before", following), following), _limit(request)
        newer = dict(memory)
        async with self._log.cursor() as cursor:
            stored = await to_thread.run_sync(restoring.page, cursor, table, before, limit)
        known = {**{row_key(row): row for row in stored}, **newer, **memory}
        numbers = sorted((number for number in known if number < before), reverse=True)[:limit]
        return json({"position": self._log.position, table: [known[number] for number in numbers]})

    async def _known_frame(self, number: int) -> Frame | None:
        await self._log.recall([("frames", number)])
        return self._log.state.frames.get(number)

    async def _frame(self, request: Request) -> Response:
        frame = await self._known_frame(_frame_of(request))
        if frame is None:
            return error(404, f"there is no frame {_frame_of(request)}")
        return json({"position": self._log.position, "frame": frame})

    async def _waiting(self, request: Request) -> Response:
        """Files in the inbox that are not taken yet, and why; `more` counts those beyond `?limit=`."""
        outlook = self._inbox()
        limit = _limit(request)
        waiting = [{"name": each.name, "why": each.why} for each in outlook.waiting[:limit]]
        more = max(0, len(outlook.waiting) - limit)
        return json(
            {"position": self._log.position, "waiting": waiting, "more": more, "ignored": outlook.ignored}
        )

    async def _schema(self, request: Request) -> Response:
        return Response(schema.text(), media_type="application/schema+json")

    async def _events(self, request: Request) -> Response:
        """A page of the log, oldest first: `?after=` a seq, `?limit=`."""
        events = await self._log.read(_number(request, "after", 0), _limit(request))
        rows = [msgspec.Raw(codec.message(recorded)) for recorded in events]
        return json({"position": self._log.position, "events": rows})

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
        seeds = [secrets.randbits(32) for _ in verdict.prompts]
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

    async def _preview(self, request: Request) -> Response:
        """The picture of exactly `?step=`, or 410: never another step's."""
        data = self._recent.get(_frame_of(request), _number(request, "step", 0))
        if data is None:
            return error(410, "this step's picture is gone")
        return Response(data, media_type=picture_type(data), headers={"cache-control": _FOREVER})

    async def _final(self, request: Request) -> Response:
        frame = await self._known_frame(_frame_of(request))
        if frame is None or frame.path is None:
            return error(404, "there is no such picture")
        path = self._settings.home.root / frame.path
        if not path.is_file():
            return error(410, f"{frame.path} is gone")
        return FileResponse(path, media_type="image/png", headers={"cache-control": _FOREVER})


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


def _number(request: Request, name: str, default: int) -> int:
    """A number from the query; the default where it is missing or none."""
    return whole(request.query_params.get(name, ""), default)


def _frame_of(request: Request) -> int:
    """The frame that the address names; 0, which none has, where that is no number."""
    return whole(request.path_params["frame"], 0)


def _limit(request: Request) -> int:
    return min(_number(request, "limit", 100), _PAGE_MAX)
