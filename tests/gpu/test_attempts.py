"""Batches whatever happens to them: stops, full memory and deaths at any call of the UNet, together.

Each frame has one ending, its previews tell every step once, and its picture is the undisturbed one's.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon import samplers as names
from daemon.gpu import denoise, previews, sdxl, wire, work
from daemon.gpu.orders import Order
from tests.gpu.test_work import pixels

pytestmark = pytest.mark.usefixtures("one_thread")

SAMPLERS = ("euler", "euler_ancestral", "dpmpp_2m", "dpmpp_sde", "heun", "lcm")
STEPS = 3


class Stopped(Exception):
    """The process dies here."""


FOX: dict[str, object] = {"sampler": "dpmpp_sde", "steps": 3, "cfg_scale": 5.0, "prompt": "a fox"}
frames = st.fixed_dictionaries(
    {
        "sampler": st.sampled_from(SAMPLERS),
        "steps": st.integers(1, STEPS),
        "cfg_scale": st.sampled_from([1.0, 5.0]),
        "seed": st.integers(0, 3),
        "prompt": st.sampled_from(["a red circle", "a blue star " * 30]),
    }
)
mishaps = st.dictionaries(  # at which call of the UNet
    st.integers(1, 6),
    st.one_of(
        st.just("full once"),
        st.just("full twice"),
        st.just("death"),
        st.tuples(st.sampled_from(["stop", "keep"]), st.integers(0, 3)),
    ),
    max_size=3,
)


@pytest.fixture(scope="module")
def shelf() -> sdxl.Shelf:
    """One for all: what a batch leaves behind is the next one's."""
    return sdxl.Shelf(torch.device("cpu"))


@pytest.fixture(scope="module")
def made() -> dict[bytes, wire.Final]:
    """Pictures that nothing happened to."""
    return {}


def attempted(
    orders: Sequence[Order], shelf: sdxl.Shelf, plan: dict[int, object]
) -> tuple[dict[int, work.Ending], list[wire.Reply], int]:
    """Their endings, all that was said, and how many calls in a row found memory full; a death leaves those
    out that had not ended.
    """
    works, said = denoise.predict, list[wire.Reply]()
    endings: dict[int, work.Ending] = {}
    count = full = row = most = 0

    def predict(calls: Sequence[denoise.Call]) -> list[torch.Tensor]:
        nonlocal count, full, row, most
        count += 1
        match plan.get(count):
            case "death":
                raise Stopped
            case "full once" | "full twice" as how:
                full = 1 if how == "full once" else 2
            case (how, int(which)):
                orders[which % len(orders)].stop(keep_partial=how == "keep")
            case _:
                pass
        row = row + 1 if full else 0
        most = max(most, row)
        if full:
            full -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return works(calls)

    def raised(order: Order, shelf: sdxl.Shelf, error: Exception) -> work.Ending:
        if isinstance(error, Stopped):
            raise error
        return fails(order, shelf, error)  # type: ignore[arg-type]  # whatever it takes

    fails = work._failure
    with pytest.MonkeyPatch.context() as patch, previews.Encoder(said.append) as encoder:
        patch.setattr(denoise, "predict", predict)
        patch.setattr(work, "_failure", raised)
        try:
            for order, ending in work.attempt(orders, shelf, encoder, said.append):
                assert order.begin.frame not in endings
                endings[order.begin.frame] = ending
        except Stopped:
            for order in orders:
                encoder.drain(order.begin.frame)
    return endings, said, most


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@example(asked=[{**FOX, "seed": seed} for seed in range(4)], plan={2: "full twice"})
@example(asked=[{**FOX, "seed": 0}], plan={1: "full once", 2: "full once"})
@example(
    asked=[{**FOX, "seed": seed} for seed in range(3)], plan={1: "full once", 2: ("keep", 1), 3: "death"}
)
@given(asked=st.lists(frames, min_size=1, max_size=4), plan=mishaps)
def test_every_frame_ends_once_and_as_it_would_have(
    folder: Path,
    plain: wire.Begin,
    shelf: sdxl.Shelf,
    made: dict[bytes, wire.Final],
    asked: list[dict[str, object]],
    plan: dict[int, object],
) -> None:
    """A death's frames go on from what was stored."""
    begins = [
        replace(
            plain, model=str(folder), frame=number, width=48, height=40, store_every=0.0,
            scheduler=names.SAMPLERS[str(each["sampler"])].schedulers[0], **each,
        )
        for number, each in enumerate(asked, 1)
    ]  # fmt: skip
    orders = [Order(begin) for begin in begins]
    endings, said, full_in_a_row = attempted(orders, shelf, plan)
    if "death" not in plan.values():
        assert endings.keys() == {begin.frame for begin in begins}
    shown = told(said)
    for order in orders:
        begin, ending = order.begin, endings.get(order.begin.frame)
        steps = shown[begin.frame]
        assert steps == sorted(set(steps))
        match ending:
            case wire.Final():
                assert steps[-1] == begin.steps
                assert resembles(ending, undisturbed(begin, shelf, made))
            case wire.Cancelled(step=step, data=data):
                assert order.stopped()
                assert step <= begin.steps
                assert (data is not None) == (order.keeps_partial() and step > 0)
            case wire.Failed(kind=kind):
                assert kind == "out_of_memory"
                assert full_in_a_row >= 2  # it is tried again once
            case wire.LoadFailed():
                pytest.fail(ending.message)
            case None:
                again = Order(replace(begin, attempt=2, resume=newest(said, begin.frame)))
                ((_, last),) = attempted([again], shelf, {})[0].items()
                assert isinstance(last, wire.Final)
                assert resembles(last, undisturbed(begin, shelf, made))
    for checkpoint in shelf._held.values():
        checkpoint.at_once.clear()  # for examples that do not depend on those before


def told(said: Sequence[wire.Reply]) -> dict[int, list[int]]:
    """The steps that each frame's previews tell, those that they skipped counted."""
    shown: dict[int, list[int]] = {}
    skipped = Counter[int]()
    for reply in said:
        if isinstance(reply, wire.Preview):
            shown.setdefault(reply.frame, []).append(reply.step)
            skipped[reply.frame] += 1 + reply.skipped
            assert skipped[reply.frame] == reply.step
    return {frame: shown.get(frame, []) for frame in range(1, 5)}


def newest(said: Sequence[wire.Reply], frame: int) -> bytes | None:
    """The state that was stored last."""
    stored = [reply.data for reply in said if isinstance(reply, wire.Stored) and reply.frame == frame]
    return stored[-1] if stored else None


def undisturbed(begin: wire.Begin, shelf: sdxl.Shelf, made: dict[bytes, wire.Final]) -> wire.Final:
    """The same picture made alone, with nothing happening to it; each is `made` once."""
    begin = replace(begin, frame=1)
    key = msgspec.json.encode(begin)
    if key not in made:
        ending = attempted([Order(begin)], shelf, {})[0][1]
        assert isinstance(ending, wire.Final)
        made[key] = ending
    return made[key]


def resembles(final: wire.Final, alone: wire.Final) -> bool:
    """To the bit where it was made alone; what a batch rounds otherwise is two shades at most."""
    if final.batch == 1:
        return final.pixels_sha256 == alone.pixels_sha256
    return bool(np.abs(pixels(final) - pixels(alone)).max() <= 2)
