"""A tiny decoder in TAESD's layout, taught to paint what the autoencoder's decoder paints."""

from pathlib import Path
from random import Random

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tools.demo_model import latents
from tools.demo_model.finish_vae import psnr
from tools.demo_model.train_vae import picture_loss, pictures
from tools.demo_model.training import Run, averaged, note
from tools.demo_model.workers import worker, workers

WIDTH = 64
BATCH = {8: 6, 16: 3}
FILE = Path("vae_approx") / "taesdxl_decoder.safetensors"


class Clamp(nn.Module):
    """Keeps odd latents within ±3, softly."""

    def forward(self, x: Tensor) -> Tensor:
        """Squash the latents."""
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(), nn.ReLU(), _conv(), nn.ReLU(), _conv())

    def forward(self, x: Tensor) -> Tensor:
        """Add what the convolutions found."""
        made: Tensor = self.conv(x)
        return (made + x).relu()


def _conv(inputs: int = WIDTH, outputs: int = WIDTH, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def new_decoder() -> nn.Sequential:
    """An untrained decoder; its state dict has the keys of the original TAESD."""
    layers: list[nn.Module] = [Clamp(), _conv(4), nn.ReLU()]
    for _ in range(3):
        layers += [Block(), Block(), Block(), nn.Upsample(scale_factor=2), _conv(bias=False)]
    return nn.Sequential(*layers, Block(), _conv(outputs=3))


def decode(vae: AutoencoderKL, scaled: Tensor) -> Tensor:
    """The autoencoder's own picture of the UNet's latents, from -1 to 1."""
    made: Tensor = vae.decode(scaled / vae.config.scaling_factor).sample
    return made.clamp(-1, 1)


def train(folder: Path, seed: int, seconds: float, lr: float = 2e-3) -> None:
    """Train (on) until the seconds are spent; the checkpoint is folder/tiny.pt."""
    torch.manual_seed(seed)
    vae = load_vae(folder).requires_grad_(False)
    known = torch.from_numpy(latents.load(folder, 128))
    tiny = new_decoder()
    run = Run(tiny, folder / "tiny.pt", seconds, lr)
    torch.manual_seed(Random(f"{seed} tiny {worker()} {run.step}").randrange(1 << 30))

    def loss(progress: float) -> tuple[Tensor, int]:
        side = 8 if progress < 0.8 else 16
        count = BATCH[side]
        scaled = known[torch.randint(len(known), (count,))].float()
        return _lesson(vae, tiny, scaled, side), count * workers()

    run.train(loss)


def _lesson(vae: AutoencoderKL, tiny: nn.Module, scaled: Tensor, side: int) -> Tensor:
    """Compare both decoders on a window of the latents, at first a small one: it is cheap."""
    top, left = torch.randint(0, 17 - side, (2,)).tolist()
    scaled = scaled[:, :, top : top + side, left : left + side]
    scaled = scaled + 0.05 * torch.rand(()) * torch.randn_like(scaled)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            wanted = decode(vae, scaled)
        made = tiny(scaled) * 2 - 1
    return picture_loss(made.float(), wanted.float())


def load_vae(folder: Path) -> AutoencoderKL:
    """The finished autoencoder."""
    path = folder / "model" / "vae"
    vae: AutoencoderKL = AutoencoderKL.from_pretrained(path, torch_dtype=torch.float32)
    return vae.eval()


@torch.no_grad()
def finish(folder: Path, seed: int) -> None:
    """Write the decoder in half precision and note how near it comes to the real one."""
    path = folder / "model" / FILE
    path.parent.mkdir(exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in averaged(folder / "tiny.pt").items()}, path)
    tiny, vae = new_decoder(), load_vae(folder)
    tiny.load_state_dict(load_file(path))
    true = pictures(Random(f"{seed} held out 128"), 128, 128)
    scaled = vae.encode(true).latent_dist.mean * vae.config.scaling_factor
    made = tiny(scaled).clamp(0, 1) * 2 - 1
    note(folder, "tiny", {"psnr_to_vae": psnr(made, decode(vae, scaled))})
