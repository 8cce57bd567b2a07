"""What was typed wrong, in one line: which option, which value, and where the help is."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from daemon.commands.options import words_of
from daemon.commands.terms import REFUSED


class OneLine(TyperGroup):
    """The commands. Typer would answer a mistake with its usage, a hint and a box."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that was typed; ends the process with its exit code, as typer's own does."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except typer.TyperException as mistake:
            if not standalone_mode:
                raise
            if message := mistake.format_message().strip():  # none: no command was typed, and help is shown
                typer.echo(_told(message, mistake), err=True)
            sys.exit(mistake.exit_code)
        except OSError as error:  # a file that is not what it should be; one without a name is a bug of ours
            if not standalone_mode or error.filename is None:
                raise
            typer.echo(f"safelight: {words_of(error)}", err=True)
            sys.exit(REFUSED)
        return sys.exit(code or 0) if standalone_mode else code


def _told(message: str, mistake: typer.TyperException) -> str:
    context: typer.Context | None = getattr(mistake, "ctx", None)
    end = "" if message.endswith((".", "?", "!")) else "."
    hint = f"{end} See: {context.command_path} --help" if context is not None else ""
    return f"safelight: {message[:1].lower()}{' '.join(message[1:].split())}{hint}"
