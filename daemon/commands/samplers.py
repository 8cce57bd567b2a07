"""`safelight samplers`: what a prompt may name, and what goes with what."""

import typer

from daemon.commands.options import DEFAULT_HOME, JsonOption, NoHome


def samplers(home: NoHome = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the samplers, and the schedulers that each goes with."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from daemon.samplers import ALL, SAMPLERS, SCHEDULERS

    if as_json:
        typer.echo(msgspec.json.encode(list(SAMPLERS.values())))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("sampler", "A1111", "schedulers", ""):
        table.add_column(heading, overflow="fold")
    for it in SAMPLERS.values():
        every = "all" if it.schedulers == ALL else ", ".join(it.schedulers)
        table.add_row(it.name, it.label, every, it.note)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\nAll schedulers: {', '.join(SCHEDULERS)}")
