"""The queue: one prompt's state, as a pure fold of the log.  PURE"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from daemon.events.types import FinalWritten, FrameCancelled, FrameFailed, JobAccepted, JobReprioritised

JobEvent = FinalWritten | FrameCancelled | FrameFailed | JobReprioritised


class Job(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A prompt that was accepted, and how many of its frames have ended how."""

    id: int
    source: str
    """The dropped file's name, or the address it was posted from."""
    project: str
    model: str
    prompt: str
    priority: int
    first_frame: int
    count: int
    done: int = 0
    cancelled: int = 0
    failed: int = 0
    accepted_at: datetime
    finished_at: datetime | None = None

    @property
    def left(self) -> int:
        """Frames that have not ended."""
        return self.count - self.done - self.cancelled - self.failed


def accepted(event: JobAccepted, ts: datetime) -> Job:
    """The job as it enters the queue."""
    prompt = event.prompt
    return Job(
        id=event.job,
        source=event.source.name,
        project=prompt.project,
        model=prompt.model,
        prompt=prompt.prompt,
        priority=prompt.priority,
        first_frame=event.first_frame,
        count=len(event.seeds),
        accepted_at=ts,
    )


def evolve(job: Job, event: JobEvent, ts: datetime) -> Job:
    """The job after one of its frames ended, or after it got another priority."""
    match event:
        case JobReprioritised():
            return replace(job, priority=event.priority)
        case FinalWritten():
            job = replace(job, done=job.done + 1)
        case FrameCancelled():
            job = replace(job, cancelled=job.cancelled + 1)
        case FrameFailed():
            job = replace(job, failed=job.failed + 1)
    return job if job.left else replace(job, finished_at=ts)


SQL = """
WITH ended AS (
    SELECT job, count(*) FILTER (type = 'FinalWritten') AS done,
        count(*) FILTER (type = 'FrameCancelled') AS cancelled,
        count(*) FILTER (type = 'FrameFailed') AS failed, max(seq) AS last_seq
    FROM scope WHERE type IN ('FinalWritten', 'FrameCancelled', 'FrameFailed') GROUP BY job
), moved AS (
    SELECT job, arg_max((data->>'priority')::BIGINT, seq) AS priority
    FROM scope WHERE type = 'JobReprioritised' GROUP BY job
)
SELECT accepted.job AS id, said[1] AS source, said[2] AS project_id, said[3] AS model, said[4] AS prompt,
    coalesce(moved.priority, said[5]::BIGINT) AS priority, said[6]::BIGINT AS first_frame, count,
    coalesce(done, 0) AS done, coalesce(cancelled, 0) AS cancelled, coalesce(failed, 0) AS failed,
    accepted.ts AS accepted_at, CASE WHEN done + cancelled + failed = count THEN last.ts END AS finished_at
FROM (
        SELECT job, ts, json_extract_string(data, ['$.source.name', '$.prompt.project', '$.prompt.model',
            '$.prompt.prompt', '$.prompt.priority', '$.first_frame']) AS said,
            json_array_length(data, '$.seeds') AS count
        FROM scope WHERE type = 'JobAccepted'
    ) AS accepted
    LEFT JOIN ended ON ended.job = accepted.job
    LEFT JOIN (SELECT seq, ts FROM scope SEMI JOIN ended ON ended.last_seq = scope.seq) AS last
        ON last.seq = ended.last_seq
    LEFT JOIN moved ON moved.job = accepted.job
"""
"""The same rows from the events in `scope`, for the rebuild."""
