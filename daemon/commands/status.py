"""`status`: what runs, what waits, and what went wrong, at a glance."""

from typing import Any

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, home_at
from daemon.commands.terms import explained, print_json

RECENT = 400
"""Events among which the pace of the running frames is looked for."""


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show what runs, what waits and what failed."""
    with explained():
        from daemon.client import connected

        with connected(home_at(home)) as daemon:
            state = daemon.get("/api/status")
            recent = daemon.get("/api/log", after=max(0, state["position"] - RECENT), limit=RECENT)["events"]
            inbox = _inbox(daemon)
            url = daemon.address.url
    from daemon.commands import overview

    seen = overview.Overview(url=url, state=state, recent=recent, inbox=inbox)
    if as_json:
        print_json(overview.as_json(seen))
    else:
        overview.show(seen)


def _inbox(daemon: Any) -> dict[str, Any] | None:
    from daemon.client import Refused

    try:
        answer: dict[str, Any] = daemon.get("/api/inbox")
    except Refused as refusal:
        if refusal.status == 404:
            return None
        raise
    return answer
