"""What `bench/stream` compares: servers that send each event to all who listen, told by lines on stdin.

Each prints its port, then answers each line with one: `tell` sends one event and answers when that was
begun and when the event was durable, by the clock that all processes share; `cpu` answers the seconds
computed so far.
"""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def raw(folder: Path) -> list[str]:
    """The command of the floor: a C program, compiled into `folder`, or Python's `send`."""
    compiler = shutil.which("cc")
    if compiler is None:
        return [sys.executable, str(HERE / "raw.py")]
    program = folder / "raw"
    subprocess.run([compiler, "-O2", "-o", program, HERE / "raw.c"], check=True)
    return [str(program)]
