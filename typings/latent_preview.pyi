from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from comfy.latent_formats import LatentFormat
from comfy.model_patcher import ModelPatcher
from torch import Tensor

args: Any

class LatentPreviewMethod(Enum):
    Auto = ...

class LatentPreviewer:
    def decode_latent_to_preview(self, x0: Tensor) -> Any: ...
    # What the progress bar takes as its preview: format, picture, largest side.
    def decode_latent_to_preview_image(self, preview_format: str, x0: Tensor) -> tuple[str, object, int]: ...

def get_previewer(device: torch.device, latent_format: LatentFormat) -> LatentPreviewer | None: ...
def prepare_callback(model: ModelPatcher, steps: int) -> Callable[[int, Tensor, Tensor, int], None]: ...
