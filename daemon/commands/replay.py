"""`safelight replay`: the frames and jobs as they were."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from daemon.commands.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    fail,
    home_at,
    one_line,
    terminal_width,
)

HELP = """Show the frames as they were after an event, or at a time.

With --out, log and tables as of then go into a DuckDB file of its own, to ask anything; without, the
frames are shown.

Exit codes: 0 done; 1 it could not be done; 2 what was typed is wrong.
"""

_SHOWN = """
SELECT id AS frame, job_id AS job, status, step, steps, seed, model, prompt, path FROM frames ORDER BY id
"""


def replay(
    until: Annotated[
        str, typer.Option(help="An event's number, a time (2026-11-24T07:30, UTC), or an age: '10 min'.")
    ],
    home: HomeOption = DEFAULT_HOME,
    out: Annotated[Path | None, typer.Option(help="A DuckDB file; one that is there is replaced.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The command; its help is above."""
    from daemon import moments
    from daemon.commands import rows
    from daemon.history import query, reading
    from daemon.history import replay as replaying

    try:
        moment = moments.parse(until, datetime.now(UTC))
    except ValueError as error:
        fail(str(error), 2)
    with one_line(), reading.opened(home_at(home)) as history:
        try:
            seq = replaying.position(history.connection, moment)
        except replaying.NoSuchMoment as error:
            fail(str(error), 2)
        if out is not None:
            replaying.save(history.connection, seq, out.expanduser().absolute())
            told = f"log and tables as of event {seq} are in {out}"
            typer.echo(json.dumps({"file": str(out), "position": seq}) if as_json else told)
            return
        replaying.replay(history.connection, seq)
        if as_json:
            answer = query.as_json(history.connection, "FROM frames ORDER BY id")
            lines = rows.array(rows.as_objects(answer.names, answer.rows))
        else:
            answer = query.as_text(history.connection, _SHOWN)
            lines = rows.as_table(answer.names, answer.numbers, answer.rows, terminal_width())
        sys.stdout.writelines(f"{line}\n" for line in lines)
