"""Finds the videos: files, folders that are searched, and text files that list videos. Names what is worked on at a
time: a video, or a segment of a long one."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from keysync.errors import KeySyncError
from keysync.method import NETWORK_RATE

# fmt: off
SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
)
# fmt: on
LIST_SUFFIX = ".txt"
Range = tuple[int, int]


@dataclass(frozen=True)
class Source:
    """A file that is expected to be a video; `name` identifies it in reports, relative to the given folder.

    `person` is who is seen, where a list says so; `folder` is the folder that the file was found in.
    """

    name: str
    path: Path
    person: str = ""
    folder: str = ""


@dataclass(frozen=True)
class Video:
    """A video to prepare: `id` names its folder and its samples, and depends only on its name and bytes.

    `person` and `folder` are those of the source.
    """

    id: str
    name: str
    path: Path
    digest: str
    person: str = ""
    folder: str = ""

    @classmethod
    def of(cls, source: Source, digest: str) -> Video:
        """The video in a file with this digest."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(source.name).stem).strip("-")[:40]
        return cls(f"{stem or 'video'}-{digest[:12]}", source.name, source.path, digest, source.person, source.folder)


@dataclass(frozen=True)
class Segment:
    """What one stage makes of the frames `start`..`stop` (exclusive) of a video's 25 fps grid."""

    video: Video
    stage: str
    start: int
    stop: int

    @property
    def name(self) -> str:
        """The video and the seconds, for people."""
        return f"{self.video.name}, {self.start / NETWORK_RATE:g} to {self.stop / NETWORK_RATE:g} s"


# What a worker does at a time: a video, or a segment of a long one.
Unit = Video | Segment


def video_of(unit: Unit) -> Video:
    """The video that a unit of work belongs to."""
    return unit.video if isinstance(unit, Segment) else unit


@dataclass(frozen=True)
class Found:
    """The videos found, sorted by name, and the number of ignored files by suffix."""

    sources: list[Source]
    ignored: Counter[str] = field(default_factory=Counter)


def find_videos(given: Sequence[Path], leave_out: Path | None = None) -> Found:
    """Finds the videos that `given` names, except those in the folder `leave_out`.

    A file counts as a video whatever its name; in folders, only files with a video's suffix. A .txt file lists one path
    per line, relative to its folder, and after a tab who is seen, if it is known. Raises `KeySyncError` for paths that
    do not exist, and if there is no video.
    """
    found: dict[Path, Source] = {}
    ignored: Counter[str] = Counter()
    for path in given:
        if path.is_dir():
            for file in _files(path, leave_out):
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    found.setdefault(file.absolute(), _in_folder(path, file))
                else:
                    ignored[file.suffix.lower() or file.name] += 1
        elif not path.exists():
            raise KeySyncError(f"{path} does not exist: name videos, folders of videos, or .txt files that list videos")
        elif path.suffix.lower() == LIST_SUFFIX:
            for source in _listed(path):
                found.setdefault(source.path.absolute(), source)
        else:
            found.setdefault(path.absolute(), Source(path.name, path))
    if not found:
        where = ", ".join(map(str, given))
        raise KeySyncError(f"no video in {where} ({ignored.total()} other files): expected {' '.join(SUFFIXES)}")
    return Found(_by_name(list(found.values())), ignored)


def _by_name(sources: list[Source]) -> list[Source]:
    """Sorted by name; equal names are extended by as much of their paths as makes them unique."""
    depth = 1
    while len({source.name for source in sources}) < len(sources):
        depth += 1
        times = Counter(source.name for source in sources)
        sources = [
            replace(s, name="/".join(s.path.absolute().parts[-depth:])) if times[s.name] > 1 else s for s in sources
        ]
    return sorted(sources, key=lambda source: source.name)


def _files(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    """All files below a folder, except those below `leave_out`."""
    barred = leave_out.resolve() if leave_out else None
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if (Path(root) / name).resolve() != barred)
        yield from (Path(root) / name for name in sorted(files))


def _in_folder(given: Path, file: Path) -> Source:
    """A file found below a given folder."""
    relative = file.relative_to(given)
    folder = relative.parent.as_posix() if len(relative.parts) > 1 else given.absolute().name
    return Source(relative.as_posix(), file, folder=folder)


def _listed(path: Path) -> Iterator[Source]:
    """The files in a list."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeySyncError(f"cannot read the list {path} ({error}): expected UTF-8 text, one path per line") from error
    for line in lines:
        name, _, person = (part.strip() for part in line.strip().partition("\t"))
        if name and not name.startswith("#"):
            yield Source(Path(name).name, path.parent / name, person)
