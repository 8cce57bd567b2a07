"""(e) SDXL at its real size on a GPU: pictures a second beside the stock pipeline, compiled or not; what
previews cost; whether the GPU ever waits; cancelling; batches.

Weights are random, from the real config: they cost what real ones do. Ways take turns, ratios are medians of
turns. `measure` runs on a CPU too, with a small model, so that this can be tried out where there is no GPU.
"""

import statistics
import tempfile
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch._C._autograd import DeviceType  # as events are marked by
from torch.profiler import ProfilerActivity

from bench.engine import Took, batch, interleaved, ours, request, stock, timed, warm_child
from daemon import samplers
from daemon.gpu import denoise, hardware, previews, sdxl, speed, taesd, view, wire
from tests.gpu import random_sdxl

STEPS, ROUNDS = 30, 5


def main() -> None:
    """Print all figures."""
    if not torch.cuda.is_available():
        print("  no GPU here: real-size SDXL, TAESD at every step and torch.compile were not measured")
        return
    measure(torch.device("cuda:0"), random_sdxl.WHOLE, torch.float16, 1024)


def measure(device: torch.device, changes: dict[str, dict[str, Any]], dtype: torch.dtype, size: int) -> None:
    """Of SDXL with these changes; guided, and on streams as a device's process has them."""
    with torch.cuda.stream(hardware.sampling_stream(device)):
        _measure(device, changes, dtype, size)


def _measure(device: torch.device, changes: dict[str, dict[str, Any]], dtype: torch.dtype, size: int) -> None:
    make = partial(random_sdxl.checkpoint, changes, device, dtype)
    speed.settle(device, "auto", compiles=False)
    bare, model = make(), make()
    speed.tune(model.pipe, device, None)
    begin = guided(size, STEPS)
    stock_took, took = pictures(bare, model, begin)
    shares(model, begin, took / STEPS)
    if device.type == "cuda":
        waits(model, begin)
        syncs(model, size)
    for number in (2, 4, 8):
        batch(model, begin, 3, number)
        batch(model, guided(size // 2, STEPS), 3, number)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        model.pipe.save_pretrained(Path(folder) / "sdxl", variant="fp16" if dtype == torch.float16 else None)
        warm_child(Path(folder), Path(folder) / "sdxl", size)
    for each in (bare, model):
        each.pipe.unet.compile_repeated_blocks(fullgraph=True)
    _, compiled = pictures(bare, model, begin, "compiled, ")
    print(f"  (e) ours, compiled ÷ stock as it comes: {compiled / stock_took:.3f}")


def guided(size: int, steps: int) -> wire.Begin:
    """As pictures are made."""
    return msgspec.structs.replace(request(size, steps), cfg_scale=5.0)


def pictures(
    bare: sdxl.Checkpoint, model: sdxl.Checkpoint, begin: wire.Begin, how: str = ""
) -> tuple[float, float]:
    """Pictures a second each way, up to the latent; seconds of one by the stock pipeline and of ours."""
    pipe = type(bare.pipe)(**bare.pipe.components, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    ways: dict[str, Callable[[], object]] = {
        "stock": lambda: stock(pipe, bare, begin),
        "ours": lambda: ours(model, begin),
        "ours, TAESD at every step": lambda: shown(model, begin, tiny(model)),
        "ours, latent2rgb at every step": lambda: shown(model, begin, rgb(model)),
    }
    took, _ = interleaved(
        {name: partial(to_the_end, model.device, way) for name, way in ways.items()}, ROUNDS
    )
    for name, times in took.items():
        pace = statistics.median(times)
        beside = f"{ratio(took, name, 'stock'):.3f} x stock's time"
        print(f"  (e) {how + name:41}: {1 / pace:.3f} pictures/s, {beside}")
    for name in ("TAESD", "latent2rgb"):
        cost = ratio(took, f"ours, {name} at every step", "ours")
        print(f"  (e) {how + name} at every step ÷ none: {cost:.4f} (1.01)")
    return statistics.median(took["stock"]), statistics.median(took["ours"])


def ratio(took: Took, name: str, floor: str) -> float:
    """The median of the turns' ratios."""
    return statistics.median(mine / its for mine, its in zip(took[name], took[floor], strict=True))


def to_the_end(device: torch.device, make: Callable[[], object]) -> None:
    """Until the device has made it."""
    make()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


Shown = tuple[view.Method, previews.Paint, int]
"""A method, its paint, and its pixels for one of the latent."""


def tiny(model: sdxl.Checkpoint) -> Shown:
    """TAESD's decoder, with random weights."""
    decoder = taesd._empty().eval().to(model.device, model.dtype)
    return "taesd", view.by_decoder(decoder, model.dtype), 8


def rgb(model: sdxl.Checkpoint) -> Shown:
    """The linear map."""
    return "latent2rgb", previews.linear(model.latent2rgb, model.device), 1


def viewed(model: sdxl.Checkpoint, begin: wire.Begin, how: Shown) -> view.View:
    """A view of a frame, on the stream of previews."""
    return view.View(begin, *how, stream_of_previews(model.device))


@cache
def stream_of_previews(device: torch.device) -> Any:
    """One for all, as each keeps memory of its own; None on a CPU."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def shown(model: sdxl.Checkpoint, begin: wire.Begin, how: Shown) -> None:
    """A picture with a preview of every step."""
    seen = viewed(model, begin, how)
    state = denoise.begin(model, begin)
    with previews.Encoder(lambda reply: None) as encoder:
        while state.step < state.steps:
            encoder.offer(seen.shoot(state, denoise.step(state)))  # type: ignore[arg-type]  # each is due


def shares(model: sdxl.Checkpoint, begin: wire.Begin, step: float) -> None:
    """A preview's arithmetic as a share of a step, and what the sampling thread does for it."""
    latent = torch.randn(1, 4, begin.height // 8, begin.width // 8, device=model.device)
    for name, how, most in (("TAESD to 512²", tiny(model), "2 %"), ("latent2rgb", rgb(model), "0.3 %")):
        method, paint, _ = how
        small = view.pooled(latent, 64) if method == "taesd" else latent
        times = 20

        def paints(paint: previews.Paint = paint, small: torch.Tensor = small, times: int = times) -> None:
            with torch.inference_mode():
                for _ in range(times):
                    paint(small)

        to_the_end(model.device, paints)
        each = statistics.median(timed(partial(to_the_end, model.device, paints)) for _ in range(9)) / times
        print(f"  (e) {name:14}: {each * 1e3:.3f} ms, {each / step:.2%} of a step ({most})")
        seen, state = viewed(model, begin, how), denoise.begin(model, begin)
        state.step = 1
        took = [timed(lambda: seen.shoot(state, denoise.Denoised(latent, 1.0))) for _ in range(50)]  # noqa: B023  called here
        print(f"  (e) {name:14}: {statistics.median(took) * 1e3:.3f} ms of the sampling thread (0.15)")


def waits(model: sdxl.Checkpoint, begin: wire.Begin) -> None:
    """Whether the GPU is ever idle: steps launched sooner than they are made, and the gaps between kernels.
    The profiler slows launches, so the gaps are wider than they would be without."""
    seen, state = viewed(model, begin, tiny(model)), denoise.begin(model, begin)
    with previews.Encoder(lambda reply: None) as encoder:

        def steps() -> None:
            for _ in range(5):
                encoder.offer(seen.shoot(state, denoise.step(state)))  # type: ignore[arg-type]  # each is due

        to_the_end(model.device, steps)
        launched: list[float] = []
        made = timed(lambda: to_the_end(model.device, lambda: launched.append(timed(steps))))
        print(f"  (e) 5 steps are launched in {launched[0]:.3f} s and made in {made:.3f} s")
        with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profile:
            to_the_end(model.device, steps)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events() or ()
        if event.device_type == DeviceType.CUDA
    )
    print(f"  (e) GPU idle within 5 steps with TAESD: {idle(spans):.2%} of the time")


def idle(spans: list[tuple[float, float]]) -> float:
    """The share of the time from the first to the last, sorted by their beginnings, that none covers."""
    if not spans:
        return 0.0
    reached = [spans[0][1]]
    for _, end in spans[1:]:
        reached.append(max(reached[-1], end))
    gaps = sum(max(0.0, after[0] - end) for (_, after), end in zip(pairwise(spans), reached, strict=False))
    return gaps / (reached[-1] - spans[0][0])


def syncs(model: sdxl.Checkpoint, size: int) -> None:
    """How often each sampler has the sampling thread wait for the GPU within a step and its preview."""
    for sampler, known in samplers.SAMPLERS.items():
        asked = {"sampler": sampler, "scheduler": known.schedulers[0]}
        begin = msgspec.structs.replace(guided(size, 8), **asked)
        seen, state = viewed(model, begin, tiny(model)), denoise.begin(model, begin)
        with previews.Encoder(lambda reply: None) as encoder, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                for _ in range(4):
                    encoder.offer(seen.shoot(state, denoise.step(state)))  # type: ignore[arg-type]  # each is due
            finally:
                torch.cuda.set_sync_debug_mode("default")
        found = sum("synchroniz" in str(each.message) for each in caught)
        print(f"  (e) {sampler:20}: {found / 4:.2f} waits for the GPU a step")
