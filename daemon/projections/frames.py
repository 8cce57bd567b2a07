"""One picture's state, as a pure fold of the log: `evolve(frame, event) → frame`.  PURE

`static/fold.js` folds the same events to the same fields; `tests/histories/*.jsonl` hold both to it.
"""

from datetime import datetime
from typing import Any, Literal, assert_never

import msgspec
from msgspec.structs import replace

from daemon.events.types import (
    CancelRequested,
    FileMissing,
    FinalDeleted,
    FinalWritten,
    FrameCancelled,
    FrameCreated,
    FrameFailed,
    FrameInterrupted,
    FrameResumed,
    JobAccepted,
    JobReprioritised,
    PreviewDeleted,
    PreviewWritten,
)
from daemon.prompts import steps_in_all

Status = Literal["queued", "running", "stopping", "done", "cancelled", "failed"]
ENDED: frozenset[Status] = frozenset({"done", "cancelled", "failed"})
BEING_MADE: frozenset[Status] = frozenset({"running", "stopping"})


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One picture of a job, from waiting to its end."""

    id: int
    job: int
    index: int
    status: Status = "queued"
    project: str
    model: str
    prompt: str
    negative_prompt: str
    seed: int
    width: int
    height: int
    cfg_scale: float
    sampler: str
    scheduler: str
    priority: int
    step: int = 0
    """The last step that has a picture; for a cancelled frame, the last step made."""
    steps: int
    attempt: int = 1
    device_deaths: int = 0
    """Devices that died while making it and nothing else; at two the frame is given up."""
    generator: str | None = None
    device: str | None = None
    path: str | None = None
    """Of the final picture, from its writing until it is deleted or missed; for a cancelled frame, of the
    partial one if it was kept."""
    preview: str | None = None
    """Of the preview file, from FrameCreated to PreviewDeleted."""
    error: str | None = None
    queued_at: datetime
    created_at: datetime | None = None
    updated_at: datetime
    finished_at: datetime | None = None


FrameEvent = (
    PreviewWritten
    | FrameCreated
    | FinalWritten
    | PreviewDeleted
    | FinalDeleted
    | FileMissing
    | CancelRequested
    | FrameCancelled
    | FrameFailed
    | FrameInterrupted
    | FrameResumed
)


def queued(event: JobAccepted, ts: datetime) -> list[Frame]:
    """The frames that an accepted job brings, all waiting."""
    prompt = event.prompt
    return [
        Frame(
            id=event.first_frame + index,
            job=event.job,
            index=index,
            project=prompt.project,
            model=prompt.model,
            prompt=prompt.prompt,
            negative_prompt=prompt.negative_prompt,
            seed=seed,
            width=prompt.width,
            height=prompt.height,
            cfg_scale=prompt.cfg_scale,
            sampler=prompt.sampler,
            scheduler=prompt.scheduler,
            priority=prompt.priority,
            steps=steps_in_all(prompt),
            queued_at=ts,
            updated_at=ts,
        )
        for index, seed in enumerate(event.seeds)
    ]


def evolve(frame: Frame, event: FrameEvent, ts: datetime) -> Frame:
    """The frame after one more event about it."""
    return replace(frame, updated_at=ts, **_changes(frame, event, ts))


def reprioritised(frame: Frame, event: JobReprioritised, ts: datetime) -> Frame:
    """A frame that has not ended, after its job got another priority."""
    return replace(frame, priority=event.priority, updated_at=ts)


def _changes(frame: Frame, event: FrameEvent, ts: datetime) -> dict[str, Any]:
    match event:
        case PreviewWritten():
            return {"step": event.step}
        case FrameCreated():
            begun = {"generator": event.generator, "device": event.device, "preview": event.path}
            return {"status": _unless_stopping(frame), "step": 0, "created_at": ts, **begun}
        case FrameResumed():
            again = {"attempt": event.attempt, "device": event.device, "preview": event.path}
            return {"status": _unless_stopping(frame), "step": event.step, **again}
        case FinalWritten():
            end = {"path": event.path, "step": frame.steps, "error": None}
            return {"status": "done", "finished_at": ts, **end}
        case PreviewDeleted():
            return {"preview": None}
        case FinalDeleted() | FileMissing():
            return {"path": None}
        case CancelRequested():
            return {} if frame.status in ENDED else {"status": "stopping"}
        case FrameCancelled():
            end = {"step": event.step, "path": event.path}
            return {"status": "cancelled", "finished_at": ts, **end}
        case FrameFailed():
            end = {"error": event.message, "attempt": event.attempt}
            return {"status": "failed", "finished_at": ts, **end}
        case FrameInterrupted():
            died = event.why == "device_died" and event.together == 1
            return {"status": "queued", "device_deaths": frame.device_deaths + died}
        case _:
            assert_never(event)


def _unless_stopping(frame: Frame) -> Status:
    return "stopping" if frame.status == "stopping" else "running"


SQL = """
WITH begun AS (
    SELECT job, ts, data->'prompt' AS prompt, (data->>'first_frame')::BIGINT + place AS id, place, seed,
        (data->>'$.prompt.steps')::BIGINT + coalesce((data->>'$.prompt.hires.steps')::BIGINT, 0)
            AS steps_in_all
    FROM (SELECT job, ts, data, unnest(data->'$.seeds[*]')::BIGINT AS seed,
            generate_subscripts(data->'$.seeds[*]', 1) - 1 AS place
        FROM scope WHERE type = 'JobAccepted')
), story AS (
    SELECT frame, max(seq) AS last_seq,
        max(seq) FILTER (type = 'FrameCreated') AS created,
        max(seq) FILTER (type IN ('FrameCreated', 'FrameResumed')) AS taken_up,
        max(seq) FILTER (type = 'FrameResumed') AS resumed,
        max(seq) FILTER (type = 'PreviewWritten') AS previewed,
        max(seq) FILTER (type = 'FinalWritten') AS written,
        max(seq) FILTER (type = 'FrameCancelled') AS cancelled,
        max(seq) FILTER (type = 'FrameFailed') AS failed,
        max(seq) FILTER (type = 'PreviewDeleted') AS deleted,
        max(seq) FILTER (type IN ('FinalDeleted', 'FileMissing')) AS gone,
        max(seq) FILTER (type IN ('FrameCreated', 'FrameResumed', 'FrameInterrupted', 'CancelRequested',
            'FinalWritten', 'FrameCancelled', 'FrameFailed')) AS turned
    FROM scope WHERE frame IS NOT NULL GROUP BY frame
), deaths AS (
    SELECT frame, count(*) AS deaths FROM scope
    WHERE type = 'FrameInterrupted' AND data->>'why' = 'device_died'
        AND coalesce((data->>'together')::BIGINT, 1) = 1 GROUP BY frame
), moved AS (
    SELECT job, seq, ts, (data->>'priority')::BIGINT AS priority FROM scope WHERE type = 'JobReprioritised'
), told AS (
    SELECT seq, ts, type, data FROM scope SEMI JOIN (
        SELECT unnest([last_seq, created, taken_up, resumed, previewed, written, cancelled, failed, turned])
            AS seq FROM story) AS named USING (seq)
)
SELECT id, begun.job AS job_id, place AS "index",
    CASE turn.type WHEN 'FinalWritten' THEN 'done' WHEN 'FrameCancelled' THEN 'cancelled'
        WHEN 'FrameFailed' THEN 'failed' WHEN 'CancelRequested' THEN 'stopping'
        WHEN 'FrameCreated' THEN 'running' WHEN 'FrameResumed' THEN 'running' ELSE 'queued' END AS status,
    prompt->>'project' AS project_id, prompt->>'model' AS model, prompt->>'prompt' AS prompt,
    prompt->>'negative_prompt' AS negative_prompt, seed, (prompt->>'width')::BIGINT AS width,
    (prompt->>'height')::BIGINT AS height, (prompt->>'cfg_scale')::DOUBLE AS cfg_scale,
    coalesce(prompt->>'sampler', 'euler') AS sampler,
    coalesce(prompt->>'scheduler', 'ddim_uniform') AS scheduler,
    coalesce(moved.priority, (prompt->>'priority')::BIGINT) AS priority,
    CASE greatest(created, resumed, previewed, written, cancelled)
        WHEN written THEN steps_in_all
        WHEN cancelled THEN (cancel.data->>'step')::BIGINT
        WHEN previewed THEN (preview.data->>'step')::BIGINT
        WHEN resumed THEN (resume.data->>'step')::BIGINT ELSE 0 END AS step,
    steps_in_all AS steps,
    CASE greatest(resumed, failed) WHEN failed THEN (failure.data->>'attempt')::BIGINT
        WHEN resumed THEN (resume.data->>'attempt')::BIGINT ELSE 1 END AS attempt,
    coalesce(deaths, 0) AS device_deaths,
    creation.data->>'generator' AS generator, taking.data->>'device' AS device,
    CASE WHEN gone IS NULL OR written > gone
        THEN coalesce(final.data->>'path', cancel.data->>'path') END AS path,
    CASE WHEN deleted IS NULL OR taken_up > deleted THEN taking.data->>'path' END AS preview,
    CASE WHEN written IS NULL OR failed > written THEN failure.data->>'message' END AS error,
    begun.ts AS queued_at, creation.ts AS created_at,
    CASE WHEN moved.seq > coalesce(last_seq, 0) THEN moved.ts
        ELSE coalesce(newest.ts, begun.ts) END AS updated_at,
    ending.ts AS finished_at
FROM begun
    LEFT JOIN story ON story.frame = id
    LEFT JOIN deaths ON deaths.frame = story.frame
    LEFT JOIN told AS newest ON newest.seq = last_seq
    LEFT JOIN told AS creation ON creation.seq = created
    LEFT JOIN told AS taking ON taking.seq = taken_up
    LEFT JOIN told AS resume ON resume.seq = resumed
    LEFT JOIN told AS preview ON preview.seq = previewed
    LEFT JOIN told AS final ON final.seq = written
    LEFT JOIN told AS cancel ON cancel.seq = cancelled
    LEFT JOIN told AS failure ON failure.seq = failed
    LEFT JOIN told AS turn ON turn.seq = turned
    LEFT JOIN told AS ending ON ending.seq = greatest(written, cancelled, failed)
    ASOF LEFT JOIN moved ON moved.job = begun.job
        AND coalesce(greatest(written, cancelled, failed), 9223372036854775807) >= moved.seq
"""
"""The same rows from the events in `scope`, for the rebuild: what a frame is follows from the last event of
each kind. It holds for every history that the laws let happen, and `compare` holds it to the fold."""
