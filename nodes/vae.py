"""Load KeySync VAE: a VAE of any width as the core's VAE; Decode Frames: each frame decoded on its own."""

from __future__ import annotations

from typing import Any

import comfy.sd
from comfy_api.latest import io

from ..keysync.vae.vae import FOLDER_FILES, read_vae
from .host import model  # noqa: F401 - registers models/keysync
from .host.files import built_in, find, fingerprint, offered
from .host.search import schema
from .host.vae import check_latents, core_vae, decode_frames

BUILT_IN = built_in("vae")
KINDS = ("vae", "diffusers", "keysync", "checkpoints")


class LoadKeySyncVAE(io.ComfyNode):
    """Loads the VAE of Stable Video Diffusion, or a narrower one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncLoadVAE",
            display_name="Load KeySync VAE",
            category="KeySync",
            description="Loads the VAE that the models were trained with: Stable Video Diffusion's for the published "
            "models (the core's Load VAE works too), or a VAE of another width.",
            inputs=[
                io.Combo.Input(
                    "vae_name",
                    options=list(offered(BUILT_IN, KINDS, FOLDER_FILES)),
                    tooltip="The built-in keysync-small-vae is for keysync-small. Others: a file or diffusers folder "
                    "in models/vae, a diffusers folder in models/diffusers, or a KeySync checkpoint in models/keysync "
                    "or models/checkpoints, of which only the decoder is used.",
                )
            ],
            outputs=[io.Vae.Output(tooltip="For the core's VAE Encode, Decode Frames and Dub Video.")],
        )

    @classmethod
    def fingerprint_inputs(cls, vae_name: str) -> str:
        return fingerprint(find(vae_name, BUILT_IN, KINDS, FOLDER_FILES))

    @classmethod
    def execute(cls, vae_name: str) -> io.NodeOutput:
        return io.NodeOutput(core_vae(read_vae(find(vae_name, BUILT_IN, KINDS, FOLDER_FILES))))


class DecodeFrames(io.ComfyNode):
    """Decodes each frame as a clip of one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="KeySyncDecodeFrames",
            display_name="Decode Frames",
            category="KeySync",
            description="Decodes each frame on its own, as the method does. The core's VAE Decode works too, but "
            "blends the frames that it decodes together, so its result depends on the free memory.",
            inputs=[
                io.Latent.Input("latent", tooltip="From Interpolate Keyframes, or any other frames to decode."),
                io.Vae.Input("vae", tooltip="The VAE that encoded the frames, from Load KeySync VAE or Load VAE."),
            ],
            outputs=[io.Image.Output(tooltip="One image per frame.")],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any], vae: comfy.sd.VAE) -> io.NodeOutput:
        latents = latent["samples"]
        check_latents(latents)
        return io.NodeOutput(decode_frames(vae, latents))


NODES: list[type[io.ComfyNode]] = [LoadKeySyncVAE, DecodeFrames]
