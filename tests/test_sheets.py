"""What a prompt file may be: a job, several, or one on each line; taken whole or refused whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.faults import MOST, Fault
from daemon.settings import DEMO
from daemon.sheets import MAX_JOBS, Sheet, read


def sheet(text: str, *, lines: bool = False) -> Sheet:
    """What a good file comes to."""
    verdict = read(text.encode(), DEMO, lines=lines)
    assert isinstance(verdict, Sheet), verdict
    return verdict


def faults(text: str, *, lines: bool = False) -> list[tuple[str, int, int, str]]:
    """What is wrong with a bad one: path, line, column, and the message."""
    verdict = read(text.encode(), DEMO, lines=lines)
    assert isinstance(verdict, list), verdict
    return [(fault.path, fault.line, fault.column, fault.message) for fault in verdict]


def test_one_object_is_one_job() -> None:
    """With a key and a schema of its own if it likes."""
    one = sheet('{"$schema": "../prompt.schema.json", "key": "k", "prompt": "a fox", "steps": 7}')
    assert (len(one.prompts), one.prompts[0].steps, one.key, one.several) == (1, 7, "k", False)


def test_what_a_job_says_goes_before_the_defaults() -> None:
    """Also where it says null: then the model decides, as if there were no default."""
    text = (
        '{"defaults": {"prompt": "a fox", "steps": 7, "seed": 1}, "jobs": [{}, {"steps": 9, "seed": null}]}'
    )
    first, second = sheet(text).prompts
    assert (first.prompt, first.steps, first.seed) == ("a fox", 7, 1)
    assert (second.prompt, second.steps, second.seed) == ("a fox", 9, None)


def test_each_line_is_a_job() -> None:
    """Blank lines, either line end and a byte order mark change nothing."""
    text = '\ufeff{"prompt": "a"}\r\n\n  {"prompt": "b", "priority": 3}'
    lines = sheet(text, lines=True)
    assert [prompt.prompt for prompt in lines.prompts] == ["a", "b"]
    assert (lines.priority, lines.several) == (3, True)


def test_whole_numbers_may_be_written_with_a_point() -> None:
    """JSON knows one kind of number, and some programs write all of theirs so."""
    assert sheet('{"jobs": [{"prompt": "a", "steps": 30.0, "seed": 1e3}]}').prompts[0].seed == 1000


def test_all_faults_of_all_jobs_are_named_with_their_places() -> None:
    """In a file of several jobs none hides another, and the unknown key itself is named."""
    text = (
        '{"defaults": {"stepz": 1},\n "jobs": [{"prompt": "a"},\n  {"steps": -1},\n  {"prompt": " "},\n'
        '  3],\n "prompt": "b"}'
    )
    assert faults(text) == [
        ("$.defaults.stepz", 1, 15, "unknown key `stepz`"),
        ("$.jobs[1].steps", 3, 13, "`steps` must be a whole number from 1 to 500 or null, not -1"),
        ("$.jobs[2].prompt", 4, 14, "`prompt` is blank"),
        ("$.jobs[3]", 5, 3, "`jobs[3]` must be an object, not 3"),
        ("$.prompt", 6, 2, "unknown key `prompt`"),
        ("$.jobs[1]", 3, 3, "`prompt` is missing"),
    ]


def test_the_faults_of_lines_bear_their_lines() -> None:
    """And the good lines are not taken without them."""
    text = '{"prompt": "a"}\n\n{"prompt": "b", "prompt": "c"}\n{"prompt":\n'
    assert faults(text, lines=True) == [
        ("$.prompt", 3, 17, "`prompt` is given twice"),
        ("$", 4, 11, "not JSON: expecting value"),
    ]


def test_a_default_is_judged_even_where_every_job_overrides_it() -> None:
    """It would be a trap for the next job."""
    assert (
        faults('{"defaults": {"steps": -1}, "jobs": [{"prompt": "a", "steps": 4}]}')[0][0]
        == "$.defaults.steps"
    )


@pytest.mark.parametrize(
    ("text", "lines", "hint"),
    [
        ('{"prompt": "a"}\n{"prompt": "b"}', False, 'Several jobs? Put them into {"jobs": […]}'),
        ('[{"prompt": "a"}]', False, 'Put the list into {"jobs": […]}.'),
        ('{\n"prompt": "a"\n}', True, "Name the file .json"),
        ('{"jobs": [{"prompt": "a"}], "steps": 3}', False, "Put it into `defaults`."),
        ('{"prompt": "a", "cfg": 3}', False, "Did you mean `cfg_scale`?"),
        ('{"prompt": "a", "Guidance_Scale": 3}', False, "Did you mean `cfg_scale`?"),
        ('{"prompt": "a", "widht": 64}', False, "Did you mean `width`?"),
        ("{'prompt': 'a'}", False, "JSON strings stand in double quotes"),
        ('{prompt: "a"}', False, "Keys stand in double quotes"),
        ('{"prompt": "a",}', False, "Take out the comma"),
        ('{"prompt": "a" // fox\n}', False, "JSON has no comments."),
        ('{// fox\n"prompt": "a"}', False, "JSON has no comments."),
        ('{"prompt": None}', False, "In JSON it is null."),
        ('{"defaults": {}}', False, 'Write {"jobs":'),
    ],
)
def test_the_suggestion_is_what_the_person_likely_meant(text: str, lines: bool, hint: str) -> None:
    """Common slips have an answer of their own."""
    verdict = read(text.encode(), DEMO, lines=lines)
    assert isinstance(verdict, list)
    assert (verdict[0].suggestion or "").startswith(hint)


@pytest.mark.parametrize("lines", [False, True])
def test_a_file_has_a_bounded_number_of_jobs(lines: bool) -> None:
    """One more is refused, with the whole file."""
    jobs = [{"prompt": "a"}] * MAX_JOBS

    def written(jobs: list[dict[str, str]]) -> str:
        return "\n".join(map(json.dumps, jobs)) if lines else json.dumps({"jobs": jobs})

    assert len(sheet(written(jobs), lines=lines).prompts) == MAX_JOBS
    ((_, _, _, message),) = faults(written([*jobs, jobs[0]]), lines=lines)
    assert f"1 to {MAX_JOBS}" in message


@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"k{number}": 1' for number in range(100_000)) + "}",
        '{"prompt": "a"' + ', "steps": 1' * 90_000 + "}",
        '{"x": ' + "[" * 900 + '"a",' * 200_000 + '""' + "]" * 900 + "}",
        '{"' + "k" * 400_000 + '": {' + ",".join(f'"{n}": 1' for n in range(50_000)) + "}}",
        '{"prompt": "' + "\\\\" * 500_000 + '"}',
        "[" * 1_000_000,
        '"' * 1_000_000,
        '{"prompt": "' + "a" * 1_000_000,
    ],
    ids=["unknown", "twice", "deep and wide", "long key", "escapes", "brackets", "quotes", "cut"],
)
@pytest.mark.timeout(60)
def test_a_file_made_to_hurt_costs_little(text: str, lines: bool) -> None:
    """A mebibyte of faults is answered in bounded time and words."""
    verdict = read(text.encode(), DEMO, lines=lines)
    assert isinstance(verdict, list)
    assert len(verdict) <= MOST + 1
    assert all(len(fault.path) <= 300 and len(fault.excerpt) <= 120 for fault in verdict)
    assert all(len(fault.message) <= 300 for fault in verdict)


FILES = [
    '{"prompt": "a café 狐", "steps": 4, "seed": 7, "cfg_scale": 5.5}',
    '{"key": "k", "defaults": {"steps": 4}, "jobs": [{"prompt": "a"}, {"prompt": "b", "count": 2}]}',
]


@given(st.sampled_from(FILES), st.data())
def test_a_file_with_a_hole_is_a_sheet_or_has_faults_inside_it(text: str, data: st.DataObject) -> None:
    """Whatever is cut out or put in, each fault stands at a place that is there."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 8, len(text))))
    broken = text[:start] + data.draw(st.text(max_size=4)) + text[end:]
    verdict = read(broken.encode("utf-8", "surrogatepass"), DEMO)
    if isinstance(verdict, list):
        assert verdict
        for fault in verdict:
            assert_within(fault, broken)


def assert_within(fault: Fault, text: str) -> None:
    """The place exists in the text, or right behind its end."""
    lines = text.split("\n")
    assert 1 <= fault.line <= len(lines)
    assert (
        1 <= fault.column <= len(lines[fault.line - 1]) + 9
    )  # escapes of bytes that are no UTF-8 are longer
