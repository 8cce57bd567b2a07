"""Children that are killed in the middle of a frame, and the pictures that come of it all the same."""

import random
import signal
from pathlib import Path

import pytest
from PIL import Image

from daemon.gpu import wire
from daemon.prompts import Hires
from tests.gpu.test_child import Child, begin

SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde", "dpmpp_2m_sde", "uni_pc", "dpm_2_ancestral")
"""Deterministic, ancestral, SDE, with memory of earlier steps, and of second order."""
STEPS = 6


def request(folder: Path, sampler: str, **changes: object) -> wire.Begin:
    """A frame whose state is stored at every step."""
    return begin(folder, 1, sampler=sampler, scheduler="karras", steps=STEPS, store_every=0.0, **changes)


def killed_after(child: Child, ask: wire.Begin, step: int) -> wire.Stored:
    """Have a frame begun, and the child killed once the state after `step` or a later one has come."""
    child.say(ask)
    while True:
        _, stored = child.until(wire.Stored)
        if stored.step >= step:
            child.process.send_signal(signal.SIGKILL)
            assert child.close() == -signal.SIGKILL
            return stored


def torment(folder: Path, scratch: Path, kills: int, chance: random.Random) -> None:
    """Kill children `kills` times, each at another step of another frame; its successor goes on from what
    was stored, and every final picture is the undisturbed one.
    """
    child = Child(scratch / "stderr")
    for count in range(kills):
        ask = request(folder, SAMPLERS[count % len(SAMPLERS)], seed=count)
        child.say(ask)
        whole = child.until(wire.Final)[1]
        stored = killed_after(child, ask, chance.randint(1, STEPS - 2))
        child = Child(scratch / f"stderr-{count}")
        again = request(folder, ask.sampler, seed=count, attempt=2, resume=stored.data)
        child.say(again)
        shown, final = child.until(wire.Final)
        steps = [reply.step for reply in shown if isinstance(reply, wire.Preview)]
        assert min(steps) > stored.step
        assert final.pixels_sha256 == whole.pixels_sha256, (ask.sampler, stored.step)
    assert child.close() == 0


def test_a_killed_childs_frame_ends_as_if_nothing_had_happened(folder: Path, tmp_path: Path) -> None:
    """A few kills; `make torture` makes fifty."""
    torment(folder, tmp_path, 3, random.Random(20))


def test_a_second_pass_goes_on_too(folder: Path, tmp_path: Path) -> None:
    """A picture that began with a picture, killed while it is gone over, ends as if nothing had happened."""
    Image.new("RGB", (64, 48), "green").save(tmp_path / "it.png")
    twice = {
        "image": str(tmp_path / "it.png"),
        "strength": 0.6,
        "hires": Hires(scale=1.5, steps=4, strength=0.5),
    }
    ask = request(folder, "dpmpp_2m_sde", **twice)
    child = Child(tmp_path / "stderr")
    child.say(ask)
    whole = child.until(wire.Final)[1]
    stored = killed_after(child, ask, STEPS + 1)
    child = Child(tmp_path / "stderr-2")
    child.say(request(folder, "dpmpp_2m_sde", **twice, attempt=2, resume=stored.data))
    shown, final = child.until(wire.Final)
    assert {reply.steps for reply in shown if isinstance(reply, wire.Preview)} == {STEPS + 4}
    assert final.pixels_sha256 == whole.pixels_sha256
    assert final.image_sha256 == whole.image_sha256
    assert child.close() == 0


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_fifty_kills(folder: Path, tmp_path: Path) -> None:
    """At random steps, over all kinds of samplers."""
    torment(folder, tmp_path, 50, random.Random(50))
