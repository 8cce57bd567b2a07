"""What makes a step faster on this CPU: memory layout, threads, how they wait, precision. Ways take turns;
medians.

The model is SDXL's shape with random weights, as in the engine's bench. Beside each way stands the ratio
to the first, by the clock and in processor time, and whether its picture is the first one's to the bit.
"""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from bench.engine import CPU, interleaved, request, timed
from daemon.gpu import child, denoise, sdxl, wire
from daemon.settings import BUILT_IN
from tests.gpu import random_sdxl

SIZES, STEPS, ROUNDS = (512, 1024), 2, 4


def main() -> None:
    """Print all figures."""
    waiting()
    whole = torch.get_num_threads()
    plain, last, bf16 = (
        random_sdxl.checkpoint(random_sdxl.MIDDLE, CPU, dtype)
        for dtype in (torch.float32, torch.float32, torch.bfloat16)
    )
    last.pipe.unet.to(memory_format=torch.channels_last)
    for size in SIZES:
        ways: dict[str, Callable[[], torch.Tensor]] = {
            "as it is": partial(some_steps, plain, size, whole),
            "channels last": partial(some_steps, last, size, whole),
            "one thread": partial(some_steps, plain, size, 1),
            f"{2 * whole} threads": partial(some_steps, plain, size, 2 * whole),
            "bfloat16": partial(some_steps, bf16, size, whole),
        }
        expected = ways["as it is"]()
        took, worked = interleaved(ways, ROUNDS)
        for name, times in took.items():
            ratio, work = (
                statistics.median(each[name]) / statistics.median(each["as it is"]) for each in (took, worked)
            )
            same = "same bits" if torch.equal(ways[name]().float(), expected) else "other bits"
            step = statistics.median(times) / STEPS * 1e3
            print(
                f"  {size}² {name:14}: {step:8.1f} ms a step, {ratio:.3f} x; processors {work:.3f} x; {same}"
            )


def some_steps(model: sdxl.Checkpoint, size: int, threads: int) -> torch.Tensor:
    """The latent after some steps."""
    torch.set_num_threads(threads)
    state = denoise.begin(model, request(size, 10))
    advance(state)
    return state.latent


WAITS = {"asleep at once": 0, f"{child.SPINS:,} looks, ours": child.SPINS, "libgomp's own": None}
"""How long OpenMP's threads spin at a barrier before they sleep: only a new process can be told."""


def waiting() -> None:
    """Two models' steps by each way to wait, alone and beside a program that keeps one core busy."""
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(spins)) for name, spins in WAITS.items()}
        for beside in ("alone", "one core busy"):
            with ExitStack() as busy:
                if beside != "alone":
                    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                    busy.callback(loop.wait)
                    busy.callback(loop.kill)
                for model in MODELS:
                    compared(
                        f"{model}, {beside}", {name: partial(ask, model) for name, ask in workers.items()}
                    )


def compared(what: str, ways: dict[str, Callable[[], float]]) -> None:
    """The ways' own seconds, taking turns; the first turn warms up and does not count."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + ROUNDS):
        for name, way in ways.items():
            seconds = way()
            if number:
                took[name].append(seconds)
    floor = statistics.median(next(iter(took.values())))
    for name, times in took.items():
        step = statistics.median(times)
        print(f"  {what + ',':31} {name:17}: {step * 1e3:8.1f} ms a step, {step / floor:.3f} x", flush=True)


MODELS: dict[str, Callable[[], tuple[sdxl.Checkpoint, wire.Begin]]] = {
    "demo at 256²": lambda: (sdxl.load(BUILT_IN, CPU, torch.float32), request(256, 99)),
    "middle at 1024²": lambda: (
        random_sdxl.checkpoint(random_sdxl.MIDDLE, CPU, torch.float32),
        request(1024, 99),
    ),
}


@contextmanager
def worker(spins: int | None) -> Iterator[Callable[[str], float]]:
    """A process whose threads wait like that: it makes steps with the model that it is told, and says their
    seconds."""
    environment = {**os.environ}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        environment.pop(name, None)
    if spins is not None:
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(spins)}
    command = [sys.executable, "-c", "from bench import speed; speed.work()"]
    with subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        told, heard = process.stdin, process.stdout
        assert told is not None
        assert heard is not None

        def ask(model: str) -> float:
            print(model, file=told, flush=True)
            return float(heard.readline())

        yield ask
        told.close()


def work() -> None:
    """What `worker` starts."""
    made = {name: denoise.begin(*make()) for name, make in MODELS.items()}
    for line in sys.stdin:
        print(timed(partial(advance, made[line.strip()])) / STEPS, flush=True)


def advance(state: denoise.Denoise) -> None:
    """Some steps."""
    for _ in range(STEPS):
        denoise.step(state)
