from typing import Any

from torch import Tensor

class PreviewImage:
    def __init__(self, image: Tensor, *, cls: Any = None) -> None: ...
