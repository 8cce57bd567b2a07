"""A long history for the page: as many finished pictures as one likes, without the hours that they take."""

from collections.abc import Iterable
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


async def fill(log: Log[State], root: Path, count: int) -> None:
    """Append the whole life of `count` frames, all of which look the same on disk."""
    path = root / PICTURE
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.radial_gradient("L").resize((64, 64)).save(path)
    for first in range(1, count + 1, A_JOB):
        events = list(_lives(first, min(A_JOB, count + 1 - first)))
        await log.decide(lambda _, events=events: events)  # type: ignore[misc]


def _lives(first: int, count: int) -> Iterable[Event]:
    job = first // A_JOB + 1
    begin = accepted(job, first, tuple(range(count)))
    words = PROMPTS[job % len(PROMPTS)]
    yield replace(begin, prompt=replace(begin.prompt, prompt=words, project=f"project {job % 3}"))
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

    anyio.run(write)
