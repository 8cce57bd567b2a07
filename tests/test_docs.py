"""What the docs say is true: pages made from code are fresh, and the README's commands and examples work."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.routing import Route

from daemon.history import reading
from daemon.settings import Home
from tests.daemons import TIMEOUT
from tests.serving import site

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_events_page_is_what_the_types_say() -> None:
    """`python docs/build.py` makes it anew."""
    page = runpy.run_path(str(ROOT / "docs" / "build.py"))["page"]()
    assert (ROOT / "docs" / "events.md").read_text() == page


@pytest.mark.anyio
async def test_the_http_page_names_every_route(tmp_path: Path) -> None:
    """One row for each, and no row for what there is not."""
    async with site(tmp_path) as served:
        there = {
            f"{method} {route.path}"
            for route in served.web.routes()
            if isinstance(route, Route)
            for method in (route.methods or {"GET"}) - {"HEAD"}
        }
    rows = re.findall(r"^\| `((?:GET|POST) [^`]+)` \|", (ROOT / "docs" / "http.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted({*there, "GET /static/{path}"})


def test_the_map_names_every_module() -> None:
    """Who looks for a file finds it in `daemon/__init__.py`."""
    import daemon

    described = daemon.__doc__ or ""
    modules = {path.stem for path in (ROOT / "daemon").rglob("*.py")} - {"__init__"}
    assert [name for name in sorted(modules) if not re.search(rf"\b{name}\b", described)] == []


@pytest.mark.parametrize("target", re.findall(r"^make (\w+)$", README, re.MULTILINE))
def test_the_readmes_make_targets_are_there(target: str) -> None:
    """make itself says what it would do for each."""
    make = shutil.which("make")
    assert make is not None
    subprocess.run([make, "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_the_readmes_first_drop_becomes_a_picture_and_its_query_runs(home: Home, tmp_path: Path) -> None:
    """Typed as it stands, in a shell, then asked for as it stands, in SQL."""
    home.root.rename(tmp_path / "safelight-home")
    home = Home(tmp_path / "safelight-home")
    (command,) = [block for block in blocks("sh") if block.startswith("echo")]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    up = [sys.executable, "-m", "daemon", "up", "--home", str(home.root), "--port", "0", "--until-idle"]
    subprocess.run(up, check=True, timeout=TIMEOUT)

    assert (home.done / "circle.json").exists()
    assert len(list(home.frames.glob("task_1_*.png"))) == 1
    (sql,) = blocks("sql")
    with reading.opened(home) as history:
        assert [step for _, step, _, _ in history.connection.execute(sql).fetchall()][-1] == 40
