"""What a dub did: for every range of frames what happened and why, and where the time went."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import KeySyncError
from .whole import whole_file

DUBBED = "dubbed"
PASSED_THROUGH = "passed through"


def check_report(path: Path, others: Iterable[Path]) -> None:
    """Raises `KeySyncError` unless a report can be written there; `others` are the files of the job, to be kept."""
    if path.is_dir():
        raise KeySyncError(f"cannot write the report {path}: it is a folder; choose another --report")
    if not path.parent.is_dir():
        raise KeySyncError(f"cannot write the report {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise KeySyncError(f"cannot write the report {path}: {path.parent} is read-only; choose another --report")
    if path.resolve() in {other.resolve() for other in others}:
        raise KeySyncError(f"cannot write the report {path}: it is another file of this job; choose another --report")


@dataclass(frozen=True)
class FrameRange:
    """Output frames `first`..`last` (inclusive) that share one fate; `source_*` are the source frames they show."""

    first: int
    last: int
    source_first: int
    source_last: int
    state: str
    reason: str


@dataclass
class Report:
    """The JSON report of one dub."""

    video: str
    speech: str
    width: int
    height: int
    frames: int
    source_frames: int
    frame_rate: str
    seconds: float
    sync_mode: str
    mask: str
    seed: int
    network_evaluations: int
    models: dict[str, str]
    ranges: list[FrameRange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds_per_stage: dict[str, float] = field(default_factory=dict)

    def add(self, frame: int, source: int, state: str, reason: str) -> None:
        """Says what happened to one output frame; neighbours of one fate become a range."""
        tail = self.ranges[-1] if self.ranges else None
        if tail and (tail.state, tail.reason) == (state, reason):
            self.ranges[-1] = FrameRange(tail.first, frame, tail.source_first, source, state, reason)
        else:
            self.ranges.append(FrameRange(frame, frame, source, source, state, reason))

    def count(self, state: str) -> int:
        """How many output frames met this fate."""
        return sum(part.last - part.first + 1 for part in self.ranges if part.state == state)

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the seconds that its block takes to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds_per_stage[stage] = round(self.seconds_per_stage.get(stage, 0.0) + spent, 4)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def write(self, path: str | Path) -> None:
        """Writes the JSON file whole or not at all."""
        path = Path(path)
        try:
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise KeySyncError(f"cannot write the report {path}: {error.strerror}; choose another --report") from error
