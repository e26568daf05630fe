"""What a video file holds beside picture and sound: tags, chapters, subtitles. The result keeps what its format can.

Times are in seconds since the first picture of the video, or of the window that is dubbed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# Opens the file once more, to be closed at the end.
Opener = Callable[[], AbstractContextManager[InputContainer]]
# Tags that say how a file is stored: the result has its own.
OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "handler_name", "vendor_id"}
# The tags that libav writes into an mp4; Matroska and mov take any.
MP4_TAGS = {
    *("title", "artist", "album", "album_artist", "composer", "date", "comment", "genre", "copyright", "grouping"),
    *("lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc"),
    *("season_number", "hd_video", "media_type", "compilation", "creation_time", "location"),
}
# The subtitles that libav copies into a format as they are.
SUBTITLES = {
    ".mp4": {"mov_text"},
    ".mov": {"mov_text"},
    ".mkv": {"subrip", "ass", "ssa", "webvtt", "text", "hdmv_pgs_subtitle", "dvd_subtitle"},
}
# Tags that a note names one by one.
NAMED = 8
# Chapters keep times to the millisecond.
CHAPTER_TIME_BASE = Fraction(1, 1000)


@dataclass(frozen=True)
class Chapter:
    """A chapter from `start` to `end` with its tags, such as the title."""

    start: Fraction
    end: Fraction
    tags: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Extras:
    """All that a file holds beside the picture that is dubbed and its sound.

    `opener` opens that file; `begin` is the time of the first picture in it; `subtitles` gives the codec of each such
    stream by its number; `others` names further streams, which no result has.
    """

    opener: Opener | None = None
    begin: Fraction = Fraction(0)
    tags: Mapping[str, str] = field(default_factory=dict)
    chapters: tuple[Chapter, ...] = ()
    subtitles: Mapping[int, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @staticmethod
    def of(opener: Opener, container: InputContainer, tracks: Sequence[VideoStream], begin: Fraction) -> Extras:
        """The extras of an open file, of whose video `tracks` one is dubbed from the time `begin` on."""
        tags = {key: text for key, text in container.metadata.items() if key.lower() not in OF_THE_FILE}
        chapters = []
        for each in container.chapters():
            unit = each["time_base"] or CHAPTER_TIME_BASE
            chapters.append(Chapter(each["start"] * unit - begin, each["end"] * unit - begin, dict(each["metadata"])))
        subtitles = {stream.index: _codec(stream) for stream in container.streams if stream.type == "subtitle"}
        others = []
        extra = len(tracks) - 1
        if extra > 0:
            others.append("1 more video track" if extra == 1 else f"{extra} more video tracks")
        if any(stream.type == "video" and stream not in tracks for stream in container.streams):
            others.append("the cover picture")
        if any(stream.type == "attachment" for stream in container.streams):
            others.append("attachments")
        # A mov file keeps its chapters in a track of text.
        if any(stream.type == "data" for stream in container.streams) and not chapters:
            others.append("tracks of data")
        return Extras(opener, begin, tags, tuple(chapters), subtitles, tuple(others))

    def fit(self, path: Path, seconds: float, same_times: bool) -> Kept:
        """What a result at `path` keeps, and what it does not.

        It lasts `seconds`; `same_times` tells whether its pictures have the times of the video's.
        """
        suffix = path.suffix.lower()
        lost = list(self.others)
        tags, gone = dict(self.tags), []
        if suffix == ".mp4":
            names = {key: key.lower() for key in self.tags}  # Matroska's are in capitals
            tags = {names[key]: text for key, text in self.tags.items() if names[key].partition("-")[0] in MP4_TAGS}
            gone = sorted(key for key, name in names.items() if name not in tags)
        if gone:
            listed = ", ".join(gone[:NAMED]) + (f" and {len(gone) - NAMED} more" if len(gone) > NAMED else "")
            lost.append(f"{'a tag' if len(gone) == 1 else 'tags'} that .mp4 has no place for ({listed})")
        end = Fraction(seconds)
        chapters = [
            Chapter(max(each.start, Fraction(0)), min(each.end, end), each.tags)
            for each in self.chapters
            if same_times and each.start < end and each.end > 0
        ]
        if self.chapters and not chapters:
            lost.append("the chapters")
        fitting = {number: codec for number, codec in self.subtitles.items() if codec in SUBTITLES.get(suffix, ())}
        if not same_times:
            fitting = {}
        for number, codec in self.subtitles.items():
            if number not in fitting:
                lost.append(f"subtitles ({codec})")
        return Kept(self, end, tags, tuple(chapters), tuple(fitting), tuple(lost))


@dataclass(frozen=True, eq=False)
class Kept:
    """The extras that go into a result of `seconds`, and the names of those that are lost."""

    extras: Extras
    seconds: Fraction
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...]
    subtitles: tuple[int, ...]
    lost: tuple[str, ...]

    def write(self, output: OutputContainer) -> None:
        """Writes tags and chapters; before the first packet."""
        output.metadata.update(self.tags)
        unit = CHAPTER_TIME_BASE
        chapters: list[Any] = [
            {
                "id": number,
                "start": round(each.start / unit),
                "end": round(each.end / unit),
                "time_base": unit,
                "metadata": dict(each.tags),
            }
            for number, each in enumerate(self.chapters, 1)
        ]
        if chapters:
            output.set_chapters(chapters)


class Subtitles:
    """The subtitles of a file on their way into a result, packet by packet, as they are."""

    def __init__(self, output: OutputContainer, kept: Kept) -> None:
        assert kept.extras.opener is not None
        self._kept = kept
        with ExitStack() as undo:
            source = undo.enter_context(kept.extras.opener())
            streams = [source.streams[number] for number in kept.subtitles]
            self._targets: dict[int, Stream] = {}
            for stream in streams:
                target = output.add_stream_from_template(stream)
                target.metadata.update(
                    {key: text for key, text in stream.metadata.items() if key in ("language", "title")}
                )
                self._targets[stream.index] = target
            self._packets = source.demux(streams)
            self._undo = undo.pop_all()
        self._next = self._fitting()
        self._held: tuple[Fraction, Packet[Stream]] | None = next(self._next, None)

    def advance(self, seconds: float) -> Iterator[Packet[Stream]]:
        """Yields the packets that begin before a time."""
        while self._held is not None and self._held[0] < seconds:
            yield self._held[1]
            self._held = next(self._next, None)

    def close(self) -> None:
        """Closes the file."""
        self._undo.close()

    def _fitting(self) -> Iterator[tuple[Fraction, Packet[Stream]]]:
        """Yields (time, packet) of those that begin in the result."""
        for packet in self._packets:
            if packet.pts is None or not packet.time_base:
                continue
            shift = round(self._kept.extras.begin / packet.time_base)
            time = (packet.pts - shift) * packet.time_base
            if not 0 <= time < self._kept.seconds:
                continue
            packet.pts -= shift
            packet.dts = packet.pts
            if packet.duration:
                packet.duration = min(packet.duration, round((self._kept.seconds - time) / packet.time_base))
            packet.stream = self._targets[packet.stream.index]
            yield time, packet


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
