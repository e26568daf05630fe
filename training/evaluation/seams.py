"""The seam of a dub at full HD: how much steeper the picture is across the border of the mask than its source.

    python -m training.evaluation.seams [--real CLIP]

prints a table for a rendered person and for a real clip of talking. Pasted are KeySync small's own frames, which are
soft at that size, and the source's crops at the published models' size with shades of up to 8 % of their own, as a VAE
leaves them. The mask is the box, whose lower edge lies on neck and collar. The picture is compared next to the border,
where distances are pixels of a crop of 512, and over all of the soft edge, where grain and pores are averaged over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keysync.demo import SPEECH
from keysync.dub import Settings
from keysync.errors import KeySyncError
from keysync.face.crop import Crops
from keysync.face.detectors import make_detector
from keysync.face.masks import MASKS
from keysync.face.paste import FEATHER, Place, paste
from keysync.face.track import FaceTrack, Tracker
from keysync.job import FaceSource, dub_file
from keysync.measure.change import around
from keysync.measure.seam import GRAIN, REACH, seam
from keysync.media.reader import VideoReader
from keysync.media.source import FramesInMemory
from keysync.method import NETWORK_RATE, PUBLISHED_CROP_SCALE
from keysync.systems.keysync.presets import make_sampling
from keysync.systems.renderer import Needs

from ..synthetic.render.mouth import MouthShape
from ..synthetic.render.shot import Shot
from .dubbing import masks_of, track_of
from .scope import ModelFiles, open_models

FRAMES, SIDE = 26, 1080
CROP = 512  # pixels
PUBLISHED = Needs((CROP, CROP), PUBLISHED_CROP_SCALE, "box", ())
SEEDS = (1 << 30, 16384)
# Of the source's crop, at most.
SHADE = 0.08

Frames = NDArray[np.uint8]


def shades() -> dict[str, Tensor]:
    """What is added to a crop (CROP, CROP, 1)."""
    ramp = torch.linspace(-SHADE, SHADE, CROP)
    across, down = ramp.expand(CROP, CROP), ramp[:, None].expand(CROP, CROP)
    even = torch.full((CROP, CROP), SHADE)
    made = {"none": 0 * even, "even": even, "from left to right": across, "below": down.clamp_min(0)}
    return {name: shade[..., None] for name, shade in made.items()}


def pasted(frames: Frames, track: FaceTrack, shade: Tensor) -> Frames:
    """The frames with their own crops of the published size, shaded, pasted back."""
    crops, made = Crops.of(track, PUBLISHED.crop_size, PUBLISHED.crop_scale), frames.copy()
    for number, frame in enumerate(frames):
        mask = MASKS["box"](crops.points(track.landmarks[number], number), crops.size)
        place = Place.of(mask, crops.boxes[number], track.size)
        made[number] = paste(frame, crops.cut(frame, number) + shade, place)
    return made


def dubbed(frames: Frames, track: FaceTrack) -> tuple[Frames, Needs]:
    """The frames dubbed with KeySync small, and what it needs."""
    models = open_models(ModelFiles())
    settings = Settings("silence", sampling=make_sampling("balanced"))
    with tempfile.TemporaryDirectory(prefix="keysync-seams-") as folder:
        output = Path(folder) / "output.mkv"
        source = FramesInMemory("frames", frames, Fraction(NETWORK_RATE))
        dub_file(source, SPEECH, output, models, settings, FaceSource(track=track), lossless=True)
        return np.stack([frame for _, frame in VideoReader(output).frames()]), models.needs


def measure(frames: Frames, track: FaceTrack, say: Callable[[str], None]) -> None:
    """Says a row for each thing that is pasted: the seam over all frames and that of the worst, at the border and over
    the soft edge; and the largest change outside the mask."""
    made: list[tuple[str, Frames, Needs]] = [("KeySync small", *dubbed(frames, track))]
    made += [(f"own crop, shade: {name}", pasted(frames, track, shade), PUBLISHED) for name, shade in shades().items()]
    for name, result, needs in made:
        masks = masks_of(track, needs, "box")
        side = Crops.of(track, needs.crop_size, needs.crop_scale).boxes[:, 2]
        size = max(1.0, float(np.median(side)) / CROP)
        parts = [
            [one[around(mask)] for one in (*pair, mask)] for *pair, mask in zip(frames, result, masks, strict=True)
        ]
        edge = FEATHER * float(np.median(side))
        each, soft = (
            [seam(a[None], b[None], mask[None], *scale) for a, b, mask in parts]
            for scale in ((REACH * size, GRAIN), (edge, edge / 4))
        )
        outside = int(np.abs(frames.astype(np.int16) - result).max(-1)[~masks].max())
        figures = f"{np.mean(each):.2f} | {max(each):.2f} | {np.mean(soft):.2f} | {max(soft):.2f}"
        say(f"{np.median(side):.0f} | {name} | {figures} | {outside}")


def rendered(count: int) -> tuple[Frames, FaceTrack]:
    """A rendered person who talks, and the true track."""
    rng = np.random.default_rng(SEEDS)
    pictures = Shot(SEEDS, count, SIDE).draw([MouthShape.sample(rng)] * count)
    return pictures.frames, track_of(pictures)


def real(clip: Path, count: int) -> tuple[Frames, FaceTrack]:
    """The first frames of a clip, and the track of the largest face. Raises `KeySyncError` where one shows no face."""
    frames = np.stack([frame for _, frame in islice(VideoReader(clip).frames(), count)])
    tracker = Tracker()
    with closing(make_detector("mediapipe")) as detector:
        for frame in frames:
            tracker.follow(frame, detector)
    track = tracker.finish()
    if not track.found.all():
        raise KeySyncError(f"{clip.name}: the first {count} frames do not all show a face: choose another clip")
    return frames, track


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.seams", description="Prints the seam of dubs at full HD."
    )
    parser.add_argument("--real", type=Path, metavar="CLIP", help="a real clip of talking, 1080 pixels wide or high")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each clip (default: %(default)s)")
    options = parser.parse_args(arguments)
    print("| clip | crop, px | pasted | seam | worst frame | soft edge | worst frame | largest change outside |")
    print("|---|---|---|---|---|---|---|---|")
    try:
        for name, frames, track in _clips(options.real, options.frames):
            h, w = track.size

            def say(row: str, head: str = f"{name}, {w}x{h}") -> None:
                print(f"| {head} | {row} |", flush=True)

            measure(frames, track, say)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _clips(clip: Path | None, count: int) -> Iterator[tuple[str, Frames, FaceTrack]]:
    if clip is not None:
        yield clip.name, *real(clip, count)
    yield "rendered", *rendered(count)


if __name__ == "__main__":
    sys.exit(main())
