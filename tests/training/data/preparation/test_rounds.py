"""Long videos wait for their segments and go on; a segment that fails ends its video alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.training.data.preparation.small_chain import small_videos
from training.data.preparation.chain import Done
from training.data.preparation.rounds import rounds
from training.data.preparation.videos import Segment, Unit, Video


def test_segments_follow_their_videos_and_precede_what_is_left_of_them() -> None:
    short, long, poor = small_videos(3)
    seen: list[list[str]] = []
    waits = {(long.id, 0): "faces", (long.id, 1): "crops", (poor.id, 0): "faces"}
    times: dict[str, int] = {}

    def work(units: Sequence[Unit]) -> Iterator[Done]:
        seen.append([unit.name for unit in units])
        for unit in units:
            if isinstance(unit, Segment):
                yield Done(unit, failure="broken" if unit.video is poor and unit.start else "")
                continue
            stage = waits.get((unit.id, times.get(unit.id, 0)))
            times[unit.id] = times.get(unit.id, 0) + 1
            yield Done(unit, segments=(Segment(unit, stage, 0, 20), Segment(unit, stage, 20, 50)) if stage else ())

    outcomes = list(rounds(work, [short, long, poor]))

    def halves(video: Video) -> list[str]:
        return [f"{video.name}, 0 to 0.8 s", f"{video.name}, 0.8 to 2 s"]

    assert seen == [
        [short.name, long.name, poor.name],
        [*halves(long), *halves(poor)],
        [long.name],
        halves(long),
        [long.name],
    ]
    assert [done.unit.name for done in outcomes] == [name for names in seen for name in names]
    assert [done.video for done in outcomes if done.failure] == [poor]
    assert not list(rounds(work, []))
