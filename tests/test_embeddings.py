"""Learned words in a prompt's text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import embeddings
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
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_words_and_mentions(text: str) -> None:
    """Punctuation behind a name is punctuation; what is no name is words."""
    assert list(embeddings.parted(text)) == TEXTS[text]


NAMES = st.from_regex(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,8}[A-Za-z0-9_])?", fullmatch=True).filter(
    lambda name: not name.endswith(".safetensors")
)
WORDS = st.text(alphabet="abc ,().:1BREAK", max_size=12).filter(lambda words: "embedding" not in words)


@given(st.lists(st.tuples(WORDS, NAMES)), WORDS)
def test_every_mention_is_found_and_can_be_taken_out(parts: list[tuple[str, str]], rest: str) -> None:
    """And nothing else is lost but commas and spaces; A1111's words come back from their names."""
    text = "".join(f"{words} embedding:{name} " for words, name in parts) + rest
    assert embeddings.named(text) == list(dict.fromkeys(name for _, name in parts))
    left = text
    for name in embeddings.named(text):
        left = embeddings.without(left, name)
    assert embeddings.named(left) == []
    kept = "".join(words for words, _ in parts) + rest
    assert [c for c in left if c not in ", "] == [c for c in kept if c not in ", "]
    if len(parts) == 1 and parts[0][1] not in kept:
        assert embeddings.mentioned(embeddings.bare(text), parts[0][1]) == text


def test_a_name_that_cannot_be_mentioned_stays_words() -> None:
    """A1111 has names with spaces and brackets."""
    assert embeddings.mentioned("a my style fox", "my style") == "a my style fox"
    assert embeddings.mentioned("neg, a neg2, x.neg", "neg") == "embedding:neg, a neg2, x.neg"
