# ComfyUI's nodes.py; KeySync's own nodes are keysync_extension.nodes here.
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from torch import Tensor

class LoraLoaderModelOnly:
    def load_lora_model_only(
        self, model: ModelPatcher, lora_name: str, strength_model: float
    ) -> tuple[ModelPatcher]: ...

class SetLatentNoiseMask:
    def set_mask(self, samples: dict[str, Any], mask: Tensor) -> tuple[dict[str, Any]]: ...

class VAEDecode:
    def decode(self, vae: VAE, samples: dict[str, Any]) -> tuple[Tensor]: ...

class VAEEncode:
    def encode(self, vae: VAE, pixels: Tensor) -> tuple[dict[str, Any]]: ...

class VAEEncodeForInpaint:
    def encode(self, vae: VAE, pixels: Tensor, mask: Tensor, grow_mask_by: int = 6) -> tuple[dict[str, Any]]: ...

class VAEEncodeTiled:
    def encode(self, vae: VAE, pixels: Tensor, tile_size: int, overlap: int) -> tuple[dict[str, Any]]: ...

async def init_builtin_extra_nodes() -> None: ...
async def load_custom_node(module_path: str) -> bool: ...
