"""Denoised latents → small pictures → files, without holding up the sampler.

An `Encoder` turns the pixels into a file in a thread of its own behind a slot with one place for each frame:
when encoding or sending is slower than sampling, the newest picture waits, the older one gives way, and the
next one sent says how many did.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
import numpy as np
import torch

from daemon.gpu import formats, memory, thumbnails, wire
from daemon.gpu.formats import Pixels
from daemon.prompts import Keep

Row = tuple[float, float, float]


class Latent2rgb(msgspec.Struct, frozen=True, kw_only=True):
    """The linear map from a model-space latent to RGB in −1 … 1: `latent · factors + bias`."""

    factors: tuple[Row, Row, Row, Row]
    """Rows are the latent's four channels, columns red, green, blue."""
    bias: Row


SDXL = Latent2rgb(
    factors=(
        (0.3651, 0.4232, 0.4341),
        (-0.2533, -0.0042, 0.1068),
        (0.1076, 0.1111, -0.0362),
        (-0.3165, -0.2492, -0.2188),
    ),
    bias=(0.1084, -0.0175, -0.0011),
)
"""For SDXL's own VAE, as published in ComfyUI's `latent_formats.py`."""


Paint = Callable[[torch.Tensor], torch.Tensor]
"""A denoised latent (1 × 4 × h × w, model space) → its picture, uint8, height × width × 3, on its device."""


def linear(latent2rgb: Latent2rgb, device: torch.device) -> Paint:
    """Paints one pixel for one of the latent.

    Model-space latents go straight in: the factors were fitted to them, so they are never divided by the
    VAE's `scaling_factor`. On a CPU numpy paints: torch would share out a tenth of a millisecond's work among
    as many threads as the sampler is using just then, and each would wait for the other's.
    """
    return _by_numpy(latent2rgb) if device.type == "cpu" else _by_torch(latent2rgb, device)


def _by_torch(latent2rgb: Latent2rgb, device: torch.device) -> Paint:
    """The factors are on the device from the beginning: sending them at each step would wait for it."""
    factors = torch.tensor(latent2rgb.factors, dtype=torch.float32, device=device)
    bias = torch.tensor(latent2rgb.bias, dtype=torch.float32, device=device)

    def paint(latent: torch.Tensor) -> torch.Tensor:
        return to_bytes(torch.einsum("chw,cd->hwd", latent[0].float(), factors) + bias)

    return paint


def _by_numpy(latent2rgb: Latent2rgb) -> Paint:
    factors, bias = np.array(latent2rgb.factors, np.float32), np.array(latent2rgb.bias, np.float32)

    def paint(latent: torch.Tensor) -> torch.Tensor:
        channels, height, width = latent.shape[1:]
        rgb = latent[0].float().numpy().reshape(channels, -1).T @ factors
        rgb += bias
        rgb += 1
        rgb *= 127.5
        np.rint(rgb, out=rgb)
        np.clip(rgb, 0, 255, out=rgb)
        with np.errstate(invalid="ignore"):  # NaN has no colour, and is the sampler's to complain of
            pixels = rgb.astype(np.uint8)
        return torch.from_numpy(pixels.reshape(height, width, 3))

    return paint


def to_bytes(rgb: torch.Tensor) -> torch.Tensor:
    """−1 … 1 → 0 … 255, rounded, because truncation darkens."""
    return rgb.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).contiguous()


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What the sampler leaves for the encoder after a step."""

    frame: int
    attempt: int
    step: int
    steps: int
    sigma: float
    method: Literal["taesd", "latent2rgb"]
    picture: Callable[[], Pixels]
    """Waits for the picture, if need be."""
    format: Literal["png", "jpeg", "webp"] = "png"
    quality: int = 85
    ended: float
    """When the step ended, by `time.perf_counter`; on a GPU, when all of it had been launched."""
    skipped: int = 0
    """Shots that gave way to this one."""
    keep: Keep = "strip"
    """What is kept of the step."""

    def after(self, older: "Shot") -> "Shot":
        """This shot in the place of an older one of its frame that nobody will see."""
        if older.attempt != self.attempt:
            return self
        return replace(self, skipped=older.skipped + 1)

    def encode(self) -> wire.Preview:
        """The message that shows it."""
        pixels = self.picture()
        data = formats.encode(pixels, self.format, self.quality)
        height, width, _ = pixels.shape
        return wire.Preview(
            frame=self.frame,
            attempt=self.attempt,
            step=self.step,
            steps=self.steps,
            sigma=self.sigma,
            width=width,
            height=height,
            method=self.method,
            skipped=self.skipped,
            ms=(time.perf_counter() - self.ended) * 1000,
            data=data,
            kept=thumbnails.of_step(pixels, data, self.step, self.sigma, self.keep),
        )


class Encoder:
    """A thread that encodes and sends each frame's newest shot. Use as a context manager; leaving it drains.

    What goes wrong in the thread is raised by the next `offer`, `store` or `drain` of that frame, once.
    """

    def __init__(self, send: Callable[[wire.Preview | wire.Stored], None]) -> None:
        self._send = send
        self._changed = threading.Condition()
        self._shots: dict[int, Shot] = {}
        """By frame, the one that has waited longest first."""
        self._stored: dict[int, wire.Stored] = {}
        self._busy: int | None = None
        """The frame whose turn it is."""
        self._errors: dict[int, Exception] = {}
        self._sending = threading.Lock()
        self._unwanted = False
        """What is in hand belongs to a frame that was forgotten meanwhile."""
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="encoder", daemon=True)

    def __repr__(self) -> str:
        waiting = ", ".join(f"step {shot.step} of frame {frame}" for frame, shot in self._shots.items())
        return f"<Encoder {'idle' if self._busy is None else 'busy'}, waiting: {waiting or 'nothing'}>"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def offer(self, shot: Shot) -> None:
        """Leave a shot to be sent and return at once; the frame's last one gives way if it still waits."""
        with self._changed:
            self._raise(shot.frame)
            older = self._shots.get(shot.frame)
            self._shots[shot.frame] = shot if older is None else shot.after(older)
            self._changed.notify_all()

    def store(self, stored: wire.Stored) -> None:
        """Leave a frame's state to be sent and return at once; an older one still waiting gives way."""
        with self._changed:
            self._raise(stored.frame)
            self._stored[stored.frame] = stored
            self._changed.notify_all()

    def forget(self, frame: int) -> None:
        """Send nothing more of a frame, as soon as this returns; what is being encoded is not waited for."""
        with self._sending, self._changed:
            for left in (self._shots, self._stored, self._errors):
                left.pop(frame, None)
            self._unwanted = self._unwanted or self._busy == frame

    def drain(self, frame: int) -> None:
        """Wait until everything left here of a frame has been sent or has given way."""
        with self._changed:
            self._changed.wait_for(
                lambda: frame not in self._shots and frame not in self._stored and self._busy != frame
            )
            self._raise(frame)

    def _raise(self, frame: int) -> None:
        error = self._errors.pop(frame, None)
        if error is not None:
            raise error

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            error = self._develop(taken)
            with self._changed:
                self._busy = None
                if error is not None and not self._unwanted:
                    self._errors.setdefault(taken.frame, error)
                self._unwanted = False
                self._changed.notify_all()

    def _take(self) -> Shot | wire.Stored | None:
        """The next shot once there is one, then a state; None when closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._shots or self._stored or self._closed)
            waiting: dict[int, Any] = self._shots or self._stored
            if not waiting:
                return None
            self._busy = next(iter(waiting))
            taken: Shot | wire.Stored = waiting.pop(self._busy)
            return taken

    def _develop(self, taken: Shot | wire.Stored) -> Exception | None:
        try:
            reply = taken.encode() if isinstance(taken, Shot) else taken
            with self._sending:
                if not self._unwanted:
                    self._send(reply)
        except Exception as error:  # noqa: BLE001  it belongs to the frame: the sampling thread raises it
            # A picture of a step for which there is no memory is not worth its frame.
            return None if isinstance(taken, Shot) and memory.ran_out(error) else error
        return None
