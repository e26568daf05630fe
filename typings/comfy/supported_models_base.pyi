from typing import Any

import torch

class BASE:
    unet_extra_config: dict[str, Any]
    supported_inference_dtypes: list[torch.dtype]
    def __init__(self, unet_config: dict[str, Any]) -> None: ...
    def set_inference_dtype(self, dtype: torch.dtype, manual_cast_dtype: torch.dtype | None) -> None: ...
