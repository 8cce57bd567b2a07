"""What `doctor` looks at in the machine: versions, GPU, memory, disk, the port."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from daemon.commands.findings import Finding, bad, good, note
from daemon.settings import Home, Settings

GIB = 2**30
PROBE_PATIENCE = 120.0
"""Seconds for importing torch from a cold disk."""
ANSWER_PATIENCE = 2.0
"""Seconds that whoever has the usual port gets to say that it is a daemon."""
MEMORY_FOR_SDXL = 8 * GIB
"""SDXL's weights are 7 GB in half precision, and pass through main memory on their way to a GPU."""
USUAL_PORT = Settings(home=Home(Path())).port
DISK_LOW = 2 * GIB
DISK_OUT = GIB // 5
PYTHON = (3, 11)
DUCKDB = (2, 0)


def versions() -> Iterator[Finding]:
    """Python and the libraries that the history and the pictures depend on."""
    python = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= PYTHON:
        yield good("Python", python)
    else:
        yield bad("Python", f"{python} is too old", "install Python 3.11 or later")
    for name in ("duckdb", "torch", "diffusers"):
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield bad(name, "is not installed", "install Safelight anew: make install")
            continue
        old = name == "duckdb" and tuple(map(int, version.split(".")[:2])) < DUCKDB
        yield (
            bad(name, f"{version} is too old", "install DuckDB 2.0 or later") if old else good(name, version)
        )


def probe(taesd: Path | None) -> dict[str, Any] | str:
    """What torch says in a process of its own, or why it says nothing."""
    command = [sys.executable, "-m", "daemon.gpu.probe", *([] if taesd is None else [str(taesd)])]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"torch did not start within {PROBE_PATIENCE:g} s"
    if ended.returncode != 0:
        return (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def gpu(probed: dict[str, Any] | str) -> Iterator[Finding]:
    """Whether pictures can be made on a GPU."""
    if isinstance(probed, str):
        yield bad("GPU", f"torch cannot be used: {probed}", "install Safelight anew: make install")
    elif probed["gpus"]:
        for each in probed["gpus"]:
            memory = f"{each['free'] / GIB:.0f} of {each['total'] / GIB:.0f} GiB free"
            yield good("GPU", f"{each['name']}, {memory}")
    else:
        build = "is built for CPUs only" if probed["cuda"] is None else "finds none"
        yield note(
            "GPU",
            f"torch {probed['torch']} {build}; pictures are made on the CPU",
            "fine for the demo model, slow for SDXL; if there is a GPU, check its driver: nvidia-smi",
        )


def memory() -> Iterator[Finding]:
    """Whether a checkpoint fits into main memory."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    free = available(total)
    says = f"{free / GIB:.1f} of {total / GIB:.1f} GiB can be had"
    if free < MEMORY_FOR_SDXL:
        yield note("memory", says, "enough for the demo model; loading an SDXL checkpoint takes about 8 GiB")
    else:
        yield good("memory", says)


def available(total: int) -> int:
    """Bytes of main memory that programs can have (proc(5)); all of it where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return total
    told = dict(line.split(":", 1) for line in lines)
    return int(told["MemAvailable"].split()[0]) * 1024


def disk(home: Home) -> Iterator[Finding]:
    """Room for pictures and history."""
    there = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    says = f"{free / GIB:.1f} GiB free on {there}"
    if free < DISK_OUT:
        yield bad("disk", says, "make room: with none left pictures fail, and prompts wait in the inbox")
    elif free < DISK_LOW:
        yield note("disk", says, "make room soon: a finished picture takes about 1.5 MB")
    else:
        yield good("disk", says)


def port(ours: int | None) -> Iterator[Finding]:
    """Whether the usual port is free; `ours` is the port of the running daemon."""
    if ours is not None:
        yield good("port", f"{ours}, this home's daemon")
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", USUAL_PORT))
        except OSError as error:
            yield note(
                "port",
                f"{USUAL_PORT} is {_whose(USUAL_PORT)} ({error.strerror})",
                "choose another: safelight up --port",
            )
        else:
            yield good("port", f"{USUAL_PORT} is free")


def _whose(port: int) -> str:
    import httpx

    try:
        health = httpx.get(
            f"http://127.0.0.1:{port}/api/health", timeout=ANSWER_PATIENCE, trust_env=False
        ).json()
    except (httpx.HTTPError, ValueError):
        return "taken by another program"
    return "the daemon of another home" if "epoch" in health else "taken by another program"
