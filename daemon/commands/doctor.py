"""`doctor`: looks at everything that can keep pictures from being made, and says for each what to do."""

from collections.abc import Iterator

import typer

from daemon.commands.findings import Finding
from daemon.commands.options import DEFAULT_HOME, HomeOption, JsonOption, home_at
from daemon.commands.terms import REFUSED, print_json
from daemon.settings import Home

EXIT_CODES = "Exit codes: 0 nothing is bad; 1 something is."


def doctor(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Check the home and the machine, and say what to do."""

    findings: list[Finding] = []
    for finding in _look(home_at(home)):
        findings.append(finding)
        if not as_json:
            _print(finding)
    worst = sum(finding.state == "bad" for finding in findings)
    if as_json:
        print_json(findings)
    else:
        print(f"\n{worst} of {len(findings)} checks are bad" if worst else "\nnothing is bad")
    if worst:
        raise typer.Exit(REFUSED)


def _look(home: Home) -> Iterator[Finding]:
    """Each finding as it is made: asking torch takes some seconds, and the rest need not wait for it."""
    from daemon.commands import house, machine, weights

    running = house.Running(home)
    yield from house.daemon_of(running)
    yield from machine.port(running.port)
    yield from house.folders(home)
    yield from house.inbox(home)
    yield from house.stale(home, running)
    yield from house.history(home, running)
    yield from machine.disk(home)
    yield from machine.memory()
    yield from machine.versions()
    yield from weights.checkpoints(home)
    probed = machine.probe(weights.decoder(home))
    yield from machine.gpu(probed)
    yield from weights.taesd(home, probed)


def _print(finding: Finding) -> None:
    from rich.console import Console

    colour = {"good": "green", "note": "yellow", "bad": "red"}[finding.state]
    console = Console(highlight=False)
    console.print(f"[{colour}]{finding.state:4}[/]  ", end="")
    console.print(f"{finding.about:<15}  {finding.says}", markup=False, soft_wrap=True)
    if finding.advice is not None:
        console.print(f"{'':21}  {finding.advice}", markup=False, style="dim", soft_wrap=True)
