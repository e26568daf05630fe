"""Makes the input of `keysync demo`: python -m training.synthetic.demo -o keysync/assets.

talk.mp4 shows a held-out rendered person who says SAID; speech.flac is the new speech, with a pause in which the mouth
should close. The shipped files were made with espeak-ng 1.51; 1.52 has the same timing, but other hiss in some voices.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from keysync.errors import KeySyncError
from keysync.method import NETWORK_RATE

from ..data.preparation.encode import write_sound
from .render.world import Clip, clip, write_video
from .voice.speech import Utterance, Voice, joined, say, silence

PERSON = (1 << 30) + 8  # a seed that training does not use
SIZE = (320, 320)
SAID = "We walked along the river all afternoon, talking about nothing in particular and watching the boats go by."
SPEECH = ("Hello! My lips were drawn anew.", "And now I talk again.")
PAUSES = (1.0, 0.3)  # seconds: after each sentence
HER_VOICE = Voice("en-gb-x-rp", "f3", pitch=55, pitch_range=60, rate=150, loudness=0.8)


def new_speech() -> Utterance:
    """The speech to dub with."""
    parts = [silence(0.2)]
    for sentence, pause in zip(SPEECH, PAUSES, strict=True):
        parts += [say(sentence, HER_VOICE), silence(pause)]
    return joined(parts)


def write_assets(folder: Path) -> None:
    """Writes both files. Raises `KeySyncError` without espeak-ng."""
    speech = new_speech()
    frames = round(speech.seconds * NETWORK_RATE)
    write_sound(torch.from_numpy(speech.waveform), 0, frames, folder, "speech")
    old = say(SAID, HER_VOICE)
    old = joined([old, old]).cut(0.0, frames / NETWORK_RATE)
    motion = old.mouth((np.arange(frames) + 0.5) / NETWORK_RATE)
    mouths = [motion[frame] for frame in range(frames)]
    write_video(folder / "talk.mp4", (truth.picture for truth in clip(PERSON, mouths, Clip(size=SIZE))), SIZE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.synthetic.demo", description="Makes the demo's files.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="an existing folder")
    try:
        write_assets(parser.parse_args().output)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
