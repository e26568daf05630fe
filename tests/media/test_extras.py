"""Tags, chapters and subtitles reach the result where its format can hold them; what is lost has a name."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from keysync.media.extras import Chapter, Extras, Kept
from keysync.media.reader import VideoReader
from keysync.media.writer import VideoWriter

from .recordings import EVERY_40, record, write_gif

TAGS = {"title": "A film", "artist": "Somebody", "location": "+12.3000+045.6000/", "com.example.lens": "35 mm"}
CHAPTERS = [("One", 0, 200), ("Two", 200, 400)]


def describe(output: Any) -> None:
    """Adds tags and chapters; times count from a first picture at 0."""
    output.metadata.update(TAGS)
    output.set_chapters(
        [
            {"id": n, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
            for n, (title, start, end) in enumerate(CHAPTERS, 1)
        ]
    )


def with_subtitles(path: Path, offset: int = 0) -> Path:
    """A Matroska file with two lines of SubRip, at 50 and 200 ms after the first picture."""
    picture = record(path.with_name("picture.mkv"), [offset + pts for pts in EVERY_40])
    said = path.with_suffix(".srt")
    lines = [(offset + start, text) for start, text in ((50, "Hello"), (200, "World"))]
    said.write_text(
        "".join(f"{n}\n{_clock(at)} --> {_clock(at + 5000)}\n{text}\n\n" for n, (at, text) in enumerate(lines, 1))
    )
    with av.open(str(picture)) as source, av.open(str(said)) as words, av.open(str(path), "w") as output:
        targets = {part: output.add_stream_from_template(part.streams[0]) for part in (source, words)}
        targets[words].metadata["language"] = "deu"
        for part, target in targets.items():
            for packet in part.demux():
                if packet.size:
                    packet.stream = target
                    output.mux(packet)
    return path


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"00:{seconds // 60:02}:{seconds % 60:02},{rest:03}"


def copy(source: Path, target: Path, *, same_times: bool = True, **window: float) -> Kept:
    reader = VideoReader(source, **window)
    pts = reader.timestamps()
    kept = reader.extras.fit(target, reader.seconds(), same_times)
    with VideoWriter(target, reader.info, seconds=reader.seconds(), kept=kept) as writer:
        for stamp, frame in reader.frames():
            writer.write(frame, stamp - int(pts[0]))
    return kept


def titles(path: Path) -> list[tuple[str, float, float]]:
    with av.open(str(path)) as container:
        return [
            (each["metadata"]["title"], float(each["start"] * unit), float(each["end"] * unit))
            for each in container.chapters()
            if (unit := each["time_base"])
        ]


@pytest.mark.parametrize(("suffix", "lost"), [("mp4", ["com.example.lens"]), ("mov", []), ("mkv", [])])
def test_tags_and_chapters(suffix: str, lost: list[str], tmp_path: Path) -> None:
    source = record(tmp_path / "a.mov", prepare=describe, container={"movflags": "use_metadata_tags"})
    kept = copy(source, tmp_path / f"out.{suffix}")
    with av.open(str(tmp_path / f"out.{suffix}")) as container:
        found = {key.lower(): text for key, text in container.metadata.items()}
    for key, text in TAGS.items():
        assert (found.get(key) == text) is (key not in lost), key
    assert titles(tmp_path / f"out.{suffix}") == [("One", 0, 0.2), ("Two", 0.2, 0.4)]
    assert list(kept.lost) == [f"a tag that .mp4 has no place for ({', '.join(lost)})"] * bool(lost)


def test_tags_of_matroska_in_mp4(tmp_path: Path) -> None:
    copy(record(tmp_path / "a.mkv", prepare=describe), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["artist"] == "Somebody"


def test_chapters_of_a_window_and_of_a_late_start(tmp_path: Path) -> None:
    late = record(tmp_path / "a.mkv", [10_000 + pts for pts in EVERY_40], prepare=describe)
    copy(late, tmp_path / "late.mkv")
    assert titles(tmp_path / "late.mkv") == []  # they lie before the first picture
    copy(record(tmp_path / "b.mkv", prepare=describe), tmp_path / "window.mkv", start=0.08, duration=0.2)
    assert titles(tmp_path / "window.mkv") == [("One", 0, pytest.approx(0.12)), ("Two", pytest.approx(0.12), 0.2)]


@pytest.mark.parametrize("offset", [0, 10_000])
def test_subtitles_keep_their_times(offset: int, tmp_path: Path) -> None:
    kept = copy(with_subtitles(tmp_path / "a.mkv", offset), tmp_path / "out.mkv")
    assert kept.lost == ()
    with av.open(str(tmp_path / "out.mkv")) as container:
        (stream,) = container.streams.subtitles
        assert stream.language == "deu"
        found = [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux(stream) if packet.size]
    assert found == [(50, 350, b"Hello"), (200, 200, b"World")]


@pytest.mark.parametrize(("name", "same_times"), [("out.mp4", True), ("out.mov", True), ("out.mkv", False)])
def test_subtitles_that_cannot_be_kept_are_named(name: str, same_times: bool, tmp_path: Path) -> None:
    kept = copy(with_subtitles(tmp_path / "a.mkv"), tmp_path / name, same_times=same_times)
    assert kept.lost == ("subtitles (subrip)",)


def test_chapters_of_a_result_with_other_times_are_named(tmp_path: Path) -> None:
    kept = copy(record(tmp_path / "a.mkv", prepare=describe), tmp_path / "out.mkv", same_times=False)
    assert kept.lost == ("the chapters",)
    assert titles(tmp_path / "out.mkv") == []


def test_other_streams_are_named(tmp_path: Path) -> None:
    def more(output: Any) -> None:
        output.add_attachment("font.ttf", "font/ttf", b"font")

    extras = VideoReader(record(tmp_path / "a.mkv", prepare=more)).extras
    assert extras.others == ("attachments",)
    assert extras.fit(tmp_path / "out.mkv", 1.0, True).lost == ("attachments",)


def test_nothing_to_keep(tmp_path: Path) -> None:
    kept = copy(write_gif(tmp_path / "a.gif", [100, 100]), tmp_path / "out.mp4")
    assert (kept.lost, dict(kept.tags), kept.chapters, kept.subtitles) == ((), {}, (), ())
    assert Extras().fit(tmp_path / "out.mp4", 1.0, True).lost == ()


def test_many_tags_make_a_short_note() -> None:
    tags = {f"com.example.{number:02d}": "x" for number in range(20)}
    (lost,) = Extras(tags=tags).fit(Path("out.mp4"), 1.0, True).lost
    assert lost.endswith("com.example.07 and 12 more)")


def test_a_chapter_is_cut_to_the_result() -> None:
    chapters = (Chapter(Fraction(-1), Fraction(9), {"title": "All"}), Chapter(Fraction(5), Fraction(6), {}))
    (kept,) = Extras(chapters=chapters).fit(Path("out.mp4"), 2.0, True).chapters
    assert (kept.start, kept.end) == (Fraction(0), Fraction(2))
