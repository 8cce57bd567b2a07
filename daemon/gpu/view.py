"""How one frame is shown while it is made: after which steps, by which method, how large.

After a step the sampling thread leaves what is to be shown and goes on. On a GPU that is some launches on a
stream of its own and a copy into pinned memory; the encoder's thread waits for the copy, nobody else does.
On a CPU it is the latent itself, and the encoder's thread does the arithmetic: the one place where torch
works outside its thread, which is for CUDA graphs' sake alone.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from daemon.gpu import denoise, previews, taesd, wire
from daemon.gpu.formats import Pixels
from daemon.gpu.previews import Paint, Shot
from daemon.gpu.sdxl import Checkpoint
from daemon.prompts import Preview, seconds_between

TAESD_SIZE = 512
"""Pixels of the longer side. SDXL's 1024² decoded whole cost 4.2 % of a step's FLOPs, pooled to this 1 %."""

Method = Literal["taesd", "latent2rgb"]
Tell = Callable[[wire.Note], None]


class View:
    """One frame's previews."""

    def __init__(self, begin: wire.Begin, method: Method, paint: Paint, scale: int, stream: Any) -> None:
        """`scale` pixels stand for one of the latent; `stream` is None on a CPU."""
        self._begin = begin
        self._method = method
        self._paint = paint
        self._scale = scale
        self._stream = stream
        self._shown_at = float("-inf")

    def __repr__(self) -> str:
        return f"<View of frame {self._begin.frame} by {self._method}>"

    def shoot(self, state: denoise.Denoise, seen: denoise.Denoised) -> Shot | None:
        """What to show after a step; None for a step that is not to be shown."""
        wish, now = self._begin.preview, time.perf_counter()
        if not due(wish.every, state.step, state.steps, now - self._shown_at):
            return None
        self._shown_at = now
        return Shot(
            frame=self._begin.frame,
            attempt=self._begin.attempt,
            step=state.step,
            steps=state.steps,
            sigma=seen.sigma,
            method=self._method,
            picture=self._taken(seen.latent),
            format=wish.format,
            quality=wish.quality,
            keep=wish.keep,
            ended=now,
        )

    def _taken(self, latent: torch.Tensor) -> Callable[[], Pixels]:
        """The picture of a latent, for the encoder's thread to fetch."""

        def painted() -> torch.Tensor:
            with torch.inference_mode():
                return self._paint(pooled(latent, self._longest(latent)))

        if self._stream is None:
            return lambda: painted().numpy()
        return copied(painted, latent, self._stream)

    def _longest(self, latent: torch.Tensor) -> int:
        size = self._begin.preview.size or (TAESD_SIZE if self._method == "taesd" else max(latent.shape))
        return max(1, size // self._scale)


def copied(painted: Callable[[], torch.Tensor], latent: torch.Tensor, stream: Any) -> Callable[[], Pixels]:
    """Launch the work on `stream`; the answer waits for its copy on the host."""
    with torch.inference_mode():  # as the latent was made: no other operation may mark it
        stream.wait_stream(torch.cuda.current_stream(latent.device))
        latent.record_stream(stream)  # its memory is not given away before this stream has read it
        with torch.cuda.stream(stream):
            pixels = painted()
            host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
            host.copy_(pixels, non_blocking=True)
            # Whoever waits for it sleeps; it would otherwise keep a core busy, beside the sampler's.
            copied_at = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # as it is
            copied_at.record(stream)

    def fetched() -> Pixels:
        copied_at.synchronize()
        return host.numpy()

    return fetched


def due(every: int | str, step: int, steps: int, waited: float) -> bool:
    """Whether to show a step, `waited` seconds after the last one that was shown. The last step always is."""
    if step == steps:
        return True
    return step % every == 0 if isinstance(every, int) else waited >= seconds_between(every)


def pooled(latent: torch.Tensor, longest: int) -> torch.Tensor:
    """The latent (1 × 4 × h × w) averaged over squares, so that no side is longer than `longest`."""
    factor = -(-max(latent.shape[-2:]) // longest)
    return latent if factor == 1 else functional.avg_pool2d(latent, factor, ceil_mode=True)


def opened(
    begin: wire.Begin, checkpoint: Checkpoint, decoders: taesd.Decoders, stream: Any, tell: Tell
) -> View | None:
    """The frame's view as its prompt wishes it; None for no previews. What cannot be had is told."""
    wish = begin.preview
    if wish.method == "none":
        return None
    decoder = None
    if wants_decoder(wish, checkpoint.device):
        decoder = _decoder(begin, checkpoint, decoders, tell)
    if decoder is None:
        paint = previews.linear(checkpoint.latent2rgb, checkpoint.device)
        return View(begin, "latent2rgb", paint, 1, stream)
    paint = by_decoder(decoder, checkpoint.dtype)
    return View(begin, "taesd", paint, checkpoint.pipe.vae_scale_factor, stream)


def wants_decoder(wish: Preview, device: torch.device) -> bool:
    """`auto` means TAESD on a GPU only: a CPU takes longer for it than for a small model's step."""
    return wish.method == "taesd" or (wish.method == "auto" and device.type != "cpu")


def _decoder(begin: wire.Begin, checkpoint: Checkpoint, decoders: taesd.Decoders, tell: Tell) -> Any:
    """The decoder for this checkpoint's latents, or None."""
    found = taesd.find(checkpoint.path / taesd.OWN)
    if found is None and checkpoint.latent2rgb == previews.SDXL:
        found = taesd.find(Path(begin.vae_approx))
    if found is None:
        if begin.preview.method == "taesd":
            why = f"there is no {taesd.NAMES[0]} in {begin.vae_approx} for {checkpoint.path.name}'s latents"
            tell(_note(begin, f"previews use latent2rgb: {why}"))
        return None
    try:
        return decoders.get(found, checkpoint.dtype)
    except taesd.BadDecoder as error:
        tell(_note(begin, f"TAESD cannot be used, previews use latent2rgb: {error}"))
        return None


def _note(begin: wire.Begin, message: str) -> wire.Note:
    return wire.Note(frame=begin.frame, attempt=begin.attempt, message=message)


def by_decoder(decoder: Any, dtype: torch.dtype) -> Paint:
    """Paints with TAESD, eight pixels for one of the latent."""

    def paint(latent: torch.Tensor) -> torch.Tensor:
        return previews.to_bytes(decoder(latent.to(dtype))[0].permute(1, 2, 0).float())

    return paint
