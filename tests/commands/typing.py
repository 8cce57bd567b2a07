"""Commands as a person types them, in the test's own process."""

from typing import Any

import msgspec
from typer.testing import CliRunner

from daemon.__main__ import cli
from daemon.settings import Home


class Answered:
    """What a command said."""

    def __init__(self, home: Home, *words: str) -> None:
        """Type it."""
        result = CliRunner().invoke(cli, [*words, "--home", str(home.root)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        self.code = result.exit_code
        self.out = result.stdout
        self.err = result.stderr

    @property
    def lines(self) -> list[str]:
        """Standard output, line by line."""
        return self.out.splitlines()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as one JSON array of objects."""
        return msgspec.json.decode(self.out, type=list[dict[str, Any]])


def typed(home: Home, *words: str) -> Answered:
    """The command's answer."""
    return Answered(home, *words)
