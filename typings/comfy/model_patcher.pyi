from typing import Any

import torch
from torch import nn

def create_model_options_clone(orig_model_options: dict[str, Any]) -> dict[str, Any]: ...

class ModelPatcher:
    # The module that it was made for, of whatever class.
    model: Any
    model_options: dict[str, Any]
    patches: dict[str, list[Any]]
    object_patches: dict[str, Any]
    load_device: torch.device
    offload_device: torch.device
    def __init__(self, model: nn.Module, load_device: torch.device, offload_device: torch.device) -> None: ...
    def is_dynamic(self) -> bool: ...
    def get_model_object(self, name: str) -> Any: ...
    def model_dtype(self) -> torch.dtype: ...
    def model_size(self) -> int: ...
