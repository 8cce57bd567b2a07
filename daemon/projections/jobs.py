"""The queue: one prompt's state, as a pure fold of the log.  PURE"""

from datetime import datetime

import msgspec
from msgspec.structs import replace

from daemon.events.types import FinalWritten, FrameCancelled, FrameFailed, JobAccepted, JobReprioritised

JobEvent = FinalWritten | FrameCancelled | FrameFailed | JobReprioritised


class Job(msgspec.Struct, frozen=True, kw_only=True):
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
