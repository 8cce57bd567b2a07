"""Learned words in a prompt's text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import embeddings, emphasis
from daemon.embeddings import Mention

TEXTS: dict[str, list[str | Mention]] = {
    "a fox": ["a fox"],
    "": [],
    "embedding:neg": [Mention("neg")],
    "a fox, embedding:neg_XL-2.1, night": ["a fox, ", Mention("neg_XL-2.1"), ", night"],
    "in embedding:style.": ["in ", Mention("style"), "."],
    "embedding:style.safetensors and more": [Mention("style"), " and more"],
    "embedding:a embedding:b": [Mention("a"), " ", Mention("b")],
    "(embedding:neg:1.2)": ["(", Mention("neg"), ":1.2)"],
    "myembedding:neg": ["myembedding:neg"],
    "embedding: neg": ["embedding: neg"],
    "embedding:../neg": ["embedding:../neg"],
    "embedding:ä": ["embedding:ä"],
    "(gem embedding:1.2)": ["(gem embedding:1.2)"],
    "(embedding: 2 )": ["(embedding: 2 )"],
    "<lora:an embedding:0.8> fox": ["<lora:an embedding:0.8> fox"],
    "(embedding:2:1.2), embedding:3": ["(", Mention("2"), ":1.2), ", Mention("3")],
}
PIECES: dict[str, list[str | Mention]] = {
    "(embedding:a:1)embedding:b": [Mention("a"), Mention("b")],
    "(fox:1)embedding:a": ["fox", Mention("a")],
    "embedding:a(b:1)": [Mention("a"), "b"],
    "(embedding::1)a": ["embedding:a"],
    "embed(ding:1):a": ["embedding:a"],
    "embedding:a-BREAK embedding:b BREAK embedding:c": [Mention("a-BREAK"), " ", Mention("b"), Mention("c")],
    "a \ufdd0 embedding:b": ["a  ", Mention("b")],
    "a \ufdd0 fox": ["a  fox"],
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_words_and_mentions(text: str) -> None:
    """Punctuation behind a name is punctuation; what is no name is words."""
    assert list(embeddings.parted(text)) == TEXTS[text]


@pytest.mark.parametrize("text", PIECES)
def test_what_is_mentioned_is_what_the_text_says_as_it_was_written(text: str) -> None:
    """Whatever brackets and breaks do around it: a file is looked for by the one and read by the other."""
    words, names = embeddings.hidden(text)
    mentioned = iter(names)
    pieces = [piece for paragraph in emphasis.parse(words) for piece in paragraph]
    found = [part for piece in pieces for part in embeddings.shown(piece.text, mentioned)]
    assert found == PIECES[text]
    assert [part.name for part in found if isinstance(part, Mention)] == embeddings.named(text)


NAMES = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,8}[A-Za-z0-9_])?", fullmatch=True).filter(
    lambda name: not name.endswith(".safetensors") and not re.fullmatch(r"[0-9.]+", name)
)
WORDS = st.text(alphabet="abc ,().:1BREAK", max_size=12).filter(lambda words: "embedding" not in words)


@given(st.lists(st.tuples(WORDS, NAMES)), WORDS)
def test_every_mention_is_found_and_can_be_taken_out(parts: list[tuple[str, str]], rest: str) -> None:
    """And nothing else is lost but commas and spaces; A1111's words come back from their names."""
    text = "".join(f"{words} embedding:{name} " for words, name in parts) + rest
    assert embeddings.named(text) == list(dict.fromkeys(name for _, name in parts))
    left = embeddings.without(text, embeddings.named(text))
    assert embeddings.named(left) == []
    kept = "".join(words for words, _ in parts) + rest
    assert [c for c in left if c not in ", "] == [c for c in kept if c not in ", "]
    if len(parts) == 1 and parts[0][1] not in kept:
        assert embeddings.mentioned(embeddings.bare(text), [parts[0][1]]) == text


def test_a_name_that_cannot_be_mentioned_stays_words() -> None:
    """A1111 has names with spaces and brackets."""
    assert embeddings.mentioned("a my style fox", ["my style"]) == "a my style fox"
    assert embeddings.mentioned("neg, a neg2, x.neg", ["neg"]) == "embedding:neg, a neg2, x.neg"


def test_names_within_names_are_told_apart() -> None:
    """Each place is one name's, the longest that fits, and what is put in is no place for another."""
    names = ["neg", "neg.v2", "embedding"]
    asked = "neg, neg.v2, neg.v3, embedding"
    told = "embedding:neg, embedding:neg.v2, neg.v3, embedding:embedding"
    assert embeddings.mentioned(asked, names) == told


def test_a_list_of_any_length_is_gone_through_once() -> None:
    """A dropped picture may hold a megabyte of names, one of them thousands of times."""
    names = ["embedding"] * 20_000 + [f"word{n}" for n in range(20_000)]
    text = "embedding, word1, word19999, " * 5_000
    told = "embedding:embedding, embedding:word1, word19999, " * 5_000
    assert embeddings.mentioned(text, names) == told
