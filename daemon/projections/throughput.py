"""How long pictures take, and what stopping them saves: one `Timing` per attempt that came to an end.  PURE

A projection like `frames` and `jobs`, and the shortest one to learn from: a row, a fold, the same fold in
SQL for the rebuild, and a view that sums it up. A snapshot tells each `Pace`, for estimates.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from daemon.events.types import (
    Event,
    FinalWritten,
    FrameCancelled,
    FrameCreated,
    FrameFailed,
    FrameInterrupted,
    FrameResumed,
    PreviewWritten,
)
from daemon.projections.frames import Frame

_MICROSECOND = timedelta(microseconds=1)


class Timing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One frame's last attempt. Times are whole microseconds, so that sums do not depend on their order."""

    frame: int
    job: int
    model: str
    width: int
    height: int
    sampler: str
    outcome: str
    """`done`, `cancelled` or `failed`."""
    steps: int
    """Asked for."""
    step: int
    """Made."""
    picture_us: int
    """From the attempt's begin to its end."""
    timed_steps: int
    """Steps between the first preview and the last."""
    timed_us: int
    """And how long they took; previews and sampling together."""
    saved_us: int
    """What a stopped frame's other steps would have taken at its own pace."""


class Clock(msgspec.Struct, frozen=True, gc=False):
    """An attempt under way."""

    begun: datetime
    first: tuple[datetime, int] | None = None
    """Time and step of its first preview."""
    last: tuple[datetime, int] | None = None


class Pace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one kind of picture took so far: sums over the timings of those that take about the same time a
    step."""

    kind: str
    """Size, sampler and model, as `kind` has them."""
    model: str
    width: int
    height: int
    sampler: str
    pictures: int = 0
    picture_us: int = 0
    timed_steps: int = 0
    timed_us: int = 0

    def plus(self, timing: Timing) -> "Pace":
        """With one more."""
        done = timing.outcome == "done"
        return replace(
            self,
            pictures=self.pictures + done,
            picture_us=self.picture_us + done * timing.picture_us,
            timed_steps=self.timed_steps + timing.timed_steps,
            timed_us=self.timed_us + timing.timed_us,
        )


def kind(timing: Timing) -> str:
    """Which pictures this one speaks for."""
    return f"{timing.width}x{timing.height} {timing.sampler} {timing.model}"


def pace(timing: Timing) -> Pace:
    """Of the pictures that this one speaks for, before the first has ended."""
    size = {"width": timing.width, "height": timing.height}
    return Pace(kind=kind(timing), model=timing.model, sampler=timing.sampler, **size)


def told(paces: Iterable[Pace]) -> list[dict[str, Any]]:
    """Paces as a snapshot has them, in the order of their kinds."""
    ordered = sorted(paces, key=attrgetter("model", "width", "height", "sampler"))
    return [{name: value for name, value in asdict(each).items() if name != "kind"} for each in ordered]


def tick(clock: Clock | None, event: Event, ts: datetime) -> Clock | None:
    """The clock of a frame after one more event about it; None while nobody makes it."""
    match event:
        case FrameCreated() | FrameResumed():
            return Clock(ts)
        case PreviewWritten() if clock is not None:
            seen = (ts, event.step)
            return replace(clock, first=clock.first or seen, last=seen)
        case FrameInterrupted() | FinalWritten() | FrameCancelled() | FrameFailed():
            return None
        case _:
            return clock


def timing(clock: Clock, frame: Frame, ts: datetime) -> Timing:
    """The attempt as it ended at `ts`; `frame` is as its last event left it."""
    steps = us = 0
    if clock.first is not None and clock.last is not None:
        steps = clock.last[1] - clock.first[1]
        us = _microseconds(clock.first[0], clock.last[0])
    stopped = frame.status == "cancelled" and steps > 0
    return Timing(
        frame=frame.id,
        job=frame.job,
        model=frame.model,
        width=frame.width,
        height=frame.height,
        sampler=frame.sampler,
        outcome=frame.status,
        steps=frame.steps,
        step=frame.step,
        picture_us=_microseconds(clock.begun, ts),
        timed_steps=steps,
        timed_us=us,
        saved_us=(frame.steps - frame.step) * us // steps if stopped else 0,
    )


def _microseconds(begin: datetime, end: datetime) -> int:
    """Between the two; none where the machine's clock was set back."""
    return max(0, (end - begin) // _MICROSECOND)


VIEW = """
SELECT model, width, height, sampler,
    count(*) FILTER (outcome = 'done') AS pictures,
    count(*) FILTER (outcome = 'cancelled') AS stopped,
    count(*) FILTER (outcome = 'failed') AS failed,
    sum(timed_us) / nullif(sum(timed_steps), 0) / 1e6 AS seconds_a_step,
    avg(picture_us) FILTER (outcome = 'done') / 1e6 AS seconds_a_picture,
    count(*) FILTER (outcome = 'cancelled') / count(*) AS stop_rate,
    sum(saved_us) / 1e6 AS seconds_saved
FROM timings GROUP BY ALL ORDER BY ALL
"""
"""The view `throughput`."""

SQL = """
WITH begun AS (
    SELECT frame, max(seq) AS seq FROM scope WHERE type IN ('FrameCreated', 'FrameResumed') GROUP BY frame
), ended AS (
    SELECT scope.frame, arg_min(scope.ts, scope.seq) AS ts, begun.seq AS begun
    FROM scope JOIN begun USING (frame)
    WHERE type IN ('FinalWritten', 'FrameCancelled', 'FrameFailed') AND scope.seq > begun.seq
      AND scope.frame NOT IN (
        SELECT late.frame FROM scope AS late JOIN begun ON late.frame = begun.frame AND late.seq > begun.seq
        WHERE late.type = 'FrameInterrupted')
    GROUP BY scope.frame, begun.seq
), span AS (
    SELECT scope.frame, min(scope.seq) AS first, max(scope.seq) AS last FROM scope JOIN begun USING (frame)
    WHERE type = 'PreviewWritten' AND scope.seq > begun.seq GROUP BY scope.frame
), timed AS (
    SELECT span.frame, (late.data->>'step')::BIGINT - (early.data->>'step')::BIGINT AS steps,
        greatest(0, epoch_us(late.ts) - epoch_us(early.ts)) AS us
    FROM span JOIN scope AS early ON early.seq = span.first JOIN scope AS late ON late.seq = span.last
)
SELECT frames.id AS frame, frames.job_id AS job, model, width, height, sampler, status AS outcome,
    frames.steps, frames.step, greatest(0, epoch_us(ended.ts) - epoch_us(start.ts)) AS picture_us,
    coalesce(timed.steps, 0) AS timed_steps, coalesce(timed.us, 0) AS timed_us,
    CASE WHEN status = 'cancelled' AND timed.steps > 0
        THEN (frames.steps - frames.step) * timed.us // timed.steps ELSE 0 END AS saved_us
FROM fresh_frames AS frames JOIN ended ON ended.frame = frames.id
    JOIN scope AS start ON start.seq = ended.begun
    LEFT JOIN timed ON timed.frame = frames.id
"""
"""The same rows from the events in `scope`, after `fresh_frames` has been made of them."""

PACES = """
SELECT concat(width, 'x', height, ' ', sampler, ' ', model) AS kind, model, width, height, sampler,
    count(*) FILTER (outcome = 'done') AS pictures,
    coalesce(sum(picture_us) FILTER (outcome = 'done'), 0)::BIGINT AS picture_us,
    sum(timed_steps)::BIGINT AS timed_steps, sum(timed_us)::BIGINT AS timed_us
FROM {timings} GROUP BY ALL
"""
"""Their sums, over a table of them."""
