"""What may follow what: given a history, when an event comes, then it is taken or refused."""

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from daemon.events.types import Event
from daemon.projections.frames import ENDED
from daemon.projections.laws import Refused
from daemon.projections.state import State
from tests.stories import (
    accepted,
    cancel_requested,
    cancelled,
    created,
    deleted,
    failed,
    finished,
    given,
    interrupted,
    missing,
    paused,
    previewed,
    pruned,
    recorded,
    reprioritised,
    resumed,
    resumed_queue,
)

BEGUN = (accepted(), created())
DONE = (*BEGUN, previewed(1), finished())


@pytest.mark.parametrize(
    ("history", "event"),
    [
        pytest.param((), created(), id="no such frame"),
        pytest.param((accepted(),), previewed(1), id="preview before creation"),
        pytest.param((accepted(),), finished(), id="end before creation"),
        pytest.param((accepted(),), resumed(), id="resumed without interruption"),
        pytest.param((accepted(),), deleted(), id="no preview to delete"),
        pytest.param((accepted(),), accepted(), id="the same job twice"),
        pytest.param(BEGUN, created(), id="created twice"),
        pytest.param((*BEGUN, previewed(2)), previewed(2), id="the same step twice"),
        pytest.param((*BEGUN, previewed(2)), previewed(1), id="a step backwards"),
        pytest.param(DONE, finished(), id="finished twice"),
        pytest.param(DONE, previewed(2), id="preview after the end"),
        pytest.param(DONE, cancel_requested(), id="cancel after the end"),
        pytest.param(DONE, cancelled(), id="cancelled after the end"),
        pytest.param(DONE, failed(), id="failed after the end"),
        pytest.param(DONE, interrupted(), id="interrupted after the end"),
        pytest.param((*DONE, deleted()), deleted(), id="preview deleted twice"),
        pytest.param(BEGUN, pruned(), id="picture deleted before it was written"),
        pytest.param((*DONE, pruned()), pruned(), id="picture deleted twice"),
        pytest.param((*DONE, pruned()), missing(), id="picture missed that was deleted"),
        pytest.param((*BEGUN, interrupted()), created(), id="created again instead of resumed"),
        pytest.param((*BEGUN, interrupted()), finished(), id="finished by nobody"),
        pytest.param((paused(),), paused(), id="paused twice"),
        pytest.param((), resumed_queue(), id="resumed without a pause"),
        pytest.param((accepted(),), reprioritised(2), id="another priority for no job"),
    ],
)
def test_what_cannot_follow_is_refused(history: tuple[Event, ...], event: Event) -> None:
    """The writer takes no event that contradicts the log."""
    with pytest.raises(Refused):
        given(*history).check(event)


@pytest.mark.parametrize(
    ("history", "event", "status"),
    [
        pytest.param((accepted(),), created(), "running", id="begun"),
        pytest.param((accepted(),), cancelled(), "cancelled", id="cancelled while it waits"),
        pytest.param(BEGUN, previewed(3), "running", id="steps may be skipped"),
        pytest.param(BEGUN, cancel_requested(), "stopping", id="asked to stop"),
        pytest.param((*BEGUN, cancel_requested()), cancelled(), "cancelled", id="stopped"),
        pytest.param((*BEGUN, cancel_requested()), finished(), "done", id="the end won the race"),
        pytest.param((*BEGUN, previewed(2)), interrupted(), "queued", id="back in the queue"),
        pytest.param((*BEGUN, interrupted()), resumed(), "running", id="made again"),
        pytest.param((*BEGUN, interrupted()), cancelled(), "cancelled", id="cancelled between attempts"),
        pytest.param(DONE, deleted(), "done", id="tidied"),
        pytest.param(DONE, pruned(), "done", id="its picture deleted"),
        pytest.param(DONE, missing(), "done", id="its picture missed"),
    ],
)
def test_what_can_follow_moves_the_frame(history: tuple[Event, ...], event: Event, status: str) -> None:
    """Each legal event has its effect."""
    assert given(*history, event).frames[1].status == status


def test_an_old_history_that_todays_laws_would_refuse_still_folds() -> None:
    """A Stop that the log of an earlier version has after the end: the end stands."""
    state = given(*DONE)
    state.apply(recorded(5, cancel_requested()))
    assert state.frames[1].status == "done"


ABOUT_A_FRAME: list[Callable[[int, int], Event]] = [
    created, finished, deleted, cancel_requested, cancelled, failed, interrupted, resumed,
    pruned, missing,
    partial(previewed, 1), partial(previewed, 2),
]  # fmt: skip


def legal(draw: st.DrawFn) -> list[Event]:
    """A history that the writer would have taken: random events, the refused ones left out."""
    state, history = State(), []
    for _ in range(draw(st.integers(0, 40))):
        if draw(st.booleans()) or not state.jobs:
            event: Event = accepted(state.next_job, state.next_frame, (1,) * draw(st.integers(1, 3)))
        elif draw(st.integers(0, 4)) == 0:
            job = draw(st.sampled_from(sorted(state.jobs)))
            about_the_queue: list[Event] = [paused(), resumed_queue(), reprioritised(job)]
            event = draw(st.sampled_from(about_the_queue))
        else:
            frame = draw(st.sampled_from(sorted(state.frames)))
            event = draw(st.sampled_from(ABOUT_A_FRAME))(frame, state.frames[frame].job)
        try:
            state.check(event)
        except Refused:
            continue
        history.append(event)
        state.apply(recorded(len(history), event))
    return history


legal_histories = st.composite(legal)()


@hypothesis_given(legal_histories)
@settings(max_examples=150)
def test_in_every_legal_history_jobs_and_frames_agree(history: list[Event]) -> None:
    """A job counts exactly its frames' ends, and only what is over is closed."""
    state = given(*history)
    for job in state.jobs.values():
        frames = [state.frames[job.first_frame + index] for index in range(job.count)]
        assert job.left == sum(frame.status not in ENDED for frame in frames)
        assert (job.finished_at is None) == (job.left > 0)
    still = {n for n, frame in state.frames.items() if frame.status not in ENDED or frame.preview}
    assert set(state.open) == still


@hypothesis_given(legal_histories, st.data())
@settings(max_examples=150)
def test_folding_in_drafts_equals_folding_at_once(history: list[Event], data: st.DataObject) -> None:
    """However a history is cut into batches, adopted drafts lead to the same state."""
    whole, pieced = given(*history), State()
    seq = 0
    while seq < len(history):
        draft = pieced.fork()
        for _ in range(data.draw(st.integers(1, 5))):
            if seq < len(history):
                attempt = draft.fork()
                attempt.apply(recorded(seq + 1, history[seq]))
                draft.adopt(attempt)
                seq += 1
        pieced.adopt(draft)
    assert dict(pieced.frames) == dict(whole.frames)
    assert dict(pieced.jobs) == dict(whole.jobs)
    assert dict(pieced.claims) == dict(whole.claims)
    assert pieced.open.keys() == whole.open.keys()
    assert pieced.paused_by == whole.paused_by
    assert (pieced.next_job, pieced.next_frame) == (whole.next_job, whole.next_frame)
    assert pieced.take_changes() == whole.take_changes()


@hypothesis_given(legal_histories)
@settings(max_examples=50)
def test_a_dropped_draft_leaves_no_trace(history: list[Event]) -> None:
    """What was only tried did not happen."""
    state = given(*history)
    before = (dict(state.frames), dict(state.jobs), state.next_job, dict(state.open))
    draft = state.fork()
    draft.apply(recorded(99, accepted(state.next_job, state.next_frame)))
    assert (dict(state.frames), dict(state.jobs), state.next_job, dict(state.open)) == before
