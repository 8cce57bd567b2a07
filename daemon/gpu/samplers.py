"""Sampler and scheduler names → diffusers schedulers whose sigmas are those that the names promise.

diffusers ties the noise levels to the sampler's class: some classes have no Karras option, and the same
spacing means different sigmas in different classes. So the sigmas are computed here, by the published
formula of each scheduler from the checkpoint's own range, and forced onto the class: its `set_timesteps`
is wrapped, and whoever calls it, our loop or the stock pipeline, gets them. The tables of names that a
prompt is checked against are in `daemon/samplers`; this is the half with torch in it.
"""

import copy
import inspect
from functools import cache
from typing import Any

import diffusers
import msgspec
import numpy as np
import scipy.stats  # type: ignore[import-untyped]  # its stubs are a package of their own
import torch

library: Any = diffusers
"""The same module: its constructors are untyped, and strict checking would stumble over every one."""

Sigmas = np.ndarray[tuple[int], np.dtype[np.float64]]
"""Noise levels σ = √((1 − ᾱ)/ᾱ), falling."""

_SDE = {"algorithm_type": "sde-dpmsolver++"}
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmpp_2s_ancestral": ("DPMSolverSinglestepScheduler", {**_SDE, "lower_order_final": True}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_sde": ("DPMSolverSDEScheduler", {}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", _SDE),
    "dpmpp_2m_sde_heun": ("DPMSolverMultistepScheduler", {**_SDE, "solver_type": "heun"}),
    "dpmpp_3m_sde": ("DPMSolverMultistepScheduler", {**_SDE, "solver_order": 3}),
    "uni_pc": ("UniPCMultistepScheduler", {"solver_type": "bh1"}),
    "uni_pc_bh2": ("UniPCMultistepScheduler", {"solver_type": "bh2"}),
    "deis": ("DEISMultistepScheduler", {}),
    "sa_solver": ("SASolverScheduler", {}),
    # clip_sample is on by default and made for pixels: it would cut latents off at ±1.
    "ddim": ("DDIMScheduler", {"clip_sample": False, "timestep_spacing": "leading", "steps_offset": 1}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "lcm": ("LCMScheduler", {"clip_sample": False}),
}

_MODELS_OWN = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr",
)  # fmt: skip
"""What a checkpoint's scheduler config says about the model. The rest is taste, which is the prompt's."""

_ABOVE_ZERO = 0.001
"""Where UniPC's bh1 and SA-Solver end, whose formulas are infinite at 0. ComfyUI's UniPC ends there too
(`uni_pc.py`); it is a thirtieth of SDXL's least sigma, and too little to be seen in eight bits."""


def fresh(sampler: str, scheduler: str, config: Any, seed: int, begun: Any = None) -> Any:
    """A diffusers scheduler for one picture (about a millisecond; sharing one raises IndexError).

    `config` is that of the checkpoint's scheduler, of which only what it says about the model counts.
    `set_timesteps(n)` sets the n steps of `scheduler`, whatever the class would have done. `seed` is for
    samplers that draw their noise themselves (`dpmpp_sde`). `begun` is the config of another checkpoint,
    which made the steps before, and whose noise levels are gone through; samplers of whole timesteps cannot.
    """
    own = {key: config[key] for key in _MODELS_OWN if key in config}
    made = copy.deepcopy(_template(sampler, msgspec.json.encode(own)))
    if "noise_sampler_seed" in made.config:
        made.register_to_config(noise_sampler_seed=seed)
        made.noise_sampler_seed = seed
    table = model_sigmas(config)
    made.alphas_cumprod = torch.from_numpy(1 / (table**2 + 1)).float()  # zero terminal SNR for every class
    if hasattr(made, "sigmas"):
        _force(made, sampler, scheduler, table, table if begun is None else model_sigmas(begun))
    elif sampler != "ddim":
        _force_whole(made, scheduler, table)
    return made


@cache
def _template(sampler: str, own: bytes) -> Any:
    """A scheduler to copy: KDPM2's constructor alone takes 0.3 s. `own` is what the model says, as JSON."""
    name, options = _CLASSES[sampler]
    kind = getattr(library, name)
    known = inspect.signature(kind).parameters
    wanted = msgspec.json.decode(own) | options
    # All that is left of the spacing once the sigmas are forced: noise begins at √(σ² + 1), as in a VP model.
    wanted.setdefault("timestep_spacing", "leading")
    return kind(**{key: value for key, value in wanted.items() if key in known})


def model_sigmas(config: Any) -> Sigmas:
    """The noise levels that the model was trained on, rising (num_train_timesteps)."""
    names = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
    own = {key: config[key] for key in (*names, "rescale_betas_zero_snr") if key in config}
    cumulated = library.EulerDiscreteScheduler(**own).alphas_cumprod.double().numpy()
    sigmas: Sigmas = np.sqrt((1 - cumulated) / cumulated)
    return sigmas


def sigmas(scheduler: str, steps: int, table: Sigmas) -> Sigmas:
    """The noise levels at which each of `steps` steps begins, and the 0 at which the last one ends.

    `table` as `model_sigmas` gives it. Formulas: karras, Karras et al. 2022 (arXiv 2206.00364, eq. 5, rho 7);
    exponential, k-diffusion; beta, Lee et al. 2024 (arXiv 2407.12173, alpha = beta = 0.6); normal, simple,
    sgm_uniform and ddim_uniform as in ComfyUI, but always as many steps as were asked for.
    """
    last, low, high = len(table) - 1, table[0], table[-1]
    ramp = np.linspace(0, 1, steps)
    match scheduler:
        case "normal":
            levels = at(np.linspace(last, 0, steps), table)
        case "sgm_uniform":
            levels = at(np.linspace(last, 0, steps + 1)[:-1], table)
        case "simple":
            levels = table[[-(1 + int(k * len(table) / steps)) for k in range(steps)]]
        case "ddim_uniform":
            levels = table[1 + np.arange(steps)[::-1] * (len(table) // steps)]
        case "karras":
            levels = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
        case "exponential":
            levels = np.exp(np.log(high) + ramp * (np.log(low) - np.log(high)))
        case "beta":
            levels = at(_beta_times(steps, last), table)
        case _:
            raise AssertionError(f"{scheduler} is none of ours")
    return np.append(levels, 0.0)


def at(times: Sigmas, table: Sigmas) -> Sigmas:
    """The noise level at each timestep, between whole ones straight in log σ."""
    levels: Sigmas = np.exp(np.interp(times, np.arange(len(table)), np.log(table)))
    return levels


def times(levels: Sigmas, table: Sigmas) -> Sigmas:
    """The whole timestep nearest to each noise level, in log σ: SDXL was trained on whole ones only."""
    where = np.interp(np.log(levels), np.log(table), np.arange(len(table)))
    nearest: Sigmas = np.round(where)
    return nearest


def _beta_times(steps: int, last: int) -> Sigmas:
    """From 139 steps on whole timesteps would come twice, and are left as they are instead."""
    exact: Sigmas = scipy.stats.beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6) * last
    whole = np.rint(exact)
    return whole if len(set(whole)) == steps else exact


def _force(made: Any, sampler: str, scheduler: str, table: Sigmas, within: Sigmas) -> None:
    """Have `set_timesteps` set our sigmas, out of those `within`, and count steps by index: looking one up
    would wait for a GPU.
    """
    original = made.set_timesteps

    def set_timesteps(steps: int, device: Any = None) -> None:
        levels = _ending(sampler, scheduler, steps, within)
        if made.order == 2:
            _set_second_order(made, original, levels)
        else:
            original(steps)
            made.sigmas = torch.from_numpy(levels).float()
            made.timesteps = torch.from_numpy(times(levels[:-1], table)).to(made.timesteps.dtype)
        made.timesteps = made.timesteps.round().to(device)
        made.num_inference_steps = steps
        made.set_begin_index(0)

    made.set_timesteps = set_timesteps


def _set_second_order(made: Any, original: Any, levels: Sigmas) -> None:
    """Classes of second order put levels of their own between ours. They do so to what their Karras option
    gives them, so that option is where ours go in.
    """
    made._convert_to_karras = lambda in_sigmas, num_inference_steps=0: levels[:-1]
    made.register_to_config(use_karras_sigmas=True)
    original(len(levels) - 1)
    made.register_to_config(use_karras_sigmas=False)


def _ending(sampler: str, scheduler: str, steps: int, table: Sigmas) -> Sigmas:
    """The sigmas, with an end that the sampler can bear."""
    levels = sigmas(scheduler, steps, table)
    if sampler in ("uni_pc", "sa_solver"):
        levels[-1] = _ABOVE_ZERO
    elif sampler == "deis":  # it divides by every sigma
        levels[-1] = table[0]
        if levels[-2] <= table[0] * 1.0001:  # no step from the least sigma to itself
            levels = sigmas(scheduler, steps + 1, table)[:-1]
    return levels


def _force_whole(made: Any, scheduler: str, table: Sigmas) -> None:
    """For classes that know noise levels by whole timesteps: the nearest to our sigmas, each only once.

    `set_timesteps` raises ValueError where there are too many steps for that.
    """

    def set_timesteps(steps: int, device: Any = None) -> None:
        whole = times(sigmas(scheduler, steps, table)[:-1], table).astype(np.int64)
        if len(set(whole)) < steps:
            raise ValueError(f"{scheduler} has no {steps} different timesteps for {type(made).__name__}")
        made.timesteps = torch.from_numpy(whole).to(device)
        made.num_inference_steps = steps
        made.custom_timesteps = True
        made._step_index = None
        if hasattr(made, "set_begin_index"):
            made.set_begin_index(0)

    made.set_timesteps = set_timesteps


def options(made: Any) -> dict[str, Any]:
    """What sets a scheduler apart from its class's defaults, as the log keeps it."""
    defaults = inspect.signature(type(made).__init__).parameters
    return {
        key: value for key, value in made.config.items() if key in defaults and value != defaults[key].default
    }


def levels(made: Any) -> list[float]:
    """The noise levels that a scheduler, set to its steps, goes through: one for each call of the UNet, and
    the one at which it ends.
    """
    if hasattr(made, "sigmas"):
        return [float(sigma) for sigma in made.sigmas]
    cumulated = made.alphas_cumprod[made.timesteps.cpu()].double()
    return [*((1 - cumulated) / cumulated).sqrt().tolist(), 0.0]
