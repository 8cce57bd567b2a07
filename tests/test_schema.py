"""The JSON Schema says of a prompt file what the daemon says of it, and knows every example in the docs."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from daemon import schema
from daemon.prompts import Asked
from daemon.samplers import SAMPLERS, SCHEDULERS, Choice, choose
from daemon.settings import DEMO
from daemon.sheets import Sheet, read

ROOT = Path(__file__).parent.parent
VALIDATOR = Draft202012Validator(schema.schema())
EXAMPLES = [
    pytest.param(example, id=f"{page.name} {number}")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for number, example in enumerate(
        re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
        + re.findall(r"echo '(\{.*?\})'", page.read_text())
        + [
            line
            for block in re.findall(r"```jsonl\n(.*?)```", page.read_text(), re.DOTALL)
            for line in block.splitlines()
        ]
    )
]

NUMBERS = st.sampled_from(
    [-1, 0, 1, 8, 64, 72, 500, 501, 4096, 2**53 - 1, 2**53, 1.5, 30.0, 100, 100.5, 1e300]
)
WORDS = st.sampled_from(
    ["", " ", "\u3000\t", "a", "demo", "a/b", "demo\n", "x" * 101, "x" * 201, "x" * 10_001]
)
VALUES: st.SearchStrategy[Any] = NUMBERS | WORDS | st.none() | st.booleans() | st.just([]) | st.just({})
KEYS = st.sampled_from([*Asked.__struct_fields__, "key", "$schema", "stepz"])
JOBS: st.SearchStrategy[Any] = st.dictionaries(KEYS, VALUES, max_size=3) | st.fixed_dictionaries(
    {"prompt": WORDS}, optional={name: VALUES for name in Asked.__struct_fields__ if name != "prompt"}
)
FILES: st.SearchStrategy[Any] = JOBS | st.fixed_dictionaries(
    {"jobs": st.lists(JOBS | VALUES, max_size=3) | VALUES},
    optional={"defaults": JOBS | VALUES, "key": VALUES, "$schema": VALUES, "prompt": WORDS},
)


def test_it_is_a_schema() -> None:
    """By the rules of its own dialect."""
    Draft202012Validator.check_schema(schema.schema())
    assert json.loads(schema.text())["$schema"] == schema.DIALECT


@given(FILES | VALUES | st.lists(JOBS))
@settings(max_examples=1500)
def test_schema_and_decoder_agree(value: Any) -> None:
    """On every value that a file can hold, in either direction."""
    verdict = read(json.dumps(value).encode(), DEMO)
    assert VALIDATOR.is_valid(value) == isinstance(verdict, Sheet), verdict


SAID = st.sampled_from(
    [
        *SAMPLERS,
        *(it.label for it in SAMPLERS.values()),
        *SCHEDULERS,
        "uniform",
        "automatic",
        "ddim",
        "eulr",
        " ",
    ]
)


@given(st.lists(SAID, min_size=1, max_size=2), st.sampled_from([str, str.upper, str.title]), st.booleans())
@settings(max_examples=500)
def test_schema_and_decoder_know_the_same_samplers(
    said: list[str], case: Callable[[str], str], spaced: bool
) -> None:
    """In every spelling; what does not go together is the decoder's to tell."""
    text = case("  ".join(said))
    text = text.replace("_", " ") if spaced else text
    for key in ("sampler", "scheduler"):
        choice = choose(text, None) if key == "sampler" else choose(None, text)
        known = isinstance(choice, Choice) or choice.key != key or "cannot do" in choice.message
        assert VALIDATOR.is_valid({"prompt": "a", key: text}) == known, (key, text, choice)


def test_an_editor_finds_words_for_every_key() -> None:
    """What a person sees while typing."""
    for name in ("Single", "Several", "Part"):
        for key, words in schema.schema()["$defs"][name]["properties"].items():
            assert "description" in json.dumps(words), key


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_in_the_docs_are_valid(example: str) -> None:
    """By the schema and by the daemon."""
    VALIDATOR.validate(json.loads(example))
    assert isinstance(read(example.encode(), DEMO), Sheet)


def test_the_docs_have_examples() -> None:
    """Of one job, and of several."""
    assert any('"jobs"' in str(example.values) for example in EXAMPLES)
    assert len(EXAMPLES) >= 4


def test_the_command_prints_it() -> None:
    """Byte for byte, for a pipe."""
    printed = subprocess.run([sys.executable, "-m", "daemon", "schema"], capture_output=True, check=True)
    assert printed.stdout == schema.text()
