"""Handing a prompt to a running daemon, and what came of it: its jobs, and with `--wait` their pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import typer

from daemon.client import Client, NotRunning, Refused
from daemon.commands import waiting
from daemon.commands.options import fail
from daemon.commands.submit import refuse
from daemon.commands.terms import DONE, INTERRUPTED, NOT_RUNNING, REFUSED, print_json
from daemon.events.types import JobAccepted
from daemon.faults import Fault
from daemon.settings import Home

CREATED = 201
POSTED = 2**18
"""Bytes that the daemon takes by post; a larger file goes through the inbox."""


class Taken(msgspec.Struct, frozen=True):
    """The jobs that came of what was handed in."""

    after: int
    """A position of the log before the first of them."""
    jobs: list[JobAccepted]

    @property
    def frames(self) -> list[int]:
        """All their pictures."""
        return [job.first_frame + index for job in self.jobs for index in range(len(job.seeds))]

    @property
    def not_carried(self) -> list[str]:
        """What pictures and workflows said that no prompt can."""
        return [line for job in self.jobs for line in job.source.not_carried]


def hand_in(daemon: Client, content: bytes, suffix: str, drop: Callable[[bytes, str], Path]) -> Taken:
    """Post a JSON text; drop everything else into the inbox. Ends the command where it is refused."""
    after: int = daemon.get("/api/health")["position"]
    if suffix != ".json" or len(content) > POSTED:
        return _taken_from(daemon, after, drop(content, suffix).name)
    try:
        status, answer = daemon.send("/api/jobs", msgspec.Raw(content))
    except Refused as refusal:
        if "faults" not in refusal.answer:
            raise
        refuse(msgspec.convert(refusal.answer["faults"], list[Fault]))
    numbers = {each["job"] for each in answer.get("jobs", [answer])}
    if status != CREATED:
        _tell_duplicate(min(numbers))
    jobs: list[JobAccepted] = []
    for message in daemon.follow(after):
        if message["type"] == "JobAccepted" and message["data"]["job"] in numbers:
            jobs.append(msgspec.convert(message["data"], JobAccepted))
        if len(jobs) == len(numbers):
            break
    return Taken(after, jobs)


def _taken_from(daemon: Client, after: int, name: str) -> Taken:
    """What the log says of a dropped file."""
    jobs: list[JobAccepted] = []
    for message in daemon.follow(after):
        source = message["data"].get("source", {})
        if source.get("name") != name:
            continue
        if message["type"] == "JobRejected":
            refuse(msgspec.convert(message["data"]["faults"], list[Fault]))
        if message["type"] == "JobDuplicate":
            _tell_duplicate(message["data"]["job"])
        jobs.append(msgspec.convert(message["data"], JobAccepted))
        if "." not in source["claim"]:  # the last job of a file bears its claim without a number
            break
    return Taken(after, jobs)


def _tell_duplicate(job: int) -> NoReturn:
    """What has a key that was taken before is no new job, and no fault."""
    print(f"job {job}, taken before: nothing was queued")
    raise typer.Exit(DONE)


def report(daemon: Client, home: Home, taken: Taken, wait: bool, as_json: bool) -> None:
    """Say which jobs there are now, and wait for their pictures if that is wished."""
    jobs = [job.job for job in taken.jobs]
    paused_by = daemon.get("/api/status")["paused_by"]
    if not as_json:
        for job in taken.jobs:
            print(f"job {job.job}", flush=True)
            for line in job.source.not_carried:
                typer.echo(f"not carried over: {line}", err=True)
        if paused_by is not None:
            typer.echo(f"the queue is paused by {paused_by}: safelight resume lets it go on", err=True)
    if not wait:
        if as_json:
            print_json({"jobs": jobs, "frames": taken.frames, "not_carried": taken.not_carried})
        return
    named = f"job {jobs[0]}" if len(jobs) == 1 else f"jobs {jobs[0]} to {jobs[-1]}"
    try:
        ended = waiting.until_ended(daemon, home, taken.after, taken.frames, quiet=as_json)
    except KeyboardInterrupt:
        typer.echo(f"\n{named} goes on; to end it: safelight cancel {jobs[0]}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except NotRunning as error:
        fail(f"{error}; {named} goes on when it is started again", NOT_RUNNING)
    if as_json:
        answer: dict[str, Any] = {"jobs": jobs, "frames": ended, "not_carried": taken.not_carried}
        print_json(answer)
    if any(frame.status != "done" for frame in ended):
        raise typer.Exit(REFUSED)
