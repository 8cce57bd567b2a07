"""Decisions: given a history, when something is asked, then these events follow."""

import pytest

from daemon.events.types import (
    Event,
    FrameCancelled,
    FrameInterrupted,
    FrameResumed,
    JobAccepted,
    JobDuplicate,
    JobRejected,
    QueuePaused,
    QueueResumed,
)
from daemon.faults import Fault
from daemon.gpu import plan
from daemon.projections import decisions
from daemon.projections.laws import Refused, Unknown
from tests.stories import (
    accepted,
    cancel_requested,
    created,
    finished,
    given,
    interrupted,
    paused,
    previewed,
    prompt,
    reprioritised,
    resumed,
    resumed_queue,
    source,
)

BEGUN = (accepted(), created(), previewed(1))


def kinds(events: object) -> list[str]:
    """Their types' names."""
    assert isinstance(events, list)
    return [type(event).__name__ for event in events]


def test_seeds_count_up_from_the_asked_one() -> None:
    """Picture k of a job has the first one's seed plus k."""
    asked = prompt(b'{"prompt": "a", "seed": 5, "count": 3}')
    (event,) = decisions.accept(given(), [asked], source(), [99])
    assert isinstance(event, JobAccepted)
    assert event.seeds == [5, 6, 7]


def test_an_open_seed_is_the_drawn_one() -> None:
    """What was left open is recorded."""
    (event,) = decisions.accept(given(), [prompt()], source(), [99])
    assert isinstance(event, JobAccepted)
    assert event.seeds == [99]


def test_the_same_drop_twice_is_a_duplicate() -> None:
    """It is named, not queued again and not swallowed."""
    (event,) = decisions.accept(given(accepted()), [prompt()], source("c1"), [1])
    assert event == JobDuplicate(job=1, source=source("c1"))


def test_a_file_of_several_jobs_is_queued_whole_under_one_claim() -> None:
    """The jobs and frames are numbered on; the last job bears the file's own claim."""
    two = prompt(b'{"prompt": "b", "count": 2, "seed": 1}')
    events = decisions.accept(given(accepted()), [two, prompt(), prompt()], source("f"), [9, 8, 7])
    assert [(e.job, e.first_frame, e.seeds) for e in events if isinstance(e, JobAccepted)] == [
        (2, 2, [1, 2]),
        (3, 4, [8]),
        (4, 5, [7]),
    ]
    assert [(e.source.claim, e.source.index) for e in events if isinstance(e, JobAccepted)] == [
        ("f.0", 0),
        ("f.1", 1),
        ("f", 2),
    ]
    state = given(accepted(), *events)
    (again,) = decisions.accept(state, [two, prompt(), prompt()], source("f"), [1, 2, 3])
    assert again == JobDuplicate(job=2, source=source("f"))


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_file_whose_jobs_were_torn_by_a_power_cut_is_made_whole(kept: int) -> None:
    """A journal may keep the first rows of a decision; the same drop then brings the rest, and only that."""
    jobs = [prompt()] * 3
    events = decisions.accept(given(), jobs, source("f"), [1, 2, 3])
    rest = decisions.accept(given(*events[:kept]), jobs, source("f"), [1, 2, 3])
    assert [*events[:kept], *rest] == list(events)


def test_a_key_that_comes_with_other_jobs_is_a_duplicate_all_the_same() -> None:
    """Also where there are more of them than before."""
    first = decisions.accept(given(), [prompt()] * 2, source("k"), [1, 2])
    again = decisions.accept(given(*first), [prompt()] * 4, source("k"), [1, 2, 3, 4])
    assert again == [JobDuplicate(job=1, source=source("k"))]


def test_a_drop_is_rejected_once() -> None:
    """A crash between the record and the move does not tell it twice."""
    faults = [Fault(path="$", line=1, column=1, excerpt="", message="not JSON")]
    rejected = JobRejected(source=source(), faults=faults)
    assert decisions.reject(given(), faults, source()) == [rejected]
    assert decisions.reject(given(rejected), faults, source()) == []


def test_a_frame_begins_once_and_resumes_after_that() -> None:
    """The attempt is counted, and it goes on from the step that was stored."""
    first = decisions.begin(given(accepted()), 1, "p", "cpu", 0)
    again = decisions.begin(given(*BEGUN, interrupted()), 1, "p", "cpu", 2)
    assert kinds(first) == ["FrameCreated"]
    assert again == [FrameResumed(frame=1, job=1, step=2, path="p", attempt=2, device="cpu")]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param((accepted(),), ["CancelRequested", "FrameCancelled"], id="waiting: over at once"),
        pytest.param(BEGUN, ["CancelRequested"], id="being made: its device will end it"),
        pytest.param((*BEGUN, cancel_requested()), [], id="asked twice"),
        pytest.param((*BEGUN, interrupted()), ["CancelRequested", "FrameCancelled"], id="waiting again"),
    ],
)
def test_cancel(history: tuple[Event, ...], expected: list[str]) -> None:
    """A request ends what no device has, and waits for the device otherwise."""
    assert kinds(decisions.cancel(given(*history), 1, "me", 1)) == expected


@pytest.mark.parametrize("history", [(), (*BEGUN, finished())], ids=["unknown", "ended"])
def test_cancel_is_refused_for_what_is_not_there_or_over(history: tuple[Event, ...]) -> None:
    """The asker hears why."""
    with pytest.raises(Refused):
        decisions.cancel(given(*history), 1, "me", 1)


def test_an_interrupted_frame_that_was_to_stop_is_stopped() -> None:
    """A pending Stop survives the daemon's death."""
    state = given(*BEGUN, cancel_requested())
    assert decisions.interrupt(state, 1, "daemon_died", "") == [FrameCancelled(frame=1, job=1, step=1)]


def test_the_second_device_that_dies_ends_the_frame_but_a_daemons_death_never_does() -> None:
    """One bad job is given up; a good one survives any number of restarts."""
    state = given(*BEGUN, interrupted(), resumed())
    assert kinds(decisions.interrupt(state, 1, "device_died", "")) == ["FrameInterrupted", "FrameFailed"]
    (event,) = decisions.interrupt(state, 1, "daemon_died", "")
    assert isinstance(event, FrameInterrupted)


def test_of_several_that_died_with_their_device_none_is_held_to_be_the_cause() -> None:
    """However often; one that then kills it by itself, twice, is given up."""
    shared = (
        accepted(seeds=(7, 8)),
        created(),
        created(2),
        interrupted(together=2),
        interrupted(2, together=2),
    )
    state = given(*shared, resumed())
    assert kinds(decisions.interrupt(state, 1, "device_died", "", together=2)) == ["FrameInterrupted"]
    assert kinds(decisions.interrupt(state, 1, "device_died", "")) == ["FrameInterrupted"]
    state = given(*shared, resumed(), interrupted(), resumed(attempt=3))
    assert [state.frames[frame].device_deaths for frame in (1, 2)] == [1, 0]
    assert kinds(decisions.interrupt(state, 1, "device_died", "")) == ["FrameInterrupted", "FrameFailed"]


def test_a_paused_queue_begins_nothing_and_what_runs_goes_on() -> None:
    """Neither by the plan, nor by a device that chose before the pause came; a resumed one goes on."""
    two = (accepted(seeds=(7, 8)), created(), paused())
    assert plan.next_batch(given(*two), {}, 1) == []
    with pytest.raises(Refused, match="paused by ann"):
        decisions.begin(given(*two), 2, "p", "cpu", 0)
    assert given(*two, previewed(1)).frames[1].status == "running"
    (waiting,) = plan.next_batch(given(*two, resumed_queue()), {}, 1)
    assert waiting.id == 2


def test_pausing_twice_is_pausing_once() -> None:
    """The first to ask is the one who is named."""
    assert decisions.pause(given(), "ann") == [QueuePaused(by="ann")]
    assert decisions.pause(given(paused()), "bob") == []
    assert decisions.resume(given(paused()), "bob") == [QueueResumed(by="bob")]
    assert decisions.resume(given(), "bob") == []


def test_another_priority_moves_what_a_job_has_left() -> None:
    """It overtakes; its ended frames and the same priority again are left alone."""
    history = (*BEGUN, finished(), accepted(2, 2, (1, 2)), accepted(3, 4), reprioritised(3, 5))
    state = given(*history)
    assert [state.frames[n].priority for n in (1, 2, 3, 4)] == [0, 0, 0, 5]
    (first,) = plan.next_batch(state, {}, 1)
    assert first.id == 4
    assert kinds(decisions.reprioritise(state, 2, 7, "ann")) == ["JobReprioritised"]
    assert decisions.reprioritise(state, 3, 5, "ann") == []
    with pytest.raises(Refused, match="job 1 has ended"):
        decisions.reprioritise(state, 1, 5, "ann")
    with pytest.raises(Unknown, match="no job 4"):
        decisions.reprioritise(state, 4, 5, "ann")


def test_a_job_is_cancelled_frame_by_frame() -> None:
    """What is done stays, what runs is asked to stop, what waits is over at once."""
    three = (accepted(seeds=(1, 2, 3)), created(), previewed(1), finished(), created(2), accepted(2, 4))
    events = decisions.cancel_job(given(*three), 1, "ann")
    assert [(type(event).__name__, getattr(event, "frame", None)) for event in events] == [
        ("CancelRequested", 2),
        ("CancelRequested", 3),
        ("FrameCancelled", 3),
    ]
    with pytest.raises(Unknown):
        decisions.cancel_job(given(*three), 3, "ann")
    with pytest.raises(Refused, match="ended already"):
        decisions.cancel_job(given(*BEGUN, finished()), 1, "ann")


def test_all_or_all_that_waits_is_cancelled() -> None:
    """Nothing left to cancel is no error."""
    state = given(accepted(seeds=(1, 2)), created(), accepted(2, 3)).fork()  # as the writer asks
    waiting = decisions.cancel_all(state, "all-but-running", "ann")
    everything = decisions.cancel_all(state, "all", "ann")
    assert [getattr(event, "frame", None) for event in waiting] == [2, 2, 3, 3]
    assert [getattr(event, "frame", None) for event in everything] == [1, 2, 2, 3, 3]
    assert decisions.cancel_all(given(), "all", "ann") == []
