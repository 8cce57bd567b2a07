"""`safelight log`: what happened, and what happens."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, fail, home_at, one_line, terminal_width

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from daemon.history.copies import Position
    from daemon.history.selection import Selection
    from daemon.settings import Home

HELP = """Show the log: the newest events, or all since a moment; with --follow also those to come.

--follow goes on through restarts of the daemon, until Ctrl-C. Times are UTC.

Exit codes: 0 all well; 1 the history cannot be read; 2 what was typed is wrong.
"""

_LONG = 80
_ODD = re.compile(r'[\s"\x00-\x1f\x7f-\x9f]')
_FORMS = "an event's number, a time, or an age like '10 min'."

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")]
TypeOption = Annotated[
    list[str] | None, typer.Option("--type", help="Only events of this type; may be repeated.")
]
JobOption = Annotated[int | None, typer.Option(help="Only events of this job.", min=1)]
FrameOption = Annotated[int | None, typer.Option(help="Only events of this frame.", min=1)]
SinceOption = Annotated[str | None, typer.Option(help=f"From here on: {_FORMS}")]
UntilOption = Annotated[str | None, typer.Option(help=f"Up to here: {_FORMS}")]
LastOption = Annotated[int, typer.Option(help="So many of the newest, where no --since is given.", min=0)]
LinesOption = Annotated[
    bool, typer.Option("--json", help="For programs: one array of objects; with --follow, one object a line.")
]


def log(
    home: HomeOption = DEFAULT_HOME,
    follow: FollowOption = False,
    types: TypeOption = None,
    job: JobOption = None,
    frame: FrameOption = None,
    since: SinceOption = None,
    last: LastOption = 50,
    as_json: LinesOption = False,
) -> None:
    """The command; its help is above."""
    from daemon.history import reading

    wanted = selected(types, job, frame, since, None)
    place = home_at(home)
    with one_line():
        with reading.opened(place) as history:
            messages = _past(history.connection, wanted, None if since is not None else last)
            for line in _lines(messages, as_json, follow):
                sys.stdout.write(f"{line}\n")
            position = history.position
        sys.stdout.flush()
        if follow:
            _follow(place, position, wanted, as_json)


def selected(
    types: list[str] | None, job: int | None, frame: int | None, since: str | None, until: str | None
) -> "Selection":
    """What the options ask for; a mistyped one is said so."""
    from daemon import moments
    from daemon.history import selection

    now = datetime.now(UTC)
    try:
        return selection.Selection(
            types=[selection.known_type(name) for name in types or ()],
            job=job,
            frame=frame,
            since=None if since is None else moments.parse(since, now),
            until=None if until is None else moments.parse(until, now),
        )
    except ValueError as error:
        fail(str(error), 2)


def _past(
    connection: "DuckDBPyConnection", wanted: "Selection", newest: int | None
) -> Iterator[dict[str, Any]]:
    from daemon.events import codec, database

    condition = wanted.condition()
    if newest is not None:
        seqs = f"SELECT seq FROM events WHERE {condition} ORDER BY seq DESC LIMIT {newest}"
        condition = f"seq IN ({seqs})"
    for row in database.stream(connection, condition):
        message: dict[str, Any] = json.loads(codec.message(codec.open_row(row)))
        yield message


def _lines(messages: Iterator[dict[str, Any]], as_json: bool, follow: bool) -> Iterator[str]:
    from daemon.commands import rows

    if as_json:
        lines = map(_json, messages)
        yield from lines if follow else rows.array(lines)
    else:
        yield from map(_fitted, messages)


def _follow(place: "Home", position: "Position", wanted: "Selection", as_json: bool) -> None:
    from daemon.history import following

    def say(words: str) -> None:
        typer.echo(f"safelight: {words}", err=True)

    with suppress(KeyboardInterrupt):  # the way that this ends
        for message in following.followed(place, position.position, position.epoch, say):
            if wanted.takes(message["type"], message["data"]):
                sys.stdout.write(f"{_json(message) if as_json else _fitted(message)}\n")
                sys.stdout.flush()


def _fitted(message: dict[str, Any]) -> str:
    """Cut to the terminal's width, if it goes to one."""
    line = sentence(message)
    width = terminal_width()
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def sentence(message: dict[str, Any]) -> str:
    """An event on one line: when, its number, its type, and its fields; long ones are cut. Of a source its
    name is told, of faults the first; `--json` has all.
    """
    when = message["ts"][:23].replace("T", " ").removesuffix("Z")
    fields = (f"{name}={_value(value)}" for name, value in message["data"].items())
    return f"{when:23}  {message['seq']:>6}  {message['type']:<16}  {'  '.join(fields)}"


def _value(value: object) -> str:
    match value:
        case {"kind": _, "name": str(name)}:
            value = name
        case [{"message": str(message)}, *more]:
            value = f"{message} (and {len(more)} more)" if more else message
        case _:
            pass
    text = _json(value)
    if isinstance(value, str) and value and not _ODD.search(value):
        text = value
    return text if len(text) <= _LONG else f"{text[: _LONG - 1]}…"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
