"""What decisions, queue, page and API read: all that is still open, and what ended of late.  PURE

The tables hold every frame and job there ever was; here are those that can still change, those that changed
since the tables were last written, and the newest ended ones for the page. So a daemon starts as quickly
and stays as small after a year as on its first day. What has left memory is remembered from the tables
where a decision needs it (`lacks`, `remember`; the log asks for it before the decision's turn).

A fork is a draft layered on top, so that a batch of decisions can be tried and dropped at no cost.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Self, assert_never

import msgspec

from daemon.events.types import (
    CancelRequested,
    DaemonStarted,
    DaemonStopped,
    Event,
    EventRedacted,
    FinalWritten,
    FrameCancelled,
    FrameFailed,
    FrameInterrupted,
    JobAccepted,
    JobDuplicate,
    JobRejected,
    JobReprioritised,
    ModelFailed,
    ModelLoaded,
    QueuePaused,
    QueueResumed,
    Recorded,
)
from daemon.projections import frames, jobs, throughput
from daemon.projections.claims import Claim, claim
from daemon.projections.frames import ENDED, Frame, FrameEvent
from daemon.projections.jobs import Job
from daemon.projections.laws import Refused, Unknown, check, check_queue
from daemon.projections.throughput import Clock, Pace, Timing
from daemon.prompts import Prompt

KEPT = 200
"""Ended frames that stay in memory, those with the highest numbers: what the page shows at once."""

_REASONS = (CancelRequested, FrameInterrupted)
_FRAME_ENDS = (FinalWritten, FrameCancelled, FrameFailed)

Key = tuple[str, int | str]
"""A row by table and key."""
Changes = dict[str, list[Any]]
"""Rows by table."""


_NOWHERE = object()


class _Layer(dict[Any, Any]):
    """What a fork adds or changes, on top of what it was made from.

    A dict that looks further down for what it lacks: unlike a ChainMap it finds its own at a dict's speed.
    Iterating it shows its own layer only.
    """

    __slots__ = ("below",)

    def __init__(self, below: Mapping[Any, Any]) -> None:
        super().__init__()
        self.below = below

    def __missing__(self, key: Any) -> Any:
        return self.below[key]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or key in self.below

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, or the default where no layer has the key."""
        found = super().get(key, _NOWHERE)
        return self.below.get(key, default) if found is _NOWHERE else found


class State:
    """Frames and jobs by id, and which drops have been dealt with."""

    def __init__(self) -> None:
        """The state of an empty log."""
        self.frames: MutableMapping[int, Frame] = {}
        self.jobs: MutableMapping[int, Job] = {}
        self.claims: MutableMapping[str, Claim] = {}
        self.timings: MutableMapping[int, Timing] = {}
        """Those that the tables do not have yet."""
        self.clocks: MutableMapping[int, Clock | None] = {}
        self.paces: MutableMapping[str, Pace] = {}
        """What each kind of picture took so far; all of them, always."""
        self.reasons: MutableMapping[int, int] = {}
        """The event that each frame's next one answers: its job's acceptance, then a request to stop."""
        self.prompts: MutableMapping[int, Prompt] = {}
        """What each job that has something left to make asks for, whole."""
        self.open: dict[int, None] = {}
        """Frames with something left to do, by arrival. Not kept in a fork."""
        self.paused_by: str | None = None
        """Who paused the queue; None while it runs."""
        self.next_job = 1
        self.next_frame = 1
        self.position = 0
        self._tables: dict[str, MutableMapping[Any, Any]] = {}
        """What the derived tables hold, by their names."""
        self._name_tables()
        self._changed: dict[str, set[Any]] = {table: set() for table in self._tables}

    def __repr__(self) -> str:
        return f"<State at {self.position}: {self.next_frame - 1} frames, {len(self.open)} open>"

    def _name_tables(self) -> None:
        self._tables = {
            "frames": self.frames, "jobs": self.jobs, "claims": self.claims,
            "timings": self.timings, "paces": self.paces,
        }  # fmt: skip

    def _layers(self) -> Iterator[tuple[str, MutableMapping[Any, Any]]]:
        """Everything that a fork layers."""
        yield from self._tables.items()
        for name in ("clocks", "reasons", "prompts"):
            yield name, getattr(self, name)

    def fork(self) -> Self:
        """A draft on top of this state; changing it leaves this one alone."""
        draft = type(self)()
        for name, mapping in self._layers():
            setattr(draft, name, _Layer(mapping))
        draft._name_tables()
        draft.paused_by = self.paused_by
        draft.next_job, draft.next_frame, draft.position = self.next_job, self.next_frame, self.position
        return draft

    def adopt(self, draft: Self) -> None:
        """Take over what a fork of this state added or changed."""
        for (name, mapping), (_, own) in zip(self._layers(), draft._layers(), strict=True):
            mapping.update(own)
            if name in self._changed:
                self._changed[name].update(own)
        for frame in draft.frames.values():
            self._sort(frame)
        self.paused_by = draft.paused_by
        self.next_job, self.next_frame, self.position = draft.next_job, draft.next_frame, draft.position

    def check(self, event: Event) -> None:
        """Raise `Refused` if the event cannot follow."""
        if isinstance(event, JobAccepted):  # before the many that are a frame's, each of which takes time
            if (event.job, event.first_frame) != (self.next_job, self.next_frame):
                raise Refused(f"the next job is {self.next_job}, its first frame {self.next_frame}")
        elif isinstance(event, FrameEvent):
            check(self.frame(event.frame), event)
        elif isinstance(event, JobReprioritised):
            self.job(event.job)
        elif isinstance(event, QueuePaused | QueueResumed):
            check_queue(self.paused_by, event)
        elif isinstance(event, EventRedacted):
            self._check_ended(event.job)

    def _check_ended(self, job: int | None) -> None:
        """Raise `Refused` for a job with pictures still to be made from its words."""
        if any(self.frames[number].job == job for number in self.unended()):
            raise Refused(f"job {job} has not ended; let it end or cancel it first")

    def frame(self, number: int) -> Frame:
        """The frame. Raises `Unknown` if there is none, `Refused` if it has ended and left memory."""
        frame = self.frames.get(number)
        if frame is None:
            if not 0 < number < self.next_frame:
                raise Unknown(f"there is no frame {number}")
            raise Refused(f"frame {number} has ended")
        return frame

    def unended(self) -> list[int]:
        """The frames that have not ended, by number; in a draft too, whose layer shows its own alone."""
        numbers = set(self.frames)
        layer: Mapping[int, Frame] = self.frames
        while isinstance(layer, _Layer):
            layer = layer.below
            numbers |= layer.keys()
        return sorted(number for number in numbers if self.frames[number].status not in ENDED)

    def job(self, number: int) -> Job:
        """A job with something left to make. Raises `Unknown` if there is none, `Refused` if it has ended."""
        job = self.jobs.get(number)
        if job is None and not 0 < number < self.next_job:
            raise Unknown(f"there is no job {number}")
        if job is None or not job.left:
            raise Refused(f"job {number} has ended already")
        return job

    def apply(self, recorded: Recorded) -> None:
        """Fold one more event in."""
        event = recorded.event
        self.position = recorded.seq
        if isinstance(event, JobAccepted):  # as in `check`
            self._settle_claim(event, recorded.seq)
            self._accept(event, recorded)
            return
        # Most events are a frame's, and of those most are previews.
        if isinstance(event, FrameEvent):
            self._evolve(event, recorded)
            return
        match event:
            case JobRejected():
                self._settle_claim(event, recorded.seq)
            case QueuePaused():
                self.paused_by = event.by
            case QueueResumed():
                self.paused_by = None
            case JobReprioritised():
                self._reprioritise(event, recorded.ts)
            case EventRedacted():
                pass  # the row that it is about has lost its words itself, and the tables are made anew
            case DaemonStarted() | DaemonStopped() | JobDuplicate() | ModelLoaded() | ModelFailed():
                pass
            case _:
                assert_never(event)

    def _evolve(self, event: FrameEvent, recorded: Recorded) -> None:
        self._put(frames.evolve(self.frames[event.frame], event, recorded.ts))
        if isinstance(event, _REASONS):
            self.reasons[event.frame] = recorded.seq
        if isinstance(event, _FRAME_ENDS):
            self._put_row("jobs", event.job, jobs.evolve(self.jobs[event.job], event, recorded.ts))
        self._time(event, recorded)

    def _settle_claim(self, event: Event, seq: int) -> None:
        """The first job of a claim stands for it; a rejection only while there is none."""
        settled = claim(event, seq)
        if settled is not None and not self.job_of(settled.claim):
            self._put_row("claims", settled.claim, settled)

    def job_of(self, key: str) -> int | None:
        """The job that a claim in memory became, 0 for a rejected drop, None for one that is not known."""
        known = self.claims.get(key)
        return None if known is None else known.job

    def _accept(self, event: JobAccepted, recorded: Recorded) -> None:
        self._put_row("jobs", event.job, jobs.accepted(event, recorded.ts))
        self.prompts[event.job] = event.prompt
        for frame in frames.queued(event, recorded.ts):
            self._put(frame)
            self.reasons[frame.id] = recorded.seq
        self.next_job = event.job + 1
        self.next_frame = event.first_frame + len(event.seeds)

    def _reprioritise(self, event: JobReprioritised, ts: datetime) -> None:
        job = jobs.evolve(self.jobs[event.job], event, ts)
        self._put_row("jobs", job.id, job)
        for number in range(job.first_frame, job.first_frame + job.count):
            frame = self.frames.get(number)
            if frame is not None and frame.status not in ENDED:
                self._put(frames.reprioritised(frame, event, ts))

    def _time(self, event: FrameEvent, recorded: Recorded) -> None:
        """Run the frame's clock; at an attempt's end, take its timing down."""
        clock = self.clocks.get(event.frame)
        if clock is not None and isinstance(event, _FRAME_ENDS):
            timing = throughput.timing(clock, self.frames[event.frame], recorded.ts)
            self._put_row("timings", event.frame, timing)
            pace = self.paces.get(throughput.kind(timing)) or throughput.pace(timing)
            self._put_row("paces", pace.kind, pace.plus(timing))
        self.clocks[event.frame] = throughput.tick(clock, event, recorded.ts)

    def take_changes(self) -> Changes:
        """The rows that changed since the last call, as they are now."""
        changes = {
            table: [rows[key] for key in sorted(self._changed[table])] for table, rows in self._tables.items()
        }
        for keys in self._changed.values():
            keys.clear()
        return changes

    @property
    def flushed(self) -> bool:
        """The tables have every row as it is."""
        return not any(self._changed.values())

    def give_back(self, changes: Changes) -> None:
        """Count these rows as changed still: what they were taken for did not happen."""
        for table, rows in changes.items():
            self._changed[table].update(row_key(row) for row in rows)

    def settle(self) -> None:
        """The tables have every row that has not changed since: what cannot change any more leaves memory."""
        for table, rows in self._tables.items():
            for key in rows.keys() - self._changed[table] - self._in_use(table):
                del rows[key]
        for number in [number for number, clock in self.clocks.items() if clock is None]:
            del self.clocks[number]
        for job in self.prompts.keys() - self._in_use("jobs"):
            del self.prompts[job]

    def _in_use(self, table: str) -> set[Any]:
        """Keys of the rows that stay in memory although the tables have them."""
        if table == "frames":
            ended = sorted(self.frames.keys() - self.open.keys())
            return {*self.open, *ended[-KEPT:]}
        if table == "jobs":
            return {job.id for job in self.jobs.values() if job.left}
        return {*self.paces} if table == "paces" else set()

    def lacks(self, keys: Iterable[Key]) -> list[Key]:
        """Those of the rows that are not in memory and may be in the tables."""
        return [(table, key) for table, key in dict.fromkeys(keys) if key not in self._tables[table]]

    def remember(self, rows: Mapping[str, Iterable[Any]]) -> None:
        """Take rows from the tables back into memory, until the next `settle`."""
        for table, found in rows.items():
            for row in found:
                # What is in memory already is at least as new.
                self._tables[table].setdefault(row_key(row), row)
                if isinstance(row, Frame):
                    self._sort(row)

    def _put_row(self, table: str, key: int | str, row: Any) -> None:
        self._tables[table][key] = row
        self._changed[table].add(key)

    def _put(self, frame: Frame) -> None:
        self._put_row("frames", frame.id, frame)
        self._sort(frame)

    def _sort(self, frame: Frame) -> None:
        """A frame is over once it has ended and its preview file is gone."""
        if frame.status in ENDED and frame.preview is None:
            self.open.pop(frame.id, None)
            self.reasons.pop(frame.id, None)
        else:
            self.open[frame.id] = None


def row_key(row: msgspec.Struct) -> Any:
    """A row's key is its first field."""
    return getattr(row, row.__struct_fields__[0])
