"""What all commands share: options, exit codes, and the one line that says what went wrong."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from daemon.settings import Home

DONE = 0
REFUSED = 1
"""The daemon said no, a check failed, or a picture failed or was cancelled."""
MISTYPED = 2
"""The command line's own code for what it cannot make sense of; a prompt with faults is that too."""
NOT_RUNNING = 3
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, or a picture failed or was cancelled; 2 mistyped, or a prompt with "
    "faults; 3 no daemon runs on this home; 130 Ctrl-C."
)

DEFAULT_HOME = Path("~/safelight")
HomeOption = Annotated[
    Path, typer.Option(help="The folder of everything that is yours.", envvar="SAFELIGHT_HOME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]


def home_of(path: Path) -> Home:
    """The home that was asked for."""
    return Home(path.expanduser().absolute())


def fail(message: str, code: int = REFUSED) -> NoReturn:
    """End with one line on standard error."""
    print(f"safelight: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def explained() -> Iterator[None]:
    """Have what a daemon refuses, or its absence, end the command in one line and an exit code."""
    from daemon.client import NotRunning, Refused

    try:
        yield
    except NotRunning as error:
        fail(str(error), NOT_RUNNING)
    except Refused as error:
        fail(str(error))


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    print(msgspec.json.encode(value).decode())
