"""The inbox: from drop to commit, files waiting taken at a time, and what it costs to wait.

The inbox runs with a real log in a process of its own, as the daemon runs it, without a device. The floors
are what any program would pay: a bare inotify reader that reads the file and fsyncs one line; a bare loop
that reads, decodes, fsyncs every 256th and renames; watchfiles alone.
"""

import ctypes
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec
from watchfiles import awatch

from daemon.app import tune
from daemon.drops import prepare
from daemon.events.log import Log, opened
from daemon.inbox import CAP, Inbox
from daemon.projections import restoring, tables
from daemon.projections.state import State
from daemon.settings import DEMO, Home
from daemon.watch import STEP_MS

DROPS = 200
FILES = 10_000
IDLE_SECONDS = 15.0
_IN_CLOSE_WRITE, _IN_MOVED_TO = 0x8, 0x80


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory() as folder:
        latency(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        throughput(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        idle(Path(folder))


def latency(folder: Path) -> None:
    """Drop by rename into either folder in turn, at moments that have nothing to do with its clock."""
    home = _home(folder / "home")
    bare = folder / "bare"
    bare.mkdir()
    with _process("serve", home.root) as ours, _process("bare", bare) as floor:
        samples: dict[str, list[float]] = {"inbox": [], "floor": []}
        for number in range(DROPS):
            for name, process, target in (("inbox", ours, home.inbox), ("floor", floor, bare)):
                time.sleep(random.uniform(0.02, 0.06))
                begun = _drop(target, f"{number}.json")
                samples[name].append(_committed(process) - begun)
    print(f"  drop → JobAccepted committed, {DROPS} drops, watched every {STEP_MS} ms")
    for share in (50, 99):
        figure, least = (_percentile(samples[name], share) * 1000 for name in ("inbox", "floor"))
        print(
            f"    p{share}  {figure:6.2f} ms   inotify and one fsync {least:6.2f} ms   × {figure / least:.1f}"
        )


def throughput(folder: Path) -> None:
    """Files that wait when the daemon starts, until the last one is accepted and lies in `done/`."""
    taken, least = [], []
    for round_ in range(3):
        home = _home(folder / f"home-{round_}")
        _fill(home.inbox)
        taken.append(FILES / anyio.run(_take_all, home))
        bare = folder / f"bare-{round_}"
        (bare / "done").mkdir(parents=True)
        _fill(bare)
        least.append(FILES / _take_bare(bare))
    figure, floor = statistics.median(taken), statistics.median(least)
    print(f"  {FILES} files that wait, until all are accepted and in done/")
    print(f"    {figure:,.0f} files/s   decode, fsync each 256, rename {floor:,.0f}   × {floor / figure:.1f}")


def idle(folder: Path) -> None:
    """The share of a core that waiting takes, with many files in `done/`."""
    home = _home(folder / "home")
    _fill(home.done)
    with _process("serve", home.root) as ours, _process("watch", home.inbox) as floor:
        time.sleep(2)  # the start is not idle
        before = [_cpu(process) for process in (ours, floor)]
        time.sleep(IDLE_SECONDS)
        figure, least = (
            (_cpu(p) - b) / IDLE_SECONDS * 100 for p, b in zip((ours, floor), before, strict=True)
        )
    print(f"  idle with {FILES} files in done/, over {IDLE_SECONDS:g} s")
    print(
        f"    {figure:.2f} % of a core   watchfiles alone {least:.2f} %   × {figure / max(least, 0.01):.1f}"
    )


def _home(root: Path) -> Home:
    home = Home(root)
    prepare(home)
    return home


def _content(number: int) -> bytes:
    return msgspec.json.encode(
        {"prompt": f"a red fox in the snow, number {number}", "steps": 24, "seed": number}
    )


def _drop(folder: Path, name: str) -> float:
    """Put a file there whole; answers the moment before its last step."""
    temporary = folder / f".{name}.tmp"
    temporary.write_bytes(_content(1))
    begun = time.monotonic()
    temporary.rename(folder / name)
    return begun


def _fill(folder: Path) -> None:
    for number in range(FILES):
        (folder / f"{number:05}.json").write_bytes(_content(number))


@contextmanager
def _process(role: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process of this file in a role, ready, until the block ends."""
    command = [sys.executable, "-m", "bench.inbox", role, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            _committed(process)
            yield process
        finally:
            process.kill()


def _committed(process: "subprocess.Popen[str]") -> float:
    """The next moment that a process tells of. Linux's monotonic clock is one for all processes."""
    assert process.stdout is not None
    return float(process.stdout.readline())


def _tell() -> None:
    print(time.monotonic(), flush=True)


def _percentile(samples: list[float], share: int) -> float:
    return statistics.quantiles(samples, n=100)[share - 1]


def _cpu(process: "subprocess.Popen[str]") -> float:
    """Seconds of processor time so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _with_inbox(home: Home, work: Callable[[Log[State], Inbox], Awaitable[None]]) -> None:
    tune()
    async with opened(home.history, State(), restoring) as log, anyio.create_task_group() as tasks:
        await tasks.start(tables.run, log)
        inbox = Inbox(home, log, DEMO, cap=max(CAP, FILES))
        await tasks.start(inbox.run)
        await work(log, inbox)
        tasks.cancel_scope.cancel()


async def _serve(home: Home) -> None:
    """Tell the moment of each acceptance, as followers hear of it."""

    async def follow(log: Log[State], inbox: Inbox) -> None:
        await inbox.scanned()
        _tell()
        while True:
            await log.changed(log.position)
            _tell()

    await _with_inbox(home, follow)


async def _take_all(home: Home) -> float:
    """Seconds from the inbox's start, with the log open, until the last file lies in `done/`."""
    begun = time.monotonic()
    ended = 0.0

    async def wait(log: Log[State], inbox: Inbox) -> None:
        nonlocal begun, ended
        begun = time.monotonic()
        await log.changed(FILES - 1)
        while sum(1 for _ in os.scandir(home.done)) < FILES:
            await anyio.sleep(0.005)
        ended = time.monotonic()

    await _with_inbox(home, wait)
    return ended - begun


def _take_bare(folder: Path) -> float:
    begun = time.monotonic()
    with (folder / "log").open("ab") as log:
        for number, path in enumerate(sorted(folder.glob("*.json"))):
            log.write(msgspec.json.encode(msgspec.json.decode(path.read_bytes())))
            path.rename(folder / "done" / path.name)
            if number % 256 == 255:
                log.flush()
                os.fsync(log.fileno())
    return time.monotonic() - begun


def _bare(folder: Path) -> None:
    """An inotify reader that reads what came and fsyncs one line."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(0)
    libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_CLOSE_WRITE | _IN_MOVED_TO)
    with (folder.parent / "bare.log").open("ab") as log:
        _tell()
        while True:
            for name in _names(os.read(descriptor, 65536)):
                if not name.startswith("."):
                    log.write((folder / name).read_bytes())
                    log.flush()
                    os.fsync(log.fileno())
                    _tell()


def _names(events: bytes) -> list[str]:
    names, at = [], 0
    while at < len(events):
        (length,) = struct.unpack_from("I", events, at + 12)
        names.append(os.fsdecode(events[at + 16 : at + 16 + length].rstrip(b"\0")))
        at += 16 + length
    return names


async def _watch(folder: Path) -> None:
    _tell()
    async for _ in awatch(folder, recursive=False, step=STEP_MS):
        pass


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", root]:
            anyio.run(_serve, Home(Path(root)))
        case ["bare", folder]:
            _bare(Path(folder))
        case ["watch", folder]:
            anyio.run(_watch, Path(folder))
        case _:
            main()
