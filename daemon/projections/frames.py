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
    PreviewDeleted,
    PreviewWritten,
)

Status = Literal["queued", "running", "stopping", "done", "cancelled", "failed"]
ENDED: frozenset[Status] = frozenset({"done", "cancelled", "failed"})
BEING_MADE: frozenset[Status] = frozenset({"running", "stopping"})


class Frame(msgspec.Struct, frozen=True, kw_only=True):
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
    priority: int
    step: int = 0
    """The last step that has a picture; for a cancelled frame, the last step made."""
    steps: int
    attempt: int = 1
    device_deaths: int = 0
    """Devices that died while making it; at two the frame is given up."""
    generator: str | None = None
    device: str | None = None
    path: str | None = None
    """Of the final picture, from its writing until it is deleted or missed."""
    preview: str | None = None
    """Of the preview file, from FrameCreated to PreviewDeleted."""
    error: str | None = None
    queued_at: datetime
    created_at: datetime | None = None
    updated_at: datetime
    finished_at: datetime | None = None


FrameEvent = (
    FrameCreated
    | PreviewWritten
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
            priority=prompt.priority,
            steps=prompt.steps,
            queued_at=ts,
            updated_at=ts,
        )
        for index, seed in enumerate(event.seeds)
    ]


def evolve(frame: Frame, event: FrameEvent, ts: datetime) -> Frame:
    """The frame after one more event about it."""
    return replace(frame, updated_at=ts, **_changes(frame, event, ts))


def _changes(frame: Frame, event: FrameEvent, ts: datetime) -> dict[str, Any]:
    match event:
        case FrameCreated():
            begun = {"generator": event.generator, "device": event.device, "preview": event.path}
            return {"status": _unless_stopping(frame), "step": 0, "created_at": ts, **begun}
        case FrameResumed():
            again = {"attempt": event.attempt, "device": event.device, "preview": event.path}
            return {"status": _unless_stopping(frame), "step": event.step, **again}
        case PreviewWritten():
            return {"step": event.step}
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
            return {"status": "cancelled", "step": event.step, "finished_at": ts}
        case FrameFailed():
            end = {"error": event.message, "attempt": event.attempt}
            return {"status": "failed", "finished_at": ts, **end}
        case FrameInterrupted():
            died = event.why == "device_died"
            return {"status": "queued", "device_deaths": frame.device_deaths + died}
        case _:
            assert_never(event)


def _unless_stopping(frame: Frame) -> Status:
    return "stopping" if frame.status == "stopping" else "running"
