"""The command line: reads what a person typed once, and says in one line what went wrong.

What is heavy is imported inside functions: only `up` and `demo` need the daemon's parts.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer

from daemon.commands import (
    doctor,
    export,
    log,
    models,
    prune,
    queue,
    rebuild,
    redact,
    replay,
    samplers,
    sql,
    status,
    submit,
    verify,
)
from daemon.commands.mistakes import OneLine
from daemon.commands.options import DEFAULT_HOME, EitherWay, HomeOption, NoHome, home_at, one_line
from daemon.commands.terms import EXIT_CODES
from daemon.settings import DEMO, VERSION, Precision, Settings

cli = typer.Typer(
    name="safelight",
    cls=OneLine,
    help="Watch your SDXL pictures develop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

HostOption = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")]
PortOption = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda:0 …")]
StoreOption = Annotated[
    float,
    typer.Option(
        help="Store a picture's state every so many seconds of work, to go on after a crash.", min=0
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="auto is float16 on a GPU and float32 on a CPU, as the checkpoints are made."),
]
CompileOption = Annotated[
    bool, typer.Option("--compile", help="Compile the UNet: slow at each new size, then faster steps.")
]
BatchOption = Annotated[
    int | None,
    typer.Option(
        help="Make up to so many pictures that fit together at the same time. Left out: as the device bears, "
        "on a CPU one.",
        min=1,
        max=16,
        show_default=False,
    ),
]
IdleOption = Annotated[bool, typer.Option("--until-idle", help="End when there is nothing left to do.")]
LinesOption = Annotated[
    bool, typer.Option("--json", help="Say each thing as one line of JSON, for programs.")
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"safelight {VERSION}")
        raise typer.Exit


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Watch your SDXL pictures develop."""


RUN, QUEUE, HISTORY, PROMPTS = "Run", "Pictures and their queue", "History", "Prompt files"
UP_CODES = "Exit codes: 0 it was ended, or had nothing left to do; 1 it could not run; 2 mistyped."


@cli.command(rich_help_panel=RUN, epilog=UP_CODES)
def up(
    home: HomeOption = DEFAULT_HOME,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8642,
    model: Annotated[
        str, typer.Option(help="Checkpoint of prompts that name none: a folder in models/checkpoints.")
    ] = DEMO,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    compile: CompileOption = False,
    store_every: StoreOption = 5.0,
    batch: BatchOption = None,
    until_idle: IdleOption = False,
    as_json: LinesOption = False,
) -> None:
    """Run the daemon, until Ctrl-C."""
    _run(
        Settings(
            home=home_at(home),
            host=host,
            port=port,
            model=model,
            device=device,
            precision=precision,
            compile=compile,
            store_every=store_every,
            batch=batch,
            until_idle=until_idle,
        ),
        as_json,
    )


@cli.command(rich_help_panel=RUN, epilog=UP_CODES)
def demo(
    home: HomeOption = DEFAULT_HOME,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8642,
    device: DeviceOption = "auto",
    until_idle: IdleOption = False,
    as_json: LinesOption = False,
) -> None:
    """Run the daemon on the built-in model with a few sample prompts."""
    settings = Settings(home=home_at(home), host=host, port=port, device=device, until_idle=until_idle)
    from daemon import samples

    with one_line():
        samples.drop(settings.home)
    _run(settings, as_json)


cli.command(rich_help_panel=RUN, epilog=doctor.EXIT_CODES)(doctor.doctor)
for _command in (submit.submit, status.status, queue.cancel, queue.pause, queue.resume, queue.prioritise):
    cli.command(rich_help_panel=QUEUE, epilog=EXIT_CODES)(_command)


@cli.command(name="schema", rich_help_panel=PROMPTS)
def print_schema(home: NoHome = DEFAULT_HOME, as_json: EitherWay = False) -> None:
    """Print the JSON Schema of prompt files."""
    from daemon import schema

    typer.echo(schema.text(), nl=False)


def _run(settings: Settings, as_json: bool) -> None:
    import anyio

    from daemon import app

    _start_logging(as_json)
    with one_line():
        anyio.run(app.run, settings, logging.getLogger("safelight").info)
    _leave()


def _leave() -> NoReturn:
    """End here, where everything is closed: taking the interpreter apart takes longer than all of that."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _start_logging(as_json: bool) -> None:
    """Colours and clock for a person at a terminal; plain whole lines for a file or a pipe, or JSON."""
    from rich.console import Console
    from rich.logging import RichHandler

    console = Console(highlight=False)
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if as_json:
        handler.setFormatter(_Json())
    elif console.is_terminal:
        handler = RichHandler(console=console, show_path=False, show_level=False, omit_repeated_times=False)
    logging.basicConfig(
        level=os.environ.get("SAFELIGHT_LOG", "INFO"), format="%(message)s", handlers=[handler]
    )
    for noisy in ("watchfiles", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """When, how bad, and what."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told = {"ts": when, "level": record.levelname.lower(), "says": record.getMessage()}
        return json.dumps(told, ensure_ascii=False)


cli.command(rich_help_panel=PROMPTS)(samplers.samplers)
cli.command(rich_help_panel=PROMPTS)(models.models)
cli.command(rich_help_panel=HISTORY, help=sql.HELP)(sql.sql)
cli.command(rich_help_panel=HISTORY, help=log.HELP)(log.log)
cli.command(rich_help_panel=HISTORY, help=export.HELP)(export.export)
cli.command(rich_help_panel=HISTORY, help=replay.HELP)(replay.replay)
cli.command(rich_help_panel=HISTORY, help=verify.HELP)(verify.verify)
cli.command(rich_help_panel=HISTORY, help=rebuild.HELP)(rebuild.rebuild)
cli.command(rich_help_panel=HISTORY, help=prune.HELP)(prune.prune)
cli.command(rich_help_panel=HISTORY, help=redact.HELP)(redact.redact)


def main() -> None:
    """Entry point of the `safelight` command."""
    cli()


if __name__ == "__main__":
    main()
