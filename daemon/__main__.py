"""The command line: reads what a person typed once, and says in one line what went wrong."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import anyio
import duckdb
import msgspec
import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from daemon import app, samples
from daemon.events.codec import UnknownEvent
from daemon.events.log import LogFailed
from daemon.events.opening import HistoryDamaged, HomeInUse
from daemon.gpu.device import NoDevice
from daemon.samplers import ALL, SAMPLERS, SCHEDULERS
from daemon.settings import DEMO, Home, Settings

cli = typer.Typer(
    name="safelight",
    help="Watch your SDXL pictures develop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)

HomeOption = Annotated[
    Path, typer.Option(help="The folder of everything that is yours.", envvar="SAFELIGHT_HOME")
]
HostOption = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")]
PortOption = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda:0 …")]
StoreOption = Annotated[
    float,
    typer.Option(
        help="Store a picture's state every so many seconds of work, to go on after a crash.", min=0
    ),
]
IdleOption = Annotated[bool, typer.Option("--until-idle", help="End when there is nothing left to do.")]
DEFAULT_HOME = Path("~/safelight")


@cli.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8642,
    model: Annotated[
        str, typer.Option(help="Checkpoint of prompts that name none: a folder in models/checkpoints.")
    ] = DEMO,
    device: DeviceOption = "auto",
    store_every: StoreOption = 5.0,
    until_idle: IdleOption = False,
) -> None:
    """Run the daemon."""
    _run(
        Settings(
            home=_home(home),
            host=host,
            port=port,
            model=model,
            device=device,
            store_every=store_every,
            until_idle=until_idle,
        )
    )


@cli.command()
def demo(
    home: HomeOption = DEFAULT_HOME,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8642,
    device: DeviceOption = "auto",
    until_idle: IdleOption = False,
) -> None:
    """Run the daemon on the built-in model with a few sample prompts."""
    settings = Settings(home=_home(home), host=host, port=port, device=device, until_idle=until_idle)
    samples.drop(settings.home)
    _run(settings)


@cli.command()
def samplers(
    as_json: Annotated[bool, typer.Option("--json", help="One array of objects, for programs.")] = False,
) -> None:
    """List the samplers, and the schedulers that each goes with."""
    if as_json:
        typer.echo(msgspec.json.encode(list(SAMPLERS.values())))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("sampler", "A1111", "schedulers", ""):
        table.add_column(heading, overflow="fold")
    for it in SAMPLERS.values():
        every = "all" if it.schedulers == ALL else ", ".join(it.schedulers)
        table.add_row(it.name, it.label, every, it.note)
    console.print(table)
    console.print(f"\nAll schedulers: {', '.join(SCHEDULERS)}")


def _home(path: Path) -> Home:
    return Home(path.expanduser().absolute())


def _run(settings: Settings) -> None:
    _start_logging()
    log = logging.getLogger("safelight")
    failed = False
    try:
        anyio.run(app.run, settings, log.info)
    except* (HistoryDamaged, HomeInUse, LogFailed, NoDevice, UnknownEvent, OSError, duckdb.Error) as errors:
        reasons = dict.fromkeys(" ".join(str(error).split()) for error in _leaves(errors))
        typer.echo(f"safelight: {'; '.join(reasons)}", err=True)
        failed = True
    if failed:
        raise typer.Exit(1)


def _start_logging() -> None:
    """Colours and clock for a person at a terminal; plain whole lines for a file or a pipe."""
    pretty = RichHandler(console=console, show_path=False, show_level=False, omit_repeated_times=False)
    handler = pretty if console.is_terminal else logging.StreamHandler(sys.stdout)
    logging.basicConfig(
        level=os.environ.get("SAFELIGHT_LOG", "INFO"), format="%(message)s", handlers=[handler]
    )
    for noisy in ("watchfiles", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    """The errors themselves, out of the groups that task groups wrap them in."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def main() -> None:
    """Entry point of the `safelight` command."""
    cli()


if __name__ == "__main__":
    main()
