"""A result is made once, appears whole or not at all, and is made again when what it depends on has changed."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keysync.errors import KeySyncError
from training.data.preparation.chain import DONE, Chain
from training.data.preparation.stage import Discard, Division, Facts, Place, Stage, VideoFailed, discards
from training.data.preparation.videos import Segment, Video

ROOT = Path(__file__).parents[4]
VIDEO = Video("a-1", "a.mp4", Path("a.mp4"), "1")


class Work:
    """Stages one -> two -> three; `text` is what "one" writes, and each stage's run is noted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self.text = "text"
        self.after: Callable[[str], None] = lambda stage: None

    def run(self, **settings: Any) -> list[str]:
        """Runs a new chain; returns the stages that were made."""
        self.ran = []
        fresh = self.chain(**settings).run(VIDEO).fresh
        assert list(fresh) == self.ran
        return self.ran

    def chain(self, **settings: Any) -> Chain:
        return Chain(
            self.folder,
            [
                Stage("one", self._make, (), {"x": settings.get("one", 0)}),
                Stage("two", self._make, ("one",), {"x": settings.get("two", 0)}),
                Stage("three", self._make, ("two",), revision=settings.get("revision", 1)),
            ],
        )

    def _make(self, place: Place) -> Facts:
        stage = place.folder.name.strip(".").removesuffix(".part")
        self.ran.append(stage)
        needed = [path / "file" for path in place.needed.values()]
        text = needed[0].read_text() if needed else self.text
        (place.folder / "file").write_text(text)
        self.after(stage)
        return {"stage": stage}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "work")


def fail_at(stage: str, error: BaseException) -> Callable[[str], None]:
    def fail(ran: str) -> None:
        if ran == stage:
            raise error

    return fail


def test_what_is_done_is_not_done_again(work: Work) -> None:
    assert work.run() == ["one", "two", "three"]
    assert work.run() == []
    records = work.chain().records(VIDEO)
    assert {name: record.facts for name, record in records.items()} == {
        name: {"stage": name} for name in ("one", "two", "three")
    }


def test_after_an_error_it_goes_on_where_it_was(work: Work) -> None:
    work.after = fail_at("two", RuntimeError("stopped"))
    with pytest.raises(KeySyncError, match=r"the stage two failed \(RuntimeError: stopped\)"):
        work.run()
    assert sorted(path.name for path in (work.folder / VIDEO.id).iterdir()) == ["one"]
    work.after = lambda stage: None
    assert work.run() == ["two", "three"]


def test_other_settings_make_anew_what_depends_on_them(work: Work) -> None:
    work.run()
    assert work.run(two=1) == ["two"]  # and writes what it wrote before
    assert work.run(one=1, two=1) == ["one"]
    assert work.run(one=1, two=1, revision=2) == ["three"]
    work.text = "other"
    assert work.run(one=2, two=1, revision=2) == ["one", "two", "three"]


def test_a_result_of_other_settings_is_replaced_whole(work: Work) -> None:
    work.run()
    (work.folder / VIDEO.id / "one" / "old").write_text("left from before")
    work.after = fail_at("one", RuntimeError("stopped"))
    with pytest.raises(KeySyncError):
        work.run(one=1)
    work.after = lambda stage: None
    work.run(one=1)
    assert sorted(path.name for path in (work.folder / VIDEO.id / "one").iterdir()) == ["done.json", "file"]


def test_only_some_stages(work: Work) -> None:
    assert work.chain().run(VIDEO, ["one"]).fresh == ("one",)
    assert list(work.chain().records(VIDEO)) == ["one"]
    assert work.chain().run(VIDEO).fresh == ("two", "three")


def test_a_discard_ends_the_chain_and_is_kept(work: Work) -> None:
    work.after = fail_at("two", Discard({"no face": (2.5, "none in 62 frames")}))
    assert work.run() == ["one", "two"]
    work.after = lambda stage: None
    assert work.run() == []
    records = work.chain().records(VIDEO)
    assert list(records) == ["one", "two"]
    reasons = records["two"].discard or {}
    assert {reason: tuple(found) for reason, found in reasons.items()} == {"no face": (2.5, "none in 62 frames")}
    assert work.run(two=1) == ["two", "three"]


def test_discards_names_the_reason() -> None:
    with pytest.raises(Discard, match=r"cannot be read: a\.mp4 is empty"), discards("cannot be read", 3.0):
        raise KeySyncError("a.mp4 is empty")


def test_a_full_disk_leaves_nothing(work: Work) -> None:
    work.after = fail_at("two", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(KeySyncError, match=r"cannot write .*two \(No space left on device\)"):
        work.run()
    assert sorted(path.name for path in (work.folder / VIDEO.id).iterdir()) == ["one"]


def test_another_error_of_the_system_is_not_dressed_up(work: Work) -> None:
    work.after = fail_at("two", OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        work.run()


KILLED = """
import sys, time
from pathlib import Path
from tests.training.data.preparation.test_chain import VIDEO, Work
work = Work(Path(sys.argv[1]))
def after(stage):
    if stage == "two":
        print("in two", flush=True)
        time.sleep(60)
work.after = after
work.run()
"""


def test_killed_in_the_middle_it_goes_on(work: Work) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(work.folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in two\n"
        process.send_signal(signal.SIGKILL)
    left = {path.name for path in (work.folder / VIDEO.id).iterdir()}
    assert left == {"one", ".two.part"}
    assert work.run() == ["two", "three"]
    assert {path.name for path in (work.folder / VIDEO.id).iterdir()} == {"one", "two", "three"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which stands still unless a test turns it."""
    now = [0.0]
    monkeypatch.setattr("training.data.preparation.chain.time.perf_counter", lambda: now[0])
    return now


def test_time_spent_is_noted(work: Work, clock: list[float]) -> None:
    def after(stage: str) -> None:
        clock[0] += {"one": 0.25, "two": 3.0}.get(stage, 0.0)

    work.after = after
    work.run()
    assert {name: record.spent for name, record in work.chain().records(VIDEO).items()} == {
        "one": 0.25,
        "two": 3.0,
        "three": 0.0,
    }


class LongWork(Work):
    """Stages one -> two -> three, of which two is made in `ranges`; a segment's text names its range."""

    ranges: tuple[tuple[int, int], ...] = ((0, 20), (20, 50))

    def chain(self, **settings: Any) -> Chain:
        one, two, three = super().chain(**settings).stages
        division = Division(lambda _: self.ranges, self._join)
        return Chain(self.folder, [one, replace(two, run=self._part, division=division), three])

    def _part(self, place: Place) -> Facts:
        self.ran.append(f"two {place.segment}")
        (place.folder / "file").write_text(f"{place.segment}" if place.segment else "whole")
        self.after(f"two {place.segment}")
        return {}

    def _join(self, place: Place, parts: Sequence[Path]) -> Facts:
        self.ran.append("join")
        (place.folder / "file").write_text(" ".join((part / "file").read_text() for part in parts))
        return {}


@pytest.fixture
def long(tmp_path: Path) -> LongWork:
    return LongWork(tmp_path / "work")


SEGMENTS = tuple(Segment(VIDEO, "two", *part) for part in LongWork.ranges)


def test_a_long_video_waits_for_its_segments(long: LongWork) -> None:
    chain = long.chain()
    done = chain.run(VIDEO)
    assert (done.fresh, done.segments) == (("one",), SEGMENTS)
    assert list(chain.records(VIDEO)) == ["one"]
    assert chain.run(SEGMENTS[1]).fresh == ("two",)
    assert chain.run(VIDEO).segments == SEGMENTS[:1]
    assert chain.run(SEGMENTS[1]).fresh == ()  # it is there
    assert chain.run(SEGMENTS[0], ["one"]).fresh == ()
    assert chain.run(SEGMENTS[0]).fresh == ("two",)
    done = chain.run(VIDEO)
    assert (done.fresh, done.segments) == (("two", "three"), ())
    assert (chain.result(VIDEO, "three") / "file").read_text() == "(0, 20) (20, 50)"
    assert long.ran == ["one", "two (20, 50)", "two (0, 20)", "join", "three"]
    assert sorted(path.name for path in (long.folder / VIDEO.id).iterdir()) == ["one", "three", "two"]
    assert chain.run(VIDEO).fresh == ()


def test_segments_of_other_settings_are_made_anew(long: LongWork) -> None:
    long.chain().run(VIDEO)
    for segment in SEGMENTS:
        long.chain().run(segment)
    chain = long.chain(two=1)
    assert chain.run(VIDEO).segments == SEGMENTS
    long.ranges = ((0, 50),)  # a single one is no segment
    assert chain.run(VIDEO).fresh == ("two", "three")
    assert (chain.result(VIDEO, "three") / "file").read_text() == "whole"
    assert sorted(path.name for path in (long.folder / VIDEO.id).iterdir()) == ["one", "three", "two"]


def test_time_of_segments_counts(long: LongWork, clock: list[float]) -> None:
    def after(_: str) -> None:
        clock[0] += 2.0

    long.after = after
    chain = long.chain()
    chain.run(VIDEO)
    for segment in SEGMENTS:
        chain.run(segment)
    chain.run(VIDEO)
    assert chain.records(VIDEO)["two"].spent == 4.0


def test_a_segment_discards_its_video(long: LongWork) -> None:
    chain = long.chain()
    chain.run(VIDEO)
    long.after = fail_at("two (20, 50)", Discard({"damaged": (2.0, "in the middle")}))
    for segment in SEGMENTS:
        assert chain.run(segment).fresh == ("two",)
    assert chain.run(VIDEO).fresh == ("two",)
    reasons = chain.records(VIDEO)["two"].discard or {}
    assert {reason: tuple(found) for reason, found in reasons.items()} == {"damaged": (2.0, "in the middle")}
    assert "join" not in long.ran


def test_a_segment_that_fails_names_the_video_and_is_tried_again(long: LongWork) -> None:
    chain = long.chain()
    chain.run(VIDEO)
    long.after = fail_at("two (0, 20)", RuntimeError("stopped"))
    with pytest.raises(VideoFailed, match=r"a\.mp4: the stage two failed \(RuntimeError: stopped\)"):
        chain.run(SEGMENTS[0])
    long.after = lambda _: None
    assert chain.run(SEGMENTS[0]).fresh == ("two",)
    (chain.result(VIDEO, "one") / DONE).unlink()
    with pytest.raises(VideoFailed, match=r"a\.mp4, 0\.8 to 2 s: results that the stage two needs are gone"):
        chain.run(SEGMENTS[1])
