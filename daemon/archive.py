"""The routes of what was: frames and jobs in pages, one frame with its story, the log, the wall of a moment.

All of it is read beside the writer, on a connection and in a thread of its own, from tables that are
brought up to the log first.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, get_args

import anyio
import duckdb
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemon import moments
from daemon.answers import error, json, limit, number, whole
from daemon.events import codec, database
from daemon.events.log import Log
from daemon.events.types import DaemonStarted, FinalWritten, JobAccepted, ModelLoaded, Recorded
from daemon.history import logpage, replay
from daemon.history.logpage import Wanted
from daemon.history.replay import NoSuchMoment
from daemon.history.selection import Selection, known_type
from daemon.projections import pages, restoring, tables
from daemon.projections.frames import Frame, Status
from daemon.projections.pages import Filters
from daemon.projections.state import State
from daemon.prompts import Asked, Prompt
from daemon.settings import Settings

AT_ONCE = 2
"""Questions answered at the same time; more wait their turn, so that a slider leaves the machine some air."""
_LAST = 2**63 - 1

TEXT_MAX = 200
"""Characters of a search in the log."""

T = TypeVar("T")


class Archive:
    """The routes."""

    def __init__(self, log: Log[State], settings: Settings) -> None:
        """Over this log."""
        self._log = log
        self._settings = settings
        self._readers = anyio.CapacityLimiter(AT_ONCE)
        self._flushed = 0

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/api/frames", self._frames),
            Route("/api/frames/{frame}", self._frame),
            Route("/api/jobs", self._jobs),
            Route("/api/log", self._events),
            Route("/api/state", self._state),
        ]

    async def _read(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Ask tables and log, both brought up to now."""
        async with self._readers:
            if self._flushed < self._log.position:
                self._flushed = await tables.flush(self._log)
            return await self._log.aside(question)

    async def _frames(self, request: Request) -> Response:
        """A page of the frames that fit the filters, newest first."""
        try:
            filters = _filters(request)
        except ValueError as fault:
            return error(422, str(fault))
        before, skip = number(request, "before", _LAST), number(request, "skip", 0)
        question = partial(pages.page, filters=filters, before=before, skip=skip, limit=limit(request))
        return json(await self._read(question))

    async def _jobs(self, request: Request) -> Response:
        """A page of jobs, newest first: `?before=` the last id seen, `?limit=`."""
        before = number(request, "before", _LAST)
        found = await self._read(partial(restoring.page, table="jobs", before=before, limit=limit(request)))
        return json({"position": self._log.position, "jobs": found})

    async def _frame(self, request: Request) -> Response:
        """All about one frame."""
        wanted = whole(request.path_params["frame"], 0)
        await self._log.recall([("frames", wanted)])
        frame = self._log.state.frames.get(wanted)
        if frame is None:
            return error(404, f"there is no frame {wanted}")
        position = self._log.position
        story = await self._log.aside(partial(_story, frame=frame))
        return json({"position": position, "frame": frame, **_told(frame, story)})

    async def _events(self, request: Request) -> Response:
        """A page of the log: `?after=` a seq, or with `?order=desc` newest first and `?before=`; filtered."""
        position = self._log.position
        try:
            wanted = _wanted(request, position)
        except ValueError as fault:
            return error(422, str(fault))
        question = partial(logpage.page, wanted=wanted)
        if wanted.words:
            async with self._readers:
                page = await self._log.aside(question)
        else:
            page = await self._log.aside(question)
        return json({"position": position, "next": page.next, "events": _messages(page.events)})

    async def _state(self, request: Request) -> Response:
        """The snapshot as it was `?at=` an event, a time or an age."""
        try:
            asked = request.query_params.get("at", str(self._log.position))
            moment = moments.parse(asked, datetime.now(UTC))
        except ValueError as fault:
            return error(422, str(fault))
        try:
            return json(await self._read(partial(self._past, moment=moment)))
        except NoSuchMoment as fault:
            return error(404, str(fault))

    def _past(self, connection: duckdb.DuckDBPyConnection, moment: moments.Moment) -> dict[str, Any]:
        seq = replay.position(connection, moment)
        wall = pages.wall(connection, seq)
        begun = f"(SELECT max(seq) FROM events WHERE type = 'DaemonStarted' AND seq <= {seq})"
        kinds = "type IN ('DaemonStarted', 'ModelLoaded')"
        daemon = _found(connection, f"seq >= {begun} AND seq <= {seq} AND {kinds}")
        return {
            "position": seq,
            **msgspec.structs.asdict(wall),
            **_as_started(daemon),
            "inbox": str(self._settings.home.inbox),
        }


def _filters(request: Request) -> Filters:
    """Raises ValueError, in words, for a status or a time that is none."""
    query = request.query_params
    statuses = _several(query.get("status", ""))
    if wrong := [each for each in statuses if each not in get_args(Status)]:
        raise ValueError(f"there is no status {wrong[0]}; there are {', '.join(get_args(Status))}")
    now = datetime.now(UTC)
    since, until = (
        moments.parse_time(query[name], now) if query.get(name) else None for name in ("since", "until")
    )
    return Filters(
        statuses=statuses,
        models=_several(query.get("model", "")),
        projects=_several(query.get("project", "")),
        words=query.get("text", "").split(),
        since=since,
        until=until,
    )


def _wanted(request: Request, position: int) -> Wanted:
    """Up to `position`. Raises ValueError, in words, for a type, a frame or a job that is none."""
    query = request.query_params
    numbers = {name: number(request, name, -1) if query.get(name) else None for name in ("frame", "job")}
    if wrong := [name for name, value in numbers.items() if value == -1]:
        raise ValueError(f"{query[wrong[0]]!r} is no {wrong[0]}'s number")
    types = [known_type(each) for each in _several(query.get("type", ""))]
    text = query.get("text", "")
    if len(text) > TEXT_MAX:
        raise ValueError(f"a search has at most {TEXT_MAX} characters")
    return Wanted(
        selection=Selection(types=types, frame=numbers["frame"], job=numbers["job"]),
        words=text.split(),
        after=number(request, "after", 0),
        before=min(number(request, "before", _LAST), position + 1),
        newest_first=query.get("order") == "desc",
        limit=limit(request),
    )


def _several(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _found(connection: duckdb.DuckDBPyConnection, condition: str) -> list[Recorded]:
    return [codec.open_row(row) for row in database.stream(connection, condition)]


def _messages(events: list[Recorded]) -> list[msgspec.Raw]:
    return [msgspec.Raw(codec.message(recorded)) for recorded in events]


def _story(connection: duckdb.DuckDBPyConnection, frame: Frame) -> list[Recorded]:
    """The frame's own events, its job's acceptance before them."""
    return _found(connection, f"frame = {frame.id} OR (job = {frame.job} AND type = 'JobAccepted')")


def _told(frame: Frame, story: list[Recorded]) -> dict[str, Any]:
    events = [recorded.event for recorded in story]
    (accepted,) = (event for event in events if isinstance(event, JobAccepted))
    finals = [event for event in events if isinstance(event, FinalWritten)]
    return {
        "prompt": accepted.prompt,
        "again": _again(accepted.prompt, frame.seed),
        "recipe": finals[-1].recipe if finals else None,
        "source": accepted.source,
        "events": _messages(story),
    }


def _again(prompt: Prompt, seed: int) -> dict[str, Any]:
    """What makes one picture of a prompt again, as a person would write it."""
    said = {**msgspec.to_builtins(prompt), "seed": seed, "count": 1}
    return {key: value for key, value in said.items() if key in Asked.__struct_fields__ and value is not None}


def _as_started(events: list[Recorded]) -> dict[str, Any]:
    """What the last start said, and the names that devices have told since."""
    told: dict[str, Any] = {"version": "", "model": "", "devices": []}
    for recorded in events:
        match recorded.event:
            case DaemonStarted(version=version, model=model, devices=devices):
                told = {"version": version, "model": model, "devices": devices}
            case ModelLoaded(device=device):
                named = [name for name in told["devices"] if name != "auto"]
                told["devices"] = [*dict.fromkeys([*named, device])]
            case _:
                pass
    return told
