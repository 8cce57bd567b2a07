"""`safelight sql`: any question to the history."""

import sys
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

HELP = """Ask the history in SQL: `events`, `frames`, `jobs`, and one view per type of event.

It is read as of now, whether the daemon runs or not, and each file is held to its checksum first. The
query runs in this process on an in-memory DuckDB; of several statements the last one's rows are shown.
docs/queries.md has examples; `SHOW TABLES` and `DESCRIBE preview_written` say what there is.

Exit codes: 0 answered; 1 the history cannot be read; 2 the query or the options are wrong.
"""


def sql(
    query: Annotated[str, typer.Argument(help="The query; - reads it from standard input.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets; NULL is an empty field.")] = False,
) -> None:
    """The command; its help is above."""
    if as_json and as_csv:
        fail("choose one of --json and --csv", 2)
    from daemon.commands import rows
    from daemon.history import query as asking
    from daemon.history import reading

    text = sys.stdin.read() if query == "-" else query
    with one_line(), reading.opened(home_at(home)) as history:
        try:
            ask = asking.as_json if as_json else asking.as_text
            answer = ask(history.connection, text)
            if as_json:
                lines = rows.array(rows.as_objects(answer.names, answer.rows))
            elif as_csv:
                lines = rows.as_csv(answer.names, answer.rows)
            else:
                lines = rows.as_table(answer.names, answer.numbers, answer.rows, terminal_width())
            for line in lines:
                sys.stdout.write(f"{line}\n")
        except asking.BadQuery as error:
            sys.stdout.flush()
            fail(str(error), 2)
