"""Measures how well the mouth can be read from a speech encoder's features:
python -m training.small.encoder.figures FOLDER.

A linear probe is fitted to the features of clean speech and tested on other sentences, in clean sound and under other
conditions; loudness and formants are baselines.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.method import SAMPLE_RATE
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.speech.hubert import Hubert

from ...synthetic.voice.corpus import speaker
from ...synthetic.voice.microphone import Microphone, Sound
from ...synthetic.voice.sentences import TEST, TRAIN, sentences
from ...synthetic.voice.sound import loudness, mouth_from_sound
from ...synthetic.voice.speech import Utterance, joined, say, silence, talk
from .lesson import MOUTH

Array = NDArray[np.float64]
FPS = 25
SECONDS = 20.0  # length of a talk
LAGS = np.arange(-80, 81, 5) / 1000  # seconds
SETTLED = 0.15  # seconds of a pause after which the mouth is shut
TELEPHONE = Microphone(low=300, high=3400)
CONDITIONS: dict[str, Microphone] = {
    "clean": Microphone(),
    **{f"white noise, {snr} dB": Microphone(noise=0.0, snr=snr) for snr in (20, 10, 5)},
    **{f"pink noise, {snr} dB": Microphone(noise=1.0, snr=snr) for snr in (20, 10, 5)},
    **{f"babble, {snr} dB": Microphone(babble=4, snr=snr) for snr in (20, 10, 5)},
    "echo of 0.4 s": Microphone(echo=0.4, direct=3.0),
    "telephone": TELEPHONE,
    "20 dB softer": Microphone(gain=-20),
}


@dataclass(frozen=True, eq=False)
class Probe:
    """An encoder and the linear layer (2 c + 1, 5) that reads the mouth from a frame's features."""

    encoder: SpeechEncoder
    weights: Array

    @classmethod
    def fit(cls, encoder: SpeechEncoder, talks: Sequence[Utterance], ridge: float = 1.0) -> Probe:
        """Fits the layer to these talks."""
        features = np.concatenate([_features(encoder, said.waveform) for said in talks])
        truth = np.concatenate([mouths(said, frame_times(said)) for said in talks])
        square = features.T @ features + ridge * np.eye(features.shape[1])
        return cls(encoder, np.linalg.solve(square, features.T @ truth))

    def read(self, waveform: Sound) -> Array:
        """The mouth (f, 5) at the middle of each frame except the last, whose second row is padding."""
        read: Array = _features(self.encoder, waveform) @ self.weights
        return read


def mouths(said: Utterance, times: Array) -> Array:
    """The true mouth (n, 5) at these times."""
    motion = said.mouth(times)
    table: Array = np.stack([getattr(motion, name) for name in MOUTH], 1).astype(np.float64)
    return table


def frame_times(said: Utterance) -> Array:
    """The middle of each frame except the last."""
    return (np.arange(-(-len(said.waveform) // (SAMPLE_RATE // FPS)) - 1) + 0.5) / FPS


def unheard(number: int) -> Utterance:
    """Test sentences in a held-out voice."""
    voice = speaker(TEST, 0, number)
    texts = sentences(number, TEST)
    parts = [silence(0.4)]
    while sum(part.seconds for part in parts) < SECONDS:
        parts += [say(next(texts), voice), silence(0.5)]
    return joined(parts).cut(0.0, SECONDS)


def figures(probe: Probe, talks: Sequence[Utterance], microphone: Microphone) -> dict[str, float]:
    """The correlation of each of the five values, slope and lag in ms of the opening, and the 95th percentile of the
    opening in pauses."""
    heard = [_heard(talks, number, microphone) for number in range(len(talks))]
    read = [probe.read(sound) for sound in heard]
    truth = [mouths(said, frame_times(said)) for said in talks]
    x, y = np.concatenate(truth), np.concatenate(read)
    found = {name: _correlation(x[:, column], y[:, column]) for column, name in enumerate(MOUTH)}
    opened = np.concatenate([one[:, 0] for one in read])
    lagged = [_correlation(_openings(talks, lag), opened) for lag in LAGS]
    rests = np.concatenate([one[_resting(said), 0] for one, said in zip(read, talks, strict=True)])
    return {
        **found,
        "slope": found["open"] * float(y[:, 0].std() / x[:, 0].std()),
        "lag_ms": float(-1000 * LAGS[int(np.argmax(lagged))]),
        "in_pauses": float(np.percentile(rests, 95)) if len(rests) else float("nan"),
    }


def compared(talks: Sequence[Utterance]) -> dict[str, float]:
    """The correlation of the baselines, which need no encoder, with the true opening."""
    truth = _openings(talks, 0.0)
    ways: dict[str, Callable[[Sound, Array], Any]] = {
        "loudness": loudness,
        "formants": lambda sound, times: mouth_from_sound(sound, times).open,
    }
    return {
        name: _correlation(truth, np.concatenate([way(said.waveform, frame_times(said)) for said in talks]))
        for name, way in ways.items()
    }


def _features(encoder: SpeechEncoder, waveform: Sound) -> Array:
    pairs = encoder.encode(torch.from_numpy(np.ascontiguousarray(waveform, np.float32))).frames[:-1]
    flat = pairs.flatten(1).double().numpy()
    return np.concatenate([flat, np.ones((len(flat), 1))], 1)


def _heard(talks: Sequence[Utterance], number: int, microphone: Microphone) -> Sound:
    # A single talk provides its own babble.
    others = np.concatenate([said.waveform for said in (*talks[:number], *talks[number + 1 :])] or [talks[0].waveform])
    start = iter(range(0, 1 << 40, SAMPLE_RATE * 7))

    def voices(count: int) -> Sound:
        return np.resize(np.roll(others, next(start)), count)

    sound = talks[number].waveform
    return microphone.hear(sound, len(sound), voices)


def _openings(talks: Sequence[Utterance], lag: float) -> Array:
    return np.concatenate([mouths(said, frame_times(said) + lag)[:, 0] for said in talks])


def _resting(said: Utterance) -> NDArray[np.bool_]:
    times = frame_times(said)
    inside = np.zeros(len(times), bool)
    for start, stop in said.pauses(3 * SETTLED):
        inside |= (times > start + SETTLED) & (times < stop - SETTLED)
    return inside


def _correlation(x: Array, y: Array) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def report(folder: Path, talks: int = 12) -> dict[str, dict[str, dict[str, float]]]:
    """All figures of the encoder in a folder, by set of voices and by condition."""
    probe = Probe.fit(load_encoder(Hubert.name, folder), [talk(seed, SECONDS, TRAIN) for seed in range(2 * talks)])
    sets = {
        "the world's voices": [talk(seed, SECONDS, TEST) for seed in range(talks)],
        "voices never heard": [unheard(number) for number in range(talks)],
        "a minute at once": [talk(seed, 3 * SECONDS, TEST) for seed in range(-(-talks // 3))],
    }
    found = {}
    for name, said in sets.items():
        conditions = {"clean": Microphone()} if name == "a minute at once" else CONDITIONS
        found[name] = {condition: figures(probe, said, microphone) for condition, microphone in conditions.items()}
        found[name]["no encoder"] = compared(said)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.encoder.figures",
        description="Measures how well the mouth can be read from a speech encoder's features.",
    )
    parser.add_argument("folder", type=Path, help="the encoder's folder")
    parser.add_argument("--talks", type=int, default=12, help="talks per set of voices (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    found = report(arguments.folder, arguments.talks)
    for name, conditions in found.items():
        print(name)
        for condition, values in conditions.items():
            print(f"  {condition:20}", "  ".join(f"{key} {value:.3f}" for key, value in values.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
