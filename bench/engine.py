"""The engine: what previews cost the sampler, our loop beside the stock pipeline, cancelling, parts in ms,
pictures in a batch.

A and B take turns in one run, and ratios are of medians, so a busy machine moves both; beside each stands
the ratio of processor time, which says more while others use the cores. The model is SDXL's shape with
random weights, small enough for a CPU (`random_sdxl.MIDDLE`); `gpu` measures the whole of it on a GPU.
"""

import io
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch
from PIL import Image

from daemon import png, reprints
from daemon.files import write_whole
from daemon.gpu import child, denoise, formats, previews, samplers, sdxl, taesd, view, wire
from daemon.gpu.making import write_final
from daemon.settings import BUILT_IN
from tests.gpu import random_sdxl
from tests.gpu.test_child import Child
from tests.gpu.test_child import begin as asked
from tests.stories import finished

CPU = torch.device("cpu")
ROUNDS, A_ROUND = 15, 6
"""Turns, and steps in each."""


def main() -> None:
    """Print all figures."""
    model = random_sdxl.checkpoint(random_sdxl.MIDDLE, CPU, torch.float32)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        steps(model, Path(folder))
        loop(model)
        parts(model, Path(folder))
        batch(model, request(512, 4), 4)
        batch(sdxl.load(BUILT_IN, CPU, torch.float32), request(256, 12), 4)
        warm_child(Path(folder), BUILT_IN, 256)


def request(size: int, steps: int) -> wire.Begin:
    """An unguided picture."""
    return wire.Begin(
        frame=1, attempt=1, model="", prompt="a red fox", negative_prompt="", width=size, height=size,
        steps=steps, cfg_scale=1.0, seed=1, sampler="euler", scheduler="normal", store_every=1e9,
    )  # fmt: skip


def steps(model: sdxl.Checkpoint, folder: Path) -> None:
    """(a) Seconds per step with previews at every step, without, and with a callback that encodes inline.

    Those without are timed twice: by how much the two differ, no other ratio can be told from one.
    """
    begin = request(1024, (ROUNDS + 1) * A_ROUND)
    states = [denoise.begin(model, begin) for _ in range(4)]
    paint = previews.linear(model.latent2rgb, model.device)
    with sink() as send, previews.Encoder(send) as encoder:
        shown = view.opened(begin, model, taesd.Decoders(model.device), None, send)
        assert shown is not None
        ways: dict[str, Callable[[denoise.Denoise, denoise.Denoised], object]] = {
            "without previews": lambda state, seen: None,
            "with previews": lambda state, seen: encoder.offer(shown.shoot(state, seen)),  # type: ignore[arg-type]  # each is due
            "without, again": lambda state, seen: None,
            "encoded inline": lambda state, seen: inline(paint(seen.latent).cpu().numpy(), folder),
        }
        turns = {
            name: partial(some_steps, state, show, encoder)
            for (name, show), state in zip(ways.items(), states, strict=True)
        }
        took, worked = interleaved(turns, ROUNDS)
    for name in ways:
        print(f"  (a) a step at 1024², {name:17}: {beside(took, worked, name, 'without previews', A_ROUND)}")


def some_steps(
    state: denoise.Denoise,
    show: Callable[[denoise.Denoise, denoise.Denoised], object],
    encoder: previews.Encoder,
) -> None:
    """A turn, and all that it left to the encoder."""
    for _ in range(A_ROUND):
        show(state, denoise.step(state))
    encoder.drain(1)


def inline(pixels: formats.Pixels, folder: Path) -> None:
    """As a plain callback does it: Pillow's PNG, written before the next step begins."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    write_whole(folder / "inline.png", out.getvalue(), durable=False)


def loop(model: sdxl.Checkpoint) -> None:
    """(b) Our loop beside the stock pipeline without callbacks, from prompt to last latent."""
    begin = request(512, 8)
    pipe = type(model.pipe)(**model.pipe.components, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    took, worked = interleaved(
        {"ours": lambda: ours(model, begin), "stock": lambda: stock(pipe, model, begin)}, 8
    )
    for name in took:
        print(f"  (b) 8 steps at 512² without callbacks, {name:5}: {beside(took, worked, name, 'stock', 8)}")


def ours(model: sdxl.Checkpoint, begin: wire.Begin) -> torch.Tensor:
    """The last latent by our loop."""
    state = denoise.begin(model, begin)
    while state.step < state.steps:
        denoise.step(state)
    return state.latent


def stock(pipe: Any, model: sdxl.Checkpoint, begin: wire.Begin) -> torch.Tensor:
    """The same by `StableDiffusionXLPipeline`."""
    config = model.pipe.scheduler.config
    pipe.scheduler = samplers.fresh(begin.sampler, begin.scheduler, config, begin.seed)
    latent: torch.Tensor = pipe(
        prompt=begin.prompt,
        width=begin.width,
        height=begin.height,
        num_inference_steps=begin.steps,
        guidance_scale=begin.cfg_scale,
        generator=torch.Generator("cpu").manual_seed(begin.seed),
        output_type="latent",
    ).images
    return latent


def batch(model: sdxl.Checkpoint, begin: wire.Begin, rounds: int, count: int = 4) -> None:
    """(f) Guided pictures a second in a batch beside one after the other, from prompt to latent."""
    begins = [msgspec.structs.replace(begin, seed=seed, cfg_scale=5.0) for seed in range(count)]

    def alone() -> None:
        for one in begins:
            settled(model, ours(model, one))

    def together() -> None:
        states = [denoise.begin(model, one) for one in begins]
        while states[0].step < states[0].steps:
            denoise.step_together(states)
        settled(model, states[0].latent)

    took, worked = interleaved({"alone": alone, f"in a batch of {count}": together}, rounds)
    for name, times in took.items():
        pace = count / statistics.median(times)
        ratio = statistics.median(took["alone"]) / statistics.median(times)
        work = statistics.median(worked["alone"]) / statistics.median(worked[name])
        what = f"{model.path.name} at {begin.width}², {begin.steps} steps, {name}"
        print(f"  (f) {what:42}: {pace:.3f} pictures/s, {ratio:.3f} x; a processor second {work:.3f} x")


def settled(model: sdxl.Checkpoint, latent: torch.Tensor) -> None:
    """Wait for a GPU to have made it."""
    if latent.is_cuda:
        torch.cuda.synchronize(model.device)


def parts(model: sdxl.Checkpoint, folder: Path) -> None:
    """(d) Each part of a preview and of a final, in ms."""
    latent = torch.randn(1, 4, 128, 128, generator=torch.Generator().manual_seed(1))
    paint = previews.linear(model.latent2rgb, CPU)
    decoder = taesd._empty().eval()
    small = paint(latent).numpy()
    medium, large = photograph(512), photograph(1024)
    with torch.inference_mode():
        print_ms("latent2rgb of 128²", lambda: paint(latent).numpy())
        print_ms("TAESD to 512², on this CPU", lambda: decoder(view.pooled(latent, 64)), 5)
    for format in ("png", "jpeg", "webp"):
        for pixels in (small, medium):
            encode = partial(formats.encode, pixels, format, 85)
            print_ms(f"{format} of {len(pixels)}², {len(encode()):,} bytes", encode)
    data = formats.png(small)
    print_ms("a preview written", lambda: write_whole(folder / "p.png", data, durable=False))
    print_ms("sampler's thread, per preview", offering(model, latent), 200)
    print_ms("final PNG of 1024²", lambda: formats.png(large))
    print_ms("  by Pillow, level 6", lambda: pillow(large), 5)
    print_ms("final, from pixels to file on disk", lambda: to_disk(large, folder / "final.png"))


def offering(model: sdxl.Checkpoint, latent: torch.Tensor) -> Callable[[], object]:
    """What the sampling thread does for a preview: take it, and leave it to a thread that is busy."""
    state = denoise.begin(model, request(1024, 9))
    state.step = 1
    shown = view.opened(request(1024, 9), model, taesd.Decoders(CPU), None, lambda note: None)
    encoder = previews.Encoder(lambda reply: None)
    assert shown is not None
    return lambda: encoder.offer(shown.shoot(state, denoise.Denoised(latent, 1.0)))  # type: ignore[arg-type]


def pillow(pixels: formats.Pixels) -> bytes:
    """As everyone writes it."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def to_disk(pixels: formats.Pixels, path: Path) -> None:
    """The whole way: PNG, through a pipe as a message, texts in, fdatasync, rename, the folder too."""
    recipe = finished().recipe
    data = through_a_pipe(wire.Cancelled(frame=1, attempt=1, step=1, data=formats.png(pixels)))
    write_final(path, png.with_texts(data, reprints.texts(recipe)))


def through_a_pipe(reply: wire.Cancelled) -> bytes:
    """The picture of a reply at the pipe's other end."""
    out, into = os.pipe()
    sending = threading.Thread(target=child.Sender(into), args=(reply,))
    sending.start()
    buffer = bytearray()
    while not (heard := list(wire.unpack(buffer, wire.REPLIES))):
        buffer += os.read(out, 2**20)
    sending.join()
    os.close(out)
    os.close(into)
    assert isinstance(heard[0], wire.Cancelled)
    assert heard[0].data is not None
    return heard[0].data


def photograph(size: int) -> formats.Pixels:
    """Something that compresses as a photograph does: noise whose strength falls with its frequency."""
    random = np.random.default_rng(1)
    spectrum = random.standard_normal((size, size // 2 + 1, 3, 2)) @ [1, 1j]
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    field = np.fft.irfft2(spectrum / frequency[..., None] ** 1.6, axes=(0, 1))
    grey = field.mean(2, keepdims=True)
    toned = 128 + 50 * (grey + 0.2 * field) / grey.std()
    pixels: formats.Pixels = toned.clip(0, 255).round().astype(np.uint8)
    return pixels


def warm_child(folder: Path, model: Path, size: int) -> None:
    """(c) Cancel → its end → the next frame's first step, and a whole picture, on a warm model.

    Cancel is said when a preview arrives, which is when the next step has just begun: later it would be heard
    sooner.
    """
    it = Child(folder / "stderr", patience=600)
    large = partial(asked, model, width=size, height=size)
    it.say(large(1))
    it.until(wire.Final)
    ends, waits, paces = [], [], []
    for number in range(2, 42, 2):
        it.say(large(number, steps=400))
        it.until(wire.Preview)
        paces += [timed(lambda: it.until(wire.Preview)) for _ in range(5)]
        began = time.perf_counter()
        it.say(wire.Cancel(frame=number, attempt=1), large(number + 1))
        it.until(wire.Cancelled)
        ends.append(time.perf_counter() - began)
        it.until(wire.Preview)
        waits.append(time.perf_counter() - began)
        it.until(wire.Final)
    end, wait, pace = (statistics.median(times) * 1e3 for times in (ends, waits, paces))
    print(f"  (c) a step of {model.name} at {size}²                    : {pace:8.1f} ms")
    print(f"  (c) cancel → it has ended                    : {end:8.1f} ms, {end - pace:+.1f} beside a step")
    print(f"  (c) cancel → the next frame's first preview  : {wait:8.1f} ms, {wait / pace:.2f} x a step")
    whole = []
    before = worked(it)
    for number in range(50, 60):
        it.say(large(number, steps=20))
        whole.append(timed(lambda: it.until(wire.Final)))
    each = (worked(it) - before) / len(whole)
    middle = statistics.median(whole)
    took = f"{middle:8.2f} s, of processor time {each:.2f} s"
    print(f"  20 steps of {model.name} at {size}² with previews        : {took}")
    it.close()


def worked(it: Child) -> float:
    """The child's seconds of processor time so far."""
    times = psutil.Process(it.process.pid).cpu_times()
    return float(times.user + times.system)


@contextmanager
def sink() -> Iterator[Callable[[wire.Reply], None]]:
    """A sender whose pipe another process reads, as the daemon does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as reader:
        assert reader.stdin is not None
        yield child.Sender(reader.stdin.fileno())
        reader.stdin.close()


Took = dict[str, list[float]]
"""Seconds of each call, by name."""


def interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> tuple[Took, Took]:
    """The ways taking turns: by the clock, and of processors. The first turn warms up and does not count.

    Another one begins each time, so that none is always behind the same one.
    """
    took: Took = {name: [] for name in ways}
    worked: Took = {name: [] for name in ways}
    for number in range(rounds + 1):
        first = number % len(ways)
        for name in [*list(ways)[first:], *list(ways)[:first]]:
            before = time.process_time()
            seconds = timed(ways[name])
            if number:
                took[name].append(seconds)
                worked[name].append(time.process_time() - before)
    return took, worked


def beside(took: Took, worked: Took, name: str, floor: str, steps: int) -> str:
    """A step's time, and the medians of its turns' ratios to the floor's: what slows a machine for a while
    slows both."""
    middle = statistics.median(took[name])
    ratio, work = (
        statistics.median(mine / its for mine, its in zip(each[name], each[floor], strict=True))
        for each in (took, worked)
    )
    return f"{middle / steps * 1e3:8.1f} ms, {ratio:.3f} x; processor time {work:.3f} x"


def timed(call: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def print_ms(name: str, call: Callable[[], object], rounds: int = 25) -> None:
    """Median and least: on a busy machine the least says what it takes."""
    call()
    times = [timed(call) * 1e3 for _ in range(rounds)]
    print(f"  (d) {name:36}: {statistics.median(times):8.3f} ms, least {min(times):8.3f}")


if __name__ == "__main__":
    main()
