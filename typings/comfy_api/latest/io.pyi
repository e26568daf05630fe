from abc import ABC, abstractmethod
from typing import Any, TypeAlias

class _Input:
    def __init__(self, id: str, display_name: str = ..., optional: bool = False, tooltip: str = ...) -> None: ...

class _Output:
    def __init__(self, id: str = ..., display_name: str = ..., tooltip: str = ...) -> None: ...

class _Type:
    Output: TypeAlias = _Output

class _Socket(_Type):
    Input: TypeAlias = _Input

class Audio(_Socket): ...
class Guider(_Socket): ...
class Image(_Socket): ...
class Latent(_Socket): ...
class Mask(_Socket): ...
class Model(_Socket): ...
class Sampler(_Socket): ...
class Sigmas(_Socket): ...
class Vae(_Socket): ...
class Video(_Socket): ...

def Custom(io_type: str) -> type[_Socket]: ...

class Combo(_Type):
    class Input(_Input):
        options: list[str]
        def __init__(
            self, id: str, options: list[str], *, optional: bool = False, tooltip: str = ..., default: str = ...
        ) -> None: ...

class Float(_Type):
    class Input(_Input):
        def __init__(
            self,
            id: str,
            *,
            optional: bool = False,
            tooltip: str = ...,
            default: float = ...,
            min: float = ...,
            max: float = ...,
            step: float = ...,
        ) -> None: ...

class Int(_Type):
    class Input(_Input):
        def __init__(
            self,
            id: str,
            *,
            optional: bool = False,
            tooltip: str = ...,
            default: int = ...,
            min: int = ...,
            max: int = ...,
            step: int = ...,
            control_after_generate: bool = ...,
        ) -> None: ...

class Boolean(_Type):
    class Input(_Input):
        def __init__(
            self,
            id: str,
            *,
            optional: bool = False,
            tooltip: str = ...,
            default: bool = ...,
            extra_dict: dict[str, Any] = ...,
        ) -> None: ...

class String(_Type):
    class Input(_Input):
        def __init__(
            self,
            id: str,
            *,
            optional: bool = False,
            tooltip: str = ...,
            multiline: bool = False,
            default: str = ...,
        ) -> None: ...

class Autogrow:
    class TemplatePrefix:
        def __init__(self, input: _Input, prefix: str, min: int = 1, max: int = 10) -> None: ...

    class Input(_Input):
        def __init__(
            self,
            id: str,
            template: Autogrow.TemplatePrefix,
            display_name: str = ...,
            optional: bool = False,
            tooltip: str = ...,
        ) -> None: ...

class MultiType:
    class Input(_Input):
        def __init__(
            self, id: str, types: list[type[_Type]], *, optional: bool = False, tooltip: str = ...
        ) -> None: ...

class Schema:
    node_id: str
    inputs: list[_Input]
    outputs: list[_Output]
    search_aliases: list[str]
    def __init__(
        self,
        node_id: str,
        display_name: str = ...,
        category: str = ...,
        inputs: list[_Input] = ...,
        outputs: list[_Output] = ...,
        *,
        description: str = ...,
    ) -> None: ...

class NodeOutput:
    args: tuple[Any, ...]
    def __init__(self, *args: Any, ui: Any = None) -> None: ...

class ComfyNode(ABC):
    @classmethod
    @abstractmethod
    def define_schema(cls) -> Schema: ...
    @classmethod
    @abstractmethod
    def execute(cls, *args: Any, **kwargs: Any) -> NodeOutput: ...
    @classmethod
    def fingerprint_inputs(cls, *args: Any, **kwargs: Any) -> Any: ...
