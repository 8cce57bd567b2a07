"""Weights in prompts: every text has a meaning, and one without marks keeps its own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import emphasis
from daemon.emphasis import Piece, parse

CASES: dict[str, list[list[tuple[str, float]]]] = {
    "a red fox": [[("a red fox", 1)]],
    "a (red) fox": [[("a ", 1), ("red", 1.1), (" fox", 1)]],
    "a (red:1.3) fox": [[("a ", 1), ("red", 1.3), (" fox", 1)]],
    "a (red: .5 ) fox": [[("a ", 1), ("red", 0.5), (" fox", 1)]],
    "(against:-0.5)": [[("against", -0.5)]],
    "a [red] fox": [[("a ", 1), ("red", 1 / 1.1), (" fox", 1)]],
    "((red)) (((fox)))": [[("red", 1.21), (" ", 1), ("fox", 1.331)]],
    "((red:1.5) fox:2)": [[("red", 3), (" fox", 2)]],
    "([red] fox)": [[("red", 1), (" fox", 1.1)]],
    r"a fox \(animal\) (red\): one:1.2)": [[("a fox (animal) ", 1), ("red): one", 1.2)]],
    r"C:\dir \\(red)": [[("C:\\dir \\", 1), ("red", 1.1)]],
    "a smile :) and :( and [": [[("a smile :) and :( and [", 1)]],
    "(a (fox": [[("(a (fox", 1)]],
    "(a [fox)": [[("a [fox", 1.1)]],
    "at 12:30)": [[("at 12:30)", 1)]],
    "(ratio 16:9:1.2)": [[("ratio 16:9", 1.2)]],
    "a fox BREAK snow, (night BREAK stars:1.5)": [
        [("a fox", 1)], [("snow, ", 1), ("night", 1.5)], [("stars", 1.5)],
    ],
    "BREAKFAST": [[("BREAKFAST", 1)]],
    "BREAK a fox BREAK": [[("a fox", 1)]],
    "()": [],
    "": [],
}  # fmt: skip


@pytest.mark.parametrize("text", CASES)
def test_marks_mean_what_people_mean_by_them(text: str) -> None:
    """To the character."""
    assert [[piece.text for piece in part] for part in parse(text)] == [
        [words for words, _ in part] for part in CASES[text]
    ]
    weights = [weight for part in CASES[text] for _, weight in part]
    assert [piece.weight for part in parse(text) for piece in part] == pytest.approx(weights)


@given(st.lists(st.sampled_from([*"a1 :.-()[]\\\n,", "BREAK"]), max_size=60).map("".join))
def test_any_text_parses(text: str) -> None:
    """Nothing is lost but marks, and no weight is anything but a number."""
    pieces = [piece for part in parse(text) for piece in part]
    assert all(math.isfinite(piece.weight) and piece.text for piece in pieces)
    kept = "".join(piece.text for piece in pieces)
    assert kept.count("a") == text.count("a")
    assert kept.count(",") == text.count(",")


@given(st.text(max_size=60).filter(lambda text: not set(text) & set("()[]") and "BREAK" not in text))
def test_a_text_without_marks_is_itself(text: str) -> None:
    """Backslashes, colons and spaces too."""
    assert parse(text) == ([[Piece(text)]] if text else [])


@given(st.text(max_size=40))
def test_escaped_square_brackets_are_characters(text: str) -> None:
    """They weigh nothing, and every character is there."""
    plain = text.translate(str.maketrans("", "", "()\\")).replace("BREAK", "")
    assert parse(emphasis.escaped(plain)) == ([[Piece(plain)]] if plain else [])


@given(st.lists(st.floats(-3, 3).map(lambda weight: round(weight, 3)), min_size=1, max_size=6))
def test_weights_multiply(weights: list[float]) -> None:
    """Brackets within brackets come to the product."""
    text = "fox"
    for weight in weights:
        text = f"({text}:{weight:.3f})"
    ((piece,),) = parse(text)
    assert piece.text == "fox"
    assert piece.weight == pytest.approx(math.prod(weights))


def test_ten_thousand_brackets_take_no_time() -> None:
    """A text made to exhaust a reader is read like any other."""
    many = 20_000
    for text in ("(" * many + ")" * many, "[" * many + ")" * many, "([" * many + ")]" * many):
        parse(text)
    for text in ("\\" * many, ":" + "1" * many, ":" + " " * many, ": 1" * many, "(:1" * many):
        assert parse(text) == [[Piece(text)]]


def test_a_weight_out_of_bounds_is_found() -> None:
    """By itself, by what brackets come to, and where it is no number at all."""
    assert emphasis.overweight("a (fox:100), (snow:-100)") is None
    assert emphasis.overweight("a (fox:101)") == Piece("fox", 101)
    assert emphasis.overweight("(" * 60 + "fox" + ")" * 60) is not None
    assert emphasis.overweight("((fox:0):" + "9" * 400 + ")") is not None
