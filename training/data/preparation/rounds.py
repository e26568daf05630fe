"""The order of the work on videos: long ones stop where a stage is made in segments, and go on when these are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .chain import Done
from .videos import Segment, Unit, Video

# Works on units in any order, and yields the outcome of each.
Work = Callable[[Sequence[Unit]], Iterator[Done]]


def rounds(work: Work, videos: Sequence[Video]) -> Iterator[Done]:
    """Works on all videos, on the segments that long ones wait for, on these videos again, and so on; yields all
    outcomes. A video of which a segment fails is not worked on again."""
    units: Sequence[Video] = videos
    while units:
        segments: list[Segment] = []
        for done in work(units):
            segments += done.segments
            yield done
        failed: set[str] = set()
        for done in work(segments) if segments else ():
            if done.failure:
                failed.add(done.video.id)
            yield done
        waiting = {segment.video.id for segment in segments} - failed
        units = [video for video in units if video.id in waiting]
