"""From a picture to the prompt that makes it again, whoever saved it."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from daemon import png, reprints, sheets
from daemon.agreement import Kind, Lack
from daemon.faults import Fault
from daemon.sheets import Sheet
from tests.pictures import WORKFLOW, graph, pillow_texts, saved
from tests.stories import finished

RECIPE = finished().recipe


def read(data: bytes) -> Sheet:
    """The prompt of a picture that has one."""
    reprint = reprints.of_picture(data, "demo")
    assert isinstance(reprint, Sheet), reprint
    return reprint


def fault(data: bytes) -> Fault:
    """The one fault of a picture that has none."""
    verdict = reprints.of_picture(data, "demo")
    assert isinstance(verdict, list), verdict
    (only,) = verdict
    return only


def test_our_own_picture_gives_its_prompt_with_nothing_left_behind() -> None:
    """Every key, and the seed of this very picture."""
    asked = replace(RECIPE.prompt, prompt='a fox, "red"\nSteps: 3', negative_prompt="grey\nblue", project="x")
    picture = png.with_texts(saved(), reprints.texts(replace(RECIPE, prompt=asked, seed=99)))
    assert read(picture) == Sheet(prompts=[asked])
    assert set(pillow_texts(picture)) == {"safelight", "parameters"}


def test_the_own_parameters_win_over_the_text_for_others() -> None:
    """The text cannot say everything."""
    own = json.dumps({"recipe": {"prompt": {"prompt": "mine", "count": 1}}})
    assert read(saved({"parameters": "other", "safelight": own})).prompts[0].prompt == "mine"
    assert read(saved({"parameters": "other", "safelight": "{}"})).prompts[0].prompt == "other"


def test_learned_words_are_carried_over_where_they_are_here() -> None:
    """By ComfyUI's syntax and by A1111's list of them; the others are taken out of the prompts and named."""

    def lacks(kind: Kind, name: str) -> Lack | None:
        return Lack("nobody has it", "") if (kind, name) == ("embedding", "lost") else None

    text = (
        "a fox, embedding:lost, by soft-light\nNegative prompt: (lost:1.2), neg_xl.\n"
        'Steps: 20, Seed: 1, Size: 512x512, TI hashes: "soft-light: 0a1b2c3d4e5f, neg_xl: 00, lost: 1f"'
    )
    reprint = reprints.of_picture(saved({"parameters": text}), "demo", lacks)
    assert isinstance(reprint, Sheet)
    prompt = reprint.prompts[0]
    assert prompt.prompt == "a fox, by embedding:soft-light"
    assert prompt.negative_prompt == "(:1.2), embedding:neg_xl."
    assert reprint.not_carried == [
        "embedding:lost in the prompt (nobody has it)",
        "embedding:lost in the negative prompt (nobody has it)",
    ]


def test_a_megabyte_of_learned_words_is_refused_at_once() -> None:
    """Each is looked for in a folder: not more of them than would be named."""
    looked: list[str] = []

    def lacks(_kind: Kind, name: str) -> Lack:
        looked.append(name)
        return Lack("nobody has it", "")

    words = " ".join(f"embedding:w{n}" for n in range(60_000))
    refused = reprints.of_picture(
        saved({"parameters": f"{words}\nSteps: 20, Seed: 1, Size: 512x512"}), "demo", lacks
    )
    assert isinstance(refused, list)
    assert len(looked) < 500


def test_a_picture_by_another_program_gives_its_prompt_and_names_the_rest() -> None:
    """What has no key, and what cannot be made, by the words that a prompt file would get."""
    settings = "Steps: 9999, Sampler: Nobody's, CFG scale: 7, Seed: -1, Size: 500x512"
    text = f"a (red:1.3) [dog:fox:0.5], embedding:soft\n{settings}"
    reprint = read(saved({"parameters": text}))
    prompt = reprint.prompts[0]
    assert (prompt.prompt, prompt.cfg_scale, prompt.height) == (
        "a (red:1.3) [dog:fox:0.5], embedding:soft",
        7,
        512,
    )
    assert (prompt.steps, prompt.seed, prompt.width) == (24, None, 256)
    beginnings = ["words that change on the way", "seed: -1 (", "steps: 9999 (", "width: 500 ("]
    told = sorted(line for line in reprint.not_carried if not line.startswith("sampler"))
    assert [line[: len(begin)] for line, begin in zip(told, sorted(beginnings), strict=True)] == sorted(
        beginnings
    )
    assert any(line.startswith("sampler: Nobody's (") for line in reprint.not_carried)


def test_a_comfyui_picture_and_its_workflow_give_the_same_prompt() -> None:
    """The graph lies in the picture, and people share it as a file."""
    picture = read(saved({"prompt": WORKFLOW.decode(), "workflow": "{}"}))
    assert reprints.of_workflow(graph(), "demo") == picture
    assert (picture.prompts[0].prompt, picture.prompts[0].seed) == (
        'a bottle with a "galaxy" in it',
        156680208700286,
    )


def test_square_brackets_in_a_workflow_stay_characters() -> None:
    """To ComfyUI they weigh nothing; round ones mean the same to both."""
    workflow = json.loads(WORKFLOW.replace(b"with a ", b"[red] (with:1.2) "))
    reprint = reprints.of_workflow(workflow, "demo")
    assert isinstance(reprint, Sheet)
    assert reprint.prompts[0].prompt.count(r"\[red\] (with:1.2) ") == 1
    assert reprint.not_carried == []


def test_a_json_file_is_prompts_or_a_workflow_or_has_the_faults_of_prompts() -> None:
    """The faults of a file that is neither are those of a prompt file."""
    prompts = reprints.read(b'{"jobs": [{"prompt": "a"}, {"prompt": "b"}]}', "demo")
    assert isinstance(prompts, Sheet)
    assert len(prompts.prompts) == 2
    assert reprints.read(b"\xef\xbb\xbf" + WORKFLOW, "demo") == reprints.of_workflow(graph(), "demo")
    for text in (b'{"promt": "a"}', b"[]", b"{", b'{"1": {"class_type": 1}}'):
        assert reprints.read(text, "demo") == sheets.read(text, "demo")


def test_many_notes_and_long_ones_are_cut_and_counted() -> None:
    """A graph of thousands of nodes fits into an event."""
    nodes: dict[str, Any] = graph()
    nodes |= {str(100 + n): {"class_type": "X" * 5000, "inputs": {}} for n in range(2000)}
    reprint = reprints.of_workflow(nodes, "demo")
    assert isinstance(reprint, Sheet)
    assert reprint.not_carried[-1].endswith(" more")
    assert len(msgspec.json.encode(reprint.not_carried)) < 20_000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(saved(), "carries no parameters", id="a bare picture"),
        pytest.param(
            saved({"Software": "gimp", "prompt": "a fox"}), "carries no parameters", id="other texts"
        ),
        pytest.param(saved({"parameters": "x"})[:-20], "cannot be read: it is cut off", id="half a picture"),
        pytest.param(saved({"prompt": '{"1": {"class_type": "X"}}'}), "one KSampler", id="another workflow"),
        pytest.param(saved({"safelight": '{"recipe": {"prompt": {"count": 1}}}'}), "missing", id="no prompt"),
        pytest.param(
            saved(
                {"safelight": '{"recipe": {"prompt": {"prompt": "a", "x": ' + "[" * 900 + "]" * 900 + "}}}"}
            ),
            "carries no parameters",
            id="nested to exhaust a reader",
        ),
        pytest.param(
            saved({"parameters": "Steps: 1, a: 2, Seed: 3, Size: 8x8"}), "blank|must be", id="no words"
        ),
    ],
)
def test_a_picture_without_a_prompt_is_refused_with_a_reason(data: bytes, why: str) -> None:
    """As a rejected file, with what to do."""
    assert re.search(why, fault(data).message)


@given(st.binary(max_size=200), st.sampled_from(["safelight", "parameters", "prompt"]))
@settings(max_examples=200)
def test_whatever_a_picture_carries_there_is_a_verdict(rubbish: bytes, keyword: str) -> None:
    """A prompt or faults, never an exception."""
    picture = png.with_texts(saved(), [png.international(keyword, rubbish.decode("utf-8", "replace"))])
    assert isinstance(reprints.of_picture(picture, "demo"), Sheet | list)
    assert isinstance(reprints.of_picture(rubbish, "demo"), list)
