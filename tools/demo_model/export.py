"""Writes the finished nets as a standard diffusers folder in half precision."""

import json
import shutil
from pathlib import Path

from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

from tools.demo_model.text import Tokenizers
from tools.demo_model.train_unet import Painter
from tools.demo_model.training import averaged

CARD = Path(__file__).with_name("MODEL_CARD.md")
FOLDERS = {
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def export(folder: Path) -> None:
    """Complete folder/model, in which the autoencoder and the tokenizers lie already."""
    model = folder / "model"
    net = Painter(Tokenizers(model))
    net.load_state_dict(averaged(folder / "unet.pt"))
    net.half()
    net.unet.save_pretrained(model / "unet")
    net.text.first.save_pretrained(model / "text_encoder")
    net.text.second.save_pretrained(model / "text_encoder_2")
    scheduler().save_pretrained(model / "scheduler")
    _index(model)
    shutil.copyfile(CARD, model / "README.md")


def scheduler() -> EulerDiscreteScheduler:
    """SDXL's scheduler, for a model that predicts velocities."""
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="leading",
        steps_offset=1,
    )


def _index(model: Path) -> None:
    about: dict[str, object] = {
        "_class_name": StableDiffusionXLPipeline.__name__,
        "force_zeros_for_empty_prompt": True,
        **FOLDERS,
    }
    (model / "model_index.json").write_text(json.dumps(about, indent=2) + "\n")
