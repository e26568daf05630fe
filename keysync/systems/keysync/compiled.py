"""A stage's network under torch.compile: the same numbers but for rounding, after a first call that takes minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ...errors import KeySyncError, one_line

if TYPE_CHECKING:
    from ...network.stage import Stage

# What compiles: of torch's back ends the one that generates code, which needs a C++ compiler, and Triton on a GPU.
BACKEND = "inductor"


def compile_network(stage: Stage) -> None:
    """From its next call on the stage's network is compiled, once for each size of its input."""
    if stage.unet._compiled_call_impl is None:
        stage.unet.compile(backend=BACKEND, dynamic=False)


@contextmanager
def compiling() -> Iterator[None]:
    """Raises `KeySyncError` where a network cannot be compiled inside."""
    from torch._dynamo.exc import TorchDynamoException  # here: it takes a second to import

    try:
        yield
    except TorchDynamoException as error:
        cause = getattr(error, "inner_exception", error)
        raise KeySyncError(
            f"torch.compile cannot compile the network ({one_line(cause)}): expected a C++ compiler, and Triton for a "
            "GPU; install them, or do not compile it",
            about="compile",
        ) from error
