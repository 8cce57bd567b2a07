"""What the UNet is led by, against diffusers' own `encode_prompt` and the published rules."""

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from daemon.gpu import conditioning, denoise, sdxl, wire
from daemon.gpu.embeddings import BadEmbedding

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = "a very long walk through the woods at night, " * 8


def encode(
    checkpoint: sdxl.Checkpoint, prompt: str, negative: str = "", guided: bool = False
) -> torch.Tensor:
    """Our embeds."""
    with torch.inference_mode():
        return conditioning.encode(checkpoint, prompt, negative, guided)[0]


def pooled(checkpoint: sdxl.Checkpoint, prompt: str) -> torch.Tensor:
    """Our pooled prompt."""
    with torch.inference_mode():
        return conditioning.encode(checkpoint, prompt, "", False)[1]


def stock(checkpoint: sdxl.Checkpoint, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeds and the pooled prompt of the stock pipeline, which reads 77 tokens."""
    with torch.inference_mode():
        embeds, _, whole, _ = checkpoint.pipe.encode_prompt(prompt, do_classifier_free_guidance=False)
    return embeds, whole


def tokens(checkpoint: sdxl.Checkpoint, text: str) -> list[int]:
    """Without begin and end."""
    numbers: list[int] = checkpoint.pipe.tokenizer(text, add_special_tokens=False).input_ids
    return numbers


@pytest.mark.parametrize("prompt", ["a red fox", "", "狐狸 🦊", r"a fox \(animal\) :)", "a " * 75])
def test_a_plain_prompt_is_the_stock_pipelines(checkpoint: sdxl.Checkpoint, prompt: str) -> None:
    """Bit for bit, up to the last token that fits."""
    embeds, whole = stock(checkpoint, prompt.replace("\\", ""))
    assert torch.equal(encode(checkpoint, prompt), embeds)
    assert torch.equal(pooled(checkpoint, prompt), whole)


def test_breaks_begin_a_chunk_and_the_first_one_speaks_for_all(checkpoint: sdxl.Checkpoint) -> None:
    """Each chunk is what the stock pipeline makes of it alone; pooled is the first."""
    prompt = "a red fox BREAK deep snow, (stars:1) BREAK night"
    parts = ["a red fox", "deep snow, stars", "night"]
    assert torch.equal(encode(checkpoint, prompt), torch.cat([stock(checkpoint, p)[0] for p in parts], dim=1))
    assert torch.equal(pooled(checkpoint, prompt), stock(checkpoint, parts[0])[1])


def test_a_long_prompt_goes_on_in_chunks_of_75(checkpoint: sdxl.Checkpoint) -> None:
    """No token is lost, and the first chunk is what the stock pipeline, which cuts, reads of it."""
    numbers = tokens(checkpoint, LONG)
    chunks = conditioning.Reader(checkpoint, "_2").chunks(LONG)
    assert len(chunks) == -(-len(numbers) // 75) > 2
    assert [token for chunk in chunks for token in chunk.tokens[1:76]][: len(numbers)] == numbers
    tokenizer = checkpoint.pipe.tokenizer_2
    assert all(chunk.tokens[0] == tokenizer.bos_token_id for chunk in chunks)
    end = chunks[-1].tokens.index(tokenizer.eos_token_id)
    assert set(chunks[-1].tokens[end + 1 :]) == {tokenizer.pad_token_id}
    embeds = encode(checkpoint, LONG)
    assert embeds.shape[1] == 77 * len(chunks)
    assert torch.equal(embeds[:, :77], stock(checkpoint, LONG)[0])


def test_the_shorter_of_two_prompts_is_filled_with_empty_chunks(checkpoint: sdxl.Checkpoint) -> None:
    """Whichever it is; and without a negative prompt there are zeros, as always."""
    for prompt, negative in ((LONG, "grey"), ("grey", LONG)):
        both = encode(checkpoint, prompt, negative, guided=True)
        short, long = (both[:1], both[1:]) if negative == "grey" else (both[1:], both[:1])
        assert torch.equal(long, encode(checkpoint, LONG))
        assert torch.equal(short[:, :77], stock(checkpoint, "grey")[0])
        assert torch.equal(short[:, 77:154], stock(checkpoint, "")[0])
    assert not encode(checkpoint, LONG, "", guided=True)[0].any()


@pytest.mark.parametrize("weight", [1.3, 0.5, 0.0, -1.0])
def test_a_weight_moves_its_words_and_no_others(checkpoint: sdxl.Checkpoint, weight: float) -> None:
    """By e + w · (x − e), e what the empty prompt has in that place; the rest and pooled stay, to the bit."""
    before, red = (len(tokens(checkpoint, part)) for part in ("a", "red"))
    place = slice(1 + before, 1 + before + red)
    (plain, whole), (empty, _) = stock(checkpoint, "a red fox"), stock(checkpoint, "")
    weighed = encode(checkpoint, f"a (red:{weight}) fox")
    expected = empty[:, place] + weight * (plain[:, place] - empty[:, place])
    torch.testing.assert_close(weighed[:, place], expected)
    assert not torch.equal(weighed[:, place], plain[:, place])
    for rest in (slice(0, place.start), slice(place.stop, None)):
        assert torch.equal(weighed[:, rest], plain[:, rest])
    assert torch.equal(pooled(checkpoint, f"a (red:{weight}) fox"), whole)


def test_weights_in_a_later_chunk_count_too(checkpoint: sdxl.Checkpoint) -> None:
    """They are measured against the empty prompt in their own chunk."""
    apart = encode(checkpoint, "(fox:1.4)")
    assert torch.equal(encode(checkpoint, "night BREAK (fox:1.4)")[:, 77:], apart)


def test_long_and_weighted_prompts_make_pictures(checkpoint: sdxl.Checkpoint, plain: wire.Begin) -> None:
    """The end of a long prompt and a weight are seen, with and without guidance."""
    for scale in (1.0, 5.0):
        made = set()
        for prompt in (LONG, f"{LONG} moon", f"{LONG} (moon:1.5)"):
            state = denoise.begin(checkpoint, msgspec.structs.replace(plain, prompt=prompt, cfg_scale=scale))
            denoise.step(state)
            made.add(state.latent.numpy().tobytes())
        assert len(made) == 3


def test_half_precision_weighs_in_full(checkpoint: sdxl.Checkpoint) -> None:
    """Within what float16 can hold."""
    half = sdxl.load(checkpoint.path, torch.device("cpu"), torch.float16)
    weighed = encode(half, "a (red:1.3) fox")
    assert weighed.dtype == torch.float16
    torch.testing.assert_close(weighed.float(), encode(checkpoint, "a (red:1.3) fox"), rtol=0.02, atol=0.02)


@pytest.fixture
def learned(checkpoint: sdxl.Checkpoint, tmp_path: Path) -> dict[str, str]:
    """Files: `fox`, what the encoders read for its words anyhow, and another, by the other convention."""
    pipe = checkpoint.pipe
    files = {}
    for name, keys in (("fox", ("clip_l", "clip_g")), ("trained", ("text_encoders_0", "text_encoders_1"))):
        rows = {}
        for key, suffix in zip(keys, ("", "_2"), strict=True):
            numbers = getattr(pipe, f"tokenizer{suffix}")("red fox", add_special_tokens=False).input_ids
            layer = getattr(pipe, f"text_encoder{suffix}").get_input_embeddings()
            rows[key] = layer.weight[numbers].detach().clone() * (1.0 if name == "fox" else 1.5)
        save_file(rows, tmp_path / f"{name}.safetensors")
        files[name] = str(tmp_path / f"{name}.safetensors")
    return files


def with_learned(checkpoint: sdxl.Checkpoint, prompt: str, files: dict[str, str]) -> torch.Tensor:
    """Our embeds of a prompt that names some."""
    with torch.inference_mode():
        return conditioning.encode(checkpoint, prompt, "", False, files)[0]


def test_learned_words_are_read_where_they_are_named(
    checkpoint: sdxl.Checkpoint, learned: dict[str, str]
) -> None:
    """What was learned to be `red fox` is `red fox` to the bit, weighed or not, and nothing stays behind."""
    before = encode(checkpoint, "a red fox, night")
    assert torch.equal(with_learned(checkpoint, "a embedding:fox, night", learned), before)
    weighed = with_learned(checkpoint, "a (embedding:fox:1.4), night", learned)
    assert torch.equal(weighed, encode(checkpoint, "a (red fox:1.4), night"))
    other = with_learned(checkpoint, "a embedding:trained, night", learned)
    assert not torch.allclose(other, before, atol=1e-3)
    assert torch.equal(encode(checkpoint, "a red fox, night"), before)


def test_brackets_make_no_mention_of_words_nor_words_of_a_mention(
    checkpoint: sdxl.Checkpoint, learned: dict[str, str]
) -> None:
    """Those that count 1 leave their words beside others; a file is looked for by the text as written."""
    two = with_learned(checkpoint, "(embedding:fox:1)(embedding:fox:1)", learned)
    assert torch.equal(two, encode(checkpoint, "red fox red fox"))
    beside = with_learned(checkpoint, "(night:1)embedding:fox", learned)
    assert torch.equal(beside, encode(checkpoint, "night red fox"))
    with_learned(checkpoint, "(embedding::1)lost", {})  # words, for which there is no file to look for


def test_learned_words_never_stand_half_in_a_chunk(checkpoint: sdxl.Checkpoint, tmp_path: Path) -> None:
    """What does not fit goes to the next one whole; what fits none is refused, as are other shapes."""
    widths = [getattr(checkpoint.pipe, f"text_encoder{each}").config.hidden_size for each in ("", "_2")]

    def file(rows: int, *, short: int = 0) -> dict[str, str]:
        path = tmp_path / f"{rows}-{short}.safetensors"
        tensors = {"clip_l": torch.ones(rows, widths[0] - short), "clip_g": torch.ones(rows, widths[1])}
        save_file(tensors, path)
        return {"it": str(path)}

    words = "word, " * 34  # 68 tokens and more
    room = 75 - len(tokens(checkpoint, words)) % 75
    fits = with_learned(checkpoint, f"{words}embedding:it", file(room))
    over = with_learned(checkpoint, f"{words}embedding:it", file(room + 1))
    assert over.shape[1] == fits.shape[1] + 77
    for files, sentence in (
        (file(76), "has 76 rows; 1 to 75"),
        (file(2, short=1), "has numbers of the shape"),
    ):
        with pytest.raises(BadEmbedding, match=sentence):
            with_learned(checkpoint, "embedding:it", files)


BROKEN: dict[str, tuple[dict[str, torch.Tensor] | None, str]] = {
    "missing": (None, "cannot be read: No such file"),
    "of Stable Diffusion 1": ({"emb_params": torch.ones(2, 768)}, "one of Stable Diffusion 1 or 2"),
    "something else": ({"weight": torch.ones(2)}, "nothing for SDXL's text encoders"),
    "of no numbers": (
        {"clip_l": torch.full((1, 48), torch.nan), "clip_g": torch.ones(1, 80)},
        "numbers that are none",
    ),
    "of one encoder": ({"clip_g": torch.ones(2, 80)}, "has nothing for a text encoder"),
    "uneven": ({"clip_l": torch.ones(1, 48), "clip_g": torch.ones(2, 80)}, "not as many rows"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_embedding_is_named(checkpoint: sdxl.Checkpoint, tmp_path: Path, kind: str) -> None:
    """In one sentence, whose fault it is."""
    tensors, sentence = BROKEN[kind]
    path = tmp_path / "it.safetensors"
    if tensors is not None:
        save_file(tensors, path)
    with pytest.raises(BadEmbedding, match=sentence):
        with_learned(checkpoint, "embedding:it", {"it": str(path)})


def test_a_damaged_embedding_is_named(checkpoint: sdxl.Checkpoint, tmp_path: Path) -> None:
    """As a download that broke off."""
    path = tmp_path / "it.safetensors"
    save_file({"clip_l": torch.ones(2, 48), "clip_g": torch.ones(2, 80)}, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadEmbedding, match="damaged or cut off"):
        with_learned(checkpoint, "embedding:it", {"it": str(path)})
