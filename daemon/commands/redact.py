"""`safelight redact`: words that are to be forgotten go out of the history."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, fail, home_at, one_line

if TYPE_CHECKING:
    from daemon.history.redacting import Plan
    from daemon.settings import Home

HELP = """Forget what is personal in a job's events: prompts, names of files, who asked.

The words go out of every file of the history, out of the texts that the job's pictures carry, and with the
prompt file in done/ or rejected/. Events, numbers and seeds stay, and the hash chain still holds.

This cannot be undone. The daemon must be stopped. Exports, replays and other copies that you made are yours
to delete.

Exit codes: 0 done, or there was nothing to do; 1 it could not be done; 2 what was typed is wrong.
"""

JobOption = Annotated[int | None, typer.Option(help="All events of this job.", min=1)]
EventOption = Annotated[
    list[int] | None, typer.Option("--event", help="Only this event, by its number; may be repeated.", min=1)
]
ReasonOption = Annotated[str, typer.Option(help="Recorded with it; for good, so name nobody.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")]


def redact(
    home: HomeOption = DEFAULT_HOME,
    job: JobOption = None,
    events: EventOption = None,
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    as_json: JsonOption = False,
) -> None:
    """The command; its help is above."""
    from daemon.history import asking, redacting

    if (job is None) == (not events):
        fail("say either --job or --event", 2)
    place = home_at(home)
    with one_line():
        with asking.daemon_of(place) as daemon:
            if daemon is not None:
                fail("the daemon is running; stop it first: the history's files are written anew")
        plan = _recorded(place, _condition(job, events or []), reason, dry_run)
        if not dry_run:
            redacting.finish(place)
            _make_tables(place)
    _tell(plan, as_json, dry_run)


def _condition(job: int | None, events: list[int]) -> str:
    """A job's own redactions stay as they are: they say why."""
    if job is not None:
        return f"job = {job} AND type <> 'EventRedacted'"
    return f"seq IN ({', '.join(map(str, events))})"


def _recorded(home: "Home", condition: str, reason: str, dry_run: bool) -> "Plan":
    """Plan it and have it in the log; what follows can be cut off at any moment."""
    from functools import partial

    import anyio

    from daemon.client import myself
    from daemon.history import alone, redacting

    async def work() -> "Plan":
        async with alone.log_of(home) as log:
            by = f"{myself()} at the command line"
            look = partial(redacting.planned, condition=condition, home=home, by=by, reason=reason)
            plan = await log.aside(look)
            if plan.events and not dry_run:
                for event in plan.events:
                    log.state.check(event)
                redacting.begin(home, plan.files)
                await log.decide(lambda _: plan.events)
            return plan

    return anyio.run(work)


def _make_tables(home: "Home") -> None:
    """The tables went with the old database; the copies for readers with the words in them."""
    from daemon.history import reading

    reading.bring_up(home)


def _tell(plan: "Plan", as_json: bool, dry_run: bool) -> None:
    found = list(_rows(plan))
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not found:
        typer.echo("there are no words to forget there")
        return
    for one in found:
        typer.echo(f"{one['place']}: {one['what']}")
    typer.echo("nothing was changed" if dry_run else "forgotten")


def _rows(plan: "Plan") -> list[dict[str, Any]]:
    events = [
        (f"event {event.event}", f"{kind}: {', '.join(event.fields) or 'its picture'}")
        for event, kind in zip(plan.events, plan.types, strict=True)
    ]
    pictures = [(path, "its texts") for path in plan.files.stripped]
    files = [(path, "the file") for path in plan.files.deleted]
    return [{"place": place, "what": what} for place, what in [*events, *pictures, *files]]
