"""Prints the lag that `keysync measure` finds in real clips, and when their sound is shifted by -8 to 8 frames:

    python -m training.evaluation.damage.shifts CLIP ...

A lag is found if it is within a frame of the clip's own less the shift: a sound that is later makes the mouth early.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.job import FaceSource
from keysync.measure.figures import Measured
from keysync.measure.listening import listen
from keysync.measuring import measure_video
from keysync.media.audio import read_speech
from keysync.media.source import SoundInMemory
from keysync.method import SAMPLE_RATE

SHIFTS = range(-8, 9)  # frames
# Frames by which a lag that is found may be off.
NEAR = 1


def with_sound_shifted(measured: Measured, waveform: NDArray[np.float32], seconds: float) -> Measured:
    """The same mouths beside a sound (n,) at 16 kHz that is so many seconds later, or earlier if negative.

    What leaves at one end becomes silence at the other.
    """
    samples = round(seconds * SAMPLE_RATE)
    shifted = np.roll(waveform, samples)
    if samples:
        shifted[slice(samples) if samples > 0 else slice(samples, None)] = 0
    sound = listen(SoundInMemory("speech", shifted[None], SAMPLE_RATE))
    return Measured.of(measured.video, measured.times, measured.mouths, sound)


def row(clip: Path) -> tuple[str, int]:
    """A row of the table, and how many shifts were found. Raises `KeySyncError` where nothing can be measured."""
    measured = measure_video(clip, None, FaceSource())
    waveform = read_speech(clip)[0].numpy()
    own = measured.lag
    if own is None:
        return f"| {clip.name} | - | - | - | - |", 0
    off = []
    for shift in SHIFTS:
        lag = with_sound_shifted(measured, waveform, shift / measured.rate).lag
        off.append(np.inf if lag is None else abs(lag.frames - (own.frames - shift)))
    found = int(np.sum(np.array(off) <= NEAR))
    correlation = measured.figures.correlation or 0.0
    cells = (clip.name, own.frames, f"{own.confidence:.2f}", f"{correlation:.2f}", f"{found} of {len(SHIFTS)}")
    return f"| {' | '.join(map(str, cells))} |", found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.damage.shifts",
        description="Prints the lag of real clips, and whether it is found when their sound is shifted.",
    )
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP")
    options = parser.parse_args(arguments)
    print("| clip | lag | confidence | correlation | shifts found |")
    print("|---|---|---|---|---|")
    total = 0
    for clip in options.clips:
        try:
            line, found = row(clip)
        except KeySyncError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        total += found
        print(line, flush=True)
    count = len(options.clips) * len(SHIFTS)
    print(f"\n{total} of {count} within {NEAR} frame ({total / count:.0%}).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
