"""A frame goes on from its stored state as if nothing had happened, with every sampler and in any order."""

import msgspec
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from daemon import samplers as names
from daemon.gpu import denoise, formats, sdxl, snapshots, wire

pytestmark = pytest.mark.usefixtures("one_thread")


Key = tuple[str, int]
"""A frame of the state machine: its sampler and seed."""


def ask(plain: wire.Begin, sampler: str, seed: int = 7) -> wire.Begin:
    """A request of five steps at 32 pixels."""
    changes = {"sampler": sampler, "scheduler": names.SAMPLERS[sampler].schedulers[0]}
    return msgspec.structs.replace(plain, **changes, seed=seed, steps=5, width=32, height=32)


def undisturbed(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> torch.Tensor:
    """The last latent of a frame that nothing happened to."""
    state = denoise.begin(checkpoint, request)
    while state.step < state.steps:
        denoise.step(state)
    return state.latent


@pytest.mark.parametrize("sampler", names.SAMPLERS)
def test_a_frame_goes_on_from_any_step(checkpoint: sdxl.Checkpoint, plain: wire.Begin, sampler: str) -> None:
    """Stored after each step and each time restored into a state begun anew: the same bits at the end."""
    request = ask(plain, sampler)
    state = denoise.begin(checkpoint, request)
    while state.step < state.steps:
        denoise.step(state)
        data = snapshots.take(state)
        state = denoise.begin(checkpoint, request)
        snapshots.restore(state, data)
    assert torch.equal(state.latent, undisturbed(checkpoint, request))


def test_a_state_is_small(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """Some latents and a few small tables: at 1024 pixels, a few MB."""
    request = msgspec.structs.replace(ask(plain, "dpmpp_3m_sde"), width=1024, height=1024)
    state = denoise.begin(checkpoint, request)
    latent = state.latent
    state.denoised = latent
    state.scheduler.model_outputs = [latent.clone() for _ in range(3)]
    assert len(snapshots.take(state)) < 2**21


def pictures(checkpoint: sdxl.Checkpoint, request: wire.Begin) -> list[bytes]:
    """The files of a frame that nothing happened to: what it leaves when it is stopped after each step, and
    at last the finished one.
    """
    state = denoise.begin(checkpoint, request)
    files = []
    while state.step < state.steps:
        files.append(formats.png(denoise.decode(checkpoint, denoise.step(state).latent)))
    return [*files, formats.png(denoise.finish(state))]


class Frames(RuleBasedStateMachine):
    """Several frames on one checkpoint, stepped, stored, lost, continued and cancelled in any order."""

    checkpoint: sdxl.Checkpoint
    plain: wire.Begin
    expected: dict[Key, list[bytes]]

    @initialize()
    def start(self) -> None:
        """Nothing is under way."""
        self.running: dict[Key, denoise.Denoise] = {}
        self.kept: dict[Key, bytes] = {}

    @rule(
        sampler=st.sampled_from(["euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde", "uni_pc"]),
        seed=st.integers(1, 2),
    )
    def begin(self, sampler: str, seed: int) -> None:
        """From noise, or from what was stored of the same request."""
        self.go_on((sampler, seed))

    def go_on(self, key: Key) -> None:
        """As a successor does whose predecessor is gone."""
        state = self.running[key] = denoise.begin(self.checkpoint, ask(self.plain, *key))
        if key in self.kept:
            snapshots.restore(state, self.kept[key])

    @rule(which=st.integers(0, 9), steps=st.sampled_from([1, 2, 5]))
    def step(self, which: int, steps: int) -> None:
        """Some steps of one frame; at its end its file is to the byte what it would have been alone."""
        for key in self.one(which):
            state = self.running[key]
            for _ in range(min(steps, state.steps - state.step)):
                denoise.step(state)
            if state.step == state.steps:
                assert formats.png(denoise.finish(state)) == self.undisturbed(key)[-1]

    @rule(which=st.integers(0, 9))
    def store(self, which: int) -> None:
        """Keep a frame's state."""
        for key in self.one(which):
            self.kept[key] = snapshots.take(self.running[key])

    @rule(which=st.integers(0, 9), stored=st.booleans())
    def die(self, which: int, stored: bool) -> None:
        """Lose a frame, just stored or not, and have a successor go on from what is there."""
        for key in self.one(which):
            if stored:
                self.kept[key] = snapshots.take(self.running[key])
            self.go_on(key)

    @rule(which=st.integers(0, 9))
    def lose(self, which: int) -> None:
        """Have a frame wait: what was stored stays."""
        for key in self.one(which):
            del self.running[key]

    @rule(which=st.integers(0, 9))
    def cancel(self, which: int) -> None:
        """Stop one for good; what there is of it is what there would have been alone."""
        for key in self.one(which):
            state = self.running.pop(key)
            self.kept.pop(key, None)
            if state.denoised is not None:
                partial = formats.png(denoise.decode(self.checkpoint, state.denoised))
                assert partial == self.undisturbed(key)[state.step - 1]

    def one(self, which: int) -> list[Key]:
        """One of the running frames, or none."""
        keys = list(self.running)
        return [keys[which % len(keys)]] if keys else []

    def undisturbed(self, key: Key) -> list[bytes]:
        """Made once for each request."""
        if key not in self.expected:
            self.expected[key] = pictures(self.checkpoint, ask(self.plain, *key))
        return self.expected[key]


def test_frames_in_any_order(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """Whatever is begun, stepped, stored, lost and continued when: every frame that ends is its seed's."""
    machine = type("Bound", (Frames,), {"checkpoint": checkpoint, "plain": plain, "expected": {}})
    run_state_machine_as_test(machine, settings=settings(max_examples=12, stateful_step_count=15))
