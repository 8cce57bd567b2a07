"""kill -9, again and again, while files arrive in every way that files arrive: `python -m tests.torture`.

The inbox runs on a real log in a process of its own, which is killed at random moments, its start included;
other processes drop files meanwhile. At the end every job of every good file must be in the log exactly once,
every bad file rejected exactly once, and nothing may be left in the inbox. `make torture` runs the long form.
"""

import argparse
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio

from daemon.drops import claimed, prepare
from daemon.events.log import opened
from daemon.events.types import Event, JobAccepted, JobDuplicate, JobRejected
from daemon.inbox import Inbox
from daemon.projections import restoring, tables
from daemon.projections.state import State
from daemon.settings import DEMO, Home

LIFE = (0.02, 1.0)
"""Seconds that a process lives before it is killed, at least and at most."""
PAUSE = 2.5
"""Seconds that some slow writers stop for in the middle: longer than a broken file is given."""


def write(path: Path, content: bytes, dice: random.Random) -> None:
    """In one go, where it is to lie."""
    path.write_bytes(content)


def write_slowly(path: Path, content: bytes, dice: random.Random) -> None:
    """A few bytes at a time, now and then with a long pause."""
    pause_at = dice.randrange(len(content)) if dice.random() < 0.05 else None
    with path.open("wb", buffering=0) as file:
        at = 0
        while at < len(content):
            end = at + dice.randint(1, 40)
            file.write(content[at:end])
            time.sleep(PAUSE if pause_at is not None and at <= pause_at < end else dice.uniform(0, 0.01))
            at = end


def copy(path: Path, content: bytes, dice: random.Random) -> None:
    """As `cp -p`: the time of the original is set at the end."""
    shutil.copy2(_spooled(path, content), path)


def rename_in(path: Path, content: bytes, dice: random.Random) -> None:
    """Whole, under a hidden name first."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.rename(path)


def hard_link(path: Path, content: bytes, dice: random.Random) -> None:
    """A second name for a file that lies elsewhere."""
    os.link(_spooled(path, content), path)


def save_by_swap(path: Path, content: bytes, dice: random.Random) -> None:
    """As an editor does: a beginning, then the old one set aside and a new one written in its place."""
    path.write_bytes(content[: dice.randrange(len(content))])
    time.sleep(dice.uniform(0, 0.3))
    aside = path.with_name(f"{path.name}~")
    path.rename(aside)
    path.write_bytes(content)
    aside.unlink()


def write_lines(path: Path, content: bytes, dice: random.Random) -> None:
    """Line by line, each of them whole."""
    with path.open("wb", buffering=0) as file:
        for line in content.splitlines(keepends=True):
            file.write(line)
            time.sleep(dice.uniform(0, 0.02))


STYLES: list[Callable[[Path, bytes, random.Random], None]] = [
    write, write_slowly, copy, rename_in, hard_link, save_by_swap, write_lines,
]  # fmt: skip


class File:
    """What file `number` is: known to whoever drops it and to whoever checks."""

    def __init__(self, number: int) -> None:
        """Style, goodness and jobs follow from the number."""
        self.style = STYLES[number % len(STYLES)]
        self.good = number % 23 != 11 or self.style is save_by_swap
        lines = self.style is write_lines
        self.name = f"{number:06}.json{'l' if lines else ''}"
        count = 3 if lines or number % 5 == 0 else 1
        self.prompts = [f"file {number} job {job}" for job in range(count)]
        jobs = [{"prompt": prompt, "steps": 4} for prompt in self.prompts]
        one = jobs[0] if count == 1 else {"jobs": jobs}
        text = "\n".join(map(json.dumps, jobs)) if lines else json.dumps(one, indent=1)
        self.content = text.encode() if self.good else text.encode()[:-9]


def _spooled(path: Path, content: bytes) -> Path:
    spooled = path.parent.parent / "spool" / path.name
    spooled.write_bytes(content)
    return spooled


def overflow(home: Home, *, files: int) -> list[str]:
    """Drop files while the inbox stands still, more than its watcher is told of; answers as `torture`."""
    prepare(home)
    taker = _forked(partial(anyio.run, _take, home))
    (home.inbox / "first.json").write_bytes(b'{"prompt": "first"}')
    _wait_for(home.done / "first.json")
    os.kill(taker, signal.SIGSTOP)
    begun = time.monotonic()
    for number in range(files):
        (home.inbox / f"{number}.json").write_bytes(b'{"prompt": "%d"}' % number)
    dropped = time.monotonic()
    os.kill(taker, signal.SIGCONT)
    _wait_for(home.done / f"{files - 1}.json")
    print(f"{files} files dropped in {dropped - begun:.1f} s, taken in {time.monotonic() - dropped:.1f} s")
    _wait_for_all(home, files + 1)
    os.kill(taker, signal.SIGKILL)
    os.waitpid(taker, 0)
    accepted = Counter(
        event.prompt.prompt for event in anyio.run(_events, home) if isinstance(event, JobAccepted)
    )
    wanted = Counter(["first", *map(str, range(files))])
    return [f"lost: {prompt}" for prompt in wanted - accepted] + [
        f"doubled or unknown: {prompt}" for prompt in accepted - wanted
    ]


def _wait_for(path: Path) -> None:
    _until(path.exists)


def _wait_for_all(home: Home, files: int) -> None:
    _until(lambda: sum(1 for _ in home.done.iterdir()) == files)


def _until(true: Callable[[], bool]) -> None:
    """Look again and again, from a process that has no other way to hear of it; for five minutes at most."""
    ends = time.monotonic() + 300
    while not true():
        if time.monotonic() > ends:
            raise TimeoutError("it did not come about")
        time.sleep(0.05)


def torture(home: Home, *, kills: int, files: int, seed: int) -> list[str]:
    """Kill `kills` times while `files` files are dropped; answers what is wrong at the end, in words."""
    dice = random.Random(seed)
    prepare(home)
    (home.root / "spool").mkdir()
    droppers: list[int] = []
    for life in range(kills):
        first, last = files * life // kills, files * (life + 1) // kills
        droppers.append(_forked(partial(_drop, home, range(first, last), seed)))
        taker = _forked(partial(anyio.run, _take, home))
        time.sleep(dice.uniform(*LIFE))
        os.kill(taker, signal.SIGKILL)
        os.waitpid(taker, 0)
        if life % 50 == 49:
            print(f"{life + 1} kills, {last} files dropped", flush=True)
    faults = [f"a dropper failed: {pid}" for pid in droppers if os.waitpid(pid, 0)[1]]
    if os.waitpid(_forked(partial(anyio.run, _take_all, home)), 0)[1]:
        faults.append("the last process failed")
    return faults + anyio.run(_faults, home, files)


def _forked(work: Callable[[], object]) -> int:
    """The id of a child that does this and nothing else. This process has one thread, so it may fork."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:  # noqa: BLE001  # whatever it is, a child must not go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _drop(home: Home, numbers: range, seed: int) -> None:
    dice = random.Random(seed + numbers.start)
    for number in numbers:
        file = File(number)
        file.style(home.inbox / file.name, file.content, dice)
        time.sleep(dice.uniform(0, 0.05))


async def _take(home: Home) -> None:
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        await tasks.start(Inbox(home, log, DEMO, cap=10**6).run)


async def _take_all(home: Home) -> None:
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        inbox = Inbox(home, log, DEMO, cap=10**6)
        await tasks.start(inbox.run)
        await inbox.scanned()
        while not inbox.idle:
            await inbox.scanned()
        tasks.cancel_scope.cancel()


async def _events(home: Home) -> list[Event]:
    events: list[Event] = []
    async with opened(home.history, State(), restoring) as log:
        while page := await log.read(len(events)):
            events += [recorded.event for recorded in page]
    return events


async def _faults(home: Home, files: int) -> list[str]:
    """Compare the log and the folders with what was dropped."""
    events = await _events(home)
    every = [File(number) for number in range(files)]
    accepted = Counter(event.prompt.prompt for event in events if isinstance(event, JobAccepted))
    rejected = Counter(event.source.name for event in events if isinstance(event, JobRejected))
    duplicates = [event for event in events if isinstance(event, JobDuplicate)]
    wanted = Counter(prompt for file in every if file.good for prompt in file.prompts)
    refused = Counter(file.name for file in every if not file.good)
    done = {path.name for path in home.done.iterdir()}
    print(
        f"{sum(accepted.values())} jobs accepted, {sum(rejected.values())} files rejected, {len(done)} done"
    )
    return [
        *(f"lost: {prompt}" for prompt in wanted - accepted),
        *(f"doubled or unknown: {prompt}" for prompt in accepted - wanted),
        *(f"falsely rejected: {name}" for name in rejected - refused),
        *(f"not rejected: {name}" for name in refused - rejected),
        *(f"duplicate: {event}" for event in duplicates),
        *(f"not in done/: {file.name}" for file in every if file.good and file.name not in done),
        *(
            f"left: {path}"
            for folder in (home.inbox, claimed(home))
            for path in folder.iterdir()
            if path.is_file()
        ),
    ]


def main() -> None:
    """Exit non-zero, naming what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description="kill -9 the inbox while files arrive")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--files", type=int, default=10_500)
    parser.add_argument("--stopped", type=int, default=30_000, help="files dropped while it stands still")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    print(f"{asked.kills} kills, {asked.files} files, seed {asked.seed}", flush=True)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        logging.basicConfig(filename=Path(folder) / "torture.log", level=logging.WARNING)
        faults = torture(Home(Path(folder) / "a"), kills=asked.kills, files=asked.files, seed=asked.seed)
        faults += overflow(Home(Path(folder) / "b"), files=asked.stopped)
    print("\n".join(faults) or "nothing lost, doubled or falsely rejected")
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
