from torch import Tensor

class CONDRegular:
    def __init__(self, cond: Tensor) -> None: ...

class CONDConstant(CONDRegular):
    def __init__(self, cond: object) -> None: ...
