"""`safelight prune`: old pictures go, their history stays."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, fail, home_at, one_line

if TYPE_CHECKING:
    from daemon.settings import Home

HELP = """Delete finished pictures that are older than a time. No event is ever deleted.

Each deletion is recorded as FinalDeleted; prompt, seed and everything else that made the picture stay in
the log, so it can be made again. With a daemon running, the daemon does it.

Exit codes: 0 done; 1 it could not be done; 2 what was typed is wrong.
"""


def prune(
    before: Annotated[
        str, typer.Option(help="Finished before this time (2026-11-24), or an age: '30 days'.")
    ],
    home: HomeOption = DEFAULT_HOME,
    project: Annotated[str | None, typer.Option(help="Only pictures of this project.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """The command; its help is above."""
    from daemon import moments

    try:
        when = moments.parse_time(before, datetime.now(UTC))
    except ValueError as error:
        fail(str(error), 2)
    place = home_at(home)
    with one_line():
        gone = list(_old(place, when, project) if dry_run else _deleted(place, when, project))
    if as_json:
        typer.echo(json.dumps(gone))
        return
    size = sum(one["bytes"] for one in gone) / 1e6
    verb = "would be deleted" if dry_run else "deleted"
    typer.echo(f"{len(gone)} {'picture' if len(gone) == 1 else 'pictures'} {verb}, {size:.1f} MB")


def _old(home: "Home", before: datetime, project: str | None) -> Iterator[dict[str, Any]]:
    from daemon import finals
    from daemon.history import reading

    with reading.opened(home) as history:
        for frame, path in finals.finished(history.connection, before, project):
            file = home.root / path
            yield {"frame": frame, "path": path, "bytes": file.stat().st_size if file.exists() else 0}


def _deleted(home: "Home", before: datetime, project: str | None) -> Iterator[dict[str, Any]]:
    """A portion at a time, until nothing is left."""
    from daemon.history import asking

    with asking.daemon_of(home) as daemon:
        if daemon is None:
            yield from _alone(home, before, project)
            return
        left = 1
        while left:
            answer = daemon.post("/api/prune", {"before": before, "project": project})
            left = answer["left"] if answer["gone"] else 0
            yield from answer["gone"]


def _alone(home: "Home", before: datetime, project: str | None) -> list[dict[str, Any]]:
    import anyio
    import msgspec

    from daemon import finals
    from daemon.history import alone

    async def portions() -> list[finals.Gone]:
        gone: list[finals.Gone] = []
        async with alone.log_of(home) as log:
            while portion := (await finals.prune(log, home, before, project)).gone:
                gone += portion
        return gone

    return [msgspec.to_builtins(one) for one in anyio.run(portions)]
