"""Speech as encoders hear it: its samples, which a long film need not hold once they were heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ..method import SAMPLE_RATE
from .samples import Samples


class Speech:
    """Speech, float32 at 16 kHz; `seconds` of the sound, notes for the user. `again` reads the same sound anew."""

    def __init__(self, samples: Samples, seconds: float, notes: tuple[str, ...], again: Callable[[], Speech]) -> None:
        self.seconds, self.notes = seconds, notes
        self._held: Samples | None = samples
        self._again = again

    @property
    def samples(self) -> Tensor:
        """All samples (n,)."""
        held = self._hold()
        return held.first(len(held))

    def first(self, count: int) -> Tensor:
        """The first samples (count,), with silence where there are fewer."""
        return self._hold().first(count)

    def lasting(self, seconds: float) -> SpeechPart:
        """So many seconds of it: cut, or followed by silence."""
        return SpeechPart(self, round(seconds * SAMPLE_RATE))

    def let_go(self) -> None:
        """Frees the memory of the samples: should they be needed again, the sound is read again."""
        self._held = None

    def _hold(self) -> Samples:
        held = self._held
        if held is None:
            held = self._held = self._again()._hold()
        return held


@dataclass(frozen=True, eq=False)
class SpeechPart:
    """The first `samples` of a speech, which are in memory or can be read."""

    speech: Speech
    samples: int

    def read(self) -> Tensor:
        """The samples (n,) float32. Raises `KeySyncError` where the sound cannot be read any more."""
        return self.speech.first(self.samples)
