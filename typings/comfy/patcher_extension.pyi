from collections.abc import Callable
from typing import Any

class WrappersMP:
    PREPARE_SAMPLING: str

def add_wrapper(
    wrapper_type: str,
    wrapper: Callable[..., Any],
    transformer_options: dict[str, Any],
    is_model_options: bool = False,
) -> None: ...
