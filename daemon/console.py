"""What a person sees in the terminal while the daemon runs: one line per thing that matters."""

from collections.abc import Callable

import anyio

from daemon.events.database import UNREADABLE
from daemon.events.log import Log
from daemon.events.rounds import LogFailed
from daemon.events.types import (
    FinalWritten,
    FrameCancelled,
    FrameCreated,
    FrameFailed,
    FrameInterrupted,
    FrameResumed,
    JobAccepted,
    JobDuplicate,
    JobRejected,
    JobReprioritised,
    ModelLoaded,
    QueuePaused,
    QueueResumed,
    Recorded,
)
from daemon.projections.state import State


async def narrate(log: Log[State], say: Callable[[str], None]) -> None:
    """Say each new event of the log that a person would want to hear of, until cancelled."""
    position = log.position
    while True:
        await log.changed(position)
        try:
            news = await log.read(position)
        except (LogFailed, *UNREADABLE):  # told elsewhere; what there is to say waits until it can be read
            await anyio.sleep(1)
            continue
        for recorded in news:
            position = recorded.seq
            if (line := sentence(recorded)) is not None:
                say(line)


def sentence(recorded: Recorded) -> str | None:
    """The event in plain words; None for those that only programs care about."""
    match recorded.event:
        case JobAccepted(job=job, prompt=prompt, seeds=seeds, source=source):
            pictures = "" if len(seeds) == 1 else f" ({len(seeds)} pictures)"
            rest = f" (not carried over: {'; '.join(source.not_carried)})" if source.not_carried else ""
            return f"job {job}: {prompt.prompt}{pictures}{rest}"
        case JobRejected(source=source, faults=[fault, *more]):
            others = f", and {len(more)} more" if more else ""
            return f"{source.name} rejected: line {fault.line}: {fault.message}{others}"
        case JobDuplicate(source=source, job=job):
            return f"{source.name} is job {job} already"
        case ModelLoaded(model=model, seconds=seconds):
            return f"model {model} loaded in {seconds:.1f} s"
        case QueuePaused(by=by):
            return f"the queue is paused by {by}"
        case QueueResumed(by=by):
            return f"the queue goes on (resumed by {by})"
        case JobReprioritised(job=job, priority=priority, by=by):
            return f"job {job} has priority {priority} now (said {by})"
        case FrameCreated(frame=frame, job=job, seed=seed):
            return f"frame {frame} of job {job} begins (seed {seed})"
        case FrameResumed(frame=frame, step=step, attempt=attempt):
            return f"frame {frame} goes on from step {step} (attempt {attempt})"
        case FinalWritten(frame=frame, path=path, seconds=seconds):
            return f"frame {frame} done in {seconds:.1f} s: {path}"
        case FrameCancelled(frame=frame, step=step):
            return f"frame {frame} stopped after step {step}"
        case FrameInterrupted(frame=frame, step=step, message=message):
            return f"frame {frame} interrupted at step {step}: {message}"
        case FrameFailed(frame=frame, message=message):
            return f"frame {frame} failed: {message}"
        case _:
            return None
