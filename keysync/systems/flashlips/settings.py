"""How FlashLips draws: steps, references, and with a mask or without one."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import KeySyncError
from .networks import MOST_REFERENCES
from .spec import MOST_STEPS, FlashLipsSpec


@dataclass(frozen=True)
class Drawing:
    """`steps` of Euler's method from speech to lips, `references` 1 to 4 frames of the clip, `mask_free`: the mouth is
    drawn over whole pictures instead of into hidden ones; None: what the file works best with."""

    steps: int | None = None
    references: int | None = None
    mask_free: bool | None = None

    def __post_init__(self) -> None:
        """Raises `KeySyncError` for numbers out of their ranges."""
        for name, value, most in (("steps", self.steps, MOST_STEPS), ("references", self.references, MOST_REFERENCES)):
            if value is not None and not 1 <= value <= most:
                raise KeySyncError(f"{value} {name}: expected 1 to {most}", about=name)

    def settled(self, spec: FlashLipsSpec) -> Settled:
        """With what the file says in place of None."""
        return Settled(
            self.steps or spec.steps,
            self.references or spec.references_used,
            spec.mask_free if self.mask_free is None else self.mask_free,
        )


@dataclass(frozen=True)
class Settled:
    """See `Drawing`."""

    steps: int
    references: int
    mask_free: bool
