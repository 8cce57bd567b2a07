"""What may follow what, for one frame and for the queue; the writer refuses everything else.  PURE

A frame cannot be begun twice, previewed before it was created or backwards, finished twice, or cancelled
after its end. These laws bind what is recorded from now on; folds stay lenient, so that a law that
changes never makes an old history unreadable.
"""

from typing import assert_never

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
    PreviewDeleted,
    PreviewWritten,
    QueuePaused,
    QueueResumed,
)
from daemon.projections.frames import BEING_MADE, ENDED, Frame, FrameEvent


class Refused(Exception):
    """What was asked for cannot follow from what has happened; the message says why."""


class Unknown(Refused):
    """What was asked for is about a frame or job that there is not."""


def check(frame: Frame, event: FrameEvent) -> None:
    """Raise `Refused` if `event` cannot be the next one about `frame`."""
    fault = _fault(frame, event)
    if fault is not None:
        raise Refused(f"{type(event).__name__} refused: frame {frame.id} {fault}")


def check_queue(paused_by: str | None, event: QueuePaused | QueueResumed) -> None:
    """Raise `Refused` if the queue is paused, or not paused, already."""
    if isinstance(event, QueuePaused) and paused_by is not None:
        raise Refused(f"the queue was paused by {paused_by} already")
    if isinstance(event, QueueResumed) and paused_by is None:
        raise Refused("the queue is not paused")


def _fault(frame: Frame, event: FrameEvent) -> str | None:
    match event:
        case PreviewWritten():
            return _not_being_made(frame) or _backwards(frame, event)
        case FrameCreated():
            return None if _waiting(frame) and frame.created_at is None else f"is {frame.status} already"
        case FrameResumed():
            begun = frame.created_at is not None
            return None if _waiting(frame) and begun else f"is {frame.status}, not interrupted"
        case FinalWritten() | FrameInterrupted():
            return _not_being_made(frame)
        case FrameCancelled() | CancelRequested() | FrameFailed():
            return f"is {frame.status} already" if frame.status in ENDED else None
        case PreviewDeleted():
            return None if frame.preview == event.path else f"has no preview {event.path}"
        case FinalDeleted() | FileMissing():
            return None if frame.path == event.path else f"has no picture {event.path}"
        case _:
            assert_never(event)


def _waiting(frame: Frame) -> bool:
    return frame.status == "queued"


def _not_being_made(frame: Frame) -> str | None:
    return None if frame.status in BEING_MADE else f"is {frame.status}, not being made"


def _backwards(frame: Frame, event: PreviewWritten) -> str | None:
    return None if event.step > frame.step else f"has a preview of step {frame.step} already"
