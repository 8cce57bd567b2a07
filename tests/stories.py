"""Events for tests, with everything filled in that the test does not care about."""

from datetime import UTC, datetime

from daemon.events.types import (
    CancelRequested,
    Event,
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
    QueuePaused,
    QueueResumed,
    Recipe,
    Recorded,
    Source,
)
from daemon.projections.state import State
from daemon.prompts import Prompt, parse

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def prompt(text: bytes = b'{"prompt": "a red fox", "steps": 4}') -> Prompt:
    """A checked prompt."""
    parsed = parse(text, "demo")
    assert isinstance(parsed, Prompt), parsed
    return parsed


def source(claim: str = "c1") -> Source:
    """A drop."""
    return Source(kind="file", name="fox.json", sha256="00" * 32, claim=claim)


def accepted(job: int = 1, first_frame: int = 1, seeds: tuple[int, ...] = (7,)) -> JobAccepted:
    """A job of as many frames as there are seeds."""
    claim = f"c{job}"
    return JobAccepted(
        job=job, first_frame=first_frame, seeds=list(seeds), prompt=prompt(), source=source(claim)
    )


def preview_path(frame: int) -> str:
    """Where a frame's preview lies."""
    return f"frames/task_{frame}_preview.png"


def created(frame: int = 1, job: int = 1) -> FrameCreated:
    """A device has begun the frame."""
    return FrameCreated(
        frame=frame, job=job, index=0, seed=7, path=preview_path(frame), generator="sdxl",
        project="default", device="cpu",
    )  # fmt: skip


def previewed(step: int, frame: int = 1, job: int = 1) -> PreviewWritten:
    """A step has its picture."""
    return PreviewWritten(
        frame=frame, job=job, step=step, steps=4, sigma=1.5, path=preview_path(frame), bytes=100, width=32,
        height=32, method="latent2rgb", skipped=0, ms=1.0,
    )  # fmt: skip


def finished(frame: int = 1, job: int = 1) -> FinalWritten:
    """The picture is there."""
    recipe = Recipe(
        prompt=prompt(), seed=7, scheduler="EulerDiscreteScheduler", scheduler_config={}, dtype="float32",
        device="cpu", versions={},
    )  # fmt: skip
    return FinalWritten(
        frame=frame, job=job, path=f"frames/task_{frame}.png", bytes=1000, width=256, height=256, sha256="00",
        pixels_sha256="11", seconds=1.0, recipe=recipe,
    )  # fmt: skip


def deleted(frame: int = 1, job: int = 1) -> PreviewDeleted:
    """The preview file is gone."""
    return PreviewDeleted(frame=frame, job=job, path=preview_path(frame), why="replaced")


def pruned(frame: int = 1, job: int = 1) -> FinalDeleted:
    """The finished picture was deleted on purpose."""
    return FinalDeleted(frame=frame, job=job, path=f"frames/task_{frame}.png", why="pruned")


def missing(frame: int = 1, job: int = 1) -> FileMissing:
    """The finished picture was not found."""
    return FileMissing(frame=frame, job=job, path=f"frames/task_{frame}.png")


def cancel_requested(frame: int = 1, job: int = 1) -> CancelRequested:
    """Someone pressed Stop."""
    return CancelRequested(frame=frame, job=job, by="127.0.0.1", step=1)


def paused() -> QueuePaused:
    """Someone paused the queue."""
    return QueuePaused(by="ann")


def resumed_queue() -> QueueResumed:
    """And let it go on."""
    return QueueResumed(by="ann")


def reprioritised(job: int = 1, priority: int = 5) -> JobReprioritised:
    """A job got another priority."""
    return JobReprioritised(job=job, priority=priority, by="ann")


def cancelled(frame: int = 1, job: int = 1) -> FrameCancelled:
    """It stopped."""
    return FrameCancelled(frame=frame, job=job, step=1)


def failed(frame: int = 1, job: int = 1) -> FrameFailed:
    """It was given up."""
    return FrameFailed(frame=frame, job=job, attempt=1, kind="internal", message="boom")


def interrupted(frame: int = 1, job: int = 1, together: int = 1) -> FrameInterrupted:
    """Its device died."""
    return FrameInterrupted(
        frame=frame, job=job, step=1, why="device_died", message="killed", together=together
    )


def resumed(frame: int = 1, job: int = 1, attempt: int = 2) -> FrameResumed:
    """Another one took it up."""
    return FrameResumed(frame=frame, job=job, step=0, path=preview_path(frame), attempt=attempt, device="cpu")


def recorded(seq: int, event: Event) -> Recorded:
    """The event as row `seq`."""
    return Recorded(seq=seq, ts=NOON, event=event, cause=None, hash=b"")


def given(*events: Event) -> State:
    """The state after these events, each checked against the laws."""
    state = State()
    for seq, event in enumerate(events, start=1):
        state.check(event)
        state.apply(recorded(seq, event))
    return state
