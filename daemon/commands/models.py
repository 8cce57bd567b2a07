"""`safelight models`: what a home has for prompts to name."""

import typer

from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, home_at, one_line


def models(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """List the checkpoints, LoRAs and embeddings that prompts may name."""
    import msgspec

    from daemon import stock

    place = home_at(home)
    with one_line():
        there = stock.look(place)
    if as_json:
        typer.echo(msgspec.json.encode(there))
        return
    shown = {
        "checkpoints": (there.checkpoints, place.checkpoints, '"model": "NAME"'),
        "LoRAs": (there.loras, place.loras, "<lora:NAME:0.8>"),
        "embeddings": (there.embeddings, place.embeddings, "embedding:NAME"),
    }
    for kind, (names, folder, said) in shown.items():
        typer.echo(f"{kind}, as {said}:")
        for name in names:
            typer.echo(f"  {name}")
        if not names:
            typer.echo(f"  none; they go into {folder}")
