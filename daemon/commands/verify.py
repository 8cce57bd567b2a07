"""`safelight verify`: is everything as it was recorded?"""

import json
import sys

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, home_at, one_line, terminal_width

HELP = """Check the history: hash chain, journal, segments, tables, and every finished picture.

Nothing is changed. Each thing that is wrong is a row: where, and what. With a daemon running, its database
file is left alone, and that is said; stop the daemon to have everything checked.

Exit codes: 0 all is as it was recorded; 1 something is not, or could not be looked at; 2 what was typed is
wrong.
"""


def verify(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """The command; its help is above."""
    from daemon.commands import rows
    from daemon.commands.progress import told
    from daemon.history import audit as auditing

    with one_line():
        result = auditing.audit(home_at(home), told)
    found = [(one.place, one.what) for one in result.findings]
    if as_json:
        objects = (json.dumps({"place": place, "what": what}) for place, what in found)
        lines = rows.array(objects)
    elif found:
        lines = rows.as_table(["where", "what"], [False, False], found, terminal_width())
    else:
        lines = iter(())
    sys.stdout.writelines(f"{line}\n" for line in lines)
    for place in result.unchecked:
        typer.echo(f"not checked: {place}", err=True)
    typer.echo(
        f"checked: {', '.join(f'{number} {what}' for what, number in result.checked.items())}", err=True
    )
    things = "1 thing is" if len(found) == 1 else f"{len(found)} things are"
    typer.echo(f"{things} wrong" if found else "all is as it was recorded", err=True)
    if found:
        raise typer.Exit(1)
