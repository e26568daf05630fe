"""Runs a video through the stages: each stage writes its result once, into a folder of its own.

A result is written under a temporary name and renamed when complete. Its done.json holds a key of all its inputs: the
stage's settings and the bytes of the results it needs. It is made again only if the key changes. A stage that takes
long is made of a long video in segments, each with a result of its own; the last step joins them.
"""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from keysync.errors import KeySyncError, one_line

from .. import digest
from .stage import Discard, Facts, Losses, Place, Stage, VideoFailed
from .videos import Range, Segment, Unit, Video, video_of

DONE = "done.json"


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
class Done:
    """The outcome of a run through the chain: the stages that were made, the segments that a long video waits for, why
    the video failed, and an error that stops the preparation."""

    unit: Unit
    fresh: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    failure: str = ""
    error: str = ""

    @property
    def video(self) -> Video:
        """The video that was worked on."""
        return video_of(self.unit)


class Chain:
    """The stages in order, and the folder that holds a folder per video; `watch` is called when a stage begins."""

    def __init__(self, folder: Path, stages: Sequence[Stage]) -> None:
        self.folder, self.stages = folder, tuple(stages)
        self.watch: Callable[[Video, str], None] = lambda video, stage: None

    def run(self, unit: Unit, only: Collection[str] | None = None) -> Done:
        """Makes the missing results of a video, up to a discard or to segments that are missing, or a segment; only of
        stages in `only` if given.

        Raises `VideoFailed` if a stage cannot get through the video.
        """
        if isinstance(unit, Segment):
            return self._run_segment(unit, only)
        fresh: list[str] = []
        segments: list[Segment] = []
        records: dict[str, Record] = {}
        for stage in self.stages:
            if not records.keys() >= set(stage.needs):
                continue  # they wait for segments
            record = self._finished(stage, unit, records)
            if record is None:
                if only is not None and stage.name not in only:
                    break
                planned = self._planned(stage, unit, records)
                missing = [held for held in planned if self._segment(held, stage, records) is None]
                segments += missing
                if segments:  # other stages can be made in segments at the same time
                    continue
                self.watch(unit, stage.name)
                record = self._make(stage, unit, records, planned)
                fresh.append(stage.name)
            records[stage.name] = record
            if record.discard is not None:
                break
        return Done(unit, tuple(fresh), tuple(segments))

    def records(self, video: Video) -> dict[str, Record]:
        """The valid results of a video, in order; the last may be a discard."""
        records: dict[str, Record] = {}
        for stage in self.stages:
            record = self._finished(stage, video, records) if records.keys() >= set(stage.needs) else None
            if record is not None:
                records[stage.name] = record
                if record.discard is not None:
                    break
        return records

    def result(self, video: Video, stage: str) -> Path:
        """The folder of a stage's result."""
        return self.folder / video.id / stage

    def _run_segment(self, segment: Segment, only: Collection[str] | None) -> Done:
        if only is not None and segment.stage not in only:
            return Done(segment)
        stage = next(stage for stage in self.stages if stage.name == segment.stage)
        records = self.records(segment.video)
        if not records.keys() >= set(stage.needs):
            raise VideoFailed(f"{segment.name}: results that the stage {stage.name} needs are gone")
        if self._segment(segment, stage, records) is not None:
            return Done(segment)
        self.watch(segment.video, stage.name)
        part = segment.start, segment.stop
        self._write(
            self._segment_folder(segment),
            stage,
            _key(stage, segment.video, records, part),
            self._place(stage, segment.video, records, part),
            stage.run,
        )
        return Done(segment, (stage.name,))

    def _planned(self, stage: Stage, video: Video, records: Mapping[str, Record]) -> list[Segment]:
        """The segments that a stage of a video is made in, none for the whole."""
        if stage.division is None:
            return []
        with _named(stage, video):
            ranges = stage.division.plan(self._place(stage, video, records))
        return [Segment(video, stage.name, start, stop) for start, stop in ranges] if len(ranges) > 1 else []

    def _segment(self, segment: Segment, stage: Stage, records: Mapping[str, Record]) -> Record | None:
        """The valid result of a segment."""
        key = _key(stage, segment.video, records, (segment.start, segment.stop))
        return _stored(self._segment_folder(segment), key)

    def _segment_folder(self, segment: Segment) -> Path:
        return self._segments(segment.video, segment.stage) / f"{segment.start:07}-{segment.stop:07}"

    def _segments(self, video: Video, stage: str) -> Path:
        """The folder of the results of a stage's segments."""
        return self.folder / video.id / f"{stage}.segments"

    def _finished(self, stage: Stage, video: Video, records: Mapping[str, Record]) -> Record | None:
        return _stored(self.result(video, stage.name), _key(stage, video, records))

    def _make(
        self, stage: Stage, video: Video, records: Mapping[str, Record], segments: Sequence[Segment] = ()
    ) -> Record:
        """Makes a stage of a whole video, from its segments if there are any."""
        parts = [record for held in segments if (record := self._segment(held, stage, records)) is not None]

        def join(place: Place) -> Facts:
            for part in parts:
                if part.discard is not None:
                    raise Discard(part.discard)
            assert stage.division is not None
            return stage.division.join(place, [self._segment_folder(held) for held in segments])

        record = self._write(
            self.result(video, stage.name),
            stage,
            _key(stage, video, records),
            self._place(stage, video, records),
            join if segments else stage.run,
            sum(part.spent for part in parts),
        )
        shutil.rmtree(self._segments(video, stage.name), ignore_errors=True)
        return record

    def _place(self, stage: Stage, video: Video, records: Mapping[str, Record], segment: Range | None = None) -> Place:
        """The place of a stage, whose folder is named when it is written."""
        needed = {name: self.result(video, name) for name in stage.needs}
        return Place(video, Path(), needed, {name: records[name].facts for name in stage.needs}, segment)

    def _write(
        self, target: Path, stage: Stage, key: str, place: Place, run: Callable[[Place], Facts], spent: float = 0.0
    ) -> Record:
        """Writes a result; `spent` are the seconds that were spent on it before."""
        folder = target.with_name(f".{target.name}.part")
        facts: Facts = {}
        discard = None
        began = time.perf_counter()
        try:
            _clear(folder)
            folder.mkdir(parents=True)
            try:
                with _named(stage, place.video):
                    facts = run(replace(place, folder=folder))
            except Discard as reason:
                discard = reason.losses
            spent = round(spent + time.perf_counter() - began, 4)
            record = Record(key, digest.of_path(folder), facts, discard, spent)
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


def attempt(chain: Chain, unit: Unit, only: Collection[str] | None = None) -> Done:
    """The outcome of a video, or a segment of one, that may fail."""
    try:
        return chain.run(unit, only)
    except VideoFailed as error:
        return Done(unit, failure=str(error))


@contextmanager
def _named(stage: Stage, video: Video) -> Iterator[None]:
    """Names the video and the stage in errors of the stage, of a library or of a user's scorer."""
    try:
        yield
    except VideoFailed as error:
        raise VideoFailed(f"{video.name}: the stage {stage.name} failed: {error}") from error
    except (KeySyncError, OSError, Discard):
        raise
    except Exception as error:
        raise VideoFailed(
            f"{video.name}: the stage {stage.name} failed ({type(error).__name__}: {one_line(error)})"
        ) from error


def _stored(folder: Path, key: str) -> Record | None:
    """The record of the result in a folder, if it has this key."""
    try:
        record = Record(**json.loads((folder / DONE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # missing, or damaged by a power cut: made again
        return None
    return record if record.key == key else None


def _key(stage: Stage, video: Video, records: Mapping[str, Record], segment: Range | None = None) -> str:
    needed = {name: records[name].content for name in stage.needs}
    inputs = [stage.name, stage.revision, dict(stage.settings), video.digest, needed]
    return digest.of_json(inputs if segment is None else [*inputs, segment])


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
