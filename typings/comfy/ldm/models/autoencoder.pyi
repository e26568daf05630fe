from typing import Any

from torch import nn

class AutoencoderKL(nn.Module):
    def __init__(self, *, embed_dim: int, ddconfig: dict[str, Any]) -> None: ...
