"""The child's torch side: one order after the other, each from its Begin to the one reply that ends it.

Runs in the child's main thread, which alone makes torch calls. A frame that cannot be made ends in a
reply and the next one begins on the warm model; nothing that a frame does ends the child.
"""

import hashlib
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import diffusers
import torch
import transformers

from daemon.gpu import (
    denoise,
    formats,
    hires,
    images,
    loras,
    previews,
    refiner,
    samplers,
    sdxl,
    snapshots,
    speed,
    thumbnails,
    view,
    wire,
)
from daemon.gpu.orders import Order, Orders
from daemon.gpu.reading import read_through
from daemon.settings import Precision

Send = Callable[[wire.Reply], None]
Result = TypeVar("Result")
Ending = wire.Final | wire.Cancelled | wire.LoadFailed | wire.Failed


def run(device_name: str, precision: Precision, compiles: bool, orders: Orders, send: Send) -> None:
    """Announce the device, then work until the process ends. Returns at once if there is no such device, or
    nothing to compile with.
    """
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # as it is
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as it is
    try:
        device = find(device_name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts that it were
        send(wire.NoDevice(message=f"there is no device {device_name}: {str(error).splitlines()[0]}"))
        return
    shelf = sdxl.Shelf(device, speed.dtype(device, precision), compiles)
    try:
        speed.settle(device, precision, compiles)
    except speed.CannotCompile as error:
        send(wire.NoDevice(message=f"{error}; leave --compile out, or install one"))
        return
    send(wire.Ready(device=describe(device), versions=versions(), work=speed.describe(shelf.dtype, compiles)))
    with torch.cuda.stream(sampling_stream(device)), previews.Encoder(send) as encoder:
        while True:
            order = orders.take()
            reply = _attempt(order, shelf, encoder, send)
            orders.close(order)
            send(reply)


def find(name: str) -> torch.device:
    """`auto` is the first GPU, else the CPU. Raises `RuntimeError` or `AssertionError` for one that
    is not there."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    torch.empty(1, device=device)
    return device


def sampling_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Goes before the stream of previews wherever both have work; None on a CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]  # as it is


def describe(device: torch.device) -> str:
    """As people know it: `cpu`, or `cuda:0 NVIDIA H100`."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def versions() -> dict[str, str]:
    """What the pixels depend on beside the recipe."""
    return {
        "torch": str(torch.__version__),
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _attempt(order: Order, shelf: sdxl.Shelf, encoder: previews.Encoder, send: Send) -> Ending:
    """Make the frame; whatever goes wrong becomes the reply that ends it."""
    frame, attempt = order.begin.frame, order.begin.attempt
    try:
        try:
            return _make(order, shelf, encoder, send)
        finally:
            encoder.drain()  # before any ending: every preview of the frame has then been sent
    except sdxl.BadModel as error:
        traceback.print_exc()
        model = error.model or order.begin.model
        return wire.LoadFailed(frame=frame, attempt=attempt, model=model, message=str(error))
    except (loras.BadLora, images.BadImage) as error:
        traceback.print_exc()
        return wire.Failed(frame=frame, attempt=attempt, kind="bad_file", message=str(error))
    except Exception as error:  # noqa: BLE001  this boundary turns what goes wrong into an event
        traceback.print_exc()
        kind: Literal["out_of_memory", "internal"] = "out_of_memory" if _out_of_memory(error) else "internal"
        message = _too_large(order.begin, shelf) if kind == "out_of_memory" else _in_words(error)
    sdxl.release(shelf.device)  # once the failed frame's tensors are gone with its traceback
    return wire.Failed(frame=frame, attempt=attempt, kind=kind, message=message)


def _make(
    order: Order, shelf: sdxl.Shelf, encoder: previews.Encoder, send: Send
) -> wire.Final | wire.Cancelled:
    begin = order.begin
    if order.stopped():
        return _cancelled(begin, step=0)
    spare = Spare(shelf, Path(begin.model))
    state, shown = _begun(begin, shelf, spare, send)
    if begin.resume is not None:
        if snapshots.earlier_steps(begin.resume):
            state = _blank(state, begin, shelf, spare, send)
        snapshots.restore(state, begin.resume)
    kept_at = time.monotonic()
    while not order.stopped() and state.step < state.steps:
        if hires.due(state):
            state = spare.again(partial(_second, state, begin, shelf, spare, send))
        seen = _step(state, spare)
        if shown is not None and (shot := shown.shoot(state, seen)) is not None:
            encoder.offer(shot)
        if time.monotonic() - kept_at >= begin.store_every and state.step < state.steps:
            encoder.store(_stored(begin, state))
            kept_at = time.monotonic()
    if order.stopped():
        return _cancelled(begin, state.step, _partial(state) if order.keeps_partial() else None)
    try:
        pixels = denoise.finish(state)
    except (MemoryError, RuntimeError) as error:
        spare.free(error)
        pixels = denoise.finish(state, tiled=True)
    encoder.drain()
    return _final(begin, state, pixels)


def _begun(
    begin: wire.Begin, shelf: sdxl.Shelf, spare: "Spare", send: Send
) -> tuple[denoise.Denoise, view.View | None]:
    """The frame before its first step, and how it is shown. Nothing here holds on to the checkpoint."""
    checkpoint = _checkpoint(Path(begin.model), begin.model_version, shelf, send)
    if begin.refiner is not None:  # whose faults are better found before the first steps are made
        _inspected(Path(begin.refiner.model))
    spare.again(partial(loras.apply, checkpoint, begin.loras))
    shown = view.opened(begin, checkpoint, shelf.decoders, shelf.stream, send)
    return spare.again(partial(denoise.begin, checkpoint, begin)), shown


def _second(
    state: denoise.Denoise, begin: wire.Begin, shelf: sdxl.Shelf, spare: "Spare", send: Send
) -> denoise.Denoise:
    """The later pass, once the first one's steps are made."""
    if begin.refiner is None:
        return hires.second(state, begin)
    return refiner.second(state, begin, _refiner(state, begin.refiner, shelf, spare, send))


def _blank(
    state: denoise.Denoise, begin: wire.Begin, shelf: sdxl.Shelf, spare: "Spare", send: Send
) -> denoise.Denoise:
    """The later pass, for a state of it that was stored."""
    if begin.refiner is None:
        return hires.blank(state, begin)
    return refiner.blank(state, begin, _refiner(state, begin.refiner, shelf, spare, send))


def _refiner(
    state: denoise.Denoise, asked: wire.Refiner, shelf: sdxl.Shelf, spare: "Spare", send: Send
) -> sdxl.Checkpoint:
    """The refiner, with the base leaving memory for it if need be: it comes after all others that could."""
    refiner.let_go(state)
    spare.keep = Path(asked.model)
    checkpoint = _checkpoint(spare.keep, asked.model_version, shelf, send, "refiner")
    loras.apply(checkpoint, [])  # it may be warm with those of another frame
    return checkpoint


class Spare:
    """Memory that a frame in need of it can get: that of the checkpoints it does not use."""

    def __init__(self, shelf: sdxl.Shelf, keep: Path) -> None:
        self._shelf = shelf
        self.keep = keep
        """The one in use."""

    def free(self, error: Exception) -> None:
        """Free it for one more try. Raises `error` if it is of another kind."""
        if not _out_of_memory(error):
            raise error
        error.__traceback__ = None  # it holds what the failed try had in hand
        self._shelf.keep_only(self.keep)

    def again(self, call: Callable[[], Result]) -> Result:
        """What `call` answers, tried once more if memory runs out."""
        try:
            return call()
        except (MemoryError, RuntimeError) as error:
            self.free(error)
        return call()


def _step(state: denoise.Denoise, spare: Spare) -> denoise.Denoised:
    """A step, tried once more if memory runs out before it has changed anything."""
    before = state.latent
    try:
        return denoise.step(state)
    except (MemoryError, RuntimeError) as error:
        if state.latent is not before:
            raise
        spare.free(error)
    return denoise.step(state)


def _inspected(path: Path) -> None:
    try:
        sdxl.inspect(path, "refiner")
    except sdxl.BadModel as error:
        error.model = str(path)
        raise


def _checkpoint(
    path: Path, version: str, shelf: sdxl.Shelf, send: Send, role: sdxl.Role = "base"
) -> sdxl.Checkpoint:
    """The checkpoint, read if it is not in memory."""
    if (held := shelf.find(path, version)) is not None:
        if held.refines and role == "base":
            raise sdxl.BadModel(f"The checkpoint {path} is SDXL's refiner, which cannot be used alone.")
        return held
    try:
        return _read(path, version, shelf, send, role)
    except sdxl.BadModel as error:
        error.model = str(path)
        raise


def _read(path: Path, version: str, shelf: sdxl.Shelf, send: Send, role: sdxl.Role) -> sdxl.Checkpoint:
    what = f"loading {path.name}"
    send(wire.Loading(what=what, done=0.0))
    started = time.perf_counter()
    with read_through(sdxl.weights(path, shelf.dtype), lambda done: send(wire.Loading(what=what, done=done))):
        checkpoint = shelf.load(path, version, role)
    seconds = time.perf_counter() - started
    send(wire.Loaded(model=str(path), seconds=seconds, bytes=checkpoint.bytes))
    return checkpoint


def _stored(begin: wire.Begin, state: denoise.Denoise) -> wire.Stored:
    data = snapshots.take(state)
    return wire.Stored(frame=begin.frame, attempt=begin.attempt, step=state.step, data=data)


def _cancelled(begin: wire.Begin, step: int, data: bytes | None = None) -> wire.Cancelled:
    return wire.Cancelled(frame=begin.frame, attempt=begin.attempt, step=step, data=data)


def _partial(state: denoise.Denoise) -> bytes | None:
    """What a stopped frame would have become by its last step; None before the first."""
    if state.denoised is None:
        return None
    return formats.png(denoise.decode(state.checkpoint, state.denoised))


def _final(begin: wire.Begin, state: denoise.Denoise, pixels: formats.Pixels) -> wire.Final:
    height, width, _ = pixels.shape
    with ThreadPoolExecutor(1) as pool:
        digest = pool.submit(hashlib.sha256, pixels.data)
        data = formats.png(pixels)
    return wire.Final(
        frame=begin.frame,
        attempt=begin.attempt,
        width=width,
        height=height,
        pixels_sha256=digest.result().hexdigest(),
        scheduler=type(state.scheduler).__name__,
        scheduler_config=samplers.options(state.scheduler),
        sigmas=[*state.spent, *state.sigmas[state.skipped :]],
        dtype=str(state.checkpoint.dtype).removeprefix("torch."),
        image_sha256=state.image_sha256,
        data=data,
        kept=thumbnails.of_final(pixels, state.steps, begin.preview.keep),
    )


def _out_of_memory(error: Exception) -> bool:
    """torch has a type for a full GPU, but for full main memory only this sentence (`alloc_cpu.cpp`)."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _too_large(begin: wire.Begin, shelf: sdxl.Shelf) -> str:
    free = sdxl.free_memory(shelf.device) / 2**30
    return (
        f"out of memory making {begin.width} × {begin.height} pixels, also when tried again in tiles: "
        f"{free:.1f} GiB are free on {shelf.device}. Ask for a smaller picture."
    )


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, denoise.NotFinite) else f"{type(error).__name__}: {error}"
