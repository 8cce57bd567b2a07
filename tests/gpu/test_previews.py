"""Latents become small pictures, and the encoder never holds the sampler up."""

import dataclasses
import io
import threading
import time

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from daemon.gpu import denoise, previews, sdxl, wire
from daemon.gpu.formats import Pixels
from tests.serving import PATIENCE


def shot(step: int, frame: int = 1) -> previews.Shot:
    """A grey picture of 4 × 3 pixels."""
    pixels = np.full((3, 4, 3), step, np.uint8)
    return previews.Shot(
        frame=frame, attempt=1, step=step, steps=9, sigma=1.0, method="latent2rgb",
        picture=lambda: pixels, ended=time.perf_counter(),
    )  # fmt: skip


def to_rgb(latent: torch.Tensor, latent2rgb: previews.Latent2rgb) -> Pixels:
    """A latent's picture."""
    return previews.linear(latent2rgb, latent.device)(latent).numpy()


class Gate:
    """A send function that can be held up."""

    def __init__(self) -> None:
        self.sent: list[wire.Preview | wire.Stored] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, preview: wire.Preview | wire.Stored) -> None:
        """Wait for the gate, then keep the message."""
        self.entered.release()
        assert self.open.wait(PATIENCE)
        self.sent.append(preview)


def test_each_channel_has_its_colour() -> None:
    """A latent of one unit in one channel shows that channel's factors plus the bias."""
    for channel, row in enumerate(previews.SDXL.factors):
        latent = torch.zeros(1, 4, 2, 3)
        latent[0, channel] = 1
        expected = [round((f + b + 1) * 127.5) for f, b in zip(row, previews.SDXL.bias, strict=True)]
        pixels = to_rgb(latent, previews.SDXL)
        assert (pixels.shape, pixels.dtype.name) == ((2, 3, 3), "uint8")
        assert pixels[1, 2].tolist() == expected


def test_rounded_not_truncated_and_clamped() -> None:
    """127.6 is 128, and what lies outside −1 … 1 ends at black and white instead of wrapping round."""
    plain = previews.Latent2rgb(factors=((1, 1, 1), (0, 0, 0), (0, 0, 0), (0, 0, 0)), bias=(0, 0, 0))
    latent = torch.zeros(1, 4, 1, 3)
    latent[0, 0, 0] = torch.tensor([0.1 / 127.5, 5.0, -5.0])
    assert to_rgb(latent, plain)[0, :, 0].tolist() == [128, 255, 0]


def test_half_precision_latents_are_shown() -> None:
    """A float16 latent, as a GPU gives it, makes the same picture within a shade."""
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    exact, half = (to_rgb(x, previews.SDXL).astype(int) for x in (latent, latent.half()))
    assert abs(exact - half).max() <= 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cpus_and_gpus_paint_the_same(dtype: torch.dtype) -> None:
    """By numpy or by torch, within the shade that another order of adding may make."""
    latent = 2 * torch.randn(1, 4, 31, 47, generator=torch.Generator().manual_seed(2)).to(dtype)
    ways = previews._by_numpy(previews.SDXL), previews._by_torch(previews.SDXL, latent.device)
    by_numpy, by_torch = (way(latent).numpy().astype(int) for way in ways)
    assert by_numpy.shape == by_torch.shape == (31, 47, 3)
    assert abs(by_numpy - by_torch).max() <= 1
    assert (by_numpy != by_torch).mean() < 0.001


def test_a_latent_that_overflowed_is_shown_as_it_is() -> None:
    """A preview is no reason to fail: whether the picture is one is for the sampler to say."""
    assert to_rgb(torch.full((1, 4, 2, 3), torch.nan), previews.SDXL).shape == (2, 3, 3)


def test_the_last_preview_resembles_the_picture(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """A model's own factors show at latent size what its VAE paints."""
    state = denoise.begin(checkpoint, msgspec.structs.replace(plain, steps=8))
    seen = [denoise.step(state) for _ in range(state.steps)]
    preview = to_rgb(seen[-1].latent, checkpoint.latent2rgb)
    picture = Image.fromarray(denoise.finish(state)).resize((8, 8), Image.Resampling.BOX)
    alike = np.corrcoef(preview.ravel(), np.asarray(picture).ravel())[0, 1]
    assert alike > 0.3


def test_what_is_sent_is_a_png_of_the_pixels() -> None:
    """The message carries the step, the size and the picture, losslessly."""
    sent: list[wire.Preview | wire.Stored] = []
    with previews.Encoder(sent.append) as encoder:
        encoder.offer(shot(5))
        encoder.drain(1)
        (preview,) = sent
    assert isinstance(preview, wire.Preview)
    assert (preview.step, preview.steps, preview.width, preview.height, preview.skipped) == (5, 9, 4, 3, 0)
    assert preview.ms > 0
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(preview.data))), shot(5).picture())


def test_the_newest_wins_and_says_how_many_gave_way() -> None:
    """While step 1 is being sent, steps 2 to 4 come: only 4 follows, and it counts two skipped."""
    gate = Gate()
    with previews.Encoder(gate) as encoder:
        encoder.offer(shot(1))
        gate.entered.acquire()
        for step in (2, 3, 4):
            encoder.offer(shot(step))
        gate.open.set()
        encoder.drain(1)
    assert [(p.step, p.skipped) for p in gate.sent if isinstance(p, wire.Preview)] == [(1, 0), (4, 2)]


def test_a_state_waits_for_the_preview_and_gives_way_to_a_newer_one() -> None:
    """What a person looks at goes first; of two states that wait, only the newer one is worth sending."""
    gate = Gate()
    with previews.Encoder(gate) as encoder:
        encoder.offer(shot(1))
        gate.entered.acquire()
        for step in (1, 2):
            encoder.store(wire.Stored(frame=1, attempt=1, step=step, data=b"state"))
        encoder.offer(shot(2))
        gate.open.set()
        encoder.drain(1)
    assert [(type(it).__name__, it.step) for it in gate.sent] == [
        ("Preview", 1), ("Preview", 2), ("Stored", 2),
    ]  # fmt: skip


def test_each_frame_of_a_batch_is_shown() -> None:
    """Shots of one frame never make another's give way, and the frame that has waited longest goes first."""
    gate = Gate()
    with previews.Encoder(gate) as encoder:
        encoder.offer(shot(1, frame=1))
        gate.entered.acquire()
        for step in (1, 2):
            for frame in (3, 2, 1):
                encoder.offer(shot(step, frame))
                encoder.store(wire.Stored(frame=frame, attempt=1, step=step, data=b"state"))
        gate.open.set()
        for frame in (1, 2, 3):
            encoder.drain(frame)
    sent = [(type(it).__name__, it.frame, it.step) for it in gate.sent]
    assert sent == [
        ("Preview", 1, 1), ("Preview", 3, 2), ("Preview", 2, 2), ("Preview", 1, 2),
        ("Stored", 3, 2), ("Stored", 2, 2), ("Stored", 1, 2),
    ]  # fmt: skip
    skipped = [it.skipped for it in gate.sent if isinstance(it, wire.Preview)]
    assert skipped == [0, 1, 1, 1]


def test_what_gave_way_in_an_earlier_attempt_is_not_counted() -> None:
    """It is none of this attempt's steps."""
    assert dataclasses.replace(shot(1), attempt=2).after(shot(9)).skipped == 0


def test_drain_waits_for_the_one_being_sent() -> None:
    """Drain returns only after the last send has returned, so nothing can overtake a preview."""
    gate = Gate()
    with previews.Encoder(gate) as encoder:
        encoder.offer(shot(1))
        gate.entered.acquire()
        opener = threading.Timer(0.05, gate.open.set)
        opener.start()
        encoder.drain(1)
        assert [p.step for p in gate.sent] == [1]
        opener.join()


def test_an_error_reaches_the_sampling_thread_once() -> None:
    """What goes wrong in the thread is raised where that frame is made; no other frame is harmed."""
    calls: list[tuple[int, int]] = []

    def send(preview: wire.Preview | wire.Stored) -> None:
        calls.append((preview.frame, preview.step))
        if preview.frame == 1 and preview.step == 1:
            raise BrokenPipeError("the daemon is gone")

    with previews.Encoder(send) as encoder:
        encoder.offer(shot(1))
        encoder.offer(shot(1, frame=2))
        encoder.drain(2)
        with pytest.raises(BrokenPipeError):
            encoder.drain(1)
        encoder.offer(shot(2))
        encoder.drain(1)
    assert calls == [(1, 1), (2, 1), (1, 2)]


def test_nothing_more_is_sent_of_a_frame_that_is_forgotten() -> None:
    """Neither what waits nor what is being encoded, which is not waited for; others go on."""
    encoding, go_on = threading.Event(), threading.Event()
    sent: list[wire.Preview | wire.Stored] = []

    def slow() -> Pixels:
        encoding.set()
        assert go_on.wait(PATIENCE)
        return np.zeros((3, 4, 3), np.uint8)

    with previews.Encoder(sent.append) as encoder:
        encoder.offer(dataclasses.replace(shot(1), picture=slow))
        assert encoding.wait(PATIENCE)
        encoder.offer(shot(2))
        encoder.offer(shot(1, frame=2))
        encoder.forget(1)
        go_on.set()
        encoder.drain(1)
        encoder.drain(2)
    assert [(each.frame, each.step) for each in sent] == [(2, 1)]


def test_a_forgotten_frames_trouble_is_nobodys() -> None:
    """The next frame of that number, another attempt, does not inherit it."""
    encoding, go_on = threading.Event(), threading.Event()

    def fails() -> Pixels:
        encoding.set()
        assert go_on.wait(PATIENCE)
        raise OSError("no more")

    with previews.Encoder(lambda reply: None) as encoder:
        encoder.offer(dataclasses.replace(shot(1), picture=fails))
        assert encoding.wait(PATIENCE)
        encoder.forget(1)
        go_on.set()
        encoder.drain(1)


def test_a_preview_without_memory_is_left_out() -> None:
    """It is not worth its frame."""
    sent: list[wire.Preview | wire.Stored] = []

    def fails() -> Pixels:
        raise MemoryError

    with previews.Encoder(sent.append) as encoder:
        encoder.offer(dataclasses.replace(shot(1), picture=fails))
        encoder.drain(1)
        encoder.offer(shot(2))
        encoder.drain(1)
    assert [each.step for each in sent] == [2]
