"""A model that knows the answer: it tells exactly the noise in what it is shown.

It stands in for the UNet where a sampler's own arithmetic is looked at. What it sees is always in the
model's scale, α · x0 + σα · ε with α = 1/√(σ² + 1), whatever scale the sampler keeps its latent in.
"""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Oracle:
    """`answer` is x0 (1 × 4 × h × w); `kind` is `epsilon`, `v_prediction` or `sample`."""

    answer: torch.Tensor
    kind: str

    def predict(self, scheduler: Any, latent: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """ε, v or x0 of a sampler's latent at its present call."""
        if self.kind == "sample":
            return self.answer
        scaled: torch.Tensor = scheduler.scale_model_input(latent, timestep)
        sigma = self._sigma(scheduler, latent, scaled, timestep)
        alpha = 1 / (sigma**2 + 1) ** 0.5
        noise = (scaled.double() - alpha * self.answer) / (sigma * alpha)
        predicted: torch.Tensor = (
            noise if self.kind == "epsilon" else alpha * noise - sigma * alpha * self.answer
        )
        return predicted.float()

    @staticmethod
    def _sigma(
        scheduler: Any, latent: torch.Tensor, scaled: torch.Tensor, timestep: torch.Tensor
    ) -> torch.Tensor:
        """From how far the scheduler shrinks its latent where it does so, else from its tables."""
        if not hasattr(scheduler, "sigmas"):
            kept: torch.Tensor = scheduler.alphas_cumprod[timestep].double()
            return torch.sqrt((1 - kept) / kept)
        if scheduler.init_noise_sigma == 1:
            sigma: torch.Tensor = scheduler.sigmas[scheduler.step_index or 0].double()
            return sigma
        widest = latent.abs().argmax()
        ratio = latent.flatten()[widest].double() / scaled.flatten()[widest].double()
        return torch.sqrt((ratio**2 - 1).clamp(min=1e-12))
