"""The command itself: quick, quiet when it is interrupted, and known to the shell."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from daemon.settings import VERSION
from tests.daemons import TIMEOUT

SAFELIGHT = str(Path(sys.executable).with_name("safelight"))


def test_it_says_its_version_and_its_commands() -> None:
    """And the exit codes of a command."""
    told = subprocess.run([SAFELIGHT, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"safelight {VERSION}\n"
    listed = subprocess.run([SAFELIGHT, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("up", "demo", "submit", "status", "cancel", "pause", "resume", "prioritise", "doctor"):
        assert f" {name} " in listed
    helped = subprocess.run([SAFELIGHT, "pause", "--help"], capture_output=True, text=True, check=True).stdout
    assert "3 no daemon runs" in " ".join(helped.split())


def test_light_commands_load_nothing_heavy() -> None:
    """The daemon's own parts take a second to import, and no command but `up` has a use for them."""
    asked = "import sys, daemon.__main__; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    loaded = set(told.stdout.split())
    assert "typer" in loaded
    assert not loaded & {"duckdb", "starlette", "anyio", "uvicorn", "httpx", "watchfiles", "torch", "rich"}


@pytest.mark.parametrize("command", [["status"], ["submit", "a fox"], ["up", "--port", "0"]])
def test_ctrl_c_at_once_ends_without_a_word(command: list[str], tmp_path: Path) -> None:
    """Whenever it comes once Python has begun to read us in, nobody is shown a traceback."""
    for after in (0.0, 0.05, 0.1, 0.4):
        process = subprocess.Popen(
            [SAFELIGHT, *command, "--home", tmp_path / "home"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None and not reads_us_in(process.pid):
            time.sleep(0.001)  # nothing tells what a starting process has read in
        time.sleep(after)  # the moment is the point here: there is nothing to wait for
        process.send_signal(signal.SIGINT)
        output, said = process.communicate(timeout=TIMEOUT)
        assert "Traceback" not in output + said, (after, said)
        assert "KeyboardInterrupt" not in output + said, (after, said)


def reads_us_in(pid: int) -> bool:
    """By the first of our imports that can be seen from outside; one that has just ended did."""
    try:
        return "msgspec" in Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


IN_A_CALLBACK = """
import weakref
kept = type("Kept", (), {})()
ref = weakref.ref(kept, lambda _: signal.raise_signal(signal.SIGINT))
del kept
while True:
    pass
"""
IN_A_COMPILED_MODULE = """
import sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "atexit":  # the first that DuckDB's compiled module reads in
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
del sys.modules["atexit"]
import duckdb
"""


@pytest.mark.parametrize("moment", [IN_A_CALLBACK, IN_A_COMPILED_MODULE])
def test_ctrl_c_ends_also_where_python_hides_it(moment: str) -> None:
    """What a weak reference's callback raises is told and forgotten, and an ImportError is made of others."""
    work = "".join(f"\n    {line}" for line in f"import signal{moment}".splitlines())
    script = f"from daemon import __main__, entry\ndef work():{work}\n__main__.cli = work\nentry.main()"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_completion_is_installed_and_bash_completes(tmp_path: Path) -> None:
    """In a home of its own, for the shell that it is typed in."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on the PATH")
    path = f"{Path(SAFELIGHT).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path}

    def type_in_bash(line: str) -> str:
        command = [bash, "-c", f"{line}; true"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "completion installed" in type_in_bash("safelight --install-completion")
    assert "safelight" in (tmp_path / ".bashrc").read_text()
    completed = type_in_bash(
        "source ~/.bashrc; COMP_WORDS=(safelight sta); COMP_CWORD=1; "
        "_safelight_completion safelight sta safelight; echo ${COMPREPLY[@]}"
    )
    assert completed == "status\n"
