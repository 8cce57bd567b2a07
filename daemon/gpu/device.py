"""One task per device: it takes the next frames, has its child process make them, and records every fact.

The task is the only one that begins and ends frames on its device, so a frame's story has one teller.
When it is cancelled or its child dies, the frames in hand go back to the queue and their previews go away.
"""

import logging
from datetime import UTC, datetime
from functools import partial

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace

from daemon import pictures
from daemon.events.log import Log
from daemon.gpu import plan, sources, stored, wire
from daemon.gpu.making import Making
from daemon.gpu.process import Child, ChildDied, started
from daemon.gpu.recovery import interrupt, tidy
from daemon.gpu.sources import Sources
from daemon.gpu.sums import Sums
from daemon.gpu.warm import Memory
from daemon.projections import decisions
from daemon.projections.decisions import Interruption
from daemon.projections.frames import BEING_MADE, Frame
from daemon.projections.laws import Refused
from daemon.projections.state import State
from daemon.prompts import Preview, Prompt
from daemon.settings import VERSION, Settings
from daemon.stages import Stages

RESTART_AFTER = 1.0
"""Seconds between a child's death and its successor's start, doubled up to a minute while it keeps dying
before it is ready."""

logger = logging.getLogger(__name__)


Makings = dict[int, Making]
"""By frame, those that have not ended."""


class NoDevice(Exception):
    """There is no such device; the message says so to the person who named it."""


class Device:
    """A GPU, or the CPU, at work. `run` is its task."""

    def __init__(
        self, settings: Settings, log: Log[State], recent: pictures.Recent, sums: Sums, stages: Stages
    ) -> None:
        """`recent` receives each preview for the web to serve, `stages` what keeps the device from sampling;
        `sums` knows the weights' SHA-256.
        """
        self.name = settings.device
        self._settings = settings
        self._home = settings.home
        self._store_every = settings.store_every
        self._batch = settings.batch
        self._log = log
        self._recent = recent
        self._sums = sums
        self._stages = stages
        self._was_there = False

    def __repr__(self) -> str:
        return f"<Device {self.name}>"

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Make frames until cancelled. A child that dies is replaced; its frame waits for the new one.

        Raises `NoDevice` where there is none at the start.
        """
        task_status.started()
        pause = RESTART_AFTER
        while True:
            logger.info("%s: starting torch and diffusers, this takes some seconds", self.name)
            self._stages.show(self.name, "starting torch and diffusers")
            async with started(*self._arguments()) as child:
                try:
                    ready = await self._first_word(child)
                    pause = RESTART_AFTER
                    await self._work(child, ready)
                except ChildDied as death:
                    self._stages.end(self.name)
                    logger.warning("%s: %s; starting again in %g s", self.name, death, pause)
            await anyio.sleep(pause)
            pause = min(60, pause * 2)

    def _arguments(self) -> list[str]:
        """What the child is told of how to work."""
        told = ["--device", self.name.split()[0], "--precision", self._settings.precision]
        return [*told, "--compile", str(self._home.compiled)] if self._settings.compile else told

    async def _first_word(self, child: Child) -> wire.Ready:
        ready = await child.receive()
        if isinstance(ready, wire.NoDevice):
            if self._was_there:  # a GPU that has just failed, or is full for a while, comes back
                raise ChildDied(ready.message)
            raise NoDevice(f"{ready.message}; choose another --device")
        assert isinstance(ready, wire.Ready), ready
        self._stages.end(self.name)
        self.name = ready.device
        self._was_there = True
        versions = ", ".join(f"{name} {version}" for name, version in ready.versions.items())
        logger.info("%s: ready, %s (%s)", self.name, ready.work, versions)
        return ready

    async def _work(self, child: Child, ready: wire.Ready) -> None:
        """Batch after batch. Raises `ChildDied`."""
        memory = Memory(self._home)
        most = ready.batch if self._batch is None else self._batch
        while True:
            frames = plan.next_batch(self._log.state, memory.warm, most)
            if frames:
                await self._make(child, ready, memory, frames)
            else:
                await self._wait_for_news(child)

    async def _wait_for_news(self, child: Child) -> None:
        """Wait for the log to go on. Raises `ChildDied` if the child dies meanwhile."""
        death: ChildDied | None = None
        position = self._log.position

        async def watch_child() -> None:
            nonlocal death
            try:
                reply = await child.receive()
            except ChildDied as error:
                death = error
                tasks.cancel_scope.cancel()
            else:
                raise AssertionError(f"the child had no work and said {type(reply).__name__}")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_child)
            await self._log.changed(position)
            tasks.cancel_scope.cancel()
        if death is not None:
            raise death

    async def _make(self, child: Child, ready: wire.Ready, memory: Memory, frames: list[Frame]) -> None:
        """Some frames at once, each from its beginning to no trace of a preview. Raises `ChildDied`."""
        makings: Makings = {}
        try:
            for frame in frames:
                making = await self._begin(ready, frame)
                if making is not None:
                    makings[frame.id] = making
                    memory.used(frame.model, making.loras)
            if makings:
                await self._see_through(child, memory, makings)
        except ChildDied as death:
            await self._put_away(makings, "device_died", str(death))
            raise
        except anyio.get_cancelled_exc_class():
            await self._put_away(makings, "daemon_stopped", "the daemon was stopped")
            raise

    async def _begin(self, ready: wire.Ready, frame: Frame) -> Making | None:
        """Record that it is begun; None if it was cancelled between our choice and the log's turn."""
        state = self._log.state
        if frame.id not in state.reasons:
            return None
        prompt, reason = asked(state, frame), state.reasons[frame.id]
        path = f"{self._home.frames.name}/{_preview_name(state, frame, prompt.preview.format)}"
        files = await to_thread.run_sync(sources.look, self._home, prompt)
        key = state_key(frame.id, prompt, ready, files)
        kept = await to_thread.run_sync(stored.load, self._home.frames, frame.id, key)
        step = 0 if kept is None else kept.step
        decision = partial(decisions.begin, frame=frame.id, path=path, device=self.name, step=step)
        try:
            (begun,) = await self._log.decide(decision, cause=reason)
        except Refused:
            return None
        made = state.frames[frame.id]
        keeping = stored.Keeping(self._store_every, key, kept)
        place = (self._log, self._home, self._recent)
        return Making(*place, ready, made, prompt, begun.seq, keeping, files, self._sums, self._stages)

    async def _see_through(self, child: Child, memory: Memory, makings: Makings) -> None:
        """Have the child make them; returns once all have ended. Raises `ChildDied` if one never will."""
        death: ChildDied | None = None
        begins = [await making.command() for making in makings.values()]
        await child.send(begins[0] if len(begins) == 1 else wire.Together(begins=begins))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._forward_cancels, child, makings)
            try:
                while makings:
                    await self._hear(await child.receive(), memory, makings, tasks)
            except ChildDied as error:
                death = error
            tasks.cancel_scope.cancel()
        self._stages.end(self.name)  # where loading failed
        if death is not None:
            raise death

    async def _hear(self, reply: wire.Reply, memory: Memory, makings: Makings, tasks: TaskGroup) -> None:
        """Lead a reply to the frame that it is about; one that is about all, to the first."""
        assert not isinstance(reply, wire.Ready | wire.NoDevice), "a child is ready only once"
        if isinstance(reply, wire.Loaded):
            memory.holds(reply.held)
        if isinstance(reply, wire.Loading | wire.Loaded | wire.Compiled):
            number = next(iter(makings))
        else:
            number = reply.frame
        making = makings[number]
        if not await making.record(reply, tasks):
            return
        if isinstance(reply, wire.LoadFailed):
            memory.failed(self._log.state.frames[number].model)
        with anyio.CancelScope(shield=True):
            await tidy(self._log, self._home, number, making.cause)
        self._recent.drop(number)
        del makings[number]

    async def _forward_cancels(self, child: Child, makings: Makings) -> None:
        told: set[int] = set()
        while True:
            position = self._log.position
            for number, making in list(makings.items()):
                if number in makings and number not in told and making.stopping:
                    told.add(number)
                    await making.forward_cancel(child)
            await self._log.changed(position)

    async def _put_away(self, makings: Makings, why: Interruption, message: str) -> None:
        """Nothing more comes of frames here: they go back to the queue, unless they ended just before."""
        together = len(makings)
        with anyio.CancelScope(shield=True):
            for number, making in makings.items():
                self._recent.drop(number)
                if self._log.state.frames[number].status in BEING_MADE:
                    await interrupt(self._log, self._home, number, why, message, making.cause, together)
                else:
                    await tidy(self._log, self._home, number, making.cause)


def asked(state: State, frame: Frame) -> Prompt:
    """The prompt of this very picture of its job."""
    return replace(state.prompts[frame.job], seed=frame.seed, count=1, priority=frame.priority)


def state_key(frame: int, prompt: Prompt, ready: wire.Ready, files: Sources) -> str:
    """What a stored state of the frame depends on: all that the picture does, but not how it is shown, and
    the release of this program, which lays states out.
    """
    picture = replace(prompt, priority=0, preview=Preview())
    machine = VERSION, ready.device, ready.work, ready.versions
    return stored.key(frame, picture, *machine, files.versions)


def _preview_name(state: State, frame: Frame, format: str) -> str:
    alone = state.jobs[frame.job].count == 1
    return pictures.preview_name(frame.job, None if alone else frame.index, datetime.now(UTC), format)
