"""All frames and jobs as of a position of the log: what decisions, queue, page and API read.  PURE

A fork is a draft layered on top, so that a batch of decisions can be tried and dropped at no cost.
"""

from collections import ChainMap
from collections.abc import MutableMapping
from typing import Any, Self, get_args

from daemon.events.types import (
    CancelRequested,
    DaemonStarted,
    DaemonStopped,
    Event,
    FinalWritten,
    FrameCancelled,
    FrameFailed,
    FrameInterrupted,
    JobAccepted,
    JobDuplicate,
    JobRejected,
    ModelFailed,
    ModelLoaded,
    Recorded,
)
from daemon.projections import frames, jobs
from daemon.projections.frames import ENDED, Frame, FrameEvent
from daemon.projections.jobs import Job
from daemon.projections.laws import Refused, check
from daemon.prompts import Prompt

_FRAME_EVENTS = get_args(FrameEvent)
_REASONS = (CancelRequested, FrameInterrupted)
_FRAME_ENDS = (FinalWritten, FrameCancelled, FrameFailed)


Changes = dict[str, list[Frame] | list[Job]]
"""Rows by table."""


class State:
    """Frames and jobs by id, and which drops have been dealt with."""

    def __init__(self) -> None:
        """The state of an empty log."""
        self.frames: MutableMapping[int, Frame] = {}
        self.jobs: MutableMapping[int, Job] = {}
        self.prompts: MutableMapping[int, Prompt] = {}
        """The whole prompt of each job, as it was accepted."""
        self.claims: MutableMapping[str, int] = {}
        """The job that each claim became; 0 for a rejected one."""
        self.reasons: MutableMapping[int, int] = {}
        """The event that each frame's next one answers: its job's acceptance, then a request to stop."""
        self.open: dict[int, None] = {}
        """Frames with something left to do, by arrival. Not kept in a fork."""
        self.next_job = 1
        self.next_frame = 1
        self.position = 0
        self._changed_frames: set[int] = set()
        self._changed_jobs: set[int] = set()

    def __repr__(self) -> str:
        return f"<State at {self.position}: {len(self.frames)} frames, {len(self.open)} open>"

    def fork(self) -> Self:
        """A draft on top of this state; changing it leaves this one alone."""
        draft = type(self)()
        draft.frames = ChainMap({}, self.frames)
        draft.jobs = ChainMap({}, self.jobs)
        draft.prompts = ChainMap({}, self.prompts)
        draft.claims = ChainMap({}, self.claims)
        draft.reasons = ChainMap({}, self.reasons)
        draft.next_job, draft.next_frame, draft.position = self.next_job, self.next_frame, self.position
        return draft

    def adopt(self, draft: Self) -> None:
        """Take over what a fork of this state added or changed."""
        for frame in _layer(draft.frames).values():
            self._put(frame)
        for job in _layer(draft.jobs).values():
            self._put_job(job)
        self.prompts.update(_layer(draft.prompts))
        self.claims.update(_layer(draft.claims))
        self.reasons.update(_layer(draft.reasons))
        self.next_job, self.next_frame, self.position = draft.next_job, draft.next_frame, draft.position

    def check(self, event: Event) -> None:
        """Raise `Refused` if the event cannot follow."""
        if isinstance(event, _FRAME_EVENTS):
            frame = self.frames.get(event.frame)
            if frame is None:
                raise Refused(f"there is no frame {event.frame}")
            check(frame, event)
        elif isinstance(event, JobAccepted) and (event.job, event.first_frame) != (
            self.next_job,
            self.next_frame,
        ):
            raise Refused(f"the next job is {self.next_job}, its first frame {self.next_frame}")

    def apply(self, recorded: Recorded) -> None:
        """Fold one more event in."""
        event, ts = recorded.event, recorded.ts
        self.position = recorded.seq
        match event:
            case JobAccepted():
                self._accept(event, recorded)
            case JobRejected():
                self.claims[event.source.claim] = 0
            case DaemonStarted() | DaemonStopped() | JobDuplicate() | ModelLoaded() | ModelFailed():
                pass
            case _:
                self._put(frames.evolve(self.frames[event.frame], event, ts))
                if isinstance(event, _REASONS):
                    self.reasons[event.frame] = recorded.seq
                if isinstance(event, _FRAME_ENDS):
                    self._put_job(jobs.evolve(self.jobs[event.job], event, ts))

    def _accept(self, event: JobAccepted, recorded: Recorded) -> None:
        self._put_job(jobs.accepted(event, recorded.ts))
        self.prompts[event.job] = event.prompt
        self.claims[event.source.claim] = event.job
        for frame in frames.queued(event, recorded.ts):
            self._put(frame)
            self.reasons[frame.id] = recorded.seq
        self.next_job = event.job + 1
        self.next_frame = event.first_frame + len(event.seeds)

    def take_changes(self) -> Changes:
        """The rows that changed since the last call, as they are now."""
        changes: Changes = {
            "frames": [self.frames[frame] for frame in sorted(self._changed_frames)],
            "jobs": [self.jobs[job] for job in sorted(self._changed_jobs)],
        }
        self._changed_frames.clear()
        self._changed_jobs.clear()
        return changes

    def give_back(self, changes: Changes) -> None:
        """Count these rows as changed still: what they were taken for did not happen."""
        self._changed_frames.update(row.id for row in changes["frames"])
        self._changed_jobs.update(row.id for row in changes["jobs"])

    def _put_job(self, job: Job) -> None:
        self.jobs[job.id] = job
        self._changed_jobs.add(job.id)

    def _put(self, frame: Frame) -> None:
        self.frames[frame.id] = frame
        self._changed_frames.add(frame.id)
        # A frame is over once it has ended and its preview file is gone.
        if frame.status in ENDED and frame.preview is None:
            self.open.pop(frame.id, None)
        else:
            self.open[frame.id] = None


def _layer(mapping: MutableMapping[Any, Any]) -> dict[Any, Any]:
    """What a fork's mapping holds of its own."""
    assert isinstance(mapping, ChainMap)
    (top, *_) = mapping.maps
    assert isinstance(top, dict)
    return top
