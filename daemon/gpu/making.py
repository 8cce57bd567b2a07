"""The making of one frame: what the child says of it becomes files, then events.

The order is the law: a picture is whole on disk before the log says so, and in the log before a browser
can hear of it. Nothing here holds up sampling: while a preview is being written, the child goes on, and
what comes too fast is skipped at its end of the pipe.
"""

import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup
from msgspec.structs import replace

from daemon import pictures, png, reprints, strips
from daemon.embeddings import named
from daemon.events.log import Log
from daemon.events.types import (
    CancelRequested,
    Event,
    FinalWritten,
    FrameCancelled,
    FrameFailed,
    ModelFailed,
    ModelLoaded,
    PreviewWritten,
    Recipe,
)
from daemon.files import write_whole
from daemon.gpu import stored, wire
from daemon.gpu.process import Child
from daemon.gpu.sources import Sources, Weights
from daemon.gpu.stored import Keeping
from daemon.gpu.sums import Sums
from daemon.projections.frames import Frame
from daemon.projections.state import State
from daemon.prompts import Prompt, handed_over
from daemon.settings import Home
from daemon.stages import Stages
from daemon.strips import Thumbnail

FailureKind = Literal["out_of_memory", "bad_model", "bad_file", "device_died", "disk", "internal"]

logger = logging.getLogger(__name__)


class Making:
    """One attempt at one frame, from its FrameCreated or FrameResumed on."""

    def __init__(
        self,
        log: Log[State],
        home: Home,
        recent: pictures.Recent,
        ready: wire.Ready,
        frame: Frame,
        prompt: Prompt,
        cause: int,
        keeping: Keeping,
        sources: Sources,
        sums: Sums,
        stages: Stages,
    ) -> None:
        """`frame` as the event `cause` left it; `prompt` and `sources` are those of this picture alone."""
        assert frame.preview is not None
        self._log = log
        self._home = home
        self._recent = recent
        self._ready = ready
        self._frame = frame
        self._prompt = prompt
        self._preview = frame.preview
        self._strip = strips.path_of(home.strips, frame.id)
        self.cause = cause
        self._keeping = keeping
        self._sources = sources
        self._sums = sums
        self._stages = stages
        self._began = time.monotonic()

    def __repr__(self) -> str:
        return f"<Making of frame {self._frame.id}, attempt {self._frame.attempt}>"

    @property
    def loras(self) -> list[str]:
        """Names of those that it is made with."""
        return [lora.name for lora in self._prompt.loras]

    @property
    def stopping(self) -> bool:
        """Someone has asked for its end."""
        return self._log.state.frames[self._frame.id].status == "stopping"

    async def command(self) -> wire.Begin:
        """What the child is to be told, once there is a place for what comes of it."""
        await self._begin_strip()
        frame = self._frame
        return wire.Begin(
            frame=frame.id,
            attempt=frame.attempt,
            model=str(self._home.checkpoint(frame.model)),
            model_version=self._sources.model.version,
            prompt=frame.prompt,
            negative_prompt=frame.negative_prompt,
            width=frame.width,
            height=frame.height,
            steps=self._prompt.steps,
            cfg_scale=frame.cfg_scale,
            seed=frame.seed,
            sampler=frame.sampler,
            scheduler=frame.scheduler,
            store_every=self._keeping.every,
            loras=[
                wire.Lora(file=str(self._home.lora(lora.name).absolute()), weight=lora.weight)
                for lora in self._prompt.loras
            ],
            embeddings={
                name: str(self._home.embedding(name).absolute())
                for name in named(self._prompt.prompt, self._prompt.negative_prompt)
            },
            image=None if self._prompt.image is None else str(self._image(self._prompt.image)),
            hires=self._prompt.hires,
            refiner=self._refiner(),
            strength=1.0 if self._prompt.strength is None else self._prompt.strength,
            preview=self._prompt.preview,
            vae_approx=str(self._home.vae_approx),
            resume=None if self._keeping.resume is None else self._keeping.resume.data,
        )

    def _refiner(self) -> wire.Refiner | None:
        asked, files = self._prompt.refiner, self._sources.refiner
        if asked is None or files is None:
            return None
        steps = self._prompt.steps - handed_over(self._prompt.steps, asked.at)
        path = str(self._home.checkpoint(asked.model))
        return wire.Refiner(model=path, model_version=files.version, steps=steps)

    def _named(self, path: str) -> tuple[str, Weights]:
        """Which of the checkpoints that the frame asks for the child means, and its files."""
        refiner, files = self._prompt.refiner, self._sources.refiner
        if refiner is not None and files is not None and path == str(self._home.checkpoint(refiner.model)):
            return refiner.model, files
        return self._frame.model, self._sources.model

    def _image(self, name: str) -> Path:
        """Where it should lie, if it is gone or has been led out of the home since the prompt was taken."""
        return self._home.image(name) or self._home.images.absolute() / Path(name).name

    async def forward_cancel(self, child: Child) -> None:
        """Tell the child what the request to stop says."""
        (request,) = await self._log.read(self._log.state.reasons[self._frame.id] - 1, limit=1)
        assert isinstance(request.event, CancelRequested), request
        keep = request.event.keep_partial
        await child.send(wire.Cancel(frame=self._frame.id, attempt=self._frame.attempt, keep_partial=keep))

    async def record(self, reply: wire.Reply, tasks: TaskGroup) -> bool:
        """Turn one reply into what it means; True once the frame has ended."""
        match reply:
            case wire.Loading(what=what, done=done):
                if self._stages.show(self._ready.device, what, done):
                    logger.info("%s: %s", self._ready.device, what)
            case wire.Note(message=message):
                logger.warning("frame %d: %s", self._frame.id, message)
            case wire.Loaded():
                self._stages.end(self._ready.device)
                tasks.start_soon(self._tell_loaded, reply)
            case wire.Compiled(seconds=seconds):
                self._stages.end(self._ready.device)
                logger.info("%s: compiled in %.0f s", self._ready.device, seconds)
            case wire.Preview():
                await self._write_preview(reply)
            case wire.Final():
                await self._write_final(reply)
                return True
            case wire.LoadFailed():
                await self._fail_model(reply)
                return True
            case wire.Stored(step=step, data=data):
                where = (self._home.frames, self._frame.id)
                await to_thread.run_sync(stored.save, *where, step, self._keeping.key, data)
            case wire.Cancelled():
                await self._end_cancelled(reply)
                return True
            case wire.Failed(kind=kind, message=message):
                await self._append(self._failed(kind, message))
                return True
            case wire.Ready() | wire.NoDevice():
                raise AssertionError("a child is ready only once")
        return False

    async def _end_cancelled(self, reply: wire.Cancelled) -> None:
        path = None
        if reply.data is not None:
            path = pictures.partial_name(self._preview)
            try:
                await to_thread.run_sync(_write, self._home.root / path, reply.data, True)
            except OSError as error:
                logger.warning("frame %d: what there is could not be written: %s", self._frame.id, error)
                path = None
        cancelled = FrameCancelled(frame=self._frame.id, job=self._frame.job, step=reply.step, path=path)
        await self._log.append(cancelled, cause=self._log.state.reasons[self._frame.id])

    async def _append(self, event: Event) -> None:
        await self._log.append(event, cause=self.cause)

    async def _tell_loaded(self, reply: wire.Loaded) -> None:
        """With the weights' sum once that is known; without it if the frame ends first."""
        model, files = self._named(reply.model)
        loaded = ModelLoaded(device=self._ready.device, model=model, seconds=reply.seconds, bytes=reply.bytes)
        try:
            loaded = replace(loaded, sha256=await files.sha256(self._sums))
        finally:
            with anyio.CancelScope(shield=True):
                await self._append(loaded)

    def _failed(self, kind: FailureKind, message: str) -> FrameFailed:
        frame = self._frame
        return FrameFailed(frame=frame.id, job=frame.job, attempt=frame.attempt, kind=kind, message=message)

    async def _fail_model(self, reply: wire.LoadFailed) -> None:
        model, _ = self._named(reply.model)
        await self._append(ModelFailed(device=self._ready.device, model=model, message=reply.message))
        await self._append(self._failed("bad_model", reply.message))

    async def _write_preview(self, reply: wire.Preview) -> None:
        began = time.monotonic()
        try:
            await to_thread.run_sync(_write, self._home.root / self._preview, reply.data, False)
        except OSError as error:
            # A preview is not worth a frame; the next one tries again.
            logger.warning("frame %d: its preview could not be written: %s", self._frame.id, error)
            return
        await self._keep(reply.kept)
        self._recent.put(self._frame.id, reply.step, reply.data)
        written = (time.monotonic() - began) * 1000
        await self._append(
            PreviewWritten(
                frame=self._frame.id,
                job=self._frame.job,
                step=reply.step,
                steps=reply.steps,
                sigma=reply.sigma,
                path=self._preview,
                bytes=len(reply.data),
                width=reply.width,
                height=reply.height,
                method=reply.method,
                skipped=reply.skipped,
                ms=round(reply.ms + written, 3),
            )
        )

    async def _begin_strip(self) -> None:
        """Steps that are made again, or were another attempt's, leave the strip."""
        if self._prompt.preview.keep == "none":
            return
        try:
            await to_thread.run_sync(strips.begin, self._strip, self._log.epoch, self._frame.step)
        except OSError as error:
            logger.warning("frame %d: its steps cannot be kept: %s", self._frame.id, error)

    async def _keep(self, kept: Thumbnail | None) -> None:
        """Add to the strip, before anyone hears of the step. It is not worth a frame, either."""
        if kept is None:
            return
        try:
            await to_thread.run_sync(strips.append, self._strip, kept)
        except OSError as error:
            logger.warning("frame %d: step %d was not kept: %s", self._frame.id, kept.step, error)

    async def _write_final(self, reply: wire.Final) -> None:
        path = pictures.final_name(self._preview)
        recipe = await self._recipe(reply)
        data = png.with_texts(reply.data, reprints.texts(recipe))
        try:
            digest = await to_thread.run_sync(write_final, self._home.root / path, data)
        except OSError as error:
            await self._append(self._failed("disk", f"the picture could not be written: {error}"))
            return
        await self._keep(reply.kept)
        await self._append(
            FinalWritten(
                frame=self._frame.id,
                job=self._frame.job,
                path=path,
                bytes=len(data),
                width=reply.width,
                height=reply.height,
                sha256=digest,
                pixels_sha256=reply.pixels_sha256,
                seconds=round(time.monotonic() - self._began, 3),
                recipe=recipe,
            )
        )

    async def _recipe(self, reply: wire.Final) -> Recipe:
        """Waits for the sums of weights that nobody has used before; the picture is in hand by then."""
        loras = [await lora.sha256(self._sums) for lora in self._sources.loras]
        embeddings = [await each.sha256(self._sums) for each in self._sources.embeddings]
        refiner = self._sources.refiner
        return Recipe(
            prompt=self._prompt,
            seed=self._frame.seed,
            scheduler=reply.scheduler,
            scheduler_config=reply.scheduler_config,
            sigmas=reply.sigmas,
            loras_sha256=[digest or "" for digest in loras],
            embeddings_sha256=[digest or "" for digest in embeddings],
            image_sha256=reply.image_sha256,
            model_sha256=await self._sources.model.sha256(self._sums),
            refiner_sha256=None if refiner is None else await refiner.sha256(self._sums),
            dtype=reply.dtype,
            batch=reply.batch,
            device=self._ready.device,
            versions=self._ready.versions,
            work=self._ready.work,
        )


def _write(path: Path, data: bytes, durable: bool) -> None:
    write_whole(path, data, durable=durable)


def write_final(path: Path, data: bytes) -> str:
    """Have a finished picture stand whole and durable; its SHA-256, worked out while the disk is busy."""
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(hashlib.sha256, data)
        write_whole(path, data, durable=True)
        return digest.result().hexdigest()
