from typing import Any, TypeVar

from torch import nn

_Module = TypeVar("_Module", bound=nn.Module)

class VideoResBlock(nn.Module): ...
class AE3DConv(nn.Conv2d): ...

def partialclass(cls: type[_Module], *args: Any, **kwargs: Any) -> type[_Module]: ...
