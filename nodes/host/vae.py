"""A VAE of any width as the core's VAE, and pictures that do not depend on each other."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from typing import Any

import comfy.model_management
import comfy.sd
import comfyui_version
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.temporal_ae import AE3DConv, VideoResBlock, partialclass
from torch import Tensor, nn

from ...keysync.errors import KeySyncError
from ...keysync.method import PIXELS_PER_LATENT
from ...keysync.network.precision import HALVES, is_finite, only_finite
from ...keysync.network.stage import SCALE_FACTOR
from ...keysync.vae.names import Widths, diffusers_names
from ...keysync.vae.vae import LATENT_CHANNELS, VAEWeights, check_part
from ...keysync.weights.digest import weights_digest
from ...keysync.weights.files import shapes_of
from .frames import each_frame
from .precision import on_cpu, pinned_vae, vae_in_float32

log = logging.getLogger(__name__)

# A convolution over time of this size follows each spatial one of the decoder.
TIME_KERNEL = [3, 1, 1]


class MissingEncoder(nn.Module):
    """Stands where a file holds only the decoder."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source

    def forward(self, *_: Tensor) -> Tensor:
        raise KeySyncError(
            f"{self.source} holds only the VAE's decoder, which cannot encode: load a whole Stable Video Diffusion VAE"
        )


def core_vae(weights: VAEWeights) -> comfy.sd.VAE:
    """The core's VAE with these weights, in float32 as the method runs it unless ComfyUI was started otherwise.

    Raises `KeySyncError` where the weights do not fill the network.
    """
    management = comfy.model_management
    parameters = {"embed_dim": LATENT_CHANNELS, "ddconfig": _network_arguments(weights.widths)}
    tensors = core_tensors(weights, parameters)
    # The executor runs nodes in inference mode: weights made there are slow to cast and cannot be patched.
    with torch.inference_mode(False):
        vae = comfy.sd.VAE(
            sd=tensors,
            config={"params": parameters},
            dtype=management.vae_dtype(management.vae_device(), [torch.float32]),
        )
        vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(weights.widths.channels) - 1)
        if not weights.encoder:
            vae.first_stage_model.encoder = MissingEncoder(str(weights.file))
            vae.size = None
    return vae


def core_tensors(weights: VAEWeights, parameters: dict[str, Any]) -> dict[str, Tensor]:
    """The weights by the names of the core's network, which are sgm's; an encoder that is not there becomes zeros.

    The network's own `quant_conv` and `post_quant_conv` do nothing: as in Stable Video Diffusion's own file, what
    makes moments of the encoder's output is folded into its last layer, so the core's Save VAE writes such a file.
    """
    with torch.device("meta"):
        needed = AutoencoderKL(**parameters).state_dict()
    tensors = {
        "quant_conv.weight": torch.eye(2 * LATENT_CHANNELS)[..., None, None],
        "quant_conv.bias": torch.zeros(2 * LATENT_CHANNELS),
        "post_quant_conv.weight": torch.eye(LATENT_CHANNELS)[..., None, None],
        "post_quant_conv.bias": torch.zeros(LATENT_CHANNELS),
    }
    for part, held, file in (
        ("encoder", _folded(weights), weights.file),
        ("decoder", _with_second_block(weights), weights.decoder_file),
    ):
        own = [name for name in needed if name.startswith(f"{part}.")]
        theirs = {name: diffusers.removeprefix(f"{part}.") for name, diffusers in diffusers_names(own).items()}
        if not held:
            tensors |= {name: torch.zeros(()).expand(needed[name].shape) for name in own}
            continue
        # diffusers' attention is linear layers, sgm's 1x1 convolutions.
        shapes = {theirs[name]: _without_kernel(theirs[name], needed[name]) for name in own}
        check_part(file, part, shapes, shapes_of(held))
        tensors |= {name: held[theirs[name]].reshape(needed[name].shape) for name in own}
    return tensors


def _without_kernel(diffusers_name: str, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return shape[:2] if ".attentions." in diffusers_name else shape


def _folded(weights: VAEWeights) -> dict[str, Tensor]:
    """The encoder with `quant_conv`, a 1x1 convolution, multiplied into its last layer."""
    encoder, quant = weights.encoder, weights.quant_conv
    if not encoder or not quant:
        return encoder
    moments = 2 * LATENT_CHANNELS
    check_part(weights.file, "quant_conv", {"weight": (moments, moments, 1, 1), "bias": (moments,)}, shapes_of(quant))
    matrix = quant["weight"][..., 0, 0].float()
    weight, bias = (encoder.get(f"conv_out.{name}") for name in ("weight", "bias"))
    if weight is None or bias is None or len(weight) != moments:
        return encoder  # whose shapes are refused later
    return encoder | {
        "conv_out.weight": torch.einsum("om,mchw->ochw", matrix, weight.float()),
        "conv_out.bias": matrix @ bias.float() + quant["bias"].float(),
    }


def _with_second_block(weights: VAEWeights) -> dict[str, Tensor]:
    """The decoder with all that the core has in its middle: a block, attention, and a second block.

    Where a level has one block, diffusers has no second one here and does not use the attention that it holds. Both
    add nothing where they are zeros.
    """
    decoder = weights.decoder
    first, second, attention = "mid_block.resnets.0.", "mid_block.resnets.1.", "mid_block.attentions."
    if weights.widths.blocks > 1 or any(name.startswith(second) for name in decoder):
        return decoder
    return decoder | {
        name.replace(first, second): torch.zeros_like(tensor)
        for name, tensor in decoder.items()
        if name.startswith((first, attention))
    }


def _network_arguments(widths: Widths) -> dict[str, Any]:
    """The core's own for Stable Video Diffusion, at these widths; the last two make its decoder one over time."""
    first, *_ = widths.channels
    return {
        "double_z": True,
        "z_channels": LATENT_CHANNELS,
        "resolution": 256,
        "in_channels": 3,
        "out_ch": 3,
        "ch": first,
        "ch_mult": [Times(width) for width in widths.channels],
        "num_res_blocks": widths.blocks,
        "attn_resolutions": [],
        "dropout": 0.0,
        "resnet_op": partialclass(VideoResBlock, video_kernel_size=TIME_KERNEL, alpha=0.0, merge_strategy="learned"),
        "conv_out_op": partialclass(AE3DConv, video_kernel_size=TIME_KERNEL),
    }


class Times:
    """A level's width as a multiple of the first one's, which need not be whole: the core multiplies it by that."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __rmul__(self, first: int) -> int:
        return self.width


def refuse_decoder_alone(vae: comfy.sd.VAE) -> None:
    """Raises `KeySyncError` for a VAE that cannot encode, before any work."""
    encoder = getattr(vae.first_stage_model, "encoder", None)
    if isinstance(encoder, MissingEncoder):
        encoder()


def check_latents(latents: Tensor) -> None:
    """Raises `KeySyncError` unless these are latents of frames, (n, 4, h, w)."""
    if latents.ndim != 4 or latents.shape[1] != LATENT_CHANNELS:
        raise KeySyncError(
            f"the shape of the latents is {list(latents.shape)}, not [frames, {LATENT_CHANNELS}, height, width]: "
            "connect the latents of Interpolate Keyframes or VAE Encode"
        )


def decode_frames(vae: comfy.sd.VAE, latents: Tensor) -> Tensor:
    """Pictures (n, 8h, 8w, 3) in 0..1 of latents (n, 4, h, w) as a LATENT has them; moves the progress bar."""
    first, *_ = latents.shape
    pictures: Tensor | None = None
    for index in each_frame(first):
        picture = _finite_frame(vae, latents[index], index)
        if pictures is None:
            pictures = picture.new_empty(first, *picture.shape)
        pictures[index] = picture
    if pictures is None:
        raise KeySyncError("there are no latents to decode: use at least one frame")
    return pictures


def _finite_frame(vae: comfy.sd.VAE, latent: Tensor, frame: int) -> Tensor:
    """A picture: once more in float32 where half precision overflows. Raises `KeySyncError` where it is not finite even
    so."""
    picture = decode_frame(vae, latent)
    half = vae.vae_dtype in HALVES
    if half and not is_finite(picture):
        log.warning("half precision overflows in the VAE: frame %d is decoded again in float32", frame)
        with vae_in_float32(vae):
            picture = decode_frame(vae, latent)
    if not is_finite(picture):
        raise KeySyncError(
            f"the VAE's decoder gives numbers that are not finite for frame {frame}"
            f"{', in float32 too' if half else ''}: check the latents, or use other weights"
        )
    return picture


def decode_frame(vae: comfy.sd.VAE, latent: Tensor) -> Tensor:
    """One picture (8h, 8w, 3) of one latent (4, h, w): alone it sees no other, whatever memory is free."""
    clamp = vae.process_output

    def levels(pictures: Tensor) -> Tensor:
        pictures.copy_(only_finite(pictures))  # in place, as the core clamps
        return clamp(pictures)

    vae.process_output = levels
    try:
        with pinned_vae(vae):
            return vae.decode(latent[None])[0]
    finally:
        vae.process_output = clamp


class CoreVAE:
    """The core's VAE as the library's dub asks for it: latents are scaled there, and not in the core."""

    batch = 4
    source = "the VAE"

    def __init__(self, vae: comfy.sd.VAE) -> None:
        """Raises `KeySyncError` for a VAE that is not Stable Video Diffusion's, and for a decoder alone."""
        refuse_decoder_alone(vae)
        if vae.latent_channels != LATENT_CHANNELS or vae.downscale_ratio != PIXELS_PER_LATENT:
            raise KeySyncError(
                f"the VAE of {vae.latent_channels} channels does not match the models, which need {LATENT_CHANNELS} "
                f"for each {PIXELS_PER_LATENT}x{PIXELS_PER_LATENT} pixels: load the VAE of Stable Video Diffusion"
            )
        self._vae = vae
        self.encoder = vae.first_stage_model
        self.downscale = PIXELS_PER_LATENT

    @property
    def is_half(self) -> bool:
        return self._vae.vae_dtype in HALVES

    def in_float32(self) -> AbstractContextManager[None]:
        """Inside it computes in float32."""
        return vae_in_float32(self._vae)

    def encoder_digest(self) -> str:
        """The same for the encoder that gives the same latents: of its weights, and of what computes with them."""
        vae = self._vae
        return (
            f"{comfyui_version.__version__} {vae.device.type} {vae.vae_dtype} {weights_digest(vae.first_stage_model)}"
        )

    def encode(self, images: Tensor) -> Tensor:
        # On a CPU one by one: the core encodes as many at once as memory is free, and sums differ with their number.
        parts = images.split(1) if on_cpu(self._vae.device) else (images,)
        with pinned_vae(self._vae):
            latents = torch.cat([self._vae.encode(part) for part in parts])
        return latents.float().cpu() * SCALE_FACTOR

    def decode(self, latents: Tensor) -> Tensor:
        return torch.stack([decode_frame(self._vae, latent).float().cpu() for latent in latents / SCALE_FACTOR])
