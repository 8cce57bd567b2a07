"""A long history for the page: as many finished pictures as one likes, without the hours that they take."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
from msgspec.structs import replace
from PIL import Image

from daemon.events.log import Log, opened
from daemon.events.types import Event
from daemon.projections import restoring
from daemon.projections.state import State
from daemon.settings import Home
from tests.stories import accepted, created, deleted, finished, previewed

A_JOB = 100
PROMPTS = ["a red fox in the snow", "two boats on a lake", "a lighthouse at dusk", "a green triangle"]
PICTURE = "frames/task_1.png"


async def fill(log: Log[State], root: Path, count: int, first: int = 1) -> None:
    """Append the whole life of `count` frames, which all look the same; `first` is the next frame and job."""
    path = root / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.radial_gradient("L").resize((64, 64)).save(path)
    for job, start in enumerate(range(first, first + count, A_JOB), start=first):
        await _record(log, list(_lives(job, start, min(A_JOB, first + count - start))))


async def _record(log: Log[State], events: list[Event]) -> None:
    await log.decide(lambda _: events)


def _lives(job: int, first: int, count: int) -> Iterable[Event]:
    begin = accepted(job, first, tuple(range(count)))
    words, model = PROMPTS[job % len(PROMPTS)], "demo" if job % 4 else "sketch"
    prompt = replace(begin.prompt, prompt=words, project=f"project {job % 3}", model=model)
    yield replace(begin, prompt=prompt)
    for frame in range(first, first + count):
        yield created(frame, job)
        yield previewed(1, frame, job)
        yield replace(finished(frame, job), path=PICTURE)
        yield deleted(frame, job)


def filled(home: Home, count: int) -> None:
    """The same for a home whose daemon is still to start."""

    async def write() -> None:
        async with opened(home.history, State(), restoring) as log:
            await fill(log, home.root, count)

    # In a thread of its own: Playwright keeps a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(anyio.run, write).result()
