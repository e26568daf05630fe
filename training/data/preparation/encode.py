"""The parts of a clip, as files KEY.PART: crops, sound, latents and speech features.

A clip is frames `start`..`stop` (exclusive) of a video's 25 fps grid with one face in one shot. Frames are streamed:
memory holds a few crops and the clip's arrays. Files are written atomically.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.stream import VideoStream
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from keysync.face.crop import crop, to_crop
from keysync.face.face import Points
from keysync.media.info import BT709, PictureFormat
from keysync.media.reader import VideoReader
from keysync.media.writer import VideoWriter
from keysync.method import NETWORK_RATE, PUBLISHED_CROP_SCALE, SAMPLE_RATE
from keysync.speech.features import FRAME
from keysync.systems.keysync.models import HostSpeechEncoder
from keysync.vae.vae import VAE

from ..disk import written
from ..parts import CROPS, LANDMARKS, LATENTS
from .faces import Faces
from .stage import VideoFailed

# Nearly lossless; every frame within twelve of a keyframe, without B-frames; one thread, so that the bytes are
# independent of the number of cores.
H264 = {"crf": "12", "preset": "faster", "g": "12", "bf": "0", "threads": "1", "x264-params": "chroma-qp-offset=-6"}


class CropWriter(VideoWriter):
    """Writes crops for random access: decoding one needs at most a few before it."""

    def _add_stream(self) -> VideoStream:
        stream = super()._add_stream()
        stream.codec_context.options = H264
        return stream


def crops(
    reader: VideoReader,
    faces: Faces,
    start: int,
    stop: int,
    size: tuple[int, int],
    scale: float = PUBLISHED_CROP_SCALE,
    still: bool = False,
) -> Iterator[Tensor]:
    """Yields the clip's crops (H, W, 3), float32 in 0..1, of `size` (H, W), `scale` times as wide as the face, which
    they follow unless they are `still`."""
    frames = reader.pick(faces.pts, faces.source[start:stop])
    for frame, box in zip(frames, faces.boxes(start, stop, scale, still), strict=True):
        yield crop(frame, box, size)


def write_crops(
    reader: VideoReader,
    faces: Faces,
    start: int,
    stop: int,
    size: tuple[int, int],
    folder: Path,
    key: str,
    scale: float = PUBLISHED_CROP_SCALE,
    still: bool = False,
) -> None:
    """Writes KEY.mp4 and KEY.landmarks.npy of a clip; see `write_pictures` and `write_landmarks`."""
    write_pictures(crops(reader, faces, start, stop, size, scale, still), size, folder, key)
    write_landmarks(faces.landmarks[start:stop], faces.boxes(start, stop, scale, still), size, folder, key)


def write_pictures(pictures: Iterable[Tensor], size: tuple[int, int], folder: Path, key: str) -> None:
    """KEY.mp4: H.264 at 25 fps without sound, of pictures (H, W, 3) in 0..1 of `size` (H, W)."""
    height, width = size
    like = PictureFormat(width, height, Fraction(1, NETWORK_RATE), Fraction(NETWORK_RATE), colours=BT709)
    with CropWriter(folder / f"{key}.{CROPS}", like) as writer:
        for number, picture in enumerate(pictures):
            writer.write((picture * 255).round().byte().numpy(), number)


def write_landmarks(landmarks: Points, boxes: NDArray[np.int64], size: tuple[int, int], folder: Path, key: str) -> None:
    """KEY.landmarks.npy: (frames, 68, 2) float32 in pixels of the crops, of landmarks in source pixels."""
    points = [to_crop(face, box, size) for face, box in zip(landmarks, boxes, strict=True)]
    save_array(folder / f"{key}.{LANDMARKS}", torch.stack(points).numpy())


def write_sound(waveform: Tensor, start: int, stop: int, folder: Path, key: str) -> None:
    """KEY.flac: 16 bits, the clip's part of a video's waveform (n,), 16 kHz mono, padded with silence."""
    part = waveform[start * FRAME : stop * FRAME]
    part = F.pad(part, (0, (stop - start) * FRAME - len(part)))
    samples = (part * 2**15).round().clamp(-(2**15), 2**15 - 1).short().numpy()
    coded = BytesIO()
    with av.open(coded, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with written(folder / f"{key}.flac") as file:
        file.write_bytes(coded.getbuffer())


def speech_rows(waveform: Tensor, encoder: HostSpeechEncoder) -> NDArray[np.float16]:
    """The feature rows (2 f, c) of a whole video's waveform (n,), 16 kHz mono, of f frames."""
    return _half(encoder.encode(waveform).rows, f"the speech encoder {encoder.name}")


def write_rows(rows: NDArray[np.float16], frames: range, folder: Path, key: str, encoder: str) -> None:
    """KEY.ENCODER.npy: both rows of each of these frames of a video, padded with the last row."""
    numbers = 2 * np.array(frames)[:, None] + [0, 1]
    save_array(folder / f"{key}.{encoder}.npy", rows[numbers.ravel().clip(max=len(rows) - 1)])


def write_latents(vae: VAE, pictures: Iterable[Tensor], folder: Path, key: str) -> None:
    """KEY.latents.npy: posterior mean and standard deviation, unscaled, (frames, 2, 4, h, w) float16, of the crops.

    `pictures` are those of `crops`, before video compression, as in a dub.
    """
    source = iter(pictures)
    parts = []
    while batch := list(islice(source, vae.batch)):
        parts.append(_half(torch.stack(vae.posterior(torch.stack(batch)), dim=1), vae.source))
    save_array(folder / f"{key}.{LATENTS}", np.concatenate(parts))


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Writes an array as .npy."""
    # Through memory: writing directly to a file, numpy does not report a full disk.
    held = BytesIO()
    np.save(held, array, allow_pickle=False)
    with written(path) as file:
        file.write_bytes(held.getbuffer())


def _half(tensor: Tensor, model: str) -> NDArray[np.float16]:
    half = tensor.half()
    if not half.isfinite().all():
        raise VideoFailed(f"{model} returns values that are not finite in float16: check that it is the right model")
    return half.cpu().numpy()
