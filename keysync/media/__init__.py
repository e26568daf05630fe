"""Video and sound, in and out: all that reads or writes media files goes through these names."""

from __future__ import annotations

from .audio import AudioReader, read_speech
from .info import BT709, Colours, PictureFormat, VideoInfo
from .reader import VideoReader
from .writer import VideoWriter, check_output

__all__ = [
    "BT709",
    "AudioReader",
    "Colours",
    "PictureFormat",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "check_output",
    "read_speech",
]
