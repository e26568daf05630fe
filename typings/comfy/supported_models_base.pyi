from typing import Any

import torch

from .latent_formats import LatentFormat

class BASE:
    unet_config: dict[str, Any]
    unet_extra_config: dict[str, Any]
    sampling_settings: dict[str, float]
    latent_format: LatentFormat
    supported_inference_dtypes: list[torch.dtype]
    manual_cast_dtype: torch.dtype | None
    memory_usage_factor: float
    def __init__(self, unet_config: dict[str, Any]) -> None: ...
    def set_inference_dtype(self, dtype: torch.dtype, manual_cast_dtype: torch.dtype | None) -> None: ...
