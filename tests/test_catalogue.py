"""Bad and awkward drops, each with what becomes of it, beside a good file that must not be harmed."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.drops import finish_all
from daemon.sheets import Sheet
from tests.houses import GOOD, House

PAIR = '{"jobs": [{"prompt": "a"}, {"prompt": "b"}]}'


def link(path: Path) -> None:
    """To a good file elsewhere."""
    target = path.parent.parent / "elsewhere.json"
    target.write_bytes(GOOD)
    path.symlink_to(target)


def broken_link(path: Path) -> None:
    """To nowhere."""
    path.symlink_to("nowhere.json")


def loop(path: Path) -> None:
    """To itself."""
    path.symlink_to(path.name)


def link_to_device(path: Path) -> None:
    """Reading it would never end."""
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    """Opening it would wait for a writer."""
    os.mkfifo(path)


def sock(path: Path) -> None:
    """It cannot be opened at all."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def folder(path: Path) -> None:
    """With a prompt inside, which is not looked for."""
    path.mkdir()
    (path / "inner.json").write_bytes(GOOD)


def sparse(path: Path) -> None:
    """A terabyte of nothing."""
    with path.open("wb") as file:
        file.truncate(2**40)


def hard_link(path: Path) -> None:
    """A second name of a good file."""
    kept = path.parent.parent / "kept.json"
    kept.write_bytes(GOOD)
    os.link(kept, path)


DEEP = "[" * 100_000
Drop = tuple[str | bytes, str | bytes | Callable[[Path], None], str]
DROPS: dict[str, Drop] = {
    # Good ones that look odd: "done", and the number of jobs.
    "least": ("a.json", '{"prompt":"a"}', "done 1"),
    "byte order mark": ("a.json", '\ufeff{"prompt": "a"}', "done 1"),
    "white space around": ("a.json", ' \r\n\t{"prompt": "a"}\n\n ', "done 1"),
    "windows lines": ("a.json", '{\r\n"prompt": "a"\r\n}\r\n', "done 1"),
    "escapes": ("a.json", r'{"pr\u006fmpt": "\ud83e\udd8a\n\"\\"}', "done 1"),
    "a zero character, escaped": ("a.json", r'{"prompt": "a\u0000"}', "done 1"),
    "longest prompt": ("a.json", json.dumps({"prompt": "狐" * 10_000}), "done 1"),
    "seed at the top": ("a.json", f'{{"prompt": "a", "seed": {2**53 - 1}}}', "done 1"),
    "whole numbers with a point": ("a.json", '{"prompt": "a", "steps": 30.0, "seed": 1e3}', "done 1"),
    "nulls": ("a.json", '{"prompt": "a", "seed": null, "model": null, "key": null}', "done 1"),
    "schema named": ("a.json", '{"$schema": "../prompt.schema.json", "prompt": "a"}', "done 1"),
    "key": ("a.json", '{"key": "friday", "prompt": "a"}', "done 1"),
    "several": ("a.json", PAIR, "done 2"),
    "one prompt for all": ("a.json", '{"defaults": {"prompt": "a"}, "jobs": [{}, {}, {}]}', "done 3"),
    "lines": ("a.jsonl", '{"prompt": "a"}\n\n{"prompt": "b"}', "done 2"),
    "big ending": ("A.JSON", GOOD, "done 1"),
    "no utf-8 in the name": (b"\xff\xfe.json", GOOD, "done 1"),
    "longest name": (b"n" * 250 + b".json", GOOD, "done 1"),
    "longest name in letters of three bytes": ("狐" * 83 + "a.json", GOOD, "done 1"),
    "dash in front": ("-rf.json", GOOD, "done 1"),
    "new line in the name": ("a\nb.json", GOOD, "done 1"),
    "tab, quote and backslash in the name": ('a\t"\\b.json', GOOD, "done 1"),
    "blank before the ending": ("a .json", GOOD, "done 1"),
    "control character in the name": ("a\x1b[31m.json", GOOD, "done 1"),
    "hard link": ("a.json", hard_link, "done 1"),
    # Left alone.
    "hidden": (".a.json", GOOD, "ignored"),
    "ending alone": (".json", GOOD, "ignored"),
    "draft": ("~a.json", GOOD, "ignored"),
    "part": ("a.json.part", GOOD, "ignored"),
    "temporary": ("a.json.tmp", GOOD, "ignored"),
    "editor's copy": ("a.json~", GOOD, "ignored"),
    "another ending": ("a.txt", GOOD, "ignored"),
    "no ending": ("json", GOOD, "ignored"),
    "folder": ("a.json", folder, "ignored"),
    # No files.
    "link": ("a.json", link, "$ 1:1 is a symbolic link, not a file"),
    "link to nowhere": ("a.json", broken_link, "$ 1:1 is a symbolic link, not a file"),
    "link to itself": ("a.json", loop, "$ 1:1 is a symbolic link, not a file"),
    "link to a device": ("a.json", link_to_device, "$ 1:1 is a symbolic link, not a file"),
    "pipe": ("a.json", pipe, "$ 1:1 is a pipe, not a file"),
    "socket": ("a.json", sock, "$ 1:1 is a socket, not a file"),
    # No text, or no JSON.
    "empty": ("a.json", "", "$ 1:1 not JSON: expecting value"),
    "empty lines": ("a.jsonl", "\n\n", "$ 1:1 must have 1 to 1000 jobs"),
    "zeros": ("a.json", b"\0" * 512, "$ 1:1 not JSON: expecting value"),
    "too large": ("a.json", sparse, "$ 1:1 larger than 1048576 bytes"),
    "utf-16": ("a.json", '{"prompt": "a"}'.encode("utf-16"), "$ 1:1 not UTF-8 text (it looks like UTF-16)"),
    "latin-1": ("a.json", b'{"prompt": "caf\xe9"}', "$ 1:16 not UTF-8 text"),
    "overlong utf-8": ("a.json", b'{"prompt": "\xc0\xaf"}', "$ 1:13 not UTF-8 text"),
    "half a character, unescaped": ("a.json", b'{"prompt": "\xed\xa0\x80"}', "$ 1:13 not UTF-8 text"),
    "two byte order marks": ("a.json", '\ufeff\ufeff{"prompt": "a"}', "$ 1:1 not JSON: "),
    "cut in a string": ("a.json", '{"prompt":\n "a fo', "$ 2:2 not JSON: unterminated string"),
    "cut after the key": ("a.json", '{"prompt"', "$ 1:10 not JSON: expecting ':' delimiter"),
    "comma too many": ("a.json", '{"prompt": "a",}', "$ 1:16 not JSON: "),
    "single quotes": ("a.json", "{'prompt': 'a'}", "$ 1:2 not JSON: "),
    "comment": ("a.json", '{\n// hm\n"prompt": "a"}', "$ 2:1 not JSON: "),
    "line break in a string": ("a.json", '{"prompt": "a\nb"}', "$ 1:14 not JSON: invalid control character"),
    "zero character": ("a.json", b'{"prompt": "a\0"}', "$ 1:14 not JSON: invalid control character"),
    "not a number": ("a.json", '{"prompt": "a", "cfg_scale": NaN}', "$ 1:30 not JSON: NaN is not"),
    "two objects": ("a.json", '{"prompt": "a"}\n{"prompt": "b"}', "$ 2:1 not JSON: extra data"),
    "object over lines": ("a.jsonl", '{\n"prompt": "a"}', "$ 1:1 one text over many lines"),
    "deep": ("a.json", DEEP, "$ 1:1 nested too deeply"),
    "deep inside": ("a.json", '{"prompt": ' + DEEP, "$ 1:1 nested too deeply"),
    "leading zero": ("a.json", '{"prompt": "a", "seed": 01}', "$ 1:26 not JSON: expecting ',' delimiter"),
    # JSON, but no prompts.
    "list": ("a.json", '[{"prompt": "a"}]', "$ 1:1 must be an object, not a list of 1"),
    "text": ("a.json", '"a red fox"', '$ 1:1 must be an object, not "a red fox"'),
    "nothing in it": ("a.json", "{}", "$ 1:1 `prompt` is missing"),
    "blank prompt": ("a.json", '{"prompt": "\u3000\\t"}', "$.prompt 1:12 `prompt` is blank"),
    "no text": ("a.json", '{"prompt": 3}', "$.prompt 1:12 `prompt` must be text"),
    "prompt too long": ("a.json", json.dumps({"prompt": "a" * 10_001}), "$.prompt 1:12 `prompt` must be"),
    "unknown key": ("a.json", '{"prompt": "a",\n "stepz": 4}', "$.stepz 2:2 unknown key `stepz`"),
    "key twice": ("a.json", '{"prompt": "a", "prompt": "b"}', "$.prompt 1:17 `prompt` is given twice"),
    "key twice, once escaped": ("a.json", r'{"prompt": "a", "pro\u006dpt": "b"}', "$.prompt 1:17 "),
    "half a character": ("a.json", r'{"prompt": "\ud800"}', "$.prompt 1:12 holds half a character"),
    "number out of range": ("a.json", '{"prompt": "a", "steps": 501}', "$.steps 1:26 `steps` must be"),
    "number beyond all": ("a.json", '{"prompt": "a", "seed": 1e999}', "$.seed 1:25 `seed` must be"),
    "digits without end": ("a.json", f'{{"prompt": "a", "seed": {"9" * 9999}}}', "$.seed 1:25 `seed` must"),
    "yes for a number": ("a.json", '{"prompt": "a", "steps": true}', "$.steps 1:26 `steps` must be"),
    "odd width": ("a.json", '{"prompt": "a", "width": 65}', "$.width 1:26 `width` must be"),
    "path for a model": ("a.json", '{"prompt": "a", "model": "../../x"}', "$.model 1:26 `model` must be"),
    "no such sampler": ("a.json", '{"prompt": "a", "sampler": "eulr"}', "$.sampler 1:28 there is no sampler"),
    "no such scheduler": ("a.json", '{"prompt": "a", "scheduler": "kar"}', "$.scheduler 1:30 there is no"),
    "pair that does not go together": (
        "a.json", '{"prompt": "a", "sampler": "lcm", "scheduler": "ddim_uniform"}', "$.scheduler 1:48 "
    ),
    "no such sampler among several": (
        "a.json", '{"jobs": [{"prompt": "a"}, {"prompt": "b", "sampler": "x"}]}', "$.jobs[1].sampler 1:55 "
    ),
    "no such sampler in a line": ("a.jsonl", '{"prompt": "a", "sampler": "x"}', "$.sampler 1:28 there is no"),
    "empty key": ("a.json", '{"prompt": "a", "key": ""}', "$.key 1:24 `key` is blank"),
    "no jobs": ("a.json", '{"jobs": []}', "$.jobs 1:10 `jobs` must be a list of 1 to 1000"),
    "job without prompt": ("a.json", '{"jobs": [{}, {"prompt": "a"}]}', "$.jobs[0] 1:11 `prompt` is missing"),
    "job that is none": ("a.json", '{"jobs": [3]}', "$.jobs[0] 1:11 `jobs[0]` must be an object, not 3"),
    "defaults without jobs": ("a.json", '{"defaults": {}}', "$ 1:1 `jobs` is missing"),
    "bad default": ("a.json", '{"defaults": {"seed": -1}, "jobs": [{}]}', "$.defaults.seed 1:23 "),
    "second line": ("a.jsonl", '{"prompt": "a"}\n{"prompt": "b", "seed": -1}', "$.seed 2:25 `seed` must be"),
    "sheet among lines": ("a.jsonl", PAIR, "$.jobs 1:2 unknown key `jobs`"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "outcome"), DROPS.values(), ids=DROPS)
def test_each_drop_meets_its_end_and_harms_no_other(
    tmp_path: Path, name: str | bytes, content: str | bytes | Callable[[Path], None], outcome: str
) -> None:
    """Taken, rejected with its first fault, or left alone; a good file beside it is taken."""
    house = House(tmp_path)
    path = house.home.inbox / os.fsdecode(name)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    house.put("good.json")
    house.look()
    house.now += 2
    drops = house.claim()
    overview = house.look()
    assert finish_all(drops, house.home) == ([], None)

    verdicts = {drop.name: drop.verdict for drop in drops}
    assert isinstance(verdicts.pop("good.json"), Sheet)
    assert not overview.waiting
    assert overview.ignored == (outcome == "ignored")
    if outcome == "ignored":
        assert (verdicts, os.path.lexists(path)) == ({}, True)
        return
    verdict = verdicts[os.fsdecode(name)]
    if isinstance(verdict, Sheet):
        assert outcome == f"done {len(verdict.prompts)}"
        assert os.fsdecode(name) in house.done()
    else:
        first = verdict[0]
        assert f"{first.path} {first.line}:{first.column} {first.message}".startswith(outcome)
        assert os.fsdecode(name) in house.rejected()
        (report,) = house.home.rejected.glob("*.error.json")
        assert json.loads(report.read_bytes())["faults"][0]["message"] == first.message


def test_the_catalogue_is_long() -> None:
    """Every kind of drop that was met so far."""
    assert len(DROPS) >= 60
