from typing import Any

from torch import Tensor

class CONDRegular:
    cond: Any
    def __init__(self, cond: Tensor) -> None: ...

class CONDConstant(CONDRegular):
    def __init__(self, cond: object) -> None: ...
