"""Opening media files; whatever libav has to say about them comes out as one line."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from ..errors import KeySyncError
from .truncation import check_complete

# Playlists and the like may name further files, also on the network: nothing but local files is ever opened.
LOCAL_ONLY = {"protocol_whitelist": "file"}

# libav paints text by these demuxers.
TEXT_SCREENS = {"tty", "bin", "xbin", "adf", "idf"}


def url(path: Path) -> str:
    """The path as libav takes it, so that no name (`http:x`, `concat:x`) is read as a protocol."""
    return f"file:{path}"


@contextmanager
def libav_errors(message: str) -> Iterator[None]:
    """Turns what PyAV and the disk raise inside into `KeySyncError(message)`; `{}` in it becomes the reason."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        raise KeySyncError(message.replace("{}", error.strerror or type(error).__name__)) from error


def check_input(path: Path) -> None:
    """Raises `KeySyncError` for what cannot be a media file whatever it holds: missing, empty, cut off."""
    try:
        status = path.stat()
    except OSError as error:
        raise KeySyncError(f"cannot open {path} ({error.strerror}): check the path") from error
    if stat.S_ISDIR(status.st_mode):
        raise KeySyncError(f"{path} is a folder: give the video or sound file itself")
    if not stat.S_ISREG(status.st_mode):
        raise KeySyncError(f"{path} is not a regular file: save it as a video or sound file first")
    if status.st_size == 0:
        raise KeySyncError(f"{path} is empty (0 bytes): copy or export it again")
    with libav_errors(f"cannot open {path} ({{}}): check the path"):
        check_complete(path)


@contextmanager
def open_input(path: Path) -> Iterator[InputContainer]:
    """An open media file, closed at the end. Raises `KeySyncError` for everything that is none."""
    check_input(path)
    message = (
        f"{path} cannot be read as video or sound ({{}}): it is damaged, cut off or not what its name says; "
        "copy or export it again"
    )
    with libav_errors(message):
        # Titles in other encodings than UTF-8 are no reason to fail.
        container = av.open(url(path), container_options=LOCAL_ONLY, metadata_errors="replace")
    with container:
        if container.format.name in TEXT_SCREENS:
            raise KeySyncError(f"{path} is text: give a video or sound file")
        yield container


def describe_streams(container: InputContainer) -> str:
    """What a file holds, for messages: `audio (aac)`."""
    names = [(stream.type, stream.codec_context.name if stream.codec_context else "?") for stream in container.streams]
    return ", ".join(f"{kind} ({codec})" for kind, codec in names) or "nothing"


def video_tracks(container: InputContainer) -> list[VideoStream]:
    """The video tracks of a file; cover pictures and chapter thumbnails are none."""
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return [stream for stream in container.streams.video if not stream.disposition & pictures]
