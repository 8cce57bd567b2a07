"""Composition root: makes every part and starts every task. The nesting is the shutdown order.

From the inside out: the inbox stops taking, the device puts its frame back, the streams say goodbye, the
tables are flushed, and the log closes last.
"""

import gc
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio import to_thread

from daemon import finals, pictures, schema
from daemon.address import Address, announced
from daemon.console import narrate
from daemon.drops import prepare
from daemon.events.log import Log, opened
from daemon.events.types import DaemonStarted, DaemonStopped
from daemon.files import write_whole
from daemon.gpu import plan
from daemon.gpu.device import Device
from daemon.gpu.recovery import recover
from daemon.gpu.sums import Sums
from daemon.guards import LOOPBACK
from daemon.history import redacting
from daemon.inbox import Inbox
from daemon.projections import restoring, tables
from daemon.projections.state import State
from daemon.server import listen, serving
from daemon.settings import VERSION, Home, Settings
from daemon.stages import Stages
from daemon.web import Web

logger = logging.getLogger(__name__)

_SWITCH = 0.0005
"""Seconds after which a Python thread gives way to another, a tenth of what is usual: threads that read and
write files ask for their turn after each call, and would wait for the event loop's each time."""
_YOUNG = 10_000
"""Objects made and kept after which Python looks for cycles among them, in place of 700: jobs and frames are
in none, and come by the thousand."""

Reason = Literal["signal", "idle"]


async def run(settings: Settings, say: Callable[[str], None]) -> None:
    """The daemon, until a signal or, with `until_idle`, until there is nothing left to do.

    Raises `HomeInUse`, `UnknownEvent`, `NoDevice`, and OSError for a home, a port or a model that
    cannot be had.
    """
    home = settings.home
    _prepare(home)
    _find_model(settings)
    tune()
    with listen(settings.host, settings.port) as listener:
        await to_thread.run_sync(redacting.finish, home)
        async with stopped_by_signal() as stop, opened(home.history, State(), restoring) as log:
            started = await log.append(_started(settings))
            await recover(log, home, started.seq)
            await _serve(settings, log, listener, started.seq, stop, say)


def tune() -> None:
    """Set Python up for a process with much to keep, and threads of many small calls."""
    sys.setswitchinterval(_SWITCH)
    gc.set_threshold(_YOUNG)


async def _serve(
    settings: Settings,
    log: Log[State],
    listener: socket.socket,
    started: int,
    stop: anyio.Event,
    say: Callable[[str], None],
) -> None:
    recent = pictures.Recent()
    token = None if settings.host in LOOPBACK else secrets.token_urlsafe(16)
    sums = Sums(settings.home.sums)
    stages = Stages()
    device = Device(settings, log, recent, sums, stages)
    inbox = Inbox(settings.home, log, settings.model)
    web = Web(log, settings, recent, lambda: [device.name], lambda: inbox.outlook, stages)
    port: int = listener.getsockname()[1]
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    address = Address(url=_url(host, port), token=token, pid=os.getpid(), epoch=log.epoch)
    async with (
        running(tables.run, log),
        serving(web.application(port, token), web.streams, listener),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(narrate, log, say)
        tasks.start_soon(finals.look_over, log, settings.home, started)
        with announced(settings.home, address):
            say(f"watch at {_url(settings.host, port)}/" + ("" if token is None else f"?token={token}"))
            say(f"drop prompts into {settings.home.inbox}")
            if log.state.paused_by is not None:
                say(f"the queue is paused by {log.state.paused_by}; safelight resume lets it go on")
            async with running(sums.run), running(device.run), running(inbox.run):
                reason = await _until_told(settings, log, inbox, stop)
        await log.append(DaemonStopped(reason=reason))
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def running(task: Callable[..., Any], *args: object) -> AsyncIterator[None]:
    """Have `task` run, once it says that it has started, until the block ends."""
    async with anyio.create_task_group() as tasks:
        await tasks.start(task, *args)
        yield
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def stopped_by_signal() -> AsyncIterator[anyio.Event]:
    """An event that the first Ctrl-C or SIGTERM sets. Further ones are heard and change nothing: the way
    down is short, and must not be cut off half way.
    """
    stop = anyio.Event()

    async def listen_for_signals() -> None:
        async for _ in signals:
            stop.set()

    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen_for_signals)
            yield stop
            tasks.cancel_scope.cancel()


async def _until_told(settings: Settings, log: Log[State], inbox: Inbox, stop: anyio.Event) -> Reason:
    """Wait for the word to stop."""
    reason: Reason = "signal"

    async def watch_work() -> None:
        nonlocal reason
        await _until_idle(log, inbox)
        reason = "idle"
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        if settings.until_idle:
            tasks.start_soon(watch_work)
        await stop.wait()
        tasks.cancel_scope.cancel()
    return reason


async def _until_idle(log: Log[State], inbox: Inbox) -> None:
    """Wait until the inbox holds nothing to take and every job has ended and is tidied."""
    while True:
        await inbox.scanned()
        if inbox.idle and plan.idle(log.state):
            return


def _prepare(home: Home) -> None:
    for folder in (home.frames, home.checkpoints, home.loras, home.embeddings, home.images):
        folder.mkdir(parents=True, exist_ok=True)
    prepare(home)
    _offer_schema(home.root / "prompt.schema.json")


def _offer_schema(path: Path) -> None:
    """Have the schema of prompt files where editors find it; a full disk is no reason not to start."""
    try:
        if not path.is_file() or path.read_bytes() != schema.text():
            write_whole(path, schema.text(), durable=False)
    except OSError as error:
        logger.warning("%s could not be written: %s", path, error)


def _find_model(settings: Settings) -> None:
    """Raise FileNotFoundError for a `--model` that is not there, rather than at the first frame."""
    path = settings.home.checkpoint(settings.model)
    if path.exists() or path.with_name(f"{path.name}.safetensors").exists():
        return
    there = sorted(entry.name.removesuffix(".safetensors") for entry in settings.home.checkpoints.iterdir())
    found = f"there are {', '.join(there)}" if there else "put one there"
    raise FileNotFoundError(f"there is no model {settings.model} in {settings.home.checkpoints}: {found}")


def _started(settings: Settings) -> DaemonStarted:
    return DaemonStarted(
        version=VERSION,
        host=settings.host,
        port=settings.port,
        pid=os.getpid(),
        devices=[settings.device],
        model=settings.model,
    )


def _url(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
