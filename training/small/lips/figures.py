"""Measures how well lips are read from speech: python -m training.small.lips.figures [--real FOLDER] [--json FILE].

Unheard voices of espeak-ng have the truth of their phonemes; on real clips the truth is measured on the face mesh. Real
recordings often have sound of their own offset, so each clip has its correlation at lag 0 and at its best lag. A clip
of several shots has these of each shot too, since others than the speaker may be seen in some.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.mouth import MEASURED
from keysync.method import NETWORK_RATE, SAMPLE_RATE
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.speech.lips import WEIGHTS, LipsReader, load_lips
from keysync.speech.lips_curve import LIPS
from keysync.speech.whisper import WEIGHTS as WHISPER_WEIGHTS

from ...synthetic.voice.microphone import Microphone, Sound
from ...synthetic.voice.sound import loudness
from ..encoder.figures import unheard
from .clips import Clip, find_clips, read_clip
from .talks import lips_of

Curve = NDArray[np.floating[Any]]
LAG = 0.32  # seconds
LEAST = 25  # frames of a shot with a mouth
CONDITIONS = {
    "clean": Microphone(),
    "pink noise, 20 dB": Microphone(noise=1.0, snr=20),
    "pink noise, 10 dB": Microphone(noise=1.0, snr=10),
    "echo of 0.4 s": Microphone(echo=0.4, direct=3.0),
    "telephone": Microphone(low=300, high=3400),
    "20 dB softer": Microphone(gain=-20),
}
# Seconds of each silence, and its noise: RMS in dB of full scale.
SILENCE, ROOMS = 8, (-70, -55, -40)


@dataclass(frozen=True)
class Lips:
    """An encoder and a reader of its rows."""

    encoder: SpeechEncoder
    reader: LipsReader

    def read(self, sound: Sound, times: NDArray[np.float64] | None = None) -> Curve:
        """The lips (n, 5) in frames shown at `times` (n,), by default in all frames at 25 fps."""
        features = self.encoder.encode(torch.from_numpy(sound))
        curve: Curve = self.reader.read(features.frames if times is None else features.at(times)).numpy()
        return curve


def correlation(truth: Curve, read: Curve) -> float:
    """The correlation of two curves (n,) where both are known; NaN if one is constant or has less than 10 values."""
    known = np.isfinite(truth) & np.isfinite(read)
    x, y = truth[known], read[known]
    return float(np.corrcoef(x, y)[0, 1]) if len(x) >= 10 and x.std() > 0 and y.std() > 0 else float("nan")


def best_lag(truth: Curve, read: Curve, most: int) -> tuple[float, int]:
    """The largest correlation with the truth moved by up to `most` frames, and by how many it is late."""
    found = {
        lag: correlation(truth[max(lag, 0) : len(truth) + min(lag, 0)], read[max(-lag, 0) : len(read) + min(-lag, 0)])
        for lag in range(-most, most + 1)
    }
    lag = max(found, key=lambda lag: -2.0 if np.isnan(found[lag]) else found[lag])
    return found[lag], lag


def of_clip(lips: Lips, clip: Clip) -> dict[str, float]:
    """The figures of a real clip: per channel at lag 0 and at the best lag, and those of loudness."""
    read = lips.read(clip.sound, clip.times)
    step = float(np.median(np.diff(clip.times)))
    most = round(LAG / step)
    found: dict[str, float] = {}
    for number, name in enumerate(MEASURED):  # the first of LIPS
        best, lag = best_lag(clip.mouth[:, number], read[:, number], most)
        found[name] = correlation(clip.mouth[:, number], read[:, number])
        found |= {f"{name}_best": best, f"{name}_lag_ms": 1000 * lag * step}
    loud = loudness(clip.sound, clip.times + step / 2)
    found["loudness"] = correlation(clip.mouth[:, 0], loud)
    found["loudness_best"] = best_lag(clip.mouth[:, 0], loud, most)[0]
    return found


def of_shots(lips: Lips, clip: Clip) -> dict[str, dict[str, float]]:
    """The opening and the width by shot, of shots in which a mouth is seen in `LEAST` frames.

    The largest face of a shot need not be the speaker's.
    """
    read = lips.read(clip.sound, clip.times)
    step = float(np.median(np.diff(clip.times)))
    found = {}
    for shot in np.unique(clip.shots):
        inside = clip.shots == shot
        mouth = np.where(inside[:, None], clip.mouth, np.nan)
        if np.isfinite(mouth[:, 0]).sum() < LEAST:
            continue
        best = {
            name: best_lag(mouth[:, number], read[:, number], round(LAG / step))
            for number, name in enumerate(MEASURED[:2])
        }
        found[f"{clip.times[inside][0]:.1f} to {clip.times[inside][-1]:.1f} s"] = {
            "seen": float(np.isfinite(clip.mouth[inside, 0]).mean()),
            "opening_mean": float(np.nanmean(mouth[:, 0])),
            **{f"{name}_best": value for name, (value, _) in best.items()},
            "opening_lag_ms": 1000 * best[MEASURED[0]][1] * step,
        }
    return found


def of_voices(lips: Lips, talks: int) -> dict[str, dict[str, float]]:
    """The correlation of each channel for voices never heard, by condition."""
    said = [unheard(number) for number in range(talks)]
    found = {}
    for name, microphone in CONDITIONS.items():
        pairs = []
        for talk in said:
            times = (np.arange(len(talk.waveform) * NETWORK_RATE // SAMPLE_RATE) + 0.5) / NETWORK_RATE
            read = lips.read(microphone.hear(talk.waveform, len(talk.waveform)))
            pairs.append(np.stack([lips_of(talk.mouth(times)), read[: len(times)]]))
        truth, read = np.concatenate(pairs, 1)
        found[name] = {channel: correlation(truth[:, n], read[:, n]) for n, channel in enumerate(LIPS)}
    return found


def of_silence(lips: Lips) -> dict[str, float]:
    """The largest opening in digital silence and in the noise of rooms."""
    count = SILENCE * SAMPLE_RATE
    found = {"digital": float(lips.read(np.zeros(count, np.float32))[:, 0].max())}
    for level in ROOMS:
        noise = Microphone(noise=1.0, snr=0.0).hear(np.zeros(count, np.float32), count)
        noise *= np.float32(10 ** (level / 20) / noise.std())
        found[f"room, {level} dB"] = float(lips.read(noise)[:, 0].max())
    return found


def report(lips: Lips, real: Path | None, talks: int) -> dict[str, dict[str, Any]]:
    """All figures. Raises `KeySyncError` for a folder without clips."""
    found: dict[str, dict[str, Any]] = {"unheard voices": of_voices(lips, talks), "silence": of_silence(lips)}
    if real is not None:
        clips, left_out = _clips(real)
        found["left out"] = left_out
        found["real clips"] = {clip.name: of_clip(lips, clip) for clip in clips}
        found["mean of real clips"] = mean(found["real clips"])
        found["shots"] = {clip.name: of_shots(lips, clip) for clip in clips if len(np.unique(clip.shots)) > 1}
    return found


def _clips(folder: Path) -> tuple[list[Clip], dict[str, str]]:
    """The clips of a folder, and why others are left out."""
    clips, left_out = [], {}
    for file in find_clips(folder):
        try:
            clips.append(read_clip(file))
        except KeySyncError as error:
            left_out[file.name] = str(error)
    if not clips:
        raise KeySyncError(f"{folder} has no clips of people talking: expected videos with sound")
    return clips, left_out


def mean(clips: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over the clips."""
    names = next(iter(clips.values()))
    return {name: float(np.mean([clip[name] for clip in clips.values()])) for name in names}


def _print(found: Mapping[str, Any], indent: str = "") -> None:
    for name, value in found.items():
        if not isinstance(value, Mapping):
            print(f"{indent}{name}: {value}")
        elif all(isinstance(inner, float) for inner in value.values()):
            print(f"{indent}{name:24}", "  ".join(f"{key} {inner:.3g}" for key, inner in value.items()))
        else:
            print(f"{indent}{name}")
            _print(value, indent + "  ")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.small.lips.figures", description="Measures how well lips are read from speech."
    )
    parser.add_argument("--weights", type=Path, default=WEIGHTS, metavar="FILE", help="reader; default: the built-in")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="clips of people talking")
    parser.add_argument("--talks", type=int, default=12, help="talks of unheard voices (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    try:
        encoder = load_encoder(LipsReader.encoder, WHISPER_WEIGHTS)
        found = report(Lips(encoder, load_lips(weights=arguments.weights)), arguments.real, arguments.talks)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _print(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
