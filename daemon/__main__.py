"""The command line: reads what a person typed once, and says in one line what went wrong."""

import logging
import os
import sys
from typing import Annotated

import typer

from daemon.commands import export, log, prune, rebuild, replay, sql, verify
from daemon.commands.options import DEFAULT_HOME, HomeOption, home_at, one_line
from daemon.settings import DEMO, Settings

cli = typer.Typer(
    name="safelight",
    help="Watch your SDXL pictures develop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

HostOption = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs a token.")]
PortOption = Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda:0 …")]
IdleOption = Annotated[bool, typer.Option("--until-idle", help="End when there is nothing left to do.")]


@cli.command()
def up(
    home: HomeOption = DEFAULT_HOME,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8642,
    model: Annotated[
        str, typer.Option(help="Checkpoint of prompts that name none: a folder in models/checkpoints.")
    ] = DEMO,
    device: DeviceOption = "auto",
    until_idle: IdleOption = False,
) -> None:
    """Run the daemon."""
    _run(
        Settings(home=home_at(home), host=host, port=port, model=model, device=device, until_idle=until_idle)
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
    settings = Settings(home=home_at(home), host=host, port=port, device=device, until_idle=until_idle)
    from daemon import samples

    samples.drop(settings.home)
    _run(settings)


@cli.command(name="schema")
def print_schema() -> None:
    """Print the JSON Schema of prompt files."""
    from daemon import schema

    typer.echo(schema.text(), nl=False)


def _run(settings: Settings) -> None:
    import anyio

    from daemon import app

    _start_logging()
    with one_line():
        anyio.run(app.run, settings, logging.getLogger("safelight").info)


def _start_logging() -> None:
    """Colours and clock for a person at a terminal; plain whole lines for a file or a pipe."""
    from rich.console import Console
    from rich.logging import RichHandler

    console = Console(highlight=False)
    pretty = RichHandler(console=console, show_path=False, show_level=False, omit_repeated_times=False)
    handler = pretty if console.is_terminal else logging.StreamHandler(sys.stdout)
    logging.basicConfig(
        level=os.environ.get("SAFELIGHT_LOG", "INFO"), format="%(message)s", handlers=[handler]
    )
    for noisy in ("watchfiles", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


cli.command(help=sql.HELP)(sql.sql)
cli.command(help=log.HELP)(log.log)
cli.command(help=export.HELP)(export.export)
cli.command(help=replay.HELP)(replay.replay)
cli.command(help=verify.HELP)(verify.verify)
cli.command(help=rebuild.HELP)(rebuild.rebuild)
cli.command(help=prune.HELP)(prune.prune)


def main() -> None:
    """Entry point of the `safelight` command."""
    cli()


if __name__ == "__main__":
    main()
