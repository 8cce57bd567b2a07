"""Names of samplers and schedulers: what is understood, what is refused, and with which advice."""

import json

import pytest

from daemon.prompts import Prompt, parse
from daemon.samplers import SAMPLERS, SCHEDULERS, Choice, Refusal, choose
from daemon.settings import DEMO

UNDERSTOOD = [
    (None, None, "euler", "normal"),
    ("euler", None, "euler", "normal"),
    (None, "karras", "euler", "karras"),
    ("DPM++ 2M Karras", None, "dpmpp_2m", "karras"),
    ("dpm++ 2m  karras", "karras", "dpmpp_2m", "karras"),
    ("DPM++ 2M SDE Exponential", None, "dpmpp_2m_sde", "exponential"),
    ("DPM++ 2M SDE Heun Karras", None, "dpmpp_2m_sde_heun", "karras"),
    ("DPM++ 2S a Karras", None, "dpmpp_2s_ancestral", "karras"),
    ("DPM++ SDE", "SGM Uniform", "dpmpp_sde", "sgm_uniform"),
    ("Euler a", "Automatic", "euler_ancestral", "normal"),
    ("Euler", "Uniform", "euler", "normal"),
    ("DPM2 a Karras", None, "dpm_2_ancestral", "karras"),
    ("LMS Karras", None, "lms", "karras"),
    ("dpmpp_2m_sde_gpu", "karras", "dpmpp_2m_sde", "karras"),
    ("UniPC", None, "uni_pc", "normal"),
    ("DDIM", None, "ddim", "ddim_uniform"),
    ("DDIM", "DDIM", "ddim", "ddim_uniform"),
    ("LCM", None, "lcm", "sgm_uniform"),
]


@pytest.mark.parametrize(("sampler", "scheduler", "name", "schedule"), UNDERSTOOD)
def test_names_that_people_know(sampler: str | None, scheduler: str | None, name: str, schedule: str) -> None:
    """ComfyUI's names as they are, A1111's with or without the scheduler in them, and either key alone."""
    assert choose(sampler, scheduler) == Choice(sampler=name, scheduler=schedule)


def test_every_name_and_every_label_is_understood() -> None:
    """Each sampler by both of its names, with each scheduler that it goes with."""
    for name, sampler in SAMPLERS.items():
        for scheduler in sampler.schedulers:
            want = Choice(sampler=name, scheduler=scheduler)
            label = f"{sampler.label} {scheduler.replace('_', ' ').title()}"
            assert choose(name, scheduler) == choose(sampler.label, scheduler) == choose(label, None) == want


REFUSED = [
    ({"sampler": "eulr"}, "$.sampler", "there is no sampler 'eulr'", "Did you mean `euler`?"),
    ({"sampler": "ipndm"}, "$.sampler", "makes garbage", "The nearest is `deis`."),
    ({"sampler": "heunpp2"}, "$.sampler", "is not in diffusers", "The nearest is `heun`."),
    ({"sampler": "dpmpp_2m_cfg_pp"}, "$.sampler", "is not in diffusers", "The nearest is `dpmpp_2m`."),
    ({"sampler": "res_multistep"}, "$.sampler", "is not in diffusers", "The nearest is `dpmpp_2m`."),
    ({"sampler": "qqq"}, "$.sampler", "there is no sampler 'qqq'", "The samplers are euler, "),
    ({"scheduler": "karas"}, "$.scheduler", "there is no scheduler 'karas'", "Did you mean `karras`?"),
    ({"scheduler": "kl_optimal"}, "$.scheduler", "is not in diffusers", "The nearest is `exponential`."),
    ({"sampler": "ddim", "scheduler": "karras"}, "$.scheduler", "cannot do `ddim` with `karras`",
     "Take `ddim` with `ddim_uniform`, or `euler` with it."),
    ({"sampler": "LCM Karras"}, "$.sampler", "cannot do `lcm` with `karras`", "Take `lcm` with `sgm_un"),
    ({"sampler": "DPM++ 2M Karras", "scheduler": "beta"}, "$.scheduler", "says karras", "Keep one of them."),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "path", "message", "suggestion"), REFUSED)
def test_what_cannot_be_had_is_refused(
    keys: dict[str, str], path: str, message: str, suggestion: str
) -> None:
    """Before it is queued, at the key that is at fault, with the nearest that there is."""
    faults = parse(json.dumps({"prompt": "a fox", **keys}).encode(), DEMO)
    assert isinstance(faults, list)
    (fault,) = faults
    assert fault.path == path
    assert message in fault.message
    assert fault.suggestion is not None
    assert fault.suggestion.startswith(suggestion)


def test_a_job_holds_the_names_and_never_the_aliases() -> None:
    """What is recorded is one spelling, so that the history can be asked for it."""
    prompt = parse(b'{"prompt": "a fox", "sampler": "DPM++ 2M Karras"}', DEMO)
    assert isinstance(prompt, Prompt)
    assert (prompt.sampler, prompt.scheduler) == ("dpmpp_2m", "karras")


def test_every_refusal_names_what_can_be_had() -> None:
    """Where a pairing is refused, both ways out are taken at their word."""
    for name, sampler in SAMPLERS.items():
        for scheduler in SCHEDULERS.keys() - set(sampler.schedulers):
            assert isinstance(choose(name, scheduler), Refusal)
            assert isinstance(choose(sampler.instead, scheduler), Choice)
