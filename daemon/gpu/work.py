"""The child's torch side: one batch of orders after the other, each order to the one reply that ends it.

Runs in the child's main thread, which alone makes torch calls. A frame that cannot be made ends in a
reply, the others of its batch go on, and the next ones begin on the warm model; nothing that a frame does
ends the child.
"""

import hashlib
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import diffusers
import torch
import transformers

from daemon.gpu import (
    denoise,
    embeddings,
    formats,
    hardware,
    hires,
    images,
    loras,
    memory,
    previews,
    samplers,
    sdxl,
    snapshots,
    speed,
    thumbnails,
    view,
    wire,
)
from daemon.gpu.orders import Order, Orders
from daemon.gpu.passes import Passes, Send
from daemon.gpu.spare import Spare, too_large
from daemon.settings import Precision

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
        device = hardware.find(device_name)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts that it were
        send(wire.NoDevice(message=f"there is no device {device_name}: {str(error).splitlines()[0]}"))
        return
    try:
        speed.settle(device, precision, compiles)
    except speed.CannotCompile as error:
        send(wire.NoDevice(message=f"{error}; leave --compile out, or install one"))
        return
    compiling = speed.Compiling(send) if compiles else None
    shelf = sdxl.Shelf(device, speed.dtype(device, precision), compiling)
    send(
        wire.Ready(
            device=hardware.describe(device),
            versions=hardware.versions(),
            work=speed.describe(shelf.dtype, compiles),
            batch=hardware.at_once(device, shelf.dtype),
        )
    )
    with torch.cuda.stream(hardware.sampling_stream(device)), previews.Encoder(send) as encoder:
        while True:
            for order, reply in attempt(orders.take(), shelf, encoder, send):
                orders.close(order)
                send(reply)


@dataclass(eq=False)
class Picture:
    """A frame of a batch, between two steps."""

    order: Order
    state: denoise.Denoise
    shown: view.View | None
    kept_at: float
    """When its state was last stored, by `time.monotonic`."""


def attempt(
    orders: Sequence[Order], shelf: sdxl.Shelf, encoder: previews.Encoder, send: Send
) -> Iterator[tuple[Order, Ending]]:
    """Make the frames together; the ending of each as it comes, after every preview of it has been sent.

    Whatever goes wrong becomes the ending of the frame that it happened to; the others go on.
    """
    spare = Spare(shelf, Path(orders[0].begin.model))
    passes = Passes(shelf, spare, send)
    pictures: list[Picture] = []
    for order in orders:
        begun = _guarded(order, shelf, partial(_begin, order, passes))
        if isinstance(begun, Picture):
            pictures.append(begun)
        else:
            yield order, _last(order, shelf, encoder, begun)
    while pictures:
        for picture, ending in _round(tuple(pictures), shelf, spare, passes, encoder):
            pictures.remove(picture)
            yield picture.order, _last(picture.order, shelf, encoder, ending)


def _guarded(order: Order, shelf: sdxl.Shelf, call: Callable[[], Result]) -> Result | Ending:
    """What `call` answers, or the ending that its error means."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001  this boundary turns what goes wrong into an event
        ending = _failure(order.begin, shelf, error)
    memory.release(shelf.device)  # once the failed frame's tensors are gone with its traceback
    return ending


def _failure(begin: wire.Begin, shelf: sdxl.Shelf, error: Exception) -> wire.LoadFailed | wire.Failed:
    traceback.print_exception(error)
    frame, attempt = begin.frame, begin.attempt
    if isinstance(error, sdxl.BadModel):
        model = error.model or begin.model
        return wire.LoadFailed(frame=frame, attempt=attempt, model=model, message=str(error))
    kind: Literal["out_of_memory", "bad_file", "internal"] = "internal"
    message = _in_words(error)
    if isinstance(error, loras.BadLora | images.BadImage | embeddings.BadEmbedding):
        kind, message = "bad_file", str(error)
    elif memory.ran_out(error):
        kind, message = "out_of_memory", too_large(begin, shelf)
    return wire.Failed(frame=frame, attempt=attempt, kind=kind, message=message)


def _last(order: Order, shelf: sdxl.Shelf, encoder: previews.Encoder, ending: Ending) -> Ending:
    """The ending, once every preview of the frame has been sent; a failure if one could not be.

    A GPU may have steps left to make of a frame that is stopped: nobody waits for their previews.
    """
    if isinstance(ending, wire.Cancelled) and shelf.device.type != "cpu":
        encoder.forget(order.begin.frame)
        return ending

    def drained() -> Ending:
        encoder.drain(order.begin.frame)
        return ending

    return _guarded(order, shelf, drained)


def _begin(order: Order, passes: Passes) -> Picture | wire.Cancelled:
    if order.stopped():
        return _cancelled(order.begin, step=0)
    state, shown = passes.first(order.begin)
    return Picture(order, state, shown, time.monotonic())


def _round(
    pictures: Sequence[Picture], shelf: sdxl.Shelf, spare: Spare, passes: Passes, encoder: previews.Encoder
) -> Iterator[tuple[Picture, Ending]]:
    """One step of all that can go together with the first; the endings of those that end."""
    going: list[Picture] = []
    for picture in pictures:
        ending = _guarded(picture.order, shelf, partial(_before, picture, passes, spare))
        if ending is None:
            going.append(picture)
        else:
            yield picture, ending
    at_work = _at_work(going, spare)
    for picture, seen in zip(at_work, _stepped(at_work, shelf, spare), strict=True):
        ending = (
            _guarded(picture.order, shelf, partial(_after, picture, seen, spare, encoder))
            if isinstance(seen, denoise.Denoised)
            else seen
        )
        if ending is not None:
            yield picture, ending


def _at_work(pictures: Sequence[Picture], spare: Spare) -> list[Picture]:
    """Those that can share a call of the UNet with the first, and for which it has memory."""
    if not pictures:
        return []
    kinds = [denoise.alike(picture.state) for picture in pictures]
    alike = [picture for picture, kind in zip(pictures, kinds, strict=True) if kind == kinds[0]]
    return alike[: spare.most(pictures[0].state)]


def _stepped(
    at_work: Sequence[Picture], shelf: sdxl.Shelf, spare: Spare
) -> Sequence[denoise.Denoised | Ending]:
    """What each saw; an ending for each where it went wrong, for whose fault it was cannot be told."""
    try:
        return denoise.step_together([picture.state for picture in at_work], spare.predict)
    except Exception as error:  # noqa: BLE001  as in `_guarded`
        failed = [_failure(picture.order.begin, shelf, error) for picture in at_work]
    memory.release(shelf.device)
    return failed


def _before(picture: Picture, passes: Passes, spare: Spare) -> wire.Cancelled | None:
    """Stop it if it is to stop, and have it go on to its second pass where the first has ended."""
    begin, state = picture.order.begin, picture.state
    if picture.order.stopped():
        kept = _partial(state, spare) if picture.order.keeps_partial() else None
        return _cancelled(begin, state.step, kept)
    if hires.due(state):
        picture.state = passes.second(state, begin)
    return None


def _after(
    picture: Picture, seen: denoise.Denoised, spare: Spare, encoder: previews.Encoder
) -> wire.Final | None:
    """Show and store the step that was made; finish the picture if it was the last."""
    begin, state = picture.order.begin, picture.state
    if (shot := _shot(picture, seen)) is not None:
        encoder.offer(shot)
    if state.step < state.steps:
        if time.monotonic() - picture.kept_at >= begin.store_every:
            encoder.store(_stored(begin, state))
            picture.kept_at = time.monotonic()
        return None
    if picture.order.stopped():
        return None  # as `_before` will see
    pixels = spare.tiled(partial(denoise.finish, state))
    encoder.drain(begin.frame)
    return _final(begin, state, pixels)


def _shot(picture: Picture, seen: denoise.Denoised) -> previews.Shot | None:
    """What to show of the step; nothing where there is no memory for it, which is not worth a frame."""
    if picture.shown is None:
        return None
    try:
        return picture.shown.shoot(picture.state, seen)
    except (MemoryError, RuntimeError) as error:
        if not memory.ran_out(error):
            raise
    return None


def _stored(begin: wire.Begin, state: denoise.Denoise) -> wire.Stored:
    data = snapshots.take(state)
    return wire.Stored(frame=begin.frame, attempt=begin.attempt, step=state.step, data=data)


def _cancelled(begin: wire.Begin, step: int, data: bytes | None = None) -> wire.Cancelled:
    return wire.Cancelled(frame=begin.frame, attempt=begin.attempt, step=step, data=data)


def _partial(state: denoise.Denoise, spare: Spare) -> bytes | None:
    """What a stopped frame would have become by its last step; None before the first, and where there is no
    picture to be had: it was to stop, and does.
    """
    if state.denoised is None:
        return None
    try:
        return formats.png(spare.tiled(partial(denoise.decode, state.checkpoint, state.denoised)))
    except (denoise.NotFinite, MemoryError, RuntimeError) as error:
        if not (isinstance(error, denoise.NotFinite) or memory.ran_out(error)):
            raise
        traceback.print_exception(error)
    memory.release(state.checkpoint.device)
    return None


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
        batch=state.batch,
        image_sha256=state.image_sha256,
        data=data,
        kept=thumbnails.of_final(pixels, state.steps, begin.preview.keep),
    )


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, denoise.NotFinite) else f"{type(error).__name__}: {error}"
