"""A1111's text: what we write is read back, and real-world-shaped texts give what their programs meant."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon import parameters, samplers
from daemon.events.types import Recipe
from daemon.prompts import Lora, Refiner
from tests.stories import finished

RECIPE: Recipe = finished().recipe
TAIL = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768"
KEYS = {"steps": 20, "sampler": "Euler a", "cfg_scale": 7, "seed": 42, "width": 512, "height": 768}

CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "plain": (f"a red fox\nNegative prompt: blurry\n{TAIL}", {"negative_prompt": "blurry"}, []),
    "no negative prompt": (f"a red fox\n{TAIL}", {}, []),
    "negative over several lines": (
        f"a red fox\nNegative prompt: blurry,\nbad hands,\n\nworst quality\n{TAIL}",
        {"negative_prompt": "blurry,\nbad hands,\n\nworst quality"},
        [],
    ),
    "prompt over several lines": (
        f"a red fox,\nin the snow\n{TAIL}",
        {"prompt": "a red fox,\nin the snow"},
        [],
    ),
    "Windows line ends": (
        f"a red fox\r\nNegative prompt: blurry\r\n{TAIL}",
        {"negative_prompt": "blurry"},
        [],
    ),
    "quotes in the prompt": (f'a fox, "the red: one"\n{TAIL}', {"prompt": 'a fox, "the red: one"'}, []),
    "Steps: in a line of the prompt": (
        f"a staircase\nSteps: 3, made of: stone, with: moss\n{TAIL}",
        {"prompt": "a staircase\nSteps: 3, made of: stone, with: moss"},
        [],
    ),
    "Negative prompt: within a line": (
        f"a sign, Negative prompt: x\n{TAIL}",
        {"prompt": "a sign, Negative prompt: x"},
        [],
    ),
    "a schedule type": (f"a red fox\n{TAIL}, Schedule type: Karras", {"scheduler": "Karras"}, []),
    "an old sampler's name": (
        "a red fox\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 1, Size: 512x512",
        {"steps": 20, "sampler": "DPM++ 2M Karras", "cfg_scale": 6.5, "seed": 1, "width": 512, "height": 512},
        [],
    ),
    "hashes and versions": (
        f"a red fox\n{TAIL}, Model hash: 31e35c80fc, Model: sd_xl_base_1.0, "
        'TI hashes: "easynegative: c74b4e810b03", Clip skip: 2, Version: v1.9.4',
        {"model": "sd_xl_base_1.0"},
        ["Model hash: 31e35c80fc", "TI hashes: easynegative: c74b4e810b03", "Clip skip: 2"],
    ),
    "a model that is a number": (f"a red fox\n{TAIL}, Model: 4201", {"model": "4201"}, []),
    "hires": (
        f"a red fox\n{TAIL}, Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: 4x-UltraSharp",
        {"hires": {"scale": 2, "strength": 0.4}},
        ["Hires upscaler: 4x-UltraSharp"],
    ),
    "a refiner": (
        f"a red fox\n{TAIL}, Refiner: sd_xl_refiner_1.0 [7440042bbd], Refiner switch at: 0.75",
        {"refiner": {"model": "sd_xl_refiner_1.0", "at": 0.75}},
        [],
    ),
    "a refiner that never takes over": (f"a red fox\n{TAIL}, Refiner: x", {}, ["Refiner: x"]),
    "quoted values with commas and escapes": (
        f'a red fox\n{TAIL}, ADetailer prompt: "a face, \\"smiling\\": yes", ADetailer steps: 4',
        {},
        ['ADetailer prompt: a face, "smiling": yes', "ADetailer steps: 4"],
    ),
    "JSON without quotes, as Civitai writes": (
        f'a red fox\n{TAIL}, Civitai resources: [{{"type":"checkpoint","id":1}},{{"id":2}}], Clip skip: 1',
        {},
        ['Civitai resources: [{"type":"checkpoint","id":1},{"id":2}]', "Clip skip: 1"],
    ),
    "an unbalanced quote": (f'a red fox\n{TAIL}, Note: "half, Extra: 1', {}, ['Note: "half', "Extra: 1"]),
    "a LoRA": (
        f"a red fox <lora:add-detail-xl:0.8>, snow\n{TAIL}",
        {"prompt": "a red fox , snow", "loras": [{"name": "add-detail-xl", "weight": 0.8}]},
        [],
    ),
    "LoRAs without and with two weights": (
        f"a red fox <lora:one><lora:two:0.5:0.7>\n{TAIL}",
        {"prompt": "a red fox", "loras": [{"name": "one", "weight": 1.0}]},
        ["lora two: 0.5:0.7"],
    ),
    "a hypernetwork": (f"a red fox <hypernet:x:1>\n{TAIL}", {"prompt": "a red fox"}, ["hypernet x: 1"]),
    "lines of an extension after the parameters": (
        f"a red fox\n{TAIL}\nTemplate: a {{red|blue}} fox",
        {},
        ["after the parameters: Template: a {red|blue} fox"],
    ),
    "other capitals of the size": (f"a red fox\n{TAIL.replace('512x768', '512×768')}", {}, []),
}


@pytest.mark.parametrize("name", CASES)
def test_a_text_is_read_as_its_program_meant_it(name: str) -> None:
    """And what has no key of ours is named."""
    text, keys, rest = CASES[name]
    carried = parameters.read(text)
    assert carried.keys == {"prompt": "a red fox", **KEYS, **keys}
    assert carried.rest == rest


def test_a_text_without_parameters_is_a_prompt() -> None:
    """Two pairs are no parameters, and nothing at all is nothing."""
    assert parameters.read("a fox, colour: red, mood: calm").keys == {
        "prompt": "a fox, colour: red, mood: calm"
    }
    assert parameters.read("").keys == {"prompt": ""}


def test_the_text_of_a_picture_is_what_other_programs_parse() -> None:
    """To the letter."""
    prompt = replace(RECIPE.prompt, negative_prompt="blurry, grey", model="sd xl, 1.0")
    assert parameters.write(replace(RECIPE, prompt=prompt)) == (
        "a red fox\nNegative prompt: blurry, grey\n"
        "Steps: 4, Sampler: Euler, Schedule type: Normal, CFG scale: 5, Seed: 7, Size: 256x256, "
        'Model: "sd xl, 1.0", Version: Safelight 0.1.0'
    )


def test_the_checkpoint_is_known_to_others_by_its_hash() -> None:
    """The first ten digits, before its name, as A1111 writes them."""
    text = parameters.write(replace(RECIPE, model_sha256="31e35c80fc" + "0" * 54))
    assert "Size: 256x256, Model hash: 31e35c80fc, Model: demo" in text


def test_a_refiner_is_written_as_it_is_read() -> None:
    """Its name, its hash where that is known, and when it took over."""
    prompt = replace(RECIPE.prompt, refiner=Refiner(model="sd xl refiner", at=0.75))
    for digest in (None, "7440042bbd" + "0" * 54):
        text = parameters.write(replace(RECIPE, prompt=prompt, refiner_sha256=digest))
        assert ("Refiner: sd xl refiner [7440042bbd]," in text) == (digest is not None)
        assert parameters.read(text).keys["refiner"] == {"model": "sd xl refiner", "at": 0.75}


@pytest.mark.parametrize("name", ["a [b]", "[1] a", "[a] b", "{} a", "a, b", "a (v1) #1 100%", "a "])
def test_names_with_brackets_and_signs_are_read_back(name: str) -> None:
    """Of a checkpoint, of a refiner with and without its hash, and of a LoRA: files have them."""
    prompt = replace(
        RECIPE.prompt, model=name, refiner=Refiner(model=name, at=0.5), loras=[Lora(name=name, weight=0.5)]
    )
    for digest in (None, "7440042bbd" + "0" * 54):
        carried = parameters.read(parameters.write(replace(RECIPE, prompt=prompt, refiner_sha256=digest)))
        assert carried.keys["model"] == name
        assert carried.keys["refiner"] == {"model": name, "at": 0.5}
        assert carried.keys["loras"] == [{"name": name, "weight": 0.5}]
        assert carried.rest == []


LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1, max_size=40)


@given(LINES, LINES | st.just(""), st.integers(0, 2**53 - 1), st.floats(0, 100), st.integers(1, 500))
def test_what_is_written_is_read_back(words: str, negative: str, seed: int, cfg: float, steps: int) -> None:
    """Whatever stands in the prompts, tags and syntax of A1111's own aside."""
    if "<" in words + negative or any(line.startswith(parameters.NEGATIVE) for line in (words, negative)):
        return
    prompt = replace(RECIPE.prompt, prompt=words, negative_prompt=negative, cfg_scale=cfg, steps=steps)
    keys = parameters.read(parameters.write(replace(RECIPE, prompt=prompt, seed=seed))).keys
    assert (keys["prompt"], keys.get("negative_prompt", "")) == (words, negative)
    assert (keys["seed"], keys["steps"], keys["width"]) == (seed, steps, 256)
    assert keys["cfg_scale"] == pytest.approx(cfg, rel=1e-5, abs=1e-5)


PIECES = st.sampled_from(
    [
        "Steps: ",
        "Negative prompt: ",
        ", ",
        ": ",
        '"',
        "\\",
        "[",
        "{",
        "}",
        "\n",
        "<lora:",
        ">",
        "a",
        "7",
        "x",
        "-",
        ".",
    ]
)


@given(st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=300))
@settings(max_examples=300)
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a stranger's picture says, there is an answer, and it can be written as JSON."""
    carried = parameters.read(text)
    assert "prompt" in carried.keys
    msgspec.json.encode(carried.rest)


@pytest.mark.parametrize("piece", ["a: ", "a: [", 'a: "', "<lora:", "a", "[" * 500 + ": ", "(a:1"])
def test_a_long_text_takes_no_longer_than_it_is(piece: str) -> None:
    """A megabyte of what is worst for a careless reader; the suite's own time limit is the judge."""
    parameters.read("Steps: 1, b: 2, c: 3, " + piece * (2**20 // len(piece)))


@pytest.mark.parametrize("sampler", samplers.SAMPLERS.values(), ids=lambda sampler: sampler.name)
def test_every_sampler_is_read_back_from_what_others_call_it(sampler: samplers.Sampler) -> None:
    """With each scheduler that it goes with."""
    for scheduler in sampler.schedulers:
        prompt = replace(RECIPE.prompt, sampler=sampler.name, scheduler=scheduler)
        keys = parameters.read(parameters.write(replace(RECIPE, prompt=prompt))).keys
        choice = samplers.choose(keys["sampler"], keys["scheduler"])
        assert choice == samplers.Choice(sampler=sampler.name, scheduler=scheduler)


def test_learned_words_are_written_as_a1111_knows_them_and_come_back() -> None:
    """Bare in the prompts, with the beginnings of their files' sums in the list that Civitai reads too."""
    prompt = replace(
        RECIPE.prompt, prompt="a fox, embedding:soft", negative_prompt="(embedding:neg:1.2), dull"
    )
    recipe = replace(RECIPE, prompt=prompt, embeddings_sha256=["0123456789abcdef" * 4, "f" * 64])
    text = parameters.write(recipe)
    assert text.splitlines()[0] == "a fox, soft"
    assert text.splitlines()[1] == "Negative prompt: (neg:1.2), dull"
    assert 'TI hashes: "soft: 0123456789ab, neg: ffffffffffff"' in text
    carried = parameters.read(text)
    assert (carried.keys["prompt"], carried.keys["negative_prompt"]) == (
        prompt.prompt,
        prompt.negative_prompt,
    )
    assert not any("TI hashes" in line for line in carried.rest)


def test_learned_words_that_cannot_be_mentioned_are_told() -> None:
    """Others beside them are mentioned; what is left of the list is as it was."""
    listed = 'TI hashes: "neg: 0a, my style: 1b, nowhere: 2c"'
    carried = parameters.read(f"a my style fox, neg\n{TAIL}, {listed}")
    assert carried.keys["prompt"] == "a my style fox, embedding:neg"
    assert "TI hashes: my style: 1b, nowhere: 2c" in carried.rest
