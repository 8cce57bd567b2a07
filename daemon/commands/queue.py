"""`cancel`, `pause`, `resume`: what a person asks of the queue of a running daemon."""

from typing import Annotated, Any

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, fail, home_at
from daemon.commands.terms import MISTYPED, explained, print_json


def cancel(
    job: Annotated[
        int | None, typer.Argument(help="The job's number, as `submit` printed it.", min=1)
    ] = None,
    frame: Annotated[int | None, typer.Option(help="Only this picture.", min=1)] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that runs or waits.")] = False,
    waiting: Annotated[bool, typer.Option("--all-but-running", help="All that waits.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Cancel a job, one picture, or everything."""
    if sum([job is not None, frame is not None, everything, waiting]) != 1:
        fail("say one of: a job's number, --frame, --all, --all-but-running", MISTYPED)
    body: dict[str, str] = {}
    if job is not None:
        path = f"/api/jobs/{job}/cancel"
    elif frame is not None:
        path = f"/api/frames/{frame}/cancel"
    else:
        path, body = "/api/cancel", {"scope": "all" if everything else "all-but-running"}
    answer = _post(home, path, body)
    frames: list[int] = answer.get("frames", [frame])
    if as_json:
        print_json({"position": answer["position"], "frames": frames})
    else:
        print(_stopped(frames))


def pause(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Begin no new pictures; what is being made goes on."""
    answer = _post(home, "/api/queue/pause", {})
    if as_json:
        print_json({"position": answer["position"], "paused": True, "changed": answer["changed"]})
    else:
        print("paused: what is being made goes on" if answer["changed"] else "paused already")


def resume(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Begin waiting pictures again."""
    answer = _post(home, "/api/queue/resume", {})
    if as_json:
        print_json({"position": answer["position"], "paused": False, "changed": answer["changed"]})
    else:
        print("the queue goes on" if answer["changed"] else "the queue was not paused")


def prioritise(
    job: Annotated[int, typer.Argument(help="The job's number.", min=1)],
    priority: Annotated[
        int, typer.Argument(help="Higher goes first; one below zero after --.", min=-1000, max=1000)
    ],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Let a job wait by another priority."""
    answer = _post(home, f"/api/jobs/{job}/priority", {"priority": priority})
    if as_json:
        print_json({"position": answer["position"], "priority": priority, "changed": answer["changed"]})
    else:
        print(f"job {job} has priority {priority}" + ("" if answer["changed"] else " already"))


def _post(home: HomeOption, path: str, body: object) -> dict[str, Any]:
    with explained():
        from daemon.client import connected

        with connected(home_at(home)) as daemon:
            return daemon.post(path, body)


def _stopped(frames: list[int]) -> str:
    if not frames:
        return "there was nothing to cancel"
    named = ", ".join(map(str, frames[:10])) + (f" and {len(frames) - 10} more" if len(frames) > 10 else "")
    return f"cancelled: {'frame' if len(frames) == 1 else 'frames'} {named}"
