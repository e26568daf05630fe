"""Makes the input of `keysync demo`: python -m training.synthetic.demo -o keysync/assets.

talk.mp4 shows a held-out rendered person who says SAID; in talk_occluded.mp4, a hand passes before the same person's
mouth; in talk_two.mp4, two other people say SAID, one later than the other. speech.flac is the new speech, with a pause
in which the mouth should close. The shipped files were made with espeak-ng 1.51, talk_occluded.mp4 and talk_two.mp4
with 1.52, which has the same timing, but other hiss in some voices.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from av.video.frame import PictureType
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.face.face import Frame
from keysync.method import NETWORK_RATE

from ..data.preparation.encode import write_sound
from .render.identity import Identity
from .render.motion import Take
from .render.mouth import MouthShape
from .render.portrait import Portrait
from .render.scene import Actor, Scene, framed
from .render.world import Clip, clip, write_video
from .voice.speech import Utterance, Voice, joined, say, silence

PERSON = (1 << 30) + 8  # a seed that training does not use
SIZE = (320, 320)
SAID = "We walked along the river all afternoon, talking about nothing in particular and watching the boats go by."
SPEECH = ("Hello! My lips were drawn anew.", "And now I talk again.")
PAUSES = (1.0, 0.3)  # seconds: after each sentence
OCCLUDED = Clip(size=SIZE, occluder="hand", occluded=0.6)
OCCLUDED_FRAMES = 75
# Two people, the left one nearer: seeds that training does not use, and (across, down, zoom) of each camera.
TWO = {(1 << 30) + 16: (0.27, 0.47, 1.05), (1 << 30) + 17: (0.74, 0.46, 0.86)}
TWO_SIZE, TWO_FRAMES, LATER = (256, 416), 100, 30  # of frames, the second one begins to speak later
SMALL = {"crf": "17", "preset": "veryslow"}
SMALLER = SMALL | {"crf": "20"}
HER_VOICE = Voice("en-gb-x-rp", "f3", pitch=55, pitch_range=60, rate=150, loudness=0.8)


def new_speech() -> Utterance:
    """The speech to dub with."""
    parts = [silence(0.2)]
    for sentence, pause in zip(SPEECH, PAUSES, strict=True):
        parts += [say(sentence, HER_VOICE), silence(pause)]
    return joined(parts)


def write_assets(folder: Path) -> None:
    """Writes the four files. Raises `KeySyncError` without espeak-ng."""
    speech = new_speech()
    frames = round(speech.seconds * NETWORK_RATE)
    write_sound(torch.from_numpy(speech.waveform), 0, frames, folder, "speech")
    old = say(SAID, HER_VOICE)
    old = joined([old, old]).cut(0.0, frames / NETWORK_RATE)
    motion = old.mouth((np.arange(frames) + 0.5) / NETWORK_RATE)
    mouths = [motion[frame] for frame in range(frames)]
    clips = {"talk": (mouths, Clip(size=SIZE)), "talk_occluded": (mouths[:OCCLUDED_FRAMES], OCCLUDED)}
    for name, (said, options) in clips.items():
        write_small(folder / f"{name}.mp4", (truth.picture for truth in clip(PERSON, said, options)))
    write_small(folder / "talk_two.mp4", two_people(mouths), TWO_SIZE, SMALLER)


def two_people(mouths: Sequence[MouthShape]) -> Iterator[Frame]:
    """Yields pictures of two people in one shot who both move these mouths, the second one later."""
    cast = {seed: np.random.default_rng((seed, 0)) for seed in TWO}
    actors = tuple(
        Actor(Portrait(Identity.sample(rng)), framed(TWO_SIZE, *TWO[seed]), Take.sample(rng, TWO_FRAMES))
        for seed, rng in cast.items()
    )
    scene = Scene(cast[min(TWO)], TWO_SIZE, actors)
    for frame in range(TWO_FRAMES):
        yield scene.render(frame, (mouths[frame], mouths[frame + LATER])).picture


def write_small(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    size: tuple[int, int] = SIZE,
    options: Mapping[str, str] = SMALL,
) -> None:
    """Writes pictures (h, w, 3) of `size` (h, w) as H.264 that is small enough to ship."""
    with TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        write_video(whole, pictures, size)
        with av.open(str(whole)) as source, av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
            (stream,) = source.streams.video
            small = target.add_stream("libx264", rate=stream.base_rate, options=dict(options))
            small.width, small.height, small.pix_fmt = stream.width, stream.height, "yuv420p"
            for name in ("color_range", "color_primaries", "color_trc", "colorspace"):
                setattr(small.codec_context, name, getattr(stream.codec_context, name))
            for frame in source.decode(stream):
                frame.pict_type = PictureType.NONE
                target.mux(small.encode(frame))
            target.mux(small.encode(None))


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
