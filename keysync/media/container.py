"""Opens media files, on the disk or in memory; an error of libav becomes one line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import KeySyncError
from .readable import check_readable
from .truncation import check_complete

# Playlists and the like may name further files, also on the network: nothing but local files is ever opened.
LOCAL_ONLY = {"protocol_whitelist": "file"}

# libav paints text by these demuxers.
TEXT_SCREENS = {"tty", "bin", "xbin", "adf", "idf"}

# Bytes of the beginning and of the end of a file that its fingerprint is made of.
READ_ENDS = 2**20


def url(path: Path) -> str:
    """The path as libav takes it, so that no name (`http:x`, `concat:x`) is read as a protocol."""
    return f"file:{path}"


@dataclass(frozen=True, eq=False)
class MediaFile:
    """A media file: its path, or all of its bytes. Messages call it by `name`.

    `stamp` is what the disk said of a path's file when this object was made: it must not change until the last pass.
    """

    content: Path | bytes = field(repr=False)
    name: str
    stamp: tuple[int, int, int] | None = field(init=False, repr=False)
    checked: bool = field(init=False, default=False, repr=False)  # that it is complete, once

    def __post_init__(self) -> None:
        object.__setattr__(self, "stamp", self._stat())

    @staticmethod
    def of(file: str | Path | MediaFile) -> MediaFile:
        """The file at a path; a `MediaFile` is one already."""
        return file if isinstance(file, MediaFile) else MediaFile(Path(file), str(file))

    def _stat(self) -> tuple[int, int, int] | None:
        """Size, time of the last change in nanoseconds, and inode; None where there is no such file."""
        if not isinstance(self.content, Path):
            return None
        try:
            found = self.content.stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns, found.st_ino

    def check_unchanged(self) -> None:
        """Raises `KeySyncError` if the file is not the one that it was when this object was made."""
        if self._stat() != self.stamp:
            raise KeySyncError(
                f"{self.name} changed during the run: it must stay as it is until the end; "
                "run again when nothing else writes to it"
            )

    def fingerprint(self) -> str:
        """Of a path: its size, its last change, its beginning and its end; of bytes: all of them."""
        if not isinstance(self.content, Path):
            return sha256(self.content).hexdigest()
        digest = sha256(repr(self.stamp).encode())
        with self.content.open("rb") as file:
            digest.update(file.read(READ_ENDS))
            file.seek(max(0, file.seek(0, os.SEEK_END) - READ_ENDS))
            digest.update(file.read(READ_ENDS))
        return digest.hexdigest()

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path | None:
        """Its path; None for one in memory."""
        return self.content if isinstance(self.content, Path) else None

    def open(self) -> BinaryIO:
        """The bytes, from the first on; each call gives a file of its own."""
        return self.content.open("rb") if isinstance(self.content, Path) else BytesIO(self.content)


@contextmanager
def libav_errors(message: str) -> Iterator[None]:
    """Turns what PyAV and the disk raise inside into `KeySyncError(message)`; `{}` in it becomes the reason."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise KeySyncError(message.replace("{}", error.strerror or type(error).__name__)) from error


def check_input(file: MediaFile) -> None:
    """Raises `KeySyncError` for what cannot be read: missing, empty, cut off, encrypted, changed."""
    if file.path is not None:
        _check_regular(file.path)
    file.check_unchanged()
    if file.checked:
        return
    with libav_errors(f"cannot open {file} ({{}}): check the path"), file.open() as content:
        if content.seek(0, os.SEEK_END) == 0:
            raise KeySyncError(f"{file} is empty (0 bytes): copy or export it again")
        check_readable(content, file.name)
        check_complete(content, file.name)
    object.__setattr__(file, "checked", True)


def _check_regular(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise KeySyncError(f"cannot open {path} ({error.strerror}): check the path") from error
    if stat.S_ISDIR(mode):
        raise KeySyncError(f"{path} is a folder: expected a video or sound file")
    if not stat.S_ISREG(mode):
        raise KeySyncError(f"{path} is not a regular file: save it as a video or sound file first")


@contextmanager
def open_input(file: str | Path | MediaFile) -> Iterator[InputContainer]:
    """An open media file, closed at the end. Raises `KeySyncError` for everything else."""
    file = MediaFile.of(file)
    check_input(file)
    message = (
        f"{file} cannot be read as video or sound ({{}}): it is damaged, cut off or not what its name says; "
        "copy or export it again"
    )
    place = file.open() if file.path is None else url(file.path)
    with libav_errors(message):
        # Titles in other encodings than UTF-8 are no reason to fail.
        container = av.open(place, "r", container_options=LOCAL_ONLY, metadata_errors="replace")
    with container:
        if container.format.name in TEXT_SCREENS:
            raise KeySyncError(f"{file} is text: expected a video or sound file")
        yield container


def describe_streams(container: InputContainer) -> str:
    """The streams of a file, for messages: `audio (aac)`."""
    names = [(stream.type, stream.codec_context.name if stream.codec_context else "?") for stream in container.streams]
    return ", ".join(f"{kind} ({codec})" for kind, codec in names) or "nothing"


def video_tracks(container: InputContainer) -> list[VideoStream]:
    """The video tracks of a file, without cover pictures and chapter thumbnails."""
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & pictures]
