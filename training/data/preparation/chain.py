"""Runs a video through the stages: each stage writes its result once, into a folder of its own.

A result is written under a temporary name and renamed when complete. Its done.json holds a key of all its inputs: the
stage's settings and the bytes of the results it needs. It is made again only if the key changes.
"""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError, one_line

from .. import digest
from .videos import Video

DONE = "done.json"
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
class Record:
    """The content of done.json: `content` is the digest of the result's files, `discard` the losses if the video is
    discarded here."""

    key: str
    content: str
    facts: Facts
    discard: Losses | None
    spent: float


@dataclass(frozen=True)
class Place:
    """The place where a stage works: it writes to `folder` and reads the results of the stages it needs."""

    video: Video
    folder: Path
    needed: Mapping[str, Path]
    facts: Mapping[str, Facts]

    def of(self, stage: str, file: str) -> Path:
        """A file of a stage that this one needs."""
        return self.needed[stage] / file


@dataclass(frozen=True)
class Stage:
    """A stage: `run` writes files and returns facts for JSON, or raises `Discard`; a new `revision` voids old results.

    `settings` are what the result depends on besides the video and the results it `needs`; `gpu`: it runs on a GPU.
    """

    name: str
    run: Callable[[Place], Facts]
    needs: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 1
    gpu: bool = False


@dataclass(frozen=True)
class Done:
    """The outcome of a run through the chain: the stages that were made, why the video failed, and an error that stops
    the preparation."""

    video: Video
    fresh: tuple[str, ...] = ()
    failure: str = ""
    error: str = ""


class Chain:
    """The stages in order, and the folder that holds a folder per video; `watch` is called when a stage begins."""

    def __init__(self, folder: Path, stages: Sequence[Stage]) -> None:
        self.folder, self.stages = folder, tuple(stages)
        self.watch: Callable[[Video, str], None] = lambda video, stage: None

    def run(self, video: Video, only: Collection[str] | None = None) -> Done:
        """Makes the missing results of a video, up to a discard; only stages in `only` if given.

        Raises `VideoFailed` if a stage cannot get through the video.
        """
        fresh: list[str] = []
        records: dict[str, Record] = {}
        for stage in self.stages:
            record = self._finished(stage, video, records)
            if record is None:
                if only is not None and stage.name not in only:
                    break
                self.watch(video, stage.name)
                record = self._make(stage, video, records)
                fresh.append(stage.name)
            records[stage.name] = record
            if record.discard is not None:
                break
        return Done(video, tuple(fresh))

    def records(self, video: Video) -> dict[str, Record]:
        """The valid results of a video, in order; the last may be a discard."""
        records: dict[str, Record] = {}
        for stage in self.stages:
            record = self._finished(stage, video, records)
            if record is None:
                break
            records[stage.name] = record
            if record.discard is not None:
                break
        return records

    def result(self, video: Video, stage: str) -> Path:
        """The folder of a stage's result."""
        return self.folder / video.id / stage

    def _finished(self, stage: Stage, video: Video, records: Mapping[str, Record]) -> Record | None:
        try:
            stored = json.loads((self.result(video, stage.name) / DONE).read_text(encoding="utf-8"))
            record = Record(**stored)
        except (FileNotFoundError, ValueError, TypeError):  # missing, or damaged by a power cut: made again
            return None
        return record if record.key == _key(stage, video, records) else None

    def _make(self, stage: Stage, video: Video, records: Mapping[str, Record]) -> Record:
        target = self.result(video, stage.name)
        folder = target.with_name(f".{stage.name}.part")
        facts: Facts = {}
        discard = None
        began = time.perf_counter()
        try:
            _clear(folder)
            folder.mkdir(parents=True)
            place = Place(
                video,
                folder,
                {name: self.result(video, name) for name in stage.needs},
                {name: records[name].facts for name in stage.needs},
            )
            try:
                facts = stage.run(place)
            except Discard as reason:
                discard = reason.losses
            except VideoFailed as error:
                raise VideoFailed(f"{video.name}: the stage {stage.name} failed: {error}") from error
            except (KeySyncError, OSError):
                raise
            except Exception as error:  # of a library or a user's scorer: name the video
                raise VideoFailed(
                    f"{video.name}: the stage {stage.name} failed ({type(error).__name__}: {one_line(error)})"
                ) from error
            spent = round(time.perf_counter() - began, 4)
            record = Record(_key(stage, video, records), digest.of_path(folder), facts, discard, spent)
            (folder / DONE).write_text(json.dumps(asdict(record)), encoding="utf-8")
            (target / DONE).unlink(missing_ok=True)
            _clear(target)
            folder.replace(target)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
                raise
            raise KeySyncError(
                f"cannot write {target} ({error.strerror}): free some disk space or choose another folder"
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return record


def attempt(chain: Chain, video: Video, only: Collection[str] | None = None) -> Done:
    """The outcome of a video that may fail."""
    try:
        return chain.run(video, only)
    except VideoFailed as error:
        return Done(video, failure=str(error))


def _key(stage: Stage, video: Video, records: Mapping[str, Record]) -> str:
    needed = {name: records[name].content for name in stage.needs}
    return digest.of_json([stage.name, stage.revision, dict(stage.settings), video.digest, needed])


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
