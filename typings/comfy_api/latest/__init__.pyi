from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any, TypeAlias

from torch import Tensor

from . import io as io
from . import ui as ui

@dataclass
class _VideoComponents:
    images: Tensor
    frame_rate: Fraction
    # "waveform" (batch, channels, n) and "sample_rate".
    audio: dict[str, Any] | None = None

class _Video(ABC):
    def get_components(self) -> _VideoComponents: ...
    def get_stream_source(self) -> str | BytesIO: ...
    def get_dimensions(self) -> tuple[int, int]: ...
    def save_to(self, path: str) -> None: ...

class _VideoFromFile(_Video):
    def __init__(self, file: str | BytesIO) -> None: ...

class _VideoFromComponents(_Video):
    def __init__(self, components: _VideoComponents) -> None: ...

class Input:
    Video: TypeAlias = _Video

class InputImpl:
    VideoFromFile: TypeAlias = _VideoFromFile
    VideoFromComponents: TypeAlias = _VideoFromComponents

class Types:
    VideoComponents: TypeAlias = _VideoComponents

class ComfyExtension(ABC):
    @abstractmethod
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...
