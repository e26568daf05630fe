"""The VAE of Stable Video Diffusion: pictures (n, h, w, 3) in 0..1 to scaled latents (n, 4, h/8, w/8) and back.

Every frame is decoded as a clip of one, so frames do not depend on each other (KeySync reference implementation). The
network is diffusers' `AutoencoderKLTemporalDecoder`; encoder and decoder may come from different files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import KeySyncError
from .kind import KINDS, recognise
from .stage import SCALE_FACTOR
from .vae_layout import Widths, part_of, widths_of
from .weights import read_tensors, shapes_of

LATENT_CHANNELS = 4
# Group norm's groups, which must divide every width.
NORM_GROUPS = 32
# What a folder in diffusers' layout holds, best first.
FOLDER_FILES = tuple(
    f"diffusion_pytorch_model{variant}{suffix}" for suffix in (".safetensors", ".bin") for variant in ("", ".fp16")
)


class VAE(nn.Module):
    """Encoder (absent in a KeySync checkpoint) and temporal decoder; `batch` frames are worked on at once."""

    def __init__(
        self, encoder: nn.Module | None, decoder: nn.Module, widths: Widths, source: str, batch: int = 4
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.downscale = 2 ** (len(widths.channels) - 1)
        self.source = source
        self.batch = batch

    @torch.no_grad()
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents (n, 4, h/8, w/8), scaled by 0.18215, of pictures (n, h, w, 3) in 0..1, on the pictures' device.

        The posterior's mode, or with a CPU `generator` a sample of it, drawn frame by frame.
        Raises `KeySyncError` where the file held only a decoder, and for sides that 8 does not divide.
        """
        mean, std = self.posterior(images)
        if generator is not None:
            noise = torch.stack([torch.randn(mean.shape[1:], generator=generator) for _ in mean])
            mean = mean + std * noise.to(mean.device)
        return mean * SCALE_FACTOR

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, both (n, 4, h/8, w/8) and unscaled, of pictures (n, h, w, 3) in 0..1."""
        if self.encoder is None:
            raise KeySyncError(
                f"{self.source} holds only the VAE's decoder: give a whole Stable Video Diffusion VAE (--vae)"
            )
        height, width = images.shape[1:3]
        if height % self.downscale or width % self.downscale:
            raise KeySyncError(
                f"pictures of {width}x{height} cannot be encoded: {self.downscale} must divide both sides"
            )
        moments = [
            self.encoder(self._placed(part.movedim(-1, 1) * 2 - 1)) for part in torch.split(images, self.batch)
        ]  # BHWC -> BCHW
        mean, logvar = torch.cat(moments).float().to(images.device).chunk(2, dim=1)
        return mean, torch.exp(0.5 * logvar.clamp(-30, 20))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (n, 8h, 8w, 3), float32 in 0..1, of scaled latents (n, 4, h, w), on the latents' device."""
        return torch.cat([self._decoded(part) for part in torch.split(latents, self.batch)])

    def _decoded(self, latents: Tensor) -> Tensor:
        z = self._placed(latents / SCALE_FACTOR)
        video = torch.zeros(len(z), 1, dtype=z.dtype, device=z.device)  # 0: a clip, not an image; each of one frame
        pictures: Tensor = self.decoder(z, image_only_indicator=video, num_frames=1)
        return ((pictures.float() + 1) / 2).clamp(0, 1).movedim(1, -1).to(latents.device)  # BCHW -> BHWC

    def _placed(self, tensor: Tensor) -> Tensor:
        weight = next(self.decoder.parameters())
        return tensor.to(weight.device, weight.dtype)


def load_vae(
    path: str | Path,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    decoder_from: str | Path | None = None,
) -> VAE:
    """The VAE in a folder (diffusers), a file in diffusers' or sgm's names, or a KeySync checkpoint (decoder only).

    `decoder_from` takes the decoder from another file, such as a KeySync checkpoint. The original runs in float32.
    Raises `KeySyncError` for a file that holds no such VAE, and for missing or misshapen tensors.
    """
    file = _weight_file(Path(path))
    tensors, _ = read_tensors(file)
    encoder = part_of(tensors, "encoder")
    decoder = part_of(tensors, "decoder")
    if not encoder and not decoder:
        kind, sign = recognise(shapes_of(tensors))
        raise KeySyncError(
            f"{file} is {KINDS[kind]} ({sign}) and holds no VAE: a Stable Video Diffusion VAE was wanted"
        )
    decoder_file = file
    if decoder_from is not None:
        decoder_file = _weight_file(Path(decoder_from))
        decoder = part_of(read_tensors(decoder_file)[0], "decoder")
    if not any("temporal_res_block" in name for name in decoder):
        what = "a VAE for single images" if decoder else "no VAE decoder"
        raise KeySyncError(f"{decoder_file} holds {what}: the temporal decoder of Stable Video Diffusion was wanted")
    decoding, widths = _decoder(decoder_file, decoder)
    encoding = _encoder(file, encoder, part_of(tensors, "quant_conv"), widths) if encoder else None
    return VAE(encoding, decoding, widths, str(file)).to(device=device, dtype=dtype).eval()


def _weight_file(path: Path) -> Path:
    """The file to read: itself, or the one in a folder of diffusers' layout."""
    if not path.is_dir():
        return path
    found = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None)
    if found is None:
        raise KeySyncError(
            f"{path} is a folder without {' or '.join(FOLDER_FILES[::2])}: a VAE in diffusers' layout was wanted"
        )
    return found


def _decoder(path: Path, tensors: Mapping[str, Tensor]) -> tuple[nn.Module, Widths]:
    widths = widths_of(shapes_of(tensors))
    return _filled(path, "decoder", _network(path, widths).decoder, tensors), widths


def _encoder(path: Path, tensors: Mapping[str, Tensor], quant: Mapping[str, Tensor], decoder: Widths) -> nn.Module:
    """The encoder and what makes moments of its output; Stable Video Diffusion's own file has folded the latter in."""
    widths = widths_of(shapes_of(tensors))
    if len(widths.channels) != len(decoder.channels):
        raise KeySyncError(
            f"{path}: its encoder has {len(widths.channels)} levels but the decoder {len(decoder.channels)}: "
            "give two that belong together"
        )
    network = _network(path, widths)
    encoder = _filled(path, "encoder", network.encoder, tensors)
    return nn.Sequential(encoder, _filled(path, "quant_conv", network.quant_conv, quant)) if quant else encoder


def _network(path: Path, widths: Widths) -> Any:
    """diffusers' network of these widths, without weights."""
    try:
        from diffusers import AutoencoderKLTemporalDecoder
    except ImportError as error:
        raise KeySyncError("the VAE needs diffusers, which is not installed: pip install diffusers") from error
    if not widths.channels or widths.blocks < 1 or any(width < 1 or width % NORM_GROUPS for width in widths.channels):
        raise KeySyncError(
            f"{path}: its VAE is {widths.channels} channels wide in {widths.blocks} blocks a level: "
            f"multiples of {NORM_GROUPS} and at least one block were wanted"
        )
    with torch.device("meta"):
        return AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * len(widths.channels),
            block_out_channels=widths.channels,
            layers_per_block=widths.blocks,
            latent_channels=LATENT_CHANNELS,
        )


def _filled(path: Path, part: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network with these weights, which must be exactly its own."""
    needed = shapes_of(network.state_dict())
    for problem, names in {
        "missing": [name for name in needed if name not in tensors],
        "misshapen": [name for name in needed if name in tensors and tuple(tensors[name].shape) != needed[name]],
        "unknown": [name for name in tensors if name not in needed],
    }.items():
        if names:
            raise KeySyncError(
                f"{path} does not hold a whole VAE {part}: {len(names)} {problem}, first {part}.{names[0]}"
            )
    # Copied: a mapped tensor would change or vanish with its file.
    network.load_state_dict(
        {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}, assign=True
    )
    return network
