"""Which videos there are: files, folders that are searched for videos, and text files that list them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keysync.errors import KeySyncError

# fmt: off
SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv",
)
# fmt: on
LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class Source:
    """A file that ought to be a video; `name` says which it is in reports, without the folders above those given."""

    name: str
    path: Path


@dataclass(frozen=True)
class Video:
    """A video to prepare: `id` names its folder and its samples, and is the same wherever name and bytes are."""

    id: str
    name: str
    path: Path
    digest: str

    @classmethod
    def of(cls, source: Source, digest: str) -> Video:
        """The video in a file with that digest."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(source.name).stem).strip("-")[:40]
        return cls(f"{stem or 'video'}-{digest[:12]}", source.name, source.path, digest)


@dataclass(frozen=True)
class Found:
    """The videos of a search, in order of name, and how many files of which other kinds were passed over."""

    sources: list[Source]
    ignored: Counter[str] = field(default_factory=Counter)


def find_videos(given: Sequence[Path], leave_out: Path | None = None) -> Found:
    """Finds the videos that `given` names; what lies in the folder `leave_out` is no input.

    A file is taken as a video whatever its name; of a folder's files, those with the suffix of a video; a .txt file
    lists one path a line, beginning at its own folder. Raises `KeySyncError` for paths that do not exist, and where
    there is no video at all.
    """
    found: dict[Path, Source] = {}
    ignored: Counter[str] = Counter()
    for path in given:
        if path.is_dir():
            for file in _files(path, leave_out):
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    found.setdefault(file.absolute(), Source(file.relative_to(path).as_posix(), file))
                else:
                    ignored[file.suffix.lower() or file.name] += 1
        elif not path.exists():
            raise KeySyncError(f"{path} does not exist: give videos, folders of videos, or a .txt file that lists them")
        elif path.suffix.lower() == LIST_SUFFIX:
            for name, file in _listed(path):
                found.setdefault(file.absolute(), Source(name, file))
        else:
            found.setdefault(path.absolute(), Source(path.name, path))
    if not found:
        where = ", ".join(map(str, given))
        raise KeySyncError(
            f"no video in {where} ({ignored.total()} other files): give folders that hold {' '.join(SUFFIXES)}"
        )
    return Found(_by_name(list(found.values())), ignored)


def _by_name(sources: list[Source]) -> list[Source]:
    """In order of name; where two have one name, each is called by as much of its path as tells it from the others."""
    depth = 1
    while len({source.name for source in sources}) < len(sources):
        depth += 1
        times = Counter(source.name for source in sources)
        sources = [
            Source("/".join(s.path.absolute().parts[-depth:]), s.path) if times[s.name] > 1 else s for s in sources
        ]
    return sorted(sources, key=lambda source: source.name)


def _files(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    """All files below a folder but for those below `leave_out`."""
    barred = leave_out.resolve() if leave_out else None
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if (Path(root) / name).resolve() != barred)
        yield from (Path(root) / name for name in sorted(files))


def _listed(path: Path) -> Iterator[tuple[str, Path]]:
    """The names in a list, and the files that they stand for."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeySyncError(f"cannot read the list {path} ({error}): give UTF-8 text with one path a line") from error
    for line in lines:
        name = line.strip()
        if name and not name.startswith("#"):
            yield Path(name).name, path.parent / name
