"""Pictures made together: what each is beside itself made alone, and how one leaves the others.

The UNet's sums depend on how many rows it is given: BLAS and convolutions split the work differently. So
a picture of a batch is not bit for bit the one made alone, but within `APART`. What is not the UNet's
(noise, sampler, schedule) is each picture's own, and a batch of one is the same call as ever.
"""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image

from daemon.gpu import denoise, sdxl, snapshots, wire
from daemon.gpu.formats import Pixels
from daemon.settings import BUILT_IN

pytestmark = pytest.mark.usefixtures("one_thread")

APART = 2
"""Shades of 255 that a channel of a pixel may differ by. Measured over all of these: one."""
SAMPLERS = ("euler", "euler_ancestral", "dpmpp_3m_sde", "dpmpp_sde", "dpm_2", "lcm")
"""Deterministic; ancestral; SDE with memory, and with a Brownian tree; of second order; whole timesteps."""
WORDS = ("a red circle on a blue background", "a yellow star", "mountains at dusk", "a green square")


@pytest.fixture(scope="module")
def built_in() -> sdxl.Checkpoint:
    """The demo model as the child loads it on a CPU; it predicts v."""
    return sdxl.load(BUILT_IN, torch.device("cpu"), torch.float32)


def four(plain: wire.Begin, **changes: object) -> list[wire.Begin]:
    """Requests that differ in all that pictures of a batch may differ in."""
    return [
        msgspec.structs.replace(
            plain, frame=number, seed=7 + number, prompt=words, cfg_scale=4.0 + number, **changes
        )
        for number, words in enumerate(WORDS)
    ]


def alone(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> Pixels:
    """The picture made by itself."""
    state = denoise.begin(checkpoint, request)
    while state.step < state.steps:
        denoise.step(state)
    assert state.batch == 1
    return denoise.finish(state)


def together(states: list[denoise.Denoise]) -> list[Pixels]:
    """The pictures made together, to their end."""
    while states[0].step < states[0].steps:
        seen = denoise.step_together(states)
        assert [one.latent.shape for one in seen] == [state.latent.shape for state in states]
    assert {state.batch for state in states} == {len(states)}
    return [denoise.finish(state) for state in states]


def apart(one: Pixels, other: Pixels) -> int:
    """The most that a channel of a pixel differs by."""
    return int(abs(one.astype(int) - other).max())


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("model", ["checkpoint", "built_in"])
def test_a_picture_of_a_batch_is_the_one_made_alone(
    request: pytest.FixtureRequest, plain: wire.Begin, model: str, sampler: str
) -> None:
    """Within a shade or two, each of four, whatever noise its sampler draws; another seed is far off."""
    checkpoint: sdxl.Checkpoint = request.getfixturevalue(model)
    asked = four(plain, sampler=sampler, scheduler="sgm_uniform", steps=6)
    pictures = together([denoise.begin(checkpoint, one) for one in asked])
    worst = [apart(picture, alone(checkpoint, one)) for picture, one in zip(pictures, asked, strict=True)]
    print(model, sampler, worst)
    assert max(worst) <= APART
    other = msgspec.structs.replace(asked[2], seed=99)
    assert apart(pictures[2], alone(checkpoint, other)) > 10 * APART


def test_pictures_anywhere_in_their_schedules_go_together(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin
) -> None:
    """One is two steps ahead, one joins from a stored state, one leaves half way and goes on alone."""
    asked = four(plain, sampler="dpmpp_2m_sde", scheduler="karras", steps=6)
    ahead, leaving, stored, ends = (denoise.begin(checkpoint, one) for one in asked)
    for _ in range(2):
        denoise.step(ahead)
    denoise.step_together([stored, ends])
    resumed = denoise.begin(checkpoint, asked[2])
    snapshots.restore(resumed, snapshots.take(stored))
    assert resumed.batch == 2
    for _ in range(3):
        denoise.step_together([ahead, leaving, resumed, ends])
    kept = snapshots.take(leaving)
    for state in (ahead, resumed, ends):
        while state.step < state.steps:
            denoise.step(state)
    again = denoise.begin(checkpoint, asked[1])
    snapshots.restore(again, kept)
    for state in (leaving, again):
        while state.step < state.steps:
            denoise.step(state)
    pictures = [denoise.finish(state) for state in (ahead, leaving, resumed, ends)]
    for picture, one in zip(pictures, asked, strict=True):
        assert apart(picture, alone(checkpoint, one)) <= APART
    assert np.array_equal(denoise.finish(again), pictures[1])
    assert (ahead.batch, again.batch) == (4, 4)


def test_guided_and_unguided_ones_go_together(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """Each gets as many rows as it needs."""
    asked = [msgspec.structs.replace(plain, cfg_scale=scale) for scale in (1.0, 5.0, 1.0)]
    pictures = together([denoise.begin(checkpoint, one) for one in asked])
    assert apart(pictures[0], pictures[2]) <= APART
    for picture, one in zip(pictures, asked, strict=True):
        assert apart(picture, alone(checkpoint, one)) <= APART


def test_one_that_begins_with_a_picture_goes_with_one_that_does_not(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, tmp_path: Path
) -> None:
    """It skips the beginning of its schedule, and both end at once."""
    Image.new("RGB", (64, 64), "green").save(tmp_path / "it.png")
    begun = msgspec.structs.replace(plain, image=str(tmp_path / "it.png"), strength=0.5)
    pictures = together([denoise.begin(checkpoint, one) for one in (plain, begun)])
    for picture, one in zip(pictures, (plain, begun), strict=True):
        assert apart(picture, alone(checkpoint, one)) <= APART


def test_what_keeps_pictures_apart(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """Another size and more chunks of tokens do; words, seed, guidance and steps do not."""

    def alike(**changes: object) -> bool:
        other = msgspec.structs.replace(plain, **changes)
        return denoise.alike(denoise.begin(checkpoint, other)) == denoise.alike(mine)

    mine = denoise.begin(checkpoint, plain)
    assert alike(prompt="a fox", seed=1, cfg_scale=1.0, steps=9, sampler="heun")
    assert not alike(width=72)
    assert not alike(prompt="a fox BREAK snow")
    assert not alike(negative_prompt="grey BREAK dull")


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@drawn(st.sampled_from(SAMPLERS), st.lists(st.tuples(st.integers(1, 7), st.booleans()), max_size=12))
def test_any_company_at_any_step(
    checkpoint: sdxl.Checkpoint, plain: wire.Begin, sampler: str, rounds: list[tuple[int, bool]]
) -> None:
    """Three pictures step in whatever company is drawn, or are stored and put back; each ends as if alone."""
    asked = four(plain, sampler=sampler, scheduler="sgm_uniform", steps=4, width=32, height=32)[:3]
    states = [denoise.begin(checkpoint, one) for one in asked]
    for company, put_back in [*rounds, *[(7, False)] * 4]:
        here = [n for n in range(3) if company >> n & 1 and states[n].step < states[n].steps]
        if put_back:
            for n in here:
                kept = snapshots.take(states[n])
                states[n] = denoise.begin(checkpoint, asked[n])
                snapshots.restore(states[n], kept)
        denoise.step_together([states[n] for n in here])
    for state, one in zip(states, asked, strict=True):
        assert state.step == state.steps
        assert apart(denoise.finish(state), alone(checkpoint, one)) <= APART
