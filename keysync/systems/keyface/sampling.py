"""How KeyFace is sampled: as KeySync is, and with the scale of autoguidance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...errors import KeySyncError
from ..keysync.sampling import Sampling


@dataclass(frozen=True)
class KeyFaceSampling(Sampling):
    """`autoguidance` None is the scale that the interpolation model is best sampled with."""

    autoguidance: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.autoguidance is not None and not math.isfinite(self.autoguidance):
            raise KeySyncError(
                f"the autoguidance is {self.autoguidance}: expected a finite number, such as 2", about="autoguidance"
            )
