"""A small SDXL of real parts with random weights, built by code in seconds: what the engine's tests run on.

Unlike the built-in demo model it predicts epsilon, as SDXL's own checkpoints do, and it is quicker. The
bodies of its networks are random and nobody has trained them; only the last layer of the UNet and of the
VAE's decoder are fitted by least squares, the UNet's to find the noise in smooth coloured fields, the
decoder's to paint them. So its pictures are soft clouds of colour that truly come out of the noise step by
step, and a prompt changes them without meaning anything to them. The folder is a standard diffusers one.
"""

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from tokenizers import pre_tokenizers
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

library: Any = diffusers
"""The same module: its constructors are untyped, and strict checking would stumble over every one."""

SEED = 20
START, END = "<|startoftext|>", "<|endoftext|>"
WIDTHS = (48, 80)
"""Of the text encoders. They differ as SDXL's do: equal ones hide weights loaded into the wrong encoder."""
PROJECTION = 64
TIME = 32
"""Channels for each of SDXL's six size numbers."""
PALETTE = torch.tensor([[0.5, 0.1, -0.3], [-0.3, 0.4, 0.1], [0.2, -0.3, 0.4], [0.2, 0.3, 0.2]])
"""What the decoder is fitted to paint: RGB (−1 … 1) of each latent channel."""
PROMPTS = ("a red fox in snow", "blue mountains at dawn", "a city of glass, 1920", "ink on old paper")


def build(folder: Path) -> None:
    """Write the checkpoint. The same libraries on the same machine give the same weights."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(SEED)
        pipe = _random()
        _fit_unet(pipe)
        _fit_decoder(pipe.vae)
        latent2rgb = _fit_latent2rgb(pipe.vae)
    pipe.to(dtype=torch.float16).save_pretrained(folder)
    (folder / "latent2rgb.json").write_text(json.dumps(latent2rgb))
    for name, tokenizer in (("tokenizer", pipe.tokenizer), ("tokenizer_2", pipe.tokenizer_2)):
        _write_classic(folder / name, tokenizer)


def _random() -> Any:
    """All parts, with random weights, in the shapes of SDXL at a hundredth of the width."""
    return library.StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(WIDTHS[0], "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(WIDTHS[1], "gelu")),
        tokenizer=_tokenizer(pad=END),
        tokenizer_2=_tokenizer(pad="!"),
        unet=_unet(),
        scheduler=library.EulerDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1,
            timestep_spacing="leading",
        ),
        add_watermarker=False,
    )  # fmt: skip


def _unet() -> Any:
    return library.UNet2DConditionModel(
        sample_size=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 64, 96),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 6),
        use_linear_projection=True,
        norm_num_groups=16,
        cross_attention_dim=sum(WIDTHS),
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME,
        projection_class_embeddings_input_dim=PROJECTION + 6 * TIME,
    ).eval()


def _vae() -> Any:
    return library.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 32, 48),
        norm_num_groups=8,
        latent_channels=4,
        sample_size=256,
        scaling_factor=0.13025,
    ).eval()


def _text_config(width: int, act: str) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=PROJECTION,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act=act,
        initializer_factor=2.0,  # at 1 the weights are so small that every prompt reads nearly the same
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def _tokenizer(pad: str) -> CLIPTokenizer:
    """CLIP's layout without merges: 256 bytes, the same 256 ending a word, start, end."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), START, END]
    vocab = {word: number for number, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token=pad, model_max_length=77)


def _write_classic(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """`vocab.json` and `merges.txt` for older readers: transformers 5 itself writes only `tokenizer.json`."""
    (folder / "vocab.json").write_text(json.dumps(tokenizer.get_vocab()))
    (folder / "merges.txt").write_text("#version: 0.2\n")


class _Readout:
    """Least squares for a 3 × 3 convolution: what it sees, unfolded, against what it should give."""

    def __init__(self, conv: torch.nn.Conv2d) -> None:
        self._conv = conv
        self._seen = torch.empty(0)
        size = conv.in_channels * 9 + 1
        self._gram = torch.zeros(size, size, dtype=torch.float64)
        self._cross = torch.zeros(size, conv.out_channels, dtype=torch.float64)
        conv.register_forward_pre_hook(self._look)

    def _look(self, _conv: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self._seen = inputs[0]

    def learn(self, target: torch.Tensor, weight: float) -> None:
        """Take the last forward pass in, with what it should have given (n × channels × h × w)."""
        seen = functional.unfold(self._seen, 3, padding=1)
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
        rows = seen.transpose(1, 2).flatten(0, 1)
        goals = target.flatten(2).transpose(1, 2).flatten(0, 1)
        self._gram += weight * (rows.T @ rows)
        self._cross += weight * (rows.T @ goals)

    def solve(self) -> None:
        """Write the best weights of all that was learnt into the convolution."""
        ridge = torch.eye(len(self._gram)) * self._gram.diagonal().mean() * 1e-6
        solution = torch.linalg.solve(self._gram + ridge, self._cross).float()
        self._conv.weight.copy_(solution[:-1].T.reshape(self._conv.weight.shape))
        assert self._conv.bias is not None
        self._conv.bias.copy_(solution[-1])


def _fields(noise: torch.Tensor) -> torch.Tensor:
    """The smooth field of about unit deviation that a noise (n × 4 × h × w) is to develop into."""
    window = noise.shape[-1] // 4
    coarse = functional.avg_pool2d(noise, window) * window  # times window: the mean has deviation 1 / window
    return functional.interpolate(coarse, noise.shape[-2:], mode="bicubic") * 1.2


def _fit_unet(pipe: Any) -> None:
    """Fit the UNet's last layer to lead each noise to its field.

    The first round looks at the straight way from noise to field; the later ones at the ways that the model
    itself then takes, so that it learns to correct its own errors instead of piling them up.
    """
    readout = _Readout(pipe.unet.conv_out)
    prompts = [pipe.encode_prompt(prompt, device="cpu") for prompt in PROMPTS]
    for strays in (False, True, True):
        for embeds, blank, pooled, blank_pooled in prompts:
            conditions = torch.cat([embeds, blank] * 2), torch.cat([pooled, blank_pooled] * 2)
            _walk(pipe, readout, conditions, strays)
        readout.solve()


def _walk(pipe: Any, readout: _Readout, conditions: tuple[torch.Tensor, torch.Tensor], strays: bool) -> None:
    """One run of the sampler on four noises, along the model's own way (`strays`) or the straight one."""
    scheduler = library.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(10)
    noise = torch.randn(4, 4, 20, 20)
    field = _fields(noise)
    noisy = noise * scheduler.init_noise_sigma
    added = {"text_embeds": conditions[1], "time_ids": torch.tensor([[160.0, 160, 0, 0, 160, 160]] * 4)}
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        scaled = scheduler.scale_model_input(noisy, time)
        predicted = pipe.unet(scaled, time, conditions[0], added_cond_kwargs=added).sample
        wanted = (noisy - field) / sigma
        readout.learn(wanted, weight=max(sigma.item(), 0.3))
        noisy = scheduler.step(predicted if strays else wanted, time, noisy).prev_sample


def _latents() -> torch.Tensor:
    """Latents as the UNet leaves them: fields with much grain, 4 × 4 × 24 × 24."""
    noise = torch.randn(4, 4, 24, 24)
    return _fields(noise) + 0.7 * torch.randn_like(noise)


def _fit_decoder(vae: Any) -> None:
    """Fit the decoder's last layer to paint the latent's colours, smoothly."""
    readout = _Readout(vae.decoder.conv_out)
    for _ in range(3):
        latent = _latents()
        vae.decode(latent / vae.config.scaling_factor)
        rgb = torch.einsum("nchw,cd->ndhw", functional.avg_pool2d(latent, 3, 1, 1), PALETTE)
        readout.learn(functional.interpolate(rgb, scale_factor=8, mode="bicubic"), weight=1.0)
    readout.solve()


def _fit_latent2rgb(vae: Any) -> dict[str, list[list[float]] | list[float]]:
    """The linear map from a latent to what the decoder makes of it, as `sdxl` reads it."""
    latent = _latents()
    rgb = functional.avg_pool2d(vae.decode(latent / vae.config.scaling_factor).sample, 8)
    rows = latent.permute(0, 2, 3, 1).flatten(0, 2)
    rows = torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
    solution = torch.linalg.lstsq(rows, rgb.permute(0, 2, 3, 1).flatten(0, 2)).solution
    return {"factors": solution[:-1].tolist(), "bias": solution[-1].tolist()}
