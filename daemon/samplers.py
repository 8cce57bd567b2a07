"""The samplers and schedulers that a prompt may name, and which of them go together.  PURE

Names are ComfyUI's; A1111's ("DPM++ 2M Karras") are read as aliases. Nothing is ever replaced in silence:
what diffusers cannot do is refused here, before it is queued, with the nearest that it can.
`gpu/samplers` makes the real thing of a name; the two tables are held together by a test.
"""

import difflib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

SCHEDULERS: dict[str, str] = {
    "normal": "the model's own timesteps, evenly spaced",
    "simple": "every k-th of the model's sigmas, from the noisiest (trailing)",
    "sgm_uniform": "evenly spaced timesteps without the last, as Stability's own code",
    "karras": "Karras et al. 2022, rho 7: more steps at low noise",
    "exponential": "evenly spaced in log sigma",
    "ddim_uniform": "every k-th timestep from the second (leading), as SDXL's own config",
    "beta": "Lee et al. 2024, alpha = beta = 0.6: more steps at both ends",
}
"""What each one does with the range of sigmas."""

ALL = tuple(SCHEDULERS)
_WHOLE = ("sgm_uniform", "simple", "normal", "ddim_uniform", "beta")
"""For samplers of diffusers that know noise levels only by whole timesteps."""


class Sampler(msgspec.Struct, frozen=True, kw_only=True):
    """One way to step from noise to picture."""

    name: str
    label: str
    """As A1111 calls it."""
    schedulers: tuple[str, ...] = ALL
    """Those it goes with, the best first."""
    instead: str = ""
    """The sampler to take with the other schedulers."""
    random: bool = False
    """Fresh noise at every step (ancestral or SDE)."""
    calls: int = 1
    """Of the UNet in a step; the last step takes one."""
    note: str = ""


SAMPLERS: dict[str, Sampler] = {
    sampler.name: sampler
    for sampler in (
        Sampler(name="euler", label="Euler"),
        Sampler(name="euler_ancestral", label="Euler a", random=True),
        Sampler(name="heun", label="Heun", calls=2),
        Sampler(name="lms", label="LMS"),
        Sampler(name="dpm_2", label="DPM2", calls=2),
        Sampler(name="dpm_2_ancestral", label="DPM2 a", calls=2, random=True),
        Sampler(
            name="dpmpp_2s_ancestral", label="DPM++ 2S a", random=True, note="nearest: SDE-DPM-Solver++ 2S"
        ),
        Sampler(name="dpmpp_2m", label="DPM++ 2M"),
        Sampler(name="dpmpp_sde", label="DPM++ SDE", calls=2, random=True, note="a GPU draws other noise"),
        Sampler(name="dpmpp_2m_sde", label="DPM++ 2M SDE", random=True),
        Sampler(name="dpmpp_2m_sde_heun", label="DPM++ 2M SDE Heun", random=True),
        Sampler(name="dpmpp_3m_sde", label="DPM++ 3M SDE", random=True),
        Sampler(name="uni_pc", label="UniPC", note="ends at sigma 0.001"),
        Sampler(name="uni_pc_bh2", label="UniPC bh2"),
        Sampler(name="deis", label="DEIS", note="ends at the least sigma"),
        Sampler(name="sa_solver", label="SA-Solver", random=True, note="ends at sigma 0.001"),
        Sampler(name="ddim", label="DDIM", schedulers=("ddim_uniform",), instead="euler"),
        Sampler(
            name="ddpm",
            label="DDPM",
            schedulers=_WHOLE,
            instead="euler_ancestral",
            random=True,
            note="whole timesteps",
        ),
        Sampler(
            name="lcm",
            label="LCM",
            schedulers=("sgm_uniform", "simple", "beta"),  # at timesteps near 0 its formula keeps the noise
            instead="euler_ancestral",
            random=True,
            note="whole timesteps",
        ),
    )
}
"""By name, in the order in which a person sees them."""

DEFAULT = "euler"
"""ComfyUI's default too, with `normal`; every checkpoint can be sampled with it."""

LONGEST = 500
"""Steps of a whole schedule, as `steps` allows without an image: SDXL knows 1000 noise levels."""
_OF_BETA = 138
"""So many steps of `beta` fall on as many whole timesteps; from the next one on two are the same."""

_NOT_HERE = {
    "ipndm": ("makes garbage of SDXL in diffusers", "deis"),
    "ipndm_v": ("makes garbage of SDXL in diffusers", "deis"),
    "plms": ("skips the first steps of SDXL in diffusers", "lms"),
    "restart": ("is not in diffusers", "dpmpp_sde"),
    "dpm_fast": ("is not in diffusers", "dpmpp_2s_ancestral"),
    "dpm_adaptive": ("is not in diffusers", "dpmpp_2m"),
    "heunpp2": ("is not in diffusers", "heun"),
    "res_multistep": ("is not in diffusers", "dpmpp_2m"),
    "res_multistep_ancestral": ("is not in diffusers", "dpmpp_2m_sde"),
    "gradient_estimation": ("is not in diffusers", "euler"),
    "er_sde": ("is not in diffusers", "dpmpp_2m_sde"),
    "seeds_2": ("is not in diffusers", "dpmpp_sde"),
    "seeds_3": ("is not in diffusers", "dpmpp_3m_sde"),
    "tcd": ("is for TCD's own models, which cannot be loaded", "lcm"),
    "linear_quadratic": ("is not in diffusers for SDXL", "sgm_uniform"),
    "kl_optimal": ("is not in diffusers", "exponential"),
    "polyexponential": ("is not in diffusers", "exponential"),
    "align_your_steps": ("is not in diffusers' samplers for every number of steps", "karras"),
}
"""Names that people know from elsewhere: why not, and the nearest."""

_SCHEDULER_ALIASES = {"uniform": "normal", "ddim": "ddim_uniform", "automatic": None}
"""A1111's words; `automatic` leaves the choice open."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A sampler and a scheduler that go together, by their names."""

    sampler: str
    scheduler: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why what was asked for cannot be had."""

    key: str
    """`sampler` or `scheduler`, whichever is at fault."""
    message: str
    suggestion: str


@lru_cache(maxsize=256)
def choose(sampler: str | None, scheduler: str | None) -> Choice | Refusal:
    """What the two keys of a prompt mean, either of them left open."""
    name, implied = _split(DEFAULT if sampler is None else sampler)
    if name not in SAMPLERS:
        return _unknown("sampler", sampler or "", name, SAMPLERS)
    asked = None if scheduler is None else _scheduler(scheduler)
    if asked is not None and asked not in SCHEDULERS:
        return _unknown("scheduler", scheduler or "", asked, SCHEDULERS)
    if implied and asked and implied != asked:
        message = f"`sampler` {sampler!r} says {implied} and `scheduler` says {asked}"
        return Refusal(key="scheduler", message=message, suggestion="Keep one of them.")
    return _paired(SAMPLERS[name], asked or implied or SAMPLERS[name].schedulers[0])


def most_steps(choice: Choice) -> int:
    """Of a whole schedule."""
    known_by_timestep = SAMPLERS[choice.sampler].schedulers != ALL
    return _OF_BETA if known_by_timestep and choice.scheduler == "beta" else LONGEST


def _paired(sampler: Sampler, scheduler: str) -> Choice | Refusal:
    if scheduler in sampler.schedulers:
        return Choice(sampler=sampler.name, scheduler=scheduler)
    nearest = f"Take `{sampler.name}` with {_listed(sampler.schedulers)}, or `{sampler.instead}` with it."
    return Refusal(
        key="scheduler",
        message=f"diffusers cannot do `{sampler.name}` with `{scheduler}`",
        suggestion=nearest,
    )


def _split(text: str) -> tuple[str, str]:
    """A sampler's name and the scheduler that an A1111 label ends in, '' for none."""
    words = " ".join(text.lower().split())
    if words in _NAMES:
        return _NAMES[words], ""
    for ending, scheduler in _ENDINGS.items():
        if words.endswith(f" {ending}") and words.removesuffix(f" {ending}") in _NAMES:
            return _NAMES[words.removesuffix(f" {ending}")], scheduler
    return words.replace(" ", "_"), ""


def _scheduler(text: str) -> str | None:
    name = "_".join(text.lower().split())
    return _SCHEDULER_ALIASES.get(name, name)


def _unknown(key: str, said: str, name: str, known: dict[str, str] | dict[str, Sampler]) -> Refusal:
    if name in _NOT_HERE:
        why, nearest = _NOT_HERE[name]
        return Refusal(key=key, message=f"{key} {said!r} {why}", suggestion=f"The nearest is `{nearest}`.")
    if (plain := name.removesuffix("_cfg_pp")) in known:
        nearest = f"The nearest is `{plain}`."
        return Refusal(key=key, message=f"{key} {said!r} is not in diffusers", suggestion=nearest)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean `{close[0]}`?" if close else f"The {key}s are {', '.join(known)}."
    return Refusal(key=key, message=f"there is no {key} {said[:60]!r}", suggestion=hint)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_NAMES = {
    **{sampler.label.lower(): name for name, sampler in SAMPLERS.items()},
    **{name: name for name in SAMPLERS},
    **{f"{name}_gpu": name for name in SAMPLERS if name.endswith("_sde")},  # ComfyUI: where noise is drawn
    "sa solver": "sa_solver",
}
_ENDINGS = {name.replace("_", " "): name for name in SCHEDULERS} | {"uniform": "normal", "automatic": ""}


def patterns() -> dict[str, str]:
    """For each of the two keys a regular expression of every spelling that `choose` understands, by ECMA-262
    as by Python; whether the two go together it cannot say.
    """
    labels, endings = _either(_NAMES, r"\s+"), _either(_ENDINGS, r"\s+")
    names, schedulers = (
        _either(SAMPLERS, r"(?:_|\s+)"),
        _either({**SCHEDULERS, **_SCHEDULER_ALIASES}, r"(?:_|\s+)"),
    )
    return {
        "sampler": rf"^\s*(?:{labels}(?:\s+{endings})?|{names})\s*$",
        "scheduler": rf"^\s*{schedulers}\s*$",
    }


def _either(words: Iterable[str], gap: str) -> str:
    """One of these words in letters of either case, with `gap` where they have a space, or an underscore if
    it may be one.
    """
    spelt = ("".join(_letter(letter, gap) for letter in word) for word in words)
    return f"(?:{'|'.join(sorted(set(spelt)))})"


def _letter(letter: str, gap: str) -> str:
    if letter == " " or (letter == "_" and "_" in gap):
        return gap
    return f"[{letter}{letter.upper()}]" if letter.isalpha() else f"\\{letter}" if letter == "+" else letter
