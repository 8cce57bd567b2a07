"""What all commands have in common: options, exit codes, and errors of one line."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from daemon.settings import Home

DEFAULT_HOME = Path("~/safelight")

HomeOption = Annotated[
    Path, typer.Option(help="The folder of everything that is yours.", envvar="SAFELIGHT_HOME")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]

NoHome = Annotated[
    Path, typer.Option(help="Taken as by every command; nothing here depends on it.", envvar="SAFELIGHT_HOME")
]
EitherWay = Annotated[bool, typer.Option("--json", help="Taken as by every command; it is JSON anyway.")]

EXIT_CODES = "Exit codes: 0 all well; 1 it could not be done; 2 what was typed is wrong."


def home_at(path: Path) -> Home:
    """The home that was asked for."""
    return Home(path.expanduser().absolute())


@contextmanager
def one_line() -> Iterator[None]:
    """Say in one line what went wrong, and exit with 1; a bug of ours still shows its traceback."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read the output has seen enough; the command line knows that
    except Exception as error:
        leaves = list(_leaves(error))
        if not all(isinstance(leaf, _expected()) for leaf in leaves):
            raise
        fail("; ".join(dict.fromkeys(" ".join(words_of(leaf).split()) for leaf in leaves)))


def terminal_width() -> int | None:
    """Cells in a line of the terminal; None where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fail(message: str, code: int = 1) -> NoReturn:
    """Say it on standard error and exit."""
    typer.echo(f"safelight: {message}", err=True)
    raise typer.Exit(code)


def _expected() -> tuple[type[Exception], ...]:
    """What a person can do something about. Looked up when something is wrong, to spare the import."""
    import duckdb

    from daemon import client
    from daemon.events.codec import UnknownEvent
    from daemon.events.opening import HistoryDamaged, HomeInUse
    from daemon.events.rounds import LogFailed
    from daemon.gpu.device import NoDevice
    from daemon.history.alone import NoHistory
    from daemon.projections.laws import Refused

    ours = (HistoryDamaged, HomeInUse, LogFailed, NoDevice, NoHistory, Refused, UnknownEvent)
    return (*ours, client.NotRunning, client.Refused, OSError, duckdb.Error)


def words_of(error: BaseException) -> str:
    """What a person reads of it: the system's errors without their number."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors themselves, out of the groups that task groups wrap them in."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error
