"""The report of a preparation: what was kept, what was discarded and why, and the speed; report.json and a table.

All seconds are of video. The total is the sum of those kept and discarded; an unreadable video counts as 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..disk import written
from .settings import KEYFRAME_SPAN

NAME = "report.json"
# Number of videos per reason in the table; the file lists all.
NAMED = 12


@dataclass
class Loss:
    """What was discarded for one reason: seconds in total, and for each video its seconds and the details."""

    seconds: float = 0.0
    videos: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Report:
    """All figures. `stages`: for each, the number of results and the seconds spent on them."""

    videos: int = 0
    videos_kept: int = 0
    files_ignored: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    seconds_kept: float = 0.0
    clips: int = 0
    seconds_for_keyframes: float = 0.0
    discarded: dict[str, Loss] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds_worked_on: float = 0.0
    seconds_spent: float = 0.0

    def keep(self, frames: list[int], fps: int) -> None:
        """Adds the clips of a video, given their numbers of frames."""
        self.videos_kept += 1
        self.clips += len(frames)
        self.seconds_kept += sum(frames) / fps
        self.seconds_for_keyframes += sum(count for count in frames if count >= KEYFRAME_SPAN) / fps

    def lose(self, reason: str, name: str, seconds: float, why: str) -> None:
        """Adds what was discarded of a video for one reason."""
        loss = self.discarded.setdefault(reason, Loss())
        loss.seconds += seconds
        loss.videos[name] = {"seconds": seconds, "why": why}

    def spend(self, stage: str, seconds: float, video_seconds: float) -> None:
        """Adds the time a stage spent on a video, in this run or an earlier one."""
        held = self.stages.setdefault(stage, {"videos": 0, "spent": 0.0, "video_seconds": 0.0})
        held["videos"] += 1
        held["spent"] += seconds
        held["video_seconds"] += video_seconds

    @property
    def speed(self) -> float:
        """Seconds of video per second spent in this run."""
        return self.seconds_worked_on / self.seconds_spent if self.seconds_spent else 0.0

    def write(self, folder: Path) -> None:
        """Writes report.json atomically. Raises `KeySyncError` if it cannot be written."""
        content = {**asdict(self), "speed": self.speed}
        with written(folder / NAME) as file:
            file.write_bytes((json.dumps(_rounded(content), indent=1) + "\n").encode())

    def lines(self) -> Iterator[str]:
        """The table."""
        yield f"{'':48}{'videos':>8}{'seconds':>12}{'share':>8}"
        yield self._line("in", self.videos, self.seconds)
        yield self._line("kept", self.videos_kept, self.seconds_kept)
        for reason, loss in sorted(self.discarded.items(), key=lambda item: -item[1].seconds):
            yield self._line(f"discarded: {reason}", len(loss.videos), loss.seconds)
            named = sorted(loss.videos.items(), key=lambda item: -item[1]["seconds"])
            for name, video in named[:NAMED]:
                yield f"    {name}: {video['seconds']:.2f} s ({video['why']})"
            if len(named) > NAMED:
                yield f"    and {len(named) - NAMED} more: see {NAME}"
        yield (
            f"{self.clips} clips; {self.seconds_for_keyframes:.2f} s in clips of at least {KEYFRAME_SPAN} frames, "
            "which the keyframe stage needs"
        )
        if self.files_ignored:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.files_ignored.items()))
            yield f"{sum(self.files_ignored.values())} files are not videos: {kinds}"
        for stage, held in self.stages.items():
            speed = held["video_seconds"] / held["spent"] if held["spent"] else float("inf")
            yield f"  {stage:12}{held['spent']:10.1f} s of work{speed:10.1f} s of video per second"
        if self.seconds_worked_on:
            yield (
                f"this run: {self.seconds_worked_on:.1f} s of video in {self.seconds_spent:.1f} s: "
                f"{self.speed:.2f} s of video per second"
            )
        else:
            yield f"this run: everything was up to date ({self.seconds_spent:.1f} s)"

    def _line(self, what: str, videos: int, seconds: float) -> str:
        share = seconds / self.seconds if self.seconds else 0.0
        return f"{what:48}{videos:8}{seconds:12.2f}{share:8.1%}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(held) for name, held in value.items()}
    return value
