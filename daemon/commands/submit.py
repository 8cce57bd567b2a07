"""`submit`: a prompt as text, a file or standard input becomes a job, whether or not the daemon runs.

To a running daemon one prompt is posted, and its answer is the job. Everything else (no daemon, many jobs
in one file, a picture) goes into the inbox under a name of its own, whole, by rename.
"""

import json
import secrets
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from daemon import address, stock
from daemon.arrivals import FORMS
from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, fail, home_at
from daemon.commands.terms import MISTYPED, NOT_RUNNING, explained, print_json
from daemon.faults import Fault
from daemon.files import write_whole
from daemon.settings import DEMO, Home


def submit(
    prompt: Annotated[str, typer.Argument(help="Text, a prompt file, or - for standard input.")],
    negative_prompt: Annotated[str | None, typer.Option("--negative", help="What not to show.")] = None,
    width: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8.")] = None,
    height: Annotated[int | None, typer.Option(help="Pixels, a multiple of 8.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    cfg_scale: Annotated[float | None, typer.Option(help="How closely to keep to the prompt.")] = None,
    sampler: Annotated[str | None, typer.Option(help="As `safelight samplers` lists them.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="As `safelight samplers` lists them.")] = None,
    seed: Annotated[int | None, typer.Option(help="Drawn if you say none.")] = None,
    count: Annotated[int | None, typer.Option(help="Pictures, each with the next seed.")] = None,
    model: Annotated[str | None, typer.Option(help="Checkpoint.")] = None,
    project: Annotated[str | None, typer.Option(help="Where the pictures belong.")] = None,
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show progress until every picture has ended.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Queue a prompt. Without a daemon it waits in the inbox for the next one."""
    options = {
        "negative_prompt": negative_prompt,
        "width": width,
        "height": height,
        "steps": steps,
        "cfg_scale": cfg_scale,
        "sampler": sampler,
        "scheduler": scheduler,
        "seed": seed,
        "count": count,
        "model": model,
        "project": project,
        "priority": priority,
    }
    content, suffix = _content(prompt, {key: value for key, value in options.items() if value is not None})
    place = home_at(home)
    if address.read(place) is None:
        _leave(place, content, suffix, wait, as_json)
        return
    from daemon.client import NotRunning, connected
    from daemon.commands import handing_in

    with ExitStack() as stack:
        try:
            daemon = stack.enter_context(connected(place))
        except NotRunning:
            _leave(place, content, suffix, wait, as_json)
            return
        with explained():
            taken = handing_in.hand_in(daemon, content, suffix, partial(drop, place))
            handing_in.report(daemon, place, taken, wait, as_json)


def _content(prompt: str, options: dict[str, Any]) -> tuple[bytes, str]:
    """The bytes to hand in, and the kind of file that they would be."""
    suffix = Path(prompt).suffix.lower()  # a word that ends as the inbox's files do is a file's name
    if prompt == "-":
        given = sys.stdin.buffer.read()
        if _are_lines(given) and not options:
            return given, ".jsonl"
        if given.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
            return _with_options(given, options), ".json"
        return _from_text(given.decode("utf-8", "replace").strip(), options), ".json"
    if suffix not in FORMS or any(space in prompt for space in "\n\r"):
        return _from_text(prompt, options), ".json"
    try:
        given = Path(prompt).read_bytes()
    except OSError as error:
        fail(f"{prompt}: {error.strerror}", MISTYPED)
    if suffix == ".json":
        return _with_options(given, options), suffix
    if options:
        fail(f"options go with one prompt, and {prompt} has its own", MISTYPED)
    return given, suffix


def _are_lines(given: bytes) -> bool:
    """Whether these are JSON Lines: more than one, the first of which is a whole object."""
    first, *others = given.strip().split(b"\n", 1)
    try:
        return bool(others) and isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _from_text(text: str, options: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"prompt": text, **options})


def _with_options(given: bytes, options: dict[str, Any]) -> bytes:
    """The prompt, with what was typed beside it over what stands in it."""
    if not options:
        return given
    try:
        value = json.loads(given)
    except ValueError:
        return given  # whoever takes it says what is wrong with it, and where
    if not isinstance(value, dict) or "prompt" not in value:
        fail("options go with one prompt, and this file is not one prompt", MISTYPED)
    return msgspec.json.encode({**value, **options})


def _leave(home: Home, content: bytes, suffix: str, wait: bool, as_json: bool) -> None:
    """Put it where the next daemon finds it."""
    if wait:
        fail(f"no daemon runs on {home.root}, so there is nothing to wait for; start one", NOT_RUNNING)
    if not home.root.is_dir():
        fail(f"there is no home {home.root}; make it with: safelight up --home {home.root}", NOT_RUNNING)
    verdict = FORMS[suffix].read(content, DEMO, stock.lacking(home))
    if isinstance(verdict, list):
        refuse(verdict)
    path = drop(home, content, suffix)
    if as_json:
        print_json({"file": str(path)})
    else:
        print(f"no daemon runs; {path.name} waits in {home.inbox}")


def drop(home: Home, content: bytes, suffix: str) -> Path:
    """Into the inbox, whole, under a name that nothing else has."""
    home.inbox.mkdir(exist_ok=True)
    path = home.inbox / f"submit-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}{suffix}"
    try:
        write_whole(path, content, durable=True)
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}")
    return path


def refuse(faults: list[Fault]) -> NoReturn:
    """End with one line for each fault."""
    for fault in faults:
        hint = f". {fault.suggestion}" if fault.suggestion else ""
        where = f"line {fault.line}, column {fault.column} ({fault.path})"
        print(f"safelight: {where}: {fault.message}{hint}", file=sys.stderr)
    raise typer.Exit(MISTYPED)
