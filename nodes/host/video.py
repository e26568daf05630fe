"""VIDEO, MASK and AUDIO as the sources that the library reads; those in memory stay there."""

from __future__ import annotations

import logging
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from comfy_api.latest import Input, InputImpl
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.face.occlusion import AUTO
from ...keysync.media.audio import AudioReader
from ...keysync.media.container import MediaFile
from ...keysync.media.reader import VideoReader
from ...keysync.media.source import Frame, FramesInMemory, FrameSource, SoundInMemory, SoundSource
from .audio import NAME, AudioDict, channels_of
from .checks import frame_rate
from .frames import as_masks
from .temporary import is_temporary

log = logging.getLogger(__name__)

# Of a mask video only the order of its frames counts.
MASK_RATE = Fraction(25)


def open_video(video: Input.Video, name: str = "the video") -> FrameSource:
    """The frames of a VIDEO, of a file only those of its trim window; messages call one in memory by `name`.

    A file that is cropped or scaled on the way is read by ComfyUI, into memory: each version keeps that elsewhere.
    """
    if isinstance(video, InputImpl.VideoFromComponents):
        return _in_memory(video, name)
    source = video.get_stream_source()
    file = media_file(source, name)
    start, duration = trim_window(video)
    if start < 0:
        whole = VideoReader(file)
        start = max(0.0, (whole.info.duration_seconds or whole.seconds()) + start)
    reader = VideoReader(file, start, duration or None)
    shown, held = video.get_dimensions(), InputImpl.VideoFromFile(source).get_dimensions()
    if shown != held:
        log.warning("%s is cut or scaled from %dx%d to %dx%d: its frames are loaded into memory", name, *held, *shown)
        return _in_memory(video, name)
    return reader


def _in_memory(video: Input.Video, name: str) -> FramesInMemory:
    components = video.get_components()
    return FramesInMemory(name, components.images, frame_rate(components.frame_rate))


def media_file(source: str | BytesIO, name: str) -> MediaFile:
    """The file that a VIDEO reads; messages call it by `name` where its own says nothing to a person."""
    if isinstance(source, BytesIO):
        return MediaFile(source.getvalue(), name)
    return MediaFile(Path(source), name if is_temporary(source) else source)


def sound_of(video: Input.Video, name: str = "the video") -> SoundSource | None:
    """The sound of a VIDEO, None where it has none. That of a trimmed file is loaded by ComfyUI, with its frames."""
    if isinstance(video, InputImpl.VideoFromComponents) or any(trim_window(video)):
        audio = video.get_components().audio
        return None if audio is None else SoundInMemory(name, *channels_of(audio))
    file = media_file(video.get_stream_source(), name)
    return AudioReader(file) if VideoReader(file).info.has_audio else None


def trim_window(video: Input.Video) -> tuple[float, float]:
    """Where a VIDEO begins and how long it lasts in its file, in seconds; a start below 0 counts from the end, a
    duration of 0 reaches it.

    ComfyUI 0.8.0 does not trim, later versions keep the window private, the newest have a method for it.
    """
    public = getattr(video, "get_active_trim_window", None)
    if public is not None:
        start, duration = public()
    else:
        start, duration = (getattr(video, f"_VideoFromFile__{name}", 0.0) for name in ("start_time", "duration"))
    return float(start), float(duration)


def open_occluder(occluder: Tensor | Input.Video | None, find: bool = False) -> FrameSource | str | None:
    """The masks of a MASK (n, h, w) or of a VIDEO, white where something covers the face; `AUTO` to `find` them.

    Raises `KeySyncError` where they are both given and to be found.
    """
    if occluder is None:
        return AUTO if find else None
    if find:
        raise KeySyncError(
            "an occluder is connected and is also to be found in the video: turn off find_occluder, or disconnect the "
            "occluder"
        )
    name = "the occluder"
    if isinstance(occluder, Tensor):
        return FramesInMemory(name, as_masks(occluder), MASK_RATE, black_or_white)
    return open_video(occluder, name)


def black_or_white(mask: Tensor) -> Frame:
    """A mask (h, w) as a picture (h, w, 3): 255 where it is above 0.5, else 0."""
    white = (mask > 0.5).to(torch.uint8).mul(255)[..., None].expand(-1, -1, 3)  # h w -> h w 3
    return np.ascontiguousarray(white.cpu().numpy())


def open_sound(audio: AudioDict | None) -> SoundInMemory:
    """The samples of an AUDIO."""
    return SoundInMemory(NAME, *channels_of(audio))
