"""Makes `docs/events.md` from the event types: `python docs/build.py`. A test holds the page to the code."""

import ast
import inspect
from pathlib import Path

from daemon.events import types

HEAD = """# Events

Every fact that the log can hold, made from `daemon/events/types.py` by `python docs/build.py`.

Each event is one row of the table `events`: `seq` (1, 2, 3 … without gaps, in commit order), `ts` (UTC, to
the microsecond), `type`, `version`, `job` and `frame` where the event has them, `cause` (the `seq` of the
event that this one answers), `data` (the fields below, as JSON) and `hash` (SHA-256 over the previous row's
and this row: its first 12 bytes, and in each sixteenth row all 32).
"""


def main() -> None:
    """Write the page."""
    Path(__file__).with_name("events.md").write_text(page())


def page() -> str:
    """The whole page, in the union's order, the parts that several events share at the end."""
    nodes = ast.parse(inspect.getsource(types)).body
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
    names = [*types.BY_NAME, "Source", "Recipe"]
    return HEAD + "".join(_section(classes[name]) for name in names)


def _section(node: ast.ClassDef) -> str:
    lines = [f"\n## {node.name}\n", f"{ast.get_docstring(node)}\n"]
    fields = [(place, item) for place, item in enumerate(node.body) if isinstance(item, ast.AnnAssign)]
    if fields:
        lines.append("| field | type | |\n|---|---|---|")
        lines += [_row(node.body, place, item) for place, item in fields]
        lines.append("")
    return "\n".join(lines)


def _row(body: list[ast.stmt], place: int, field: ast.AnnAssign) -> str:
    kind = ast.unparse(field.annotation).replace("|", "\\|")
    return f"| `{ast.unparse(field.target)}` | `{kind}` | {_words(body, place)} |"


def _words(body: list[ast.stmt], place: int) -> str:
    """The string that stands right below a field."""
    match body[place + 1 : place + 2]:
        case [ast.Expr(value=ast.Constant(value=str(words)))]:
            return " ".join(words.split())
        case _:
            return ""


if __name__ == "__main__":
    main()
