"""A prompt file is a job or a list of faults with their places, whatever bytes it holds."""

import json
from contextlib import nullcontext

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.agreement import Lack, disagreements
from daemon.faults import Fault
from daemon.prompts import (
    DEMO_DEFAULTS,
    SDXL_DEFAULTS,
    KeyGivenTwice,
    Prompt,
    decoded,
    handed_over,
    parse,
    steps_in_all,
)
from daemon.settings import DEMO

GOOD = b'{"prompt": "a caf\xc3\xa9", "steps": 4, "seed": 7}'
HALF = "\\ud800"

CATALOGUE = [
    ("", "$", 1, 1, "not JSON"),
    ("[]", "$", 1, 1, "must be an object"),
    (" \n 3", "$", 2, 2, "must be an object"),
    ('{"prompt": "a",\n "steps": 4,,}', "$", 2, 13, "not JSON"),
    ('{"prompt": "a",\r\n\t"stepz": 4}', "$.stepz", 2, 2, "unknown key `stepz`"),
    ('{"prompt": "a", "steps": -1}', "$.steps", 1, 26, "`steps` must be a whole number"),
    ('{"prompt": "NaN", "seed": NaN}', "$", 1, 27, "not JSON: NaN"),
    ('{"prompt": "a", "seed": ' + "9" * 5000 + "}", "$.seed", 1, 25, "`seed` must be"),
    ('{"prompt": "' + HALF + '"}', "$.prompt", 1, 12, "holds half a character"),
    ('{"prompt": "a", "' + HALF + '": 1}', '$["\\ud800"]', 1, 17, "unknown key"),
    ('{"prompt": "a", "steps": "' + HALF + '"}', "$.steps", 1, 26, "`steps` must be"),
    ('{"prompt": "a", "prompt": "b"}', "$.prompt", 1, 17, "`prompt` is given twice"),
    ('{"prompt": "  "}', "$.prompt", 1, 12, "`prompt` is blank"),
    ('{"prompt": "a", "model": "demo\\n"}', "$.model", 1, 26, "`model` must be"),
    ('{"seed": 1}', "$", 1, 1, "`prompt` is missing"),
    ('{"prompt": "a", "loras": [{"nam": "x"}]}', "$.loras[0].nam", 1, 28, "unknown key `nam`"),
    (
        '{"prompt": "a", "loras": [{"name": "../x"}]}',
        "$.loras[0].name",
        1,
        36,
        "`name` must be a file's name",
    ),
    (
        '{"prompt": "a", "loras": [{"name": "x", "weight": 11}]}',
        "$.loras[0].weight",
        1,
        51,
        "`weight` must be",
    ),
    ('{"prompt": "a <lora:x:much>"}', "$.prompt", 1, 12, "the weight of the LoRA 'x'"),
    ('{"prompt": "a <lora:../x:1>"}', "$.prompt", 1, 12, "'../x' is no name of a LoRA"),
    ('{"prompt": "<lora:x:1>"}', "$.prompt", 1, 12, "the prompt has no words"),
    ('{"prompt": "a", "strength": 0.5}', "$.strength", 1, 29, "`strength` needs an `image`"),
    ('{"prompt": "a", "image": "i.png", "strength": 2}', "$.strength", 1, 47, "`strength` must be"),
    ('{"prompt": "a", "image": "i.png", "sampler": "LMS"}', "$.sampler", 1, 46, "`lms` cannot begin"),
    ('{"prompt": "a", "image": "i.png", "strength": 0.1, "steps": 99}', "$.steps", 1, 61, "99 steps at a"),
    ('{"prompt": "a", "hires": {"scale": 9}}', "$.hires.scale", 1, 36, "`scale` must be"),
    ('{"prompt": "a", "hires": {}, "width": 4096}', "$.hires", 1, 26, "the second pass would be 6144 pixels"),
    ('{"prompt": "a", "hires": {}, "sampler": "lms"}', "$.sampler", 1, 41, "`lms` cannot begin"),
    ('{"prompt": "a", "hires": {"steps": 300}}', "$.hires.steps", 1, 36, "300 steps at a strength of 0.4"),
    (
        '{"prompt": "a", "image": "i.png", "strength": 0.02}',
        "$.strength",
        1,
        47,
        "24 steps at a strength of 0.02",
    ),
    ('{"prompt": "a", "image": "i.png", "steps": 400}', "$.steps", 1, 44, "400 steps at a strength of 0.6"),
    (
        '{"prompt": "a", "hires": {"strength": 0.03}}',
        "$.hires.strength",
        1,
        39,
        "24 steps at a strength of 0.03",
    ),
    (
        '{"prompt": "a", "model": "x", "hires": {"strength": 0.05}}',
        "$.hires.strength",
        1,
        53,
        "30 steps at a",
    ),
    ('{"prompt": "a", "hires": {}, "steps": 300}', "$.steps", 1, 39, "300 steps at a strength of 0.4"),
    (
        '{"prompt": "a", "sampler": "lcm", "scheduler": "beta", "steps": 139}',
        "$.steps",
        1,
        65,
        "139 steps are finer",
    ),
    (
        '{"prompt": "a", "sampler": "DDPM Beta", "steps": 139}',
        "$.steps",
        1,
        50,
        "139 steps are finer than `ddpm` with `beta`",
    ),
    ('{"prompt": "a", "refiner": {"model": "r", "at": 1}}', "$.refiner.at", 1, 49, "`at` must be"),
    ('{"prompt": "a", "refiner": {}}', "$.refiner", 1, 28, "`model` is missing"),
    ('{"prompt": "a", "refiner": {"model": "r"}, "steps": 1}', "$.steps", 1, 53, "with a `refiner` there"),
    ('{"prompt": "a", "refiner": {"model": "r"}, "hires": {}}', "$.refiner", 1, 28, "`refiner` and `hires`"),
    (
        '{"prompt": "a", "refiner": {"model": "r"}, "sampler": "lms"}',
        "$.sampler",
        1,
        55,
        "`lms` cannot begin",
    ),
    ('{"prompt": "a (fox:1000)"}', "$.prompt", 1, 12, "the weight of 'fox' comes to 1000"),
    (
        '{"prompt": "a", "negative_prompt": "' + "(" * 99 + "b" + ")" * 99 + '"}',
        "$.negative_prompt",
        1,
        36,
        "the weight of 'b'",
    ),
]


@pytest.mark.parametrize(("text", "path", "line", "column", "start"), CATALOGUE)
def test_a_fault_says_where_it_stands(text: str, path: str, line: int, column: int, start: str) -> None:
    """The first fault of each bad file, with its place, in a form that the log can hold."""
    faults = parse(text.encode(), DEMO)
    assert isinstance(faults, list)
    first = faults[0]
    assert (first.path, first.line, first.column) == (path, line, column)
    assert first.message.startswith(start)
    assert msgspec.json.decode(msgspec.json.encode(faults), type=list[Fault]) == faults


BIG = "9" * 400


@pytest.mark.parametrize(
    "keys",
    [
        f'"width": {BIG}, "hires": {{}}',
        f'"width": 64, "hires": {{"scale": {BIG}}}',
        f'"hires": {{"steps": {BIG}}}',
        f'"image": "i.png", "strength": 0.5, "steps": {BIG}',
        f'"sampler": "lcm", "scheduler": "beta", "steps": {BIG}',
        '"width": -5000, "height": 0, "hires": {"scale": -1}',
    ],
)
def test_no_number_is_too_large_or_too_small_to_be_refused(keys: str) -> None:
    """What goes together is reckoned with numbers that others have refused, and beyond any float."""
    faults = parse(f'{{"prompt": "a", {keys}}}'.encode(), DEMO)
    assert isinstance(faults, list)
    assert " must be " in faults[0].message


def test_a_bad_byte_after_a_byte_order_mark_has_its_own_column() -> None:
    """The mark counts for nothing, and a character of several bytes for one."""
    faults = parse(b'\xef\xbb\xbf{"prompt": "\xc3\xa9\xff"}', DEMO)
    assert isinstance(faults, list)
    assert (faults[0].line, faults[0].column) == (1, 14)


def _object(members: list[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in members) + "}"


VALUES = st.recursive(
    st.sampled_from(["1", '":"', '"a"', "[]"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(st.tuples(st.sampled_from(["a", "b", ":"]), inner), max_size=3).map(_object)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_a_key_that_is_there_twice_is_found_wherever_it_is(text: str) -> None:
    """Colons within words do not hide it, and are not taken for one."""
    once: list[bool] = []
    json.loads(text, object_pairs_hook=lambda pairs: once.append(len(dict(pairs)) == len(pairs)))
    with nullcontext() if all(once) else pytest.raises(KeyGivenTwice):
        decoded(text)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.integers(1, 20_000).map(lambda depth: b'{"prompt": ' + b"[" * depth + b"]" * depth + b"}")
    | st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=6)).map(
        lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] + len(cut[1]) :]
    )
)
def test_no_bytes_make_parse_raise(data: bytes) -> None:
    """It answers a prompt or at least one fault, and the faults can be written down."""
    answer = parse(data, DEMO)
    assert isinstance(answer, Prompt) or answer
    msgspec.json.encode(answer)


@given(
    st.fixed_dictionaries(
        {"prompt": st.text("a(:[<lor>9.])\\ ", min_size=1).filter(str.strip)},
        optional={
            "negative_prompt": st.text("a(:9)[] "),
            "steps": st.sampled_from([1, 30, 500]),
            "sampler": st.sampled_from(["euler", "lms", "dpmpp_sde", "lcm"]),
            "scheduler": st.sampled_from(["karras", "ddim_uniform", "beta"]),
            "image": st.just("a.png"),
            "strength": st.sampled_from([0.02, 1]),
            "loras": st.just([{"name": "x"}]),
            "hires": st.sampled_from([{"scale": 4}, {"strength": 0.02}, {"steps": 138}]),
            "refiner": st.just({"model": "r", "at": 0.5}),
            "width": st.sampled_from([64, 4096]),
        },
    )
)
def test_a_job_is_refused_where_a_rule_is_broken_and_nowhere_else(job: dict[str, object]) -> None:
    """Most jobs are not held to the rules at all, since there is nothing in them that one is about."""

    def lacks(kind: str, name: str) -> Lack | None:
        return Lack("it is not there", "Put it there.") if kind == "lora" else None

    broken = [misfit.message for misfit in disagreements(job, lacks=lacks, model=DEMO)]
    answer = parse(msgspec.json.encode(job), DEMO, lacks)
    assert (sorted(fault.message for fault in answer) if isinstance(answer, list) else []) == sorted(broken)


def test_a_prompt_cut_anywhere_is_never_another_prompt() -> None:
    """A half-written file is not taken for a whole one."""
    assert isinstance(parse(GOOD, DEMO), Prompt)
    assert all(isinstance(parse(GOOD[:end], DEMO), list) for end in range(len(GOOD)))


def test_every_fault_of_a_file_is_named() -> None:
    """One fault does not hide another."""
    faults = parse(b'{"stepz": 1, "seed": -1, "width": 65}', DEMO)
    assert isinstance(faults, list)
    assert [fault.path for fault in faults] == ["$.stepz", "$.seed", "$.width", "$"]


@pytest.mark.parametrize(("model", "defaults"), [(DEMO, DEMO_DEFAULTS), ("other", SDXL_DEFAULTS)])
def test_defaults_are_those_of_the_model(model: str, defaults: msgspec.Struct) -> None:
    """What the prompt leaves open is what its checkpoint is best asked for."""
    answer = parse(json.dumps({"prompt": "a", "model": model}).encode(), DEMO)
    assert isinstance(answer, Prompt)
    assert msgspec.structs.asdict(defaults).items() <= msgspec.structs.asdict(answer).items()


def test_a_tag_in_the_prompt_is_a_lora_and_no_words() -> None:
    """After those of the key, in their order; a weight that is left out is 1."""
    text = '{"prompt": "a <lora:one> fox, <lora:two v1.0:-.5>", "loras": [{"name": "zero", "weight": 0.5}]}'
    answer = parse(text.encode(), DEMO)
    assert isinstance(answer, Prompt)
    assert answer.prompt == "a fox"
    assert [(lora.name, lora.weight) for lora in answer.loras] == [
        ("zero", 0.5),
        ("one", 1),
        ("two v1.0", -0.5),
    ]


def test_an_image_has_a_strength() -> None:
    """The usual one where the prompt says none."""
    for text, strength in (('{"prompt": "a", "image": "i.png"}', 0.6), ('{"prompt": "a"}', None)):
        answer = parse(text.encode(), DEMO)
        assert isinstance(answer, Prompt)
        assert answer.strength == strength


@given(st.integers(2, 500), st.floats(0.01, 0.99))
def test_a_refiner_takes_some_steps_and_never_all(steps: int, at: float) -> None:
    """As near to the share as whole steps come, with one step each at least."""
    first = handed_over(steps, at)
    assert 1 <= first <= steps - 1
    assert abs(first - steps * at) <= max(0.5, 1 - steps * at, steps * at - (steps - 1))


def test_a_second_pass_has_the_steps_of_the_first() -> None:
    """Unless it says how many."""
    for text, steps in (("{}", 24), ('{"steps": 9, "scale": 2}', 9)):
        answer = parse(f'{{"prompt": "a", "hires": {text}}}'.encode(), DEMO)
        assert isinstance(answer, Prompt)
        assert answer.hires is not None
        assert (answer.hires.steps, answer.hires.strength) == (steps, 0.4)
        assert steps_in_all(answer) == 24 + steps
