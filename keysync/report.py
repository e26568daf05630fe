"""The report of a dub: what happened to each range of frames and why, and the time spent on each stage."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import KeySyncError
from .whole import reason, whole_file, why_not

DUBBED = "dubbed"
PASSED_THROUGH = "passed through"
# Stages that wait for others: before, in and after that in which the network runs.
FOLLOWING, ENCODING, DRAWING, PASTING = "following", "encoding", "drawing", "pasting"
# Stages that the line about the pace names, and seconds of waiting that it mentions.
BUSIEST, WORTH_SAYING = 3, 0.1


def check_report(path: Path, others: Iterable[Path]) -> None:
    """Raises `KeySyncError` unless a report can be written to `path`; `others` are the job's other files."""
    problem = why_not(path)
    if problem is None and path.resolve() in {other.resolve() for other in others}:
        problem = "it is another file of this job", "choose another file"
    if problem is not None:
        raise KeySyncError(f"cannot write the report {path}: {'; '.join(problem)}", about="report")


@dataclass(frozen=True)
class FrameRange:
    """Output frames `first`..`last` (inclusive) with the same outcome; `source_*` are the source frames they show."""

    first: int
    last: int
    source_first: int
    source_last: int
    state: str
    reason: str


@dataclass
class Report:
    """The JSON report of one dub; `system` is what drew it, with `models`.

    `estimate` is what was expected before the first network evaluation: `seconds` for the rest of the job, and bytes of
    main `memory` and of `disk` for unfinished work at most; None where it is unknown. `work` says whether the dub was
    resumed, and what was kept meanwhile. `provenance` is what the result says of its making, None where it says
    nothing. `curves` holds what a system aimed at, by name: a value for each output frame, None where nothing was
    drawn. `speakers` says of several people what each says, who it is and how many frames were dubbed. The JSON has
    `work`, `curves` and `speakers` only where there is something to say.

    Stages overlap: `seconds_per_stage` is how long each was busy, `seconds_waited` by the stage that waited how long it
    did so for what, `run_seconds` how long all took.
    """

    video: str
    speech: str
    width: int
    height: int
    frames: int
    source_frames: int
    frame_rate: str
    seconds: float
    sync_mode: str
    seed: int
    system: str = ""
    mask: str = ""
    network_evaluations: int = 0
    models: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] | None = None
    ranges: list[FrameRange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds_per_stage: dict[str, float] = field(default_factory=dict)
    seconds_waited: dict[str, dict[str, float]] = field(default_factory=dict)
    run_seconds: float = 0.0
    estimate: dict[str, float | None] = field(default_factory=dict)
    curves: dict[str, list[float | None]] = field(default_factory=dict)
    speakers: list[dict[str, Any]] = field(default_factory=list)
    work: dict[str, Any] = field(default_factory=dict)

    def add(self, frame: int, source: int, state: str, reason: str) -> None:
        """Records the outcome of the next output frame; consecutive frames with the same outcome form one range."""
        tail = self.ranges[-1] if self.ranges else None
        if tail and (tail.state, tail.reason) == (state, reason):
            self.ranges[-1] = FrameRange(tail.first, frame, tail.source_first, source, state, reason)
        else:
            self.ranges.append(FrameRange(frame, frame, source, source, state, reason))

    def count(self, state: str) -> int:
        """The number of output frames in this state."""
        return sum(part.last - part.first + 1 for part in self.ranges if part.state == state)

    @contextmanager
    def clock(self, stage: str) -> Iterator[None]:
        """Adds the duration of the block to a stage."""
        with timed(self.seconds_per_stage, stage):
            yield

    @contextmanager
    def waiting(self, stage: str, what: str) -> Iterator[None]:
        """Adds the duration of the block to what a stage waited for something."""
        with timed(self.seconds_waited.setdefault(stage, {}), what):
            yield

    def pace(self) -> str:
        """How long the run took, what was busy most, and what drawing waited for; a line."""
        busy = sorted(self.seconds_per_stage.items(), key=lambda item: -item[1])
        words = [f"took {self.run_seconds:.1f} s"]
        words += [f"busy: {', '.join(f'{stage} {spent:.1f} s' for stage, spent in busy[:BUSIEST])}"] if busy else []
        waits = self.seconds_waited.get(DRAWING, {}).items()
        waited = [f"{spent:.1f} s for {what}" for what, spent in waits if spent >= WORTH_SAYING]
        words += [f"the run waited {', '.join(waited)}"] if waited else []
        return "; ".join(words)

    def to_dict(self) -> dict[str, Any]:
        found = asdict(self)
        found["run_seconds"] = round(self.run_seconds, 3)
        found["seconds_per_stage"] = _rounded(self.seconds_per_stage)
        found["seconds_waited"] = {stage: _rounded(spent) for stage, spent in self.seconds_waited.items()}
        for name in ("curves", "speakers", "work"):
            if not found[name]:
                del found[name]
        return found

    def to_json(self) -> str:
        """The report as JSON. Bytes of a file's name that are not UTF-8 are escaped (`\\udce9`), as JSON can."""
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def write(self, path: str | Path) -> None:
        """Writes the JSON file atomically. Raises `KeySyncError` if it cannot be written."""
        path = Path(path)
        try:
            with whole_file(path) as temporary:
                temporary.write_text(self.to_json() + "\n", encoding="utf-8")
        except OSError as error:
            message = f"cannot write the report {path}: {'; '.join(reason(error, path))}"
            raise KeySyncError(message, about="report") from error


# Stages of one name may run in two threads.
_ADDING = threading.Lock()


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds the duration of the block to the seconds of this name."""
    began = time.perf_counter()
    try:
        yield
    finally:
        spent = time.perf_counter() - began
        with _ADDING:
            seconds[name] = seconds.get(name, 0.0) + spent


def _rounded(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(spent, 4) for name, spent in seconds.items()}
