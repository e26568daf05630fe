"""What a model computes for frames of a span: once more in float32 where half precision overflows.

A picture with numbers that are not finite would be black, and pass for a dub: it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from torch import Tensor

from ..errors import KeySyncError
from ..network.precision import NotFiniteError, Wider, is_finite
from .renderer import Account


def computed(
    account: Account, model: object, name: str, frames: Sequence[int], compute: Callable[[], Tensor]
) -> tuple[Tensor, bool]:
    """What is computed with a model for these frames of a span, and whether in float32 where halves overflowed.

    Raises `KeySyncError` where it is not finite even so.
    """
    with suppress(NotFiniteError):
        found = compute()
        if is_finite(found):
            return found, False
    wider = in_wider(account, model, name, frames, compute)
    if wider is not None:
        return wider, True
    half = isinstance(model, Wider) and model.is_half
    raise KeySyncError(
        f"{name} gives numbers that are not finite for {account.name(min(frames), max(frames))}"
        f"{', in float32 too' if half else ''}: expected a picture; use other weights or a lower guidance"
    )


def in_wider(
    account: Account, model: object, name: str, frames: Sequence[int], compute: Callable[[], Tensor]
) -> Tensor | None:
    """What is computed in float32 with a model in half precision, which the account notes; None where that is not
    finite either, or the model is not in half precision."""
    if isinstance(model, Wider) and model.is_half:
        with model.in_float32(), suppress(NotFiniteError):
            found = compute()
            if is_finite(found):
                account.repaired(name, min(frames), max(frames))
                return found
    return None
