"""FlashLips in the core's care: its networks are moved between devices by ComfyUI, its VAE is the core's."""

from __future__ import annotations

from pathlib import Path

import comfy.model_management
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher

from ...keysync.errors import KeySyncError
from ...keysync.systems.flashlips.bundle import open_bundle
from ...keysync.systems.flashlips.models import FlashLips, encoder_file, load_networks, vae_file
from ...keysync.vae.vae import read_vae
from .encoder import CoreSpeechEncoder
from .encoder import load as load_encoder
from .models import host_of
from .vae import CoreVAE, core_vae


def load(path: Path, vae: comfy.sd.VAE | None, encoder: CoreSpeechEncoder | None) -> FlashLips:
    """The FlashLips in a file, with the VAE and the speech encoder that it was trained with, where they are neither in
    it nor built in.

    Raises `KeySyncError` where one is missing or another one.
    """
    management = comfy.model_management
    bundle = open_bundle(path)
    name = bundle.spec.speech_encoder
    if encoder is None:
        encoder = load_encoder(encoder_file(bundle.spec, None))
    elif encoder.name != name:
        raise KeySyncError(f"the speech encoder is {encoder.name} but FlashLips was trained with {name}", about=name)
    device, offload = management.get_torch_device(), management.unet_offload_device()
    count = sum(tensor.numel() for part in bundle.parts.values() for tensor in part.values())
    dtype = management.unet_dtype(
        model_params=count, supported_dtypes=[torch.float16, torch.float32], weight_dtype=None
    )
    # The executor runs nodes in inference mode, and weights made there are slow to cast later.
    with torch.inference_mode(False):
        held = core_vae(read_vae(vae_file(bundle, None))) if vae is None else vae
        networks = load_networks(bundle, offload, dtype)
        patcher = ModelPatcher(torch.nn.ModuleList(networks.values()), load_device=device, offload_device=offload)

    def place() -> None:
        management.load_models_gpu([patcher], force_full_load=True)

    return FlashLips(
        bundle.spec,
        **networks,
        vae=CoreVAE(held),
        encoders={name: encoder},
        origins={"flashlips": path.name},
        files={"flashlips": path},
        facts=bundle.metadata,
        place=place,
        host=f"{host_of(patcher)} {dtype}",
    )
