"""A sound that was encoded before: what the encoders of one KeyFace stage made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.method import SAMPLE_RATE
from ...keysync.network.stage import ENCODERS_JOINED, StageSpec
from ...keysync.speech.features import SpeechFeatures
from ...keysync.timeline import Seconds, still
from .encoder import CoreSpeechEncoder


@dataclass(frozen=True, eq=False)
class GivenSound:
    """An encoder that gives what another one made of the same sound, of so many `samples`."""

    features: SpeechFeatures
    samples: int

    @property
    def name(self) -> str:
        return self.features.encoder

    @property
    def channels(self) -> int:
        return self.features.rows.shape[-1]

    def encode(self, waveform: Tensor) -> SpeechFeatures:
        """The features. Raises `KeySyncError` for a waveform of another length."""
        if len(waveform) != self.samples:
            raise KeySyncError(
                f"Encode Sound encoded {self.samples / SAMPLE_RATE:.2f} s of sound but audio lasts "
                f"{len(waveform) / SAMPLE_RATE:.2f} s: connect the same audio to both nodes"
            )
        return self.features


@dataclass(frozen=True, eq=False)
class Sound:
    """What the encoders of a stage made of a sound, in the order of its channels."""

    parts: tuple[GivenSound, ...]

    @property
    def heard(self) -> str:
        """The encoders, as a stage's `speech_encoder` names them: they tell which stage hears it."""
        return ENCODERS_JOINED.join(part.name for part in self.parts)

    def times(self) -> Seconds:
        """When each frame of a talking head that says it is shown (n,), in seconds."""
        return still(self.parts[0].samples / SAMPLE_RATE).times

    def rows(self) -> Tensor:
        """What the stage hears at these times (n, 2, c)."""
        times = self.times()
        return torch.cat([part.features.at(times) for part in self.parts], dim=-1)


def encoders_of(
    given: CoreSpeechEncoder | Sound, spec: StageSpec, name: str
) -> Iterator[CoreSpeechEncoder | GivenSound]:
    """The encoders that the input `name` stands for. Raises `KeySyncError` for a sound that another stage hears."""
    if not isinstance(given, Sound):
        yield given
        return
    want_heard(spec, given, name)
    yield from given.parts


def want_heard(spec: StageSpec, sound: Sound, name: str) -> None:
    """Raises `KeySyncError` where the input `name` is a sound that another stage hears."""
    if sound.heard != spec.speech_encoder:
        raise KeySyncError(
            f"{name} is a sound encoded with {sound.heard} but the model was trained with {spec.speech_encoder}: "
            "connect those encoders to its Encode Sound"
        )
