"""What follows from a request, given all that has happened: state → events.  PURE

The log's writer runs these in turn, so each sees the state with everything before it.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec.structs import replace

from daemon.events.types import (
    CancelRequested,
    Event,
    FileMissing,
    FinalDeleted,
    FrameCancelled,
    FrameCreated,
    FrameFailed,
    FrameInterrupted,
    FrameResumed,
    JobAccepted,
    JobDuplicate,
    JobRejected,
    JobReprioritised,
    PreviewDeleted,
    QueuePaused,
    QueueResumed,
    Source,
)
from daemon.faults import Fault
from daemon.projections.frames import BEING_MADE, ENDED, Status
from daemon.projections.laws import Refused
from daemon.projections.state import Key, State
from daemon.prompts import Prompt

Scope = Literal["all", "all-but-running"]
Interruption = Literal["daemon_died", "daemon_stopped", "device_died"]
MAX_DEVICE_DEATHS = 2

_WHY_DELETED: dict[Status, Literal["replaced", "cancelled", "failed", "interrupted", "orphan"]] = {
    "done": "replaced",
    "cancelled": "cancelled",
    "failed": "failed",
    "queued": "interrupted",
    "running": "orphan",
    "stopping": "orphan",
}


def accept(
    state: State, prompts: Sequence[Prompt], source: Source, drawn_seeds: Sequence[int]
) -> Sequence[Event]:
    """Queue a drop's jobs, all of them, unless this very drop was taken before.

    `drawn_seeds` are for prompts without one. The last job bears the drop's own claim, the others it with
    a number: so a drop is known once all of it is, and what a power cut left of one is made whole.
    """
    claims = _claims(source.claim, len(prompts))
    if state.job_of(source.claim):
        return [JobDuplicate(job=_first_job(state, source.claim), source=source)]
    events: list[JobAccepted] = []
    frame = state.next_frame
    for index, (prompt, claim, drawn) in enumerate(zip(prompts, claims, drawn_seeds, strict=True)):
        if state.job_of(claim):
            continue
        seeds = _seeds(drawn if prompt.seed is None else prompt.seed, prompt.count)
        events.append(
            JobAccepted(
                job=state.next_job + len(events),
                first_frame=frame,
                seeds=seeds,
                prompt=prompt,
                source=replace(source, claim=claim, index=index),
            )
        )
        frame += len(seeds)
    return events


def accept_once(
    state: State, prompts: Sequence[Prompt], source: Source, drawn_seeds: Sequence[int]
) -> Sequence[Event]:
    """Queue the jobs; nothing if their claim is settled, since then the first answer stands."""
    return [] if source.claim in state.claims else accept(state, prompts, source, drawn_seeds)


def _claims(claim: str, jobs: int) -> list[str]:
    """What the jobs of a drop are recorded under, in their order."""
    return [*(f"{claim}.{index}" for index in range(jobs - 1)), claim]


def claim_keys(claim: str, jobs: int) -> list[Key]:
    """The rows that a decision on a drop of so many jobs looks at, and of an earlier one with its key."""
    return [("claims", key) for key in dict.fromkeys([f"{claim}.0", *_claims(claim, jobs)])]


def _seeds(first: int, count: int) -> list[int]:
    return [(first + index) % 2**53 for index in range(count)]


def _first_job(state: State, claim: str) -> int:
    """The first job of a drop that was taken."""
    return state.job_of(f"{claim}.0") or state.job_of(claim) or 0


def reject(state: State, faults: list[Fault], source: Source) -> Sequence[Event]:
    """Refuse the drop; once is enough."""
    return [] if state.job_of(source.claim) is not None else [JobRejected(source=source, faults=faults)]


def queued(state: State) -> int:
    """Jobs that have not ended."""
    return len({state.frames[frame].job for frame in state.open})


def begin(state: State, frame: int, path: str, device: str, step: int) -> Sequence[Event]:
    """A device takes the frame up: for the first time, or again after an interruption, from
    `step`.

    Raises `Refused` for a paused queue: the pause may come between a device's choice and our turn.
    """
    if state.paused_by is not None:
        raise Refused(f"the queue was paused by {state.paused_by}")
    it = state.frame(frame)
    if it.created_at is None:
        return [
            FrameCreated(
                frame=frame,
                job=it.job,
                index=it.index,
                seed=it.seed,
                path=path,
                generator="sdxl",
                project=it.project,
                device=device,
            )
        ]
    return [
        FrameResumed(frame=frame, job=it.job, step=step, path=path, attempt=it.attempt + 1, device=device)
    ]


def pause(state: State, by: str) -> Sequence[Event]:
    """Begin nothing new. Asking twice changes nothing."""
    return [] if state.paused_by is not None else [QueuePaused(by=by)]


def resume(state: State, by: str) -> Sequence[Event]:
    """Begin waiting frames again. Asking twice changes nothing."""
    return [] if state.paused_by is None else [QueueResumed(by=by)]


def reprioritise(state: State, job: int, priority: int, by: str) -> Sequence[Event]:
    """Have what is left of a job wait by another priority. Raises `Refused` if nothing is left of it."""
    it = state.job(job)
    return [] if it.priority == priority else [JobReprioritised(job=job, priority=priority, by=by)]


def cancel_job(state: State, job: int, by: str) -> Sequence[Event]:
    """Ask for the end of all frames that a job has left. Raises `Refused` if it has none."""
    it = state.job(job)
    return _cancel_each(state, range(it.first_frame, it.first_frame + it.count), by)


def cancel_all(state: State, scope: Scope, by: str) -> Sequence[Event]:
    """Ask for the end of everything, or of all that waits."""
    spared = BEING_MADE if scope == "all-but-running" else frozenset[Status]()
    return _cancel_each(state, state.unended(), by, spared)


def _cancel_each(
    state: State, numbers: Iterable[int], by: str, spared: frozenset[Status] = frozenset()
) -> Sequence[Event]:
    known = (frame for number in numbers if (frame := state.frames.get(number)) is not None)
    left = [frame for frame in known if frame.status not in ENDED | spared]
    return [event for frame in left for event in cancel(state, frame.id, by, frame.step)]


def cancel(state: State, frame: int, by: str, step: int, keep_partial: bool = False) -> Sequence[Event]:
    """Ask for the frame's end; one that no device has is over at once. Asking twice changes nothing.

    Raises `Refused` if there is no such frame or it has ended.
    """
    it = state.frame(frame)
    if it.status in ENDED:
        raise Refused(f"frame {frame} is {it.status} already")
    if it.status == "stopping":
        return []
    request = CancelRequested(frame=frame, job=it.job, by=by, step=step, keep_partial=keep_partial)
    if it.status == "running":
        return [request]
    return [request, FrameCancelled(frame=frame, job=it.job, step=it.step)]


def interrupt(
    state: State, frame: int, why: Interruption, message: str, together: int = 1
) -> Sequence[Event]:
    """The maker of a frame is gone. The frame waits to go on, unless it was to stop anyway, or it is the
    likely cause: one that has killed its device `MAX_DEVICE_DEATHS` times is given up. Of several that were
    made `together` nobody knows which one did.
    """
    it = state.frames[frame]
    if it.status == "stopping":
        return [FrameCancelled(frame=frame, job=it.job, step=it.step)]
    interrupted = FrameInterrupted(
        frame=frame, job=it.job, step=it.step, why=why, message=message, together=together
    )
    if why == "device_died" and together == 1 and it.device_deaths + 1 >= MAX_DEVICE_DEATHS:
        given_up = f"its device died {MAX_DEVICE_DEATHS} times while making it; {message}"
        failed = FrameFailed(
            frame=frame, job=it.job, attempt=it.attempt, kind="device_died", message=given_up
        )
        return [interrupted, failed]
    return [interrupted]


def preview_deleted(state: State, frame: int) -> Sequence[Event]:
    """The preview file of a frame that is no longer being made is gone."""
    it = state.frames[frame]
    if it.preview is None:
        return []
    return [PreviewDeleted(frame=frame, job=it.job, path=it.preview, why=_WHY_DELETED[it.status])]


def final_deleted(state: State, frame: int, path: str) -> Sequence[Event]:
    """The finished picture is to go, if it is still there by that name."""
    it = state.frames[frame]
    return [FinalDeleted(frame=frame, job=it.job, path=path, why="pruned")] if it.path == path else []


def file_missing(state: State, frame: int, path: str) -> Sequence[Event]:
    """The finished picture is not where it should be, if it still should."""
    it = state.frames[frame]
    return [FileMissing(frame=frame, job=it.job, path=path)] if it.path == path else []
