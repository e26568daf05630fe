"""The VAE of Stable Video Diffusion: images (n, h, w, 3) in 0..1 to scaled latents (n, 4, h/8, w/8) and back.

Every frame is decoded as a clip of one frame, so frames do not depend on each other (KeySync reference implementation).
The network is diffusers' `AutoencoderKLTemporalDecoder`; encoder and decoder may come from different files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import KeySyncError, install_line
from ..imports import import_alone
from ..network.layers import at_least_float32
from ..network.parallel import SMALL, at_once, cores
from ..network.peak import peak_bytes
from ..network.precision import Repairable, only_finite
from ..network.stage import SCALE_FACTOR
from ..strict_json import quoted
from ..weights.complete import check_complete
from ..weights.digest import weights_digest
from ..weights.files import read_tensors, shapes_of
from ..weights.finite import check_weights
from ..weights.identify import KINDS, Shapes, identify
from .names import Widths, part_of, widths_of
from .one_frame import for_one_frame

LATENT_CHANNELS = 4
# Groups of the group norms; they must divide every width.
NORM_GROUPS = 32
GPU_BATCH, CPU_BATCH = 4, 8  # frames
# Bytes of a GPU that holds all that a dub needs with the published models in half precision: less than 12 GB, of which
# the driver takes some.
SMALL_GPU = 11.5e9
# Sizes several times those of Stable Video Diffusion's (4 levels, 2 blocks, 512 channels): nothing larger is built.
MOST_LEVELS, MOST_BLOCKS, MOST_WIDTH = 8, 16, 8192
# Tensors of a residual block: it has 8 or more, of which most must be in the file before a network is built.
BLOCK_TENSORS = 4
# Weight files of a folder in diffusers' layout, in order of preference.
FOLDER_FILES = tuple(
    f"diffusion_pytorch_model{variant}{suffix}" for suffix in (".safetensors", ".bin") for variant in ("", ".fp16")
)


def is_small(device: torch.device) -> bool:
    """Whether a device is a GPU that does not hold all published models and four frames of the VAE at once."""
    return device.type == "cuda" and torch.cuda.get_device_properties(device).total_memory < SMALL_GPU


class VAE(Repairable):
    """Encoder (absent in a KeySync checkpoint) and temporal decoder."""

    def __init__(self, encoder: nn.Module | None, decoder: nn.Module, widths: Widths, source: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.downscale = 2 ** (len(widths.channels) - 1)
        self.source = source
        self._peaks: dict[tuple[tuple[int, int], int, torch.dtype], int] = {}

    @property
    def batch(self) -> int:
        """How many frames to give at once: those of a forward pass on a GPU, some for each core of a CPU."""
        if self._device.type == "cpu":
            return CPU_BATCH
        return 1 if is_small(self._device) else GPU_BATCH

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.decoder.parameters()).device
        return device

    def peak_bytes(self, size: tuple[int, int]) -> int:
        """The most bytes that encoding or decoding pictures of this size (H, W) takes at once, besides the weights."""
        part = self._bytes_of_part(size)
        return part * cores(self._device, lambda: part)

    def _part(self, size: tuple[int, int]) -> int:
        """Frames of a forward pass: on a CPU as many as its caches hold the pictures of."""
        if self._device.type != "cpu":
            return self.batch
        return max(1, min(self.batch, SMALL // self._bytes_of_frames(size, 1)))

    def _bytes_of_part(self, size: tuple[int, int]) -> int:
        """The most bytes that one forward pass takes."""
        return self._bytes_of_frames(size, self._part(size))

    def _bytes_of_frames(self, size: tuple[int, int], count: int) -> int:
        dtype = next(self.decoder.parameters()).dtype
        if (size, count, dtype) not in self._peaks:
            height, width = (side // self.downscale for side in size)
            latents = torch.empty(count, LATENT_CHANNELS, height, width, dtype=dtype, device="meta")
            video = torch.zeros(count, 1, dtype=dtype, device="meta")
            most = peak_bytes(self.decoder, latents, image_only_indicator=video, num_frames=1)
            if self.encoder is not None:
                pictures = torch.empty(count, 3, *size, dtype=dtype, device="meta")
                most = max(most, peak_bytes(self.encoder, pictures))
            self._peaks[size, count, dtype] = most
        return self._peaks[size, count, dtype]

    def encoder_digest(self) -> str:
        """The same for the encoder that gives the same latents: of its weights, and of what computes with them."""
        if self.encoder is None:
            return ""
        return f"{self._device.type} {self.batch} {weights_digest(self.encoder)}"

    @torch.no_grad()
    def encode(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents (n, 4, h/8, w/8), scaled by 0.18215, of images (n, h, w, 3) in 0..1, on the images' device.

        The mode of the posterior or, with a CPU `generator`, a sample of it, with noise drawn frame by frame.
        Raises `KeySyncError` for a VAE without an encoder, and for sides that are not multiples of 8.
        """
        mean, std = self.posterior(images)
        if generator is not None:
            noise = torch.stack([torch.randn(mean.shape[1:], generator=generator) for _ in mean])
            mean = mean + std * noise.to(mean.device)
        return mean * SCALE_FACTOR

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, both (n, 4, h/8, w/8) and unscaled, of images (n, h, w, 3) in 0..1."""
        if self.encoder is None:
            raise KeySyncError(
                f"{self.source} contains only the decoder of a VAE: expected a complete Stable Video Diffusion VAE",
                about="vae",
            )
        height, width = images.shape[1:3]
        if height % self.downscale or width % self.downscale:
            raise KeySyncError(
                f"images of {width}x{height} pixels cannot be encoded: expected sides divisible by {self.downscale}"
            )
        moments = self._in_parts(partial(self._moments, self.encoder), images, (height, width))
        mean, logvar = at_least_float32(moments).to(images.device).chunk(2, dim=1)
        return mean, torch.exp(0.5 * logvar.clamp(-30, 20))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 8h, 8w, 3), at least float32, in 0..1, of scaled latents (n, 4, h, w), on the latents' device.

        What is not finite is NaN.
        """
        height, width = latents.shape[-2:]
        return self._in_parts(self._decoded, latents, (self.downscale * height, self.downscale * width))

    def _in_parts(self, call: Callable[[Tensor], Tensor], frames: Tensor, size: tuple[int, int]) -> Tensor:
        """What a call gives for frames that are, or become, pictures of this size: for a part of them at a time, and
        for each where a GPU's memory runs out."""
        count = cores(self._device, partial(self._bytes_of_part, size))
        part = min(self._part(size), -(-len(frames) // count))
        try:
            return torch.cat(at_once([partial(call, some) for some in torch.split(frames, part)], count))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
        return torch.cat([call(frame) for frame in torch.split(frames, 1)])

    def _moments(self, encoder: nn.Module, images: Tensor) -> Tensor:
        moments: Tensor = encoder(self._placed(images.movedim(-1, 1) * 2 - 1))  # BHWC -> BCHW
        return moments

    def _decoded(self, latents: Tensor) -> Tensor:
        z = self._placed(latents / SCALE_FACTOR)
        video = torch.zeros(len(z), 1, dtype=z.dtype, device=z.device)  # 0: a clip, not an image; each of one frame
        pictures: Tensor = self.decoder(z, image_only_indicator=video, num_frames=1)
        levels = only_finite((at_least_float32(pictures) + 1) / 2).clamp(0, 1)
        return levels.movedim(1, -1).to(latents.device)  # BCHW -> BHWC

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
    """Loads a VAE from a folder (diffusers), a file with diffusers' or sgm's names, or a KeySync checkpoint (decoder
    only).

    `decoder_from` takes the decoder from another file, such as a KeySync checkpoint. The original runs in float32.
    Raises `KeySyncError` for a file without such a VAE, and for missing or misshapen tensors.
    """
    weights = read_vae(path, decoder_from=decoder_from)
    decoder = _filled(weights.decoder_file, "decoder", _network(weights.widths).decoder, weights.decoder)
    encoder = _encoder(weights) if weights.encoder else None
    for part in (encoder, decoder):
        if part is not None:
            for_one_frame(part)
    vae = VAE(encoder, decoder, weights.widths, str(weights.file)).to(device=device, dtype=dtype).eval()
    _lay_out(vae)
    return vae


def _lay_out(vae: VAE) -> None:
    """Stores the weights of convolutions on a CPU in channels-last order, which saves a fifth of the time."""
    for parameter in vae.parameters():
        if parameter.ndim == 4 and parameter.device.type == "cpu":
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class VAEWeights:
    """The weights of a VAE: tensors of each part by diffusers' names, and the widths of the decoder.

    `encoder` and `quant_conv`, which turns its output into moments, are empty if the file does not contain them: in
    Stable Video Diffusion's own file the latter is folded into the encoder.
    """

    file: Path
    encoder: dict[str, Tensor]
    quant_conv: dict[str, Tensor]
    decoder_file: Path
    decoder: dict[str, Tensor]
    widths: Widths


def read_vae(path: str | Path, *, decoder_from: str | Path | None = None) -> VAEWeights:
    """Reads the weights of a VAE as `load_vae` does.

    Raises `KeySyncError` for a file without a VAE, and for weights that are not finite.
    """
    file = weight_file(Path(path))
    tensors, _ = read_tensors(file)
    encoder = part_of(tensors, "encoder")
    decoder = part_of(tensors, "decoder")
    if not encoder and not decoder:
        kind, sign = identify(shapes_of(tensors))
        raise KeySyncError(
            f"{file} is {KINDS[kind]} ({sign}) and contains no VAE: expected a Stable Video Diffusion VAE", about="vae"
        )
    decoder_file = file
    if decoder_from is not None:
        decoder_file = weight_file(Path(decoder_from))
        decoder = part_of(read_tensors(decoder_file)[0], "decoder")
    if not any("temporal_res_block" in name for name in decoder):
        what = "a VAE for single images" if decoder else "no VAE decoder"
        raise KeySyncError(
            f"{decoder_file} contains {what}: expected the temporal decoder of Stable Video Diffusion", about="vae"
        )
    widths = _checked_widths(decoder_file, decoder)
    if encoder and len(_checked_widths(file, encoder).channels) != len(widths.channels):
        raise KeySyncError(
            f"{file}: the encoder has {len(widths_of(shapes_of(encoder)).channels)} levels but the decoder has "
            f"{len(widths.channels)}: use an encoder and a decoder that belong together"
        )
    weights = VAEWeights(file, encoder, part_of(tensors, "quant_conv"), decoder_file, decoder, widths)
    for source, part, held in (
        (file, "encoder", encoder),
        (file, "quant_conv", weights.quant_conv),
        (decoder_file, "decoder", decoder),
    ):
        check_weights(source, {f"{part}.{name}": tensor for name, tensor in held.items()})
    return weights


def weight_file(path: Path) -> Path:
    """The file to read: `path` itself, or the weight file in a folder in diffusers' layout."""
    if not path.is_dir():
        return path
    found = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None)
    if found is None:
        raise KeySyncError(
            f"{path} is a folder without {' or '.join(FOLDER_FILES[::2])}: expected a VAE in diffusers' layout"
        )
    return found


def _checked_widths(path: Path, tensors: Mapping[str, Tensor]) -> Widths:
    widths = widths_of(shapes_of(tensors))
    if (
        not 1 <= len(widths.channels) <= MOST_LEVELS
        or not 1 <= widths.blocks <= MOST_BLOCKS
        or any(not 1 <= width <= MOST_WIDTH or width % NORM_GROUPS for width in widths.channels)
    ):
        raise KeySyncError(
            f"{path}: the VAE has {quoted(widths.channels)} channels and {widths.blocks} blocks per level: "
            f"expected 1 to {MOST_LEVELS} levels of 1 to {MOST_BLOCKS} blocks, and multiples of {NORM_GROUPS} up to "
            f"{MOST_WIDTH}"
        )
    if len(tensors) < BLOCK_TENSORS * len(widths.channels) * widths.blocks:
        raise KeySyncError(
            f"{path}: the VAE has tensor names of {len(widths.channels)} levels of {widths.blocks} blocks but only "
            f"{len(tensors)} tensors: expected a complete VAE"
        )
    return widths


def _encoder(weights: VAEWeights) -> nn.Module:
    network = _network(widths_of(shapes_of(weights.encoder)))
    encoder = _filled(weights.file, "encoder", network.encoder, weights.encoder)
    if not weights.quant_conv:
        return encoder
    return nn.Sequential(encoder, _filled(weights.file, "quant_conv", network.quant_conv, weights.quant_conv))


def _network(widths: Widths) -> Any:
    """diffusers' network with these widths, without weights."""
    try:
        module = import_alone("diffusers.models.autoencoders.autoencoder_kl_temporal_decoder")
    except ImportError as error:
        raise KeySyncError(f"the VAE needs diffusers, which is not installed: {install_line('diffusers')}") from error
    with torch.device("meta"):
        return module.AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * len(widths.channels),
            block_out_channels=widths.channels,
            layers_per_block=widths.blocks,
            latent_channels=LATENT_CHANNELS,
        )


def check_part(path: Path, part: str, needed: Shapes, held: Shapes) -> None:
    """Raises `KeySyncError` unless a file contains exactly the tensors of a part ("encoder" ...) of the network."""
    check_complete(path, f"VAE {part}", f"{part}.", needed, held)


def _filled(path: Path, part: str, network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """The network with these weights. Raises `KeySyncError` unless they match it exactly."""
    check_part(path, part, shapes_of(network.state_dict()), shapes_of(tensors))
    # Copied: a memory-mapped tensor would change with its file.
    network.load_state_dict(
        {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}, assign=True
    )
    return network
