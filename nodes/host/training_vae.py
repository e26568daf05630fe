"""The core's VAE as training asks for it: the posterior of pictures, and a decoder that gradients pass."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import comfy.ldm.modules.diffusionmodules.model
import comfy.model_management
import comfy.sd
import torch
from torch import Tensor, nn

from ...keysync.systems.keysync.small import SMALL
from ...keysync.vae.vae import read_vae
from .frames import alive
from .vae import CoreVAE

# What the core's memory manager notes on layers whose weights it moves one by one.
MOVED = ("_v", "_v_signature", "_v_weight", "_v_bias", "_prefetch", "_pin_state", "_pins", "_pin")
DECODED_LAST = "decoder.conv_out.weight"


def digest_of(module: nn.Module) -> str:
    """32 hexadecimal digits of a network's weights, as they are in memory."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """The numbers of a tensor, as they are in memory."""
    numbers: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(numbers)


def is_built_in(vae: comfy.sd.VAE) -> bool:
    """Whether a VAE is the one that comes with KeySync, by its last layer."""
    ours = read_vae(SMALL["vae"]).decoder["conv_out.weight"]
    theirs = vae.first_stage_model.state_dict().get(DECODED_LAST)
    return theirs is not None and theirs.shape == ours.shape and torch.equal(theirs.float().cpu(), ours.float())


class TrainingVAE(CoreVAE):
    """Also gives mean and deviation of what it encodes, and stops when the user cancels."""

    def __init__(self, vae: comfy.sd.VAE) -> None:
        super().__init__(vae)
        self._core = vae

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (n, 4, h/8, w/8) and unscaled, of images (n, h, w, 3) in 0..1."""
        alive()
        core = self._core
        one = (1, 3, *images.shape[1:3])
        needed = core.memory_used_encode(one, core.vae_dtype)
        comfy.model_management.load_models_gpu([core.patcher], needed, force_full_load=True)
        network = core.first_stage_model
        pictures = (images.movedim(-1, 1) * 2 - 1).to(core.device, core.vae_dtype)  # BHWC -> BCHW
        # One by one: the sums do not depend on how many there are.
        moments = torch.cat([self._moments(network, picture) for picture in pictures.split(1)])
        mean, logvar = moments.float().cpu().chunk(2, dim=1)
        return mean, torch.exp(0.5 * logvar.clamp(-30, 20))

    @staticmethod
    def _moments(network: nn.Module, picture: Tensor) -> Tensor:
        moments: Tensor = network.get_submodule("encoder")(picture)
        # Stable Video Diffusion's own network has this layer folded into its encoder.
        quant = getattr(network, "quant_conv", None)
        return moments if quant is None else quant(moments)


class LossDecoder(nn.Module):
    """A copy of a VAE's decoder in float32, with weights that gradients pass: the core's may be made for inference."""

    def __init__(self, vae: comfy.sd.VAE) -> None:
        super().__init__()
        self.network = _copied(vae.first_stage_model, "encoder").eval()
        model = comfy.ldm.modules.diffusionmodules.model
        layers: list[Any] = [layer for layer in self.network.modules() if isinstance(layer, model.AttnBlock)]
        for layer in layers:
            layer.optimized_attention = model.pytorch_attention

    def forward(self, z: Tensor, image_only_indicator: Tensor, num_frames: int) -> Tensor:
        """Pictures (n, 3, 8h, 8w) of latents (n, 4, h, w), each as a clip of one frame."""
        pictures = [self._decoded(latent) for latent in z.split(1)]
        return torch.cat(pictures)

    def _decoded(self, latent: Tensor) -> Tensor:
        alive()
        decode = self.network.decode
        picture: Tensor = decode(latent)  # type: ignore[operator] # a method, which nn.Module types as a part
        return picture


def _copied(network: nn.Module, without: str = "") -> nn.Module:
    """A network with float32 copies of the weights, and without one of its parts; nothing moves its weights."""
    new: Any = copy.copy(network)
    for name in MOVED:
        new.__dict__.pop(name, None)
    new._parameters = {
        name: None if weight is None else nn.Parameter(weight.detach().clone().float(), requires_grad=False)
        for name, weight in network._parameters.items()
    }
    new._buffers = {
        name: None if held is None else held.detach().clone().float() for name, held in network._buffers.items()
    }
    new._modules = {
        name: None if part is None else _copied(part) for name, part in network._modules.items() if name != without
    }
    module: nn.Module = new
    return module
