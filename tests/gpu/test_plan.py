"""Which frames are made next: priority rules, what is in memory goes first, and nobody waits for ever."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon.events.types import Event, JobAccepted
from daemon.gpu import plan
from daemon.projections.state import State
from daemon.prompts import Hires, Lora, Preview
from tests.stories import accepted, created, finished, given, interrupted, prompt, recorded

STYLE, OTHER = Lora(name="style"), Lora(name="other")


def job(number: int, first_frame: int | None = None, count: int = 1, **changes: Any) -> JobAccepted:
    """A job whose frames are numbered like it, unless it is said."""
    first = number if first_frame is None else first_frame
    event = accepted(number, first, tuple(range(1, count + 1)))
    return replace(event, prompt=replace(prompt(), **changes))


def chosen(state: State, warm: plan.Warm | None = None, most: int = 1) -> list[int]:
    """The numbers of the frames that are next."""
    return [frame.id for frame in plan.next_batch(state, warm or {}, most)]


def test_what_is_in_memory_goes_first() -> None:
    """A checkpoint that need not be read goes before the eldest, and LoRAs that are at hand before others."""
    state = given(job(1, model="a"), job(2, model="b", loras=[OTHER]), job(3, model="b", loras=[STYLE]))
    assert chosen(state) == [1]
    assert chosen(state, {"b": frozenset()}) == [2]
    assert chosen(state, {"b": frozenset({"style"})}) == [3]
    assert chosen(state, {"a": frozenset(), "b": frozenset({"style"})}) == [1]


def test_priority_goes_before_what_is_in_memory() -> None:
    """A checkpoint is read for it, and frames of less do not come along."""
    state = given(job(1, model="a"), job(2, model="b", priority=1), job(3, model="b"), job(4, model="a"))
    assert chosen(state, {"a": frozenset()}, most=4) == [2]


def test_the_eldest_is_overtaken_by_those_that_came_soon_after_it_alone() -> None:
    """Then it is its turn, though its checkpoint must be read."""
    late = 1 + plan.OVERTAKING
    state = given(*(job(number, model="b") for number in range(1, late)), job(late, model="a"))
    assert chosen(state, {"a": frozenset()}) == [late]
    state = given(*(job(number, model="b") for number in range(1, late + 1)), job(late + 1, model="a"))
    assert chosen(state, {"a": frozenset()}) == [1]


def test_frames_that_fit_go_together_from_one_job_or_several() -> None:
    """Words, seed, guidance, what a picture begins with and how it is shown are each one's own."""
    others: dict[str, Any] = {
        "prompt": "a wolf", "negative_prompt": "grey", "cfg_scale": 1.0, "seed": 3, "project": "wolves",
        "image": "images/wolf.png", "strength": 0.5, "preview": Preview(format="jpeg"),
    }  # fmt: skip
    state = given(
        job(1, count=2), *(job(2 + n, 3 + n, **{key: value}) for n, (key, value) in enumerate(others.items()))
    )
    assert chosen(state, most=16) == [*range(1, 3 + len(others))]
    assert chosen(state, most=3) == [1, 2, 3]


def test_frames_that_do_not_fit_are_made_by_themselves() -> None:
    """Another size, steps, sampler, schedule, checkpoint or LoRA; and what has a second pass."""
    twice = Hires(scale=1.5, steps=4, strength=0.4)
    for change in (
        {"width": 64}, {"steps": 9}, {"sampler": "heun"}, {"scheduler": "karras"}, {"model": "b"},
        {"loras": [STYLE]}, {"hires": twice},
    ):  # fmt: skip
        state = given(job(1, count=2), job(2, 3, **change))
        assert chosen(state, most=4) == [1, 2]
    assert chosen(given(job(1, count=2, hires=twice)), most=4) == [1]


def test_one_that_was_interrupted_goes_on_by_itself() -> None:
    """Its device may have died of it; those that were not begun share the next batch."""
    begun = (job(1, count=4), created(1), created(2))
    state = given(*begun, interrupted(1, together=2), interrupted(2, together=2))
    assert chosen(state, most=4) == [1]
    assert chosen(given(*begun, finished(1), finished(2)), most=4) == [3, 4]


def test_fewer_large_ones_are_made_at_once() -> None:
    """By their pixels; one always is."""

    def count(side: int) -> int:
        return len(chosen(given(job(1, count=8, width=side, height=side)), most=4))

    assert [count(side) for side in (64, 1024, 1456, 2048, 4096)] == [4, 4, 1, 1, 1]
    assert [count(side) for side in (1032, 1200, 1448)] == [3, 2, 2]


JOBS = st.fixed_dictionaries(
    {
        "model": st.sampled_from("aab"), "count": st.integers(1, 9),
        "priority": st.sampled_from((0, 0, 0, 1)),
        "loras": st.sampled_from(([], [], [STYLE])), "steps": st.sampled_from((4, 4, 5)),
    }
)  # fmt: skip


@settings(max_examples=60)
@drawn(st.lists(st.none() | JOBS, max_size=60), st.integers(1, 6), st.integers(0, 8))
def test_nobody_waits_for_ever(story: list[dict[str, Any] | None], most: int, overtaking: int) -> None:
    """Whatever arrives between batches (a job, or nothing): priority rules, a batch is of one kind, and no
    frame sees more than `OVERTAKING` younger ones of its priority go first.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "OVERTAKING", overtaking)
        work_through(story, most)


def work_through(story: list[dict[str, Any] | None], most: int) -> None:
    """Check what holds of each batch, and at the end."""
    state, seq, warm = State(), 0, dict[str, frozenset[str]]()
    overtaken = Counter[int]()
    rounds = 0

    def happens(event: Event) -> None:
        nonlocal seq
        seq += 1
        state.check(event)
        state.apply(recorded(seq, event))

    def a_batch() -> bool:
        waiting = [frame for frame in state.frames.values() if frame.status == "queued"]
        batch = plan.next_batch(state, warm, most)
        numbers = [frame.id for frame in batch]
        assert bool(batch) == bool(waiting)
        assert len(numbers) == len(set(numbers)) <= most
        assert len({(frame.model, frame.steps, frame.priority) for frame in batch}) <= 1
        warm.clear()  # one checkpoint fits into this memory
        for frame in batch:
            assert frame.priority == max(one.priority for one in waiting)
            warm[frame.model] = frozenset(lora.name for lora in state.prompts[frame.job].loras)
        for one in waiting:
            if batch and one.id not in numbers and one.priority == batch[0].priority:
                overtaken[one.id] += sum(number > one.id for number in numbers)
        for frame in batch:
            happens(created(frame.id, frame.job))
            happens(finished(frame.id, frame.job))
        return bool(batch)

    for arrival in story:
        if arrival is not None:
            happens(job(state.next_job, state.next_frame, **arrival))
        a_batch()
    while a_batch():
        rounds += 1
    assert rounds <= state.next_frame
    assert all(frame.status == "done" for frame in state.frames.values())
    assert max(overtaken.values(), default=0) <= plan.OVERTAKING
