"""What the commands that talk to a daemon share: exit codes, and the one line that says what it refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from daemon.commands.options import fail

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
