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
    SELECT job, ts, prompt[1] AS project_id, prompt[2] AS model, prompt[3] AS prompt,
        prompt[4] AS negative_prompt, prompt[5]::BIGINT AS width, prompt[6]::BIGINT AS height,
        prompt[7]::DOUBLE AS cfg_scale,
        coalesce(prompt[8], 'euler') AS sampler, coalesce(prompt[9], 'ddim_uniform') AS scheduler,
        prompt[10]::BIGINT AS priority, prompt[11]::BIGINT + coalesce(prompt[12]::BIGINT, 0) AS steps,
        prompt[13]::BIGINT + place AS id, place, seed
    FROM (SELECT job, ts, json_extract_string(data, ['$.prompt.project', '$.prompt.model', '$.prompt.prompt',
                '$.prompt.negative_prompt', '$.prompt.width', '$.prompt.height', '$.prompt.cfg_scale',
                '$.prompt.sampler', '$.prompt.scheduler', '$.prompt.priority', '$.prompt.steps',
                '$.prompt.hires.steps', '$.first_frame']) AS prompt,
            unnest(data->'$.seeds[*]')::BIGINT AS seed,
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
), named AS (
    SELECT story.*, seq, ts, type, json_extract_string(data,
        ['step', 'path', 'device', 'generator', 'attempt', 'message']) AS said
    FROM scope JOIN story USING (frame)
    WHERE seq IN (last_seq, created, taken_up, resumed, previewed, written, cancelled, failed, turned)
), told AS (
    SELECT frame, any_value(ts) FILTER (seq = last_seq) AS updated_at,
        any_value(ts) FILTER (seq = created) AS created_at,
        any_value(ts) FILTER (seq = greatest(written, cancelled, failed)) AS finished_at,
        any_value(type) FILTER (seq = turned) AS turn,
        any_value(said[4]) FILTER (seq = created) AS generator,
        any_value(said[3]) FILTER (seq = taken_up) AS device,
        any_value(said[2]) FILTER (seq = taken_up) AS preview,
        any_value(said[2]) FILTER (seq = written) AS final,
        any_value(said[2]) FILTER (seq = cancelled) AS part,
        any_value(said[1]) FILTER (seq = greatest(created, resumed, previewed, written, cancelled)) AS step,
        any_value(said[5]) FILTER (seq = greatest(resumed, failed)) AS attempt,
        any_value(said[6]) FILTER (seq = failed) AS message
    FROM named GROUP BY frame
), moved AS (
    SELECT job, seq, ts, (data->>'priority')::BIGINT AS priority FROM scope WHERE type = 'JobReprioritised'
), reprioritised AS (
    SELECT id, max(seq) AS seq, arg_max(moved.ts, seq) AS ts, arg_max(moved.priority, seq) AS priority
    FROM begun JOIN moved USING (job) LEFT JOIN story ON frame = id
    WHERE seq <= coalesce(greatest(written, cancelled, failed), seq) GROUP BY id
)
SELECT id, begun.job AS job_id, place AS "index",
    CASE turn WHEN 'FinalWritten' THEN 'done' WHEN 'FrameCancelled' THEN 'cancelled'
        WHEN 'FrameFailed' THEN 'failed' WHEN 'CancelRequested' THEN 'stopping'
        WHEN 'FrameCreated' THEN 'running' WHEN 'FrameResumed' THEN 'running' ELSE 'queued' END AS status,
    project_id, model, prompt, negative_prompt, seed, width, height, cfg_scale, sampler, scheduler,
    coalesce(reprioritised.priority, begun.priority) AS priority,
    CASE greatest(created, resumed, previewed, written, cancelled)
        WHEN written THEN steps WHEN created THEN 0 ELSE coalesce(told.step::BIGINT, 0) END AS step,
    steps, coalesce(attempt::BIGINT, 1) AS attempt, coalesce(deaths, 0) AS device_deaths, generator, device,
    CASE WHEN gone IS NULL OR written > gone THEN coalesce(final, part) END AS path,
    CASE WHEN deleted IS NULL OR taken_up > deleted THEN told.preview END AS preview,
    CASE WHEN written IS NULL OR failed > written THEN message END AS error,
    begun.ts AS queued_at, created_at,
    CASE WHEN reprioritised.seq > coalesce(last_seq, 0) THEN reprioritised.ts
        ELSE coalesce(told.updated_at, begun.ts) END AS updated_at,
    finished_at
FROM begun
    LEFT JOIN story ON story.frame = id
    LEFT JOIN told ON told.frame = id
    LEFT JOIN deaths ON deaths.frame = id
    LEFT JOIN reprioritised USING (id)
"""
"""The same rows from the events in `scope`, for the rebuild: what a frame is follows from the last event of
each kind. It holds for every history that the laws let happen, and `compare` holds it to the fold."""
