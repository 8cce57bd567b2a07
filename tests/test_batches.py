"""Pictures made at the same time, by a whole daemon: each has a story of its own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import furnished
from tests.daemons import TRIES, Daemon, Message, dropped, interrupted
from tests.test_app import _child

QUICK = {"prompt": "a cat", "steps": 6, "width": 64, "height": 64, "seed": 1}
SLOW: dict[str, Any] = {
    "prompt": "a slow cat",
    "steps": 40,
    "width": 128,
    "height": 128,
    "sampler": "euler_ancestral",
    "seed": 2,
}


@pytest.fixture(scope="module")
def batching(tmp_path_factory: pytest.TempPathFactory, demo_checkpoint: Path) -> Iterator[Daemon]:
    """A daemon that makes four at once and stores every step."""
    home = furnished(tmp_path_factory.mktemp("batching") / "home", demo_checkpoint)
    with Daemon(home, "--batch", "4", "--store-every", "0") as running:
        yield running


def queued(daemon: Daemon, **jobs: dict[str, Any]) -> list[int]:
    """Have jobs, each of a name of its own, wait until all are there; the first frame of each."""
    daemon.post("api/queue/pause", {})
    return [dropped(daemon, f"{name}.json", job)[1] for name, job in jobs.items()]


def story(daemon: Daemon, frame: int, up_to: int) -> list[Message]:
    """A frame's events, up to a position."""
    events = []
    for message in daemon.stream():
        if message["data"].get("frame") == frame:
            events.append(message)
        if message["seq"] == up_to:
            return events
    raise AssertionError("the stream ended early")


def ended(daemon: Daemon, frame: int) -> list[Message]:
    """All events of a frame that was finished."""
    done = daemon.wait_for_type("FinalWritten", frame=frame)
    tidy = daemon.wait_for_type("PreviewDeleted", after=done["seq"], frame=frame)
    return story(daemon, frame, tidy["seq"])


def kinds(events: list[Message]) -> list[str]:
    """Their types, each run of previews as one."""
    names = [event["type"] for event in events]
    return [name for place, name in enumerate(names) if [name] != names[place - 1 : place]]


def final(events: list[Message]) -> dict[str, Any]:
    """What FinalWritten says."""
    (data,) = [event["data"] for event in events if event["type"] == "FinalWritten"]
    return dict(data)


def pixels(daemon: Daemon, events: list[Message]) -> np.ndarray[Any, np.dtype[np.int_]]:
    """Of the finished picture."""
    return np.asarray(Image.open(daemon.home.root / final(events)["path"]), int)


def test_frames_of_two_jobs_are_made_at_once_and_a_misfit_by_itself(batching: Daemon) -> None:
    """Each is told as ever, from FrameCreated to PreviewDeleted; the log says how many shared the calls."""
    two, other, misfit = queued(
        batching,
        two={**QUICK, "count": 2},
        other={**QUICK, "prompt": "a dog", "cfg_scale": 2, "seed": 9},
        misfit={**QUICK, "steps": 7},
    )
    batching.post("api/queue/resume", {})
    stories = {frame: ended(batching, frame) for frame in (two, two + 1, other, misfit)}
    for events in stories.values():
        assert kinds(events) == ["FrameCreated", "PreviewWritten", "FinalWritten", "PreviewDeleted"]
        shown = [event["data"] for event in events if event["type"] == "PreviewWritten"]
        assert sum(1 + data["skipped"] for data in shown) == shown[-1]["steps"]
    assert [final(events)["recipe"]["batch"] for events in stories.values()] == [3, 3, 3, 1]
    begun = [stories[frame][0]["seq"] for frame in (two, two + 1, other)]
    assert begun == [begun[0], begun[0] + 1, begun[0] + 2]
    assert stories[misfit][0]["seq"] > max(
        events[-1]["seq"] for frame, events in stories.items() if frame != misfit
    )
    assert not [file for file in batching.home.frames.iterdir() if file.suffix != ".png"]


def test_a_checkpoint_in_memory_is_used_before_another_is_read(
    batching: Daemon, demo_checkpoint: Path
) -> None:
    """Of two in turns each is read once, and the first one's second frame does not wait for the other."""
    for name in ("one", "two"):
        (batching.home.checkpoints / name).symlink_to(demo_checkpoint)
    frames = queued(
        batching,
        of_one={**QUICK, "model": "one"},
        of_two={**QUICK, "model": "two"},
        more_of_one={**QUICK, "model": "one", "steps": 5},
        more_of_two={**QUICK, "model": "two", "steps": 5},
    )
    batching.post("api/queue/resume", {})
    begun = {frame: ended(batching, frame)[0]["seq"] for frame in frames}
    of_one, of_two, more_of_one, more_of_two = frames
    assert sorted(begun, key=lambda frame: begun[frame]) == [of_one, more_of_one, of_two, more_of_two]


def test_one_that_is_stopped_leaves_the_others(batching: Daemon) -> None:
    """It can leave what there is; they go on to their ends."""
    first, cancelled = stopped_in_the_middle(batching)
    assert Image.open(batching.home.root / cancelled["data"]["path"]).size == (128, 128)
    for frame in (first, first + 2):
        events = ended(batching, frame)
        assert kinds(events) == ["FrameCreated", "PreviewWritten", "FinalWritten", "PreviewDeleted"]
        assert final(events)["recipe"]["batch"] == 3
        assert events[-2]["seq"] > cancelled["seq"]


def stopped_in_the_middle(daemon: Daemon) -> tuple[int, Message]:
    """Three frames, the first one's number, and the end of the second, which was asked for in time."""
    for number in range(TRIES):
        (first,) = queued(daemon, **{f"stopped-{number}": {**SLOW, "count": 3}})
        daemon.post("api/queue/resume", {})
        daemon.wait_for_step(2, frame=first + 1)
        wish = {"step": 2, "keep_partial": True}
        if daemon.post(f"api/frames/{first + 1}/cancel", wish).status_code == 200:
            end = daemon.wait_for_end(first + 1, "FrameCancelled", after=0)
            if end["type"] == "FrameCancelled" and end["data"]["step"] < SLOW["steps"]:
                return first, end
    raise AssertionError(f"{TRIES} frames were done before they were stopped")


def test_all_go_on_after_kill_9_and_none_is_blamed(batching: Daemon) -> None:
    """Each by itself, from its stored state, to the picture that it would have been within a shade."""
    (whole,) = queued(batching, whole={**SLOW, "count": 3})
    batching.post("api/queue/resume", {})
    undisturbed = [ended(batching, whole + place) for place in range(3)]
    three = {**SLOW, "count": 3}
    first, _ = interrupted(batching, "killed", three, 6, lambda: os.kill(_child(batching), 9), stored=1)
    for place in range(3):
        frame = first + place
        met = batching.wait_for_type("FrameInterrupted", frame=frame)
        assert (met["data"]["why"], met["data"]["together"]) == ("device_died", 3)
        events = ended(batching, frame)
        assert kinds(events) == [
            "FrameCreated", "PreviewWritten", "FrameInterrupted", "PreviewDeleted",
            "FrameResumed", "PreviewWritten", "FinalWritten", "PreviewDeleted",
        ]  # fmt: skip
        resumed = next(event for event in events if event["type"] == "FrameResumed")
        assert resumed["data"]["step"] > 0
        assert abs(pixels(batching, events) - pixels(batching, undisturbed[place])).max() <= 2
        assert final(events)["recipe"]["batch"] == 3
    assert not list(batching.home.frames.glob(".frame_*"))


def test_the_one_that_kills_its_device_is_given_up_and_not_its_company(batching: Daemon) -> None:
    """After they died together each is tried by itself: only what dies twice then is at fault."""
    (bad,) = queued(batching, bad={**SLOW, "steps": 400, "count": 2})
    good = bad + 1
    batching.post("api/queue/resume", {})
    seen = batching.wait_for_type("PreviewWritten", frame=good)
    for attempt, together in ((2, 2), (3, 1), (4, 1)):
        os.kill(_child(batching), 9)
        interrupted = batching.wait_for_type("FrameInterrupted", frame=bad, after=seen["seq"])
        assert interrupted["data"]["together"] == together
        if attempt < 4:
            seen = batching.wait_for_type("FrameResumed", frame=bad, attempt=attempt)
            batching.wait_for_type("PreviewWritten", frame=bad, after=seen["seq"])
    failed = batching.wait_for_type("FrameFailed", frame=bad)
    assert (failed["data"]["kind"], failed["data"]["attempt"]) == ("device_died", 3)
    resumed = batching.wait_for_type("FrameResumed", frame=good, after=failed["seq"])
    batching.wait_for_type("PreviewWritten", frame=good, after=resumed["seq"])
    os.kill(_child(batching), 9)
    batching.wait_for_type("FrameResumed", frame=good, after=resumed["seq"])
    assert batching.post(f"api/frames/{good}/cancel", {}).status_code == 200
    batching.wait_for_type("FrameCancelled", frame=good)
