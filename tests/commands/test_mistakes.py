"""What is mistyped: one line, exit code 2, whatever the mistake; and what every command has in common."""

from pathlib import Path

import pytest
from typer.main import get_command

from daemon.__main__ import cli
from daemon.settings import Home
from tests.commands.typing import typed

COMMANDS = get_command(cli).commands  # type: ignore[attr-defined]  # typer's group has them


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("statsu",), "no such command 'statsu'. Did you mean 'status'? See: safelight --help"),
        (
            ("status", "--jsn"),
            "no such option: --jsn (Possible options: --json). See: safelight status --help",
        ),
        (("submit",), "missing argument 'prompt'. See: safelight submit --help"),
        (("submit", "a fox", "--steps", "many"), "invalid value for '--steps': "),
        (("cancel", "0"), "invalid value for 'job': "),
        (("cancel", "1", "2"), "got unexpected extra argument"),
        (("up", "--port", "99999"), "invalid value for '--port': "),
    ],
)
def test_a_mistake_is_one_line(nowhere: Home, words: tuple[str, ...], said: str) -> None:
    """What, and where the help is; nothing else, so that a script's log stays readable."""
    answer = typed(nowhere, *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"safelight: {said}")
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize("words", [["status"], ["submit", "a fox"], ["doctor"], ["log"], ["up"], ["demo"]])
def test_a_home_that_is_no_folder_is_one_line(tmp_path: Path, words: list[str]) -> None:
    """Whatever is asked of it."""
    (tmp_path / "home").write_text("a file")
    answer = typed(Home(tmp_path / "home"), *words)
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert answer.err.startswith(f"safelight: {tmp_path}/home")
    assert "Not a directory" in answer.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_options_that_scripts_count_on(name: str) -> None:
    """`--home` and `--json`, and its exit codes in its help."""
    command = COMMANDS[name]
    assert {"--home", "--json"} <= {each for option in command.params for each in option.opts}
    assert "Exit codes: 0" in f"{command.epilog} {command.help}" or name in ("schema", "samplers", "models")
