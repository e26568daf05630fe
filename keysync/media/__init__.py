"""Video and sound, in and out: all that reads or writes media files goes through these names."""

from __future__ import annotations

from .audio import AudioReader, read_speech
from .video import VideoReader
from .video_info import BT709, Colours, PictureFormat, VideoInfo
from .video_writer import VideoWriter, check_output

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
