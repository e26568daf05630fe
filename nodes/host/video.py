"""VIDEO, MASK and AUDIO as files that the library streams: what is in memory only is written down first, as it is."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import comfy.model_management
import numpy as np
import torch
from comfy_api.latest import Input, InputImpl
from torch import Tensor

from ...keysync.errors import KeySyncError
from ...keysync.media.info import PictureFormat
from ...keysync.media.reader import VideoReader
from ...keysync.media.soundtrack import LAYOUTS
from ...keysync.media.writer import VideoWriter
from .audio import AudioDict, channels_of
from .frames import as_bytes, as_masks

# Of a mask video only the order of its frames counts.
MASK_RATE = Fraction(25)


def open_video(video: Input.Video, path: Path) -> VideoReader:
    """A reader of the video's own file and trim window; of a video that is in memory, a file is written at `path`."""
    if isinstance(video, InputImpl.VideoFromComponents):
        return VideoReader(_write_components(video, path))
    source = video.get_stream_source()
    if not isinstance(source, str | Path):
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
        source = path
    start, duration = trim_window(video)
    if start < 0:
        start = max(0.0, VideoReader(source).info.duration_seconds + start)
    return VideoReader(source, start, duration or None)


def trim_window(video: Input.Video) -> tuple[float, float]:
    """Where a VIDEO begins and how long it lasts in its file, in seconds; below 0: from the end on; 0: to the end.

    ComfyUI 0.8.0 does not trim, later versions keep the window to themselves, the newest tell it.
    """
    told = getattr(video, "get_active_trim_window", None)
    if told is not None:
        start, duration = told()
    else:
        start, duration = (getattr(video, f"_VideoFromFile__{name}", 0.0) for name in ("start_time", "duration"))
    return float(start), float(duration)


def open_occluder(occluder: Tensor | Input.Video | None, path: Path) -> VideoReader | None:
    """A reader of the masks; those of a MASK (n, h, w) are written at `path`, so that both are read alike."""
    if occluder is None:
        return None
    if not isinstance(occluder, Tensor):
        return open_video(occluder, path)
    masks = as_masks(occluder)
    height, width = masks.shape[1:]
    with VideoWriter(path, PictureFormat(width, height, 1 / MASK_RATE, MASK_RATE), lossless=True) as writer:
        for number, mask in enumerate(masks):
            white = (mask > 0.5).to(torch.uint8).mul(255)[..., None].expand(-1, -1, 3)
            writer.write(np.ascontiguousarray(white.cpu().numpy()), number)
    return VideoReader(path)


def write_sound(audio: AudioDict, path: Path) -> Path:
    """A sound file of an AUDIO, its samples as they are."""
    waveform, rate = channels_of(audio)
    if waveform.shape[1] == 0:
        raise KeySyncError("the audio holds no samples: give the new speech")
    layout = LAYOUTS.get(len(waveform), f"{len(waveform)}c")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(waveform.T.reshape(1, -1).contiguous().numpy(), format="flt", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _write_components(video: Input.Video, path: Path) -> Path:
    """The frames of a video that was made of images, every level of their colours kept."""
    components = video.get_components()
    images, rate = components.images, Fraction(components.frame_rate)
    if len(images) == 0:
        raise KeySyncError("the video holds no frames: give at least one image to Create Video")
    height, width = images.shape[1:3]
    with VideoWriter(path, PictureFormat(width, height, 1 / rate, rate), lossless=True) as writer:
        for number, image in enumerate(images):
            comfy.model_management.throw_exception_if_processing_interrupted()
            writer.write(as_bytes(image), number)
    return path
