"""Prints how well the figures of `keysync measure` rank dubs that are damaged on purpose:

    python -m training.evaluation.damage

Everything is known of the films, which are those of `training.evaluate`: a perfect dub shows the person saying the new
speech, and each damage is done to it at five levels. A lag is made by shifting the sound, by 0 to 10 frames.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction

from keysync.job import FaceSource
from keysync.measure.figures import Figures, Measured
from keysync.measuring import measure_videos
from keysync.media.source import FramesInMemory, SoundInMemory
from keysync.method import NETWORK_RATE, SAMPLE_RATE

from ..film import Film, quiet_film, talk_film
from .kinds import DAMAGES, MASK, Frames, Stage
from .ranks import TOLD, Rank, lines, rank
from .shifts import with_sound_shifted

CLIPS, FRAMES, SIDE, SEED = 3, 75, 256, 0
LATE = tuple(range(11))  # frames
SILENT = "leaked in silence"
TITLES = {name: damage.title for name, damage in DAMAGES.items()} | {
    "late": "late mouth, frames",
    SILENT: "leaked mouth of the source, in silence",
}

# The figures of each level of a damage.
Row = list[Figures]


def damaged(film: Film, names: Sequence[str]) -> tuple[Measured, dict[str, Row]]:
    """A film's perfect dub, and the figures of its dubs damaged in these ways; the first of each is perfect."""
    stage = Stage.of(film)
    kinds = {name: DAMAGES[name] for name in names}
    dubs = [damage.make(stage, level) for damage in kinds.values() for level in damage.levels[1:]]
    perfect, *worse = _measure(film, [stage.dub(stage.said), *dubs])
    figures = iter(one.figures for one in worse)
    return perfect, {
        name: [perfect.figures, *(next(figures) for _ in damage.levels[1:])] for name, damage in kinds.items()
    }


def late(film: Film, perfect: Measured) -> Row:
    """The figures of a film's perfect dub whose sound is early by `LATE` frames."""
    waveform = film.said.waveform
    return [with_sound_shifted(perfect, waveform, -frames / NETWORK_RATE).figures for frames in LATE]


def _measure(film: Film, dubs: Sequence[Frames]) -> list[Measured]:
    rate = Fraction(NETWORK_RATE)
    videos = [FramesInMemory("dub", frames, rate) for frames in dubs]
    sound = SoundInMemory("speech", film.said.waveform[None], SAMPLE_RATE)
    source = FramesInMemory("source", film.source.frames, rate)
    return measure_videos(videos, sound, FaceSource(), source=source, mask=MASK)


def ranks(clips: int, frames: int, side: int, names: Sequence[str]) -> Iterator[Rank]:
    """How well each figure ranks these damages, over so many clips."""
    found: dict[str, list[Row]] = {name: [] for name in names}
    for number in range(clips):
        talk = talk_film(SEED, number, frames, side)
        perfect, rows = damaged(talk, [name for name in names if name in DAMAGES])
        if "late" in names:
            rows["late"] = late(talk, perfect)
        if SILENT in names:
            rows[SILENT] = damaged(quiet_film(SEED, number, frames, side), ["leaked"])[1]["leaked"]
        for name, row in rows.items():
            found[name].append(row)
        print(f"{number + 1} of {clips} clips", file=sys.stderr, flush=True)
    levels = {name: damage.levels for name, damage in DAMAGES.items()}
    levels |= {"late": tuple(map(float, LATE)), SILENT: DAMAGES["leaked"].levels}
    for figure, damage, sign in TOLD:
        if damage in names:
            values = [[getattr(one, figure) for one in row] for row in found[damage]]
            yield rank(figure, damage, sign, levels[damage], values)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.damage",
        description="Prints how well the figures of `keysync measure` rank dubs that are damaged on purpose.",
    )
    parser.add_argument("--clips", type=int, default=CLIPS, help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of a clip (default: %(default)s)")
    parser.add_argument("--side", type=int, default=SIDE, help="of a frame in pixels (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), default=list(TITLES), help="these damages alone")
    options = parser.parse_args(arguments)
    for line in lines(list(ranks(options.clips, options.frames, options.side, options.only)), TITLES):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
