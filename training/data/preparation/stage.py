"""The stages that a video passes: what a stage is given, what it returns, and how it says that a video is of no use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError

from .videos import Range, Video

Facts = dict[str, Any]
# For each reason, worded alike for all videos: the seconds of this video that are discarded, and the details.
Losses = Mapping[str, tuple[float, str]]


class Discard(Exception):
    """Raised when the rest of a video cannot be used."""

    def __init__(self, losses: Losses) -> None:
        super().__init__("; ".join(f"{reason}: {why}" for reason, (_, why) in losses.items()))
        self.losses = losses


class VideoFailed(KeySyncError):
    """Raised when a stage cannot get through a video, for a reason that may lie in the video: others may do."""


@contextmanager
def discards(reason: str, seconds: float = 0.0) -> Iterator[None]:
    """Turns a `KeySyncError` inside, about a video of `seconds` seconds, into a `Discard`."""
    try:
        yield
    except KeySyncError as error:
        raise Discard({reason: (seconds, str(error))}) from error


@dataclass(frozen=True)
class Place:
    """The place where a stage works: it writes to `folder` and reads the results of the stages it needs.

    `segment` is the part of the video's grid of which it writes the result, None for the whole video.
    """

    video: Video
    folder: Path
    needed: Mapping[str, Path]
    facts: Mapping[str, Facts]
    segment: Range | None = None

    def of(self, stage: str, file: str) -> Path:
        """A file of a stage that this one needs."""
        return self.needed[stage] / file


@dataclass(frozen=True)
class Division:
    """How a stage is made in segments: `plan` gives their ranges of the grid, of which a single one is no segment;
    `join` writes, from the folders of their results in order, what the stage writes of a whole video."""

    plan: Callable[[Place], Sequence[Range]]
    join: Callable[[Place, Sequence[Path]], Facts]


@dataclass(frozen=True)
class Stage:
    """A stage: `run` writes files and returns facts for JSON, or raises `Discard`; a new `revision` voids old results.

    `settings` are what the result depends on besides the video and the results it `needs`; `gpu`: it runs on a GPU;
    `division`: how it is made of a long video.
    """

    name: str
    run: Callable[[Place], Facts]
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    gpu: bool = False
    division: Division | None = None
