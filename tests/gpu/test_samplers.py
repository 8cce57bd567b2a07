"""The samplers behind the names: their sigmas by formula, and where one that knows the answer leads them."""

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from daemon import samplers as names
from daemon.gpu import samplers
from tests.gpu.oracle import Oracle

pytestmark = pytest.mark.usefixtures("one_thread")

SDXL = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
"""As `scheduler_config.json` of stabilityai/stable-diffusion-xl-base-1.0 says."""
PAIRS = [(name, scheduler) for name, it in names.SAMPLERS.items() for scheduler in it.schedulers]

roots = [0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * i / 999 for i in range(1000)]
kept = list(itertools.accumulate((1 - root**2 for root in roots), lambda a, b: a * b))
MODEL = [math.sqrt((1 - a) / a) for a in kept]
"""SDXL's noise levels, reckoned in plain Python from the betas alone."""
LOW, HIGH = MODEL[0], MODEL[-1]


def between(t: float) -> float:
    """The noise level at a timestep, straight in log σ from one whole timestep to the next."""
    low = min(int(t), 998)
    return math.exp((1 - (t - low)) * math.log(MODEL[low]) + (t - low) * math.log(MODEL[low + 1]))


def incomplete_beta(x: float) -> float:
    """The regularised incomplete beta function for a = b = 0.6 by Simpson's rule, after t = u^(5/3), which
    takes the pole at 0 away.
    """
    if x > 0.5:
        return 1 - incomplete_beta(1 - x)
    end: float = x**0.6
    parts = 2000
    h = end / parts
    total: float = sum(
        (1 if i in (0, parts) else 4 if i % 2 else 2) * (1 - (i * h) ** (1 / 0.6)) ** -0.4
        for i in range(parts + 1)
    )
    whole: float = math.gamma(0.6) ** 2 / math.gamma(1.2)
    return total * h / 3 / 0.6 / whole


def quantile(p: float) -> float:
    """Where the incomplete beta function reaches p, by halving."""
    low, high = 0.0, 1.0
    for _ in range(30):
        mid = (low + high) / 2
        low, high = (mid, high) if incomplete_beta(mid) < p else (low, mid)
    return low


FORMULAS: dict[str, Callable[[int], list[float]]] = {
    "normal": lambda n: [between(999 - 999 * k / max(n - 1, 1)) for k in range(n)],
    "simple": lambda n: [MODEL[999 - int(k * 1000 / n)] for k in range(n)],
    "sgm_uniform": lambda n: [between(999 - 999 * k / n) for k in range(n)],
    "karras": lambda n: [
        (HIGH ** (1 / 7) + k / max(n - 1, 1) * (LOW ** (1 / 7) - HIGH ** (1 / 7))) ** 7 for k in range(n)
    ],
    "exponential": lambda n: [HIGH * (LOW / HIGH) ** (k / max(n - 1, 1)) for k in range(n)],
    "ddim_uniform": lambda n: [MODEL[1 + (n - 1 - k) * (1000 // n)] for k in range(n)],
    "beta": lambda n: [MODEL[round(999 * quantile(1 - k / n))] for k in range(n)],
}


@pytest.mark.parametrize("steps", [1, 5, 25])
@pytest.mark.parametrize("scheduler", names.SCHEDULERS)
def test_sigmas_are_those_of_the_formula(scheduler: str, steps: int) -> None:
    """Each scheduler against its formula in plain Python. Odd numbers of steps: half way lies a tie."""
    found = samplers.sigmas(scheduler, steps, samplers.model_sigmas(SDXL))
    assert found[-1] == 0
    np.testing.assert_allclose(found[:-1], FORMULAS[scheduler](steps), rtol=2e-5)


@pytest.mark.parametrize("steps", [2, 3, 7, 30, 138, 139, 500])
@pytest.mark.parametrize("scheduler", names.SCHEDULERS)
def test_sigmas_always_fall(scheduler: str, steps: int) -> None:
    """No two are equal, for any number of steps that can be asked for: a step of no length divides by 0."""
    assert (np.diff(samplers.sigmas(scheduler, steps, samplers.model_sigmas(SDXL))) < 0).all()


STOCK = [
    ("EulerDiscreteScheduler", "normal", {"timestep_spacing": "linspace"}, 1e-3),
    ("EulerDiscreteScheduler", "simple", {"timestep_spacing": "trailing"}, 1e-5),
    ("EulerDiscreteScheduler", "ddim_uniform", {"timestep_spacing": "leading", "steps_offset": 1}, 1e-5),
    ("EulerDiscreteScheduler", "karras", {"timestep_spacing": "linspace", "use_karras_sigmas": True}, 1e-5),
    (
        "EulerDiscreteScheduler", "exponential",
        {"timestep_spacing": "linspace", "use_exponential_sigmas": True}, 1e-5,
    ),
    ("DPMSolverMultistepScheduler", "sgm_uniform", {"timestep_spacing": "linspace"}, 2e-3),
    ("DPMSolverMultistepScheduler", "karras", {"use_karras_sigmas": True}, 1e-5),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "scheduler", "options", "tolerance"), STOCK)
def test_sigmas_agree_with_diffusers_where_it_has_them(
    kind: str, scheduler: str, options: dict[str, Any], tolerance: float
) -> None:
    """Another implementation of the same schedules, at 25 steps."""
    stock = getattr(samplers.library, kind).from_config({**SDXL, **options})
    stock.set_timesteps(25)
    ours = samplers.sigmas(scheduler, 25, samplers.model_sigmas(SDXL))
    np.testing.assert_allclose(ours[:-1], stock.sigmas[:-1], rtol=tolerance)


def run(sampler: str, scheduler: str, steps: int, oracle: Oracle) -> tuple[torch.Tensor, int]:
    """Let an oracle be sampled; answers the last latent and the number of calls."""
    made = samplers.fresh(sampler, scheduler, {**SDXL, "prediction_type": oracle.kind}, 7)
    made.set_timesteps(steps)
    noise = torch.Generator().manual_seed(1)
    latent = torch.randn(oracle.answer.shape, generator=noise) * made.init_noise_sigma
    random = {"generator": noise} if "generator" in inspect.signature(made.step).parameters else {}
    for timestep in made.timesteps:
        predicted = oracle.predict(made, latent, timestep)
        latent = made.step(predicted, timestep, latent, **random, return_dict=False)[0]
    return latent, len(made.timesteps)


@pytest.mark.parametrize(
    ("sampler", "scheduler", "kind"),
    [(*pair, "epsilon") for pair in PAIRS]
    + [(name, it.schedulers[0], "v_prediction") for name, it in names.SAMPLERS.items()],
)
def test_a_model_that_knows_the_answer_leads_to_it(sampler: str, scheduler: str, kind: str) -> None:
    """Whatever the sampler does with its sigmas, noise that is told exactly is taken away exactly: to
    nothing, or to the least sigma where the sampler ends there.
    """
    oracle = Oracle(torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3)), kind)
    left = {"deis": LOW, "uni_pc": 0.001, "sa_solver": 0.001}.get(sampler, 0.0)
    for steps in (3, 20):
        latent, calls = run(sampler, scheduler, steps, oracle)
        assert calls == (2 * steps - 1 if names.SAMPLERS[sampler].calls == 2 else steps)
        worst = (latent - oracle.answer).abs().max().item()
        assert worst < 1e-3 + left * 5  # the noise of 256 values stays within five deviations


def test_zero_terminal_snr_is_every_samplers() -> None:
    """Rescaled betas begin at pure noise in classes that know no such option, too."""
    rescaled = {**SDXL, "rescale_betas_zero_snr": True}
    for sampler in ("euler", "heun", "lms", "dpm_2", "dpmpp_sde", "deis", "sa_solver"):
        made = samplers.fresh(sampler, "karras", rescaled, 7)
        made.set_timesteps(4)
        assert made.sigmas[0].item() == pytest.approx(4096, rel=1e-3)
        assert made.timesteps[0] == 999


def test_the_table_of_names_and_the_table_of_classes_are_one() -> None:
    """Each sampler that a prompt may name has a class, and takes as many calls as the name says."""
    assert set(samplers._CLASSES) == set(names.SAMPLERS)
    for name, sampler in names.SAMPLERS.items():
        made = samplers.fresh(name, sampler.schedulers[0], SDXL, 7)
        assert made.order == sampler.calls


@pytest.mark.parametrize("sampler", names.SAMPLERS.values(), ids=names.SAMPLERS)
def test_random_samplers_draw_and_the_others_do_not(sampler: names.Sampler) -> None:
    """From one latent and one prediction two seeds lead to two latents, or to one. Two steps: SA-Solver
    draws between timesteps 800 and 200 only.
    """
    ends = []
    for seed in (1, 2):
        made = samplers.fresh(sampler.name, sampler.schedulers[0], SDXL, seed)
        made.set_timesteps(4)
        drawn = {"generator": torch.Generator().manual_seed(seed)}
        random = drawn if "generator" in inspect.signature(made.step).parameters else {}
        latent = torch.ones(1, 4, 8, 8) * made.init_noise_sigma
        for timestep in made.timesteps[: 2 * made.order]:
            made.scale_model_input(latent, timestep)
            latent = made.step(torch.ones_like(latent), timestep, latent, **random, return_dict=False)[0]
        ends.append(latent)
    assert torch.equal(*ends) != sampler.random


def test_what_is_recorded_makes_the_same_scheduler() -> None:
    """Class, options and sigmas are all that is needed; nothing that a reader of the log cannot find."""
    made = samplers.fresh("dpmpp_2m_sde", "karras", SDXL, 7)
    made.set_timesteps(4)
    options = samplers.options(made)
    assert options["algorithm_type"] == "sde-dpmsolver++"
    assert options["beta_schedule"] == "scaled_linear"
    again = type(made)(**options)
    assert samplers.options(again) == options
    assert again.config.final_sigmas_type == made.config.final_sigmas_type
    assert samplers.levels(made) == pytest.approx([*FORMULAS["karras"](4), 0], rel=1e-4)


@pytest.mark.parametrize("sampler", ["ddpm", "lcm"])
def test_more_steps_than_whole_timesteps_are_refused(sampler: str) -> None:
    """At 200 steps of beta two would fall on one timestep, which these classes could not tell apart."""
    made = samplers.fresh(sampler, "beta", SDXL, 7)
    with pytest.raises(ValueError, match="no 200 different timesteps"):
        made.set_timesteps(200)
