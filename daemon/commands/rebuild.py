"""`safelight rebuild`: the tables made again from the log."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, home_at, one_line, terminal_width

if TYPE_CHECKING:
    from daemon.settings import Home

HELP = """Make the tables (frames, jobs, timings …) anew from the log, and put them in the old ones' place.

They are a fold of the log and never drift from it by themselves; this is for tables that a damaged disk or
a strange hand has changed. Work goes on meanwhile. --dry-run only says which rows differ.

Exit codes: 0 done, and with --dry-run nothing differs; 1 something differs, or it could not be done; 2 what
was typed is wrong.
"""


def rebuild(
    home: HomeOption = DEFAULT_HOME,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which rows differ, and change nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The command; its help is above."""
    with one_line():
        answer = _asked(home_at(home), dry_run)
    if dry_run:
        _tell(answer["drifts"], as_json)
    elif as_json:
        typer.echo(json.dumps([{"table": table, "rows": count} for table, count in answer["rows"].items()]))
    else:
        counts = ", ".join(f"{count} {table}" for table, count in answer["rows"].items())
        typer.echo(f"made anew as of event {answer['position']} in {answer['seconds']:.2f} s: {counts}")


def _tell(drifts: list[dict[str, Any]], as_json: bool) -> None:
    from daemon.commands import rows

    if as_json:
        sys.stdout.writelines(f"{line}\n" for line in rows.array(map(json.dumps, drifts)))
    elif drifts:
        told = [
            (f"{one['table']} {one['key']}", json.dumps(one["found"]), json.dumps(one["expected"]))
            for one in drifts
        ]
        lines = rows.as_table(["row", "has", "the log says"], [False] * 3, told, terminal_width())
        sys.stdout.writelines(f"{line}\n" for line in lines)
    else:
        typer.echo("the tables are what the log says")
    if drifts:
        raise typer.Exit(1)


def _asked(home: "Home", dry_run: bool) -> dict[str, Any]:
    from daemon.history import asking

    with asking.daemon_of(home) as daemon:
        if daemon is not None:
            return daemon.post("/api/tables/rebuild", {"dry_run": dry_run})
    return _alone(home, dry_run)


def _alone(home: "Home", dry_run: bool) -> dict[str, Any]:
    import anyio
    import msgspec

    from daemon.history import alone
    from daemon.projections import rebuilding

    async def work() -> object:
        async with alone.log_of(home) as log:
            return {"drifts": await rebuilding.compare(log)} if dry_run else await rebuilding.rebuild(log)

    answer: dict[str, Any] = msgspec.to_builtins(anyio.run(work))
    return answer
