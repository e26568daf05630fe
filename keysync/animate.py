"""A picture made to talk: one picture, a sound and an emotion in, a video of the head and its report out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError

from .dub import Settings
from .errors import KeySyncError
from .face.face import Frame
from .face.track import FaceTrack, from_landmarks
from .job import FaceSource, check_job, dub_file
from .media.reader import open_video
from .media.source import FramesInMemory, FrameSource, SoundSource, as_bytes
from .media.writer import check_output
from .method import NETWORK_RATE
from .progress import Progress
from .report import Report
from .resume import Work
from .systems.keyface.emotion import Emotion
from .systems.renderer import Renderer

# What shows through the transparent parts of a picture.
BACKGROUND = "white"


def animate_file(
    picture: str | Path | FrameSource,
    audio: str | Path | SoundSource,
    output: Path,
    models: Renderer,
    emotion: Emotion,
    settings: Settings,
    face: FaceSource,
    progress: Progress | None = None,
    *,
    as_original: bool = False,
    lossless: bool = False,
    work: Work | None = None,
) -> Report:
    """Makes the head in `picture` say `audio`, with an emotion; returns the report.

    The picture is a file of any size, of a video the first frame. The face is found in it and cut out with head and
    shoulders; `as_original` squashes the whole picture instead, as the original does, and looks for no face. The other
    arguments and the errors are those of `dub_file`.
    """
    shown = open_picture(picture) if isinstance(picture, str | Path) else picture
    if as_original:
        shown = squashed(shown, models.needs.crop_size)
        face = replace(face, landmarks=None, track=whole_picture(models.needs.crop_size))
    settings = replace(settings, controls=emotion.controls)
    return dub_file(shown, audio, output, models, settings, face, progress, lossless=lossless, work=work)


def check_animation(picture: Path, audio: Path, output: Path, settings: Settings, *, lossless: bool = False) -> None:
    """Raises `KeySyncError` where the picture or the sound cannot be opened, or the result cannot be written."""
    check_output(output, [picture, audio], lossless=lossless)
    check_job(open_picture(picture), audio, output, settings, lossless=lossless, needs_source=False)


def open_picture(path: str | Path) -> FrameSource:
    """A picture file, upright and without transparency; a video is opened as one.

    Raises `KeySyncError` for a file that is neither.
    """
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
            under = Image.new("RGBA", upright.size, BACKGROUND)
            frame = np.array(Image.alpha_composite(under, upright).convert("RGB"))
    except UnidentifiedImageError:
        return open_video(path)
    except (OSError, Image.DecompressionBombError) as error:
        raise KeySyncError(f"{path} cannot be read as a picture: expected a JPEG or PNG file, or a video") from error
    return FramesInMemory(str(path), frame[None], Fraction(NETWORK_RATE))


def squashed(picture: FrameSource, size: tuple[int, int]) -> FrameSource:
    """The first frame at this size (H, W), whatever its ratio: bilinear without antialiasing, as the original does.

    Raises `KeySyncError` where there is none.
    """
    _, frame = next(picture.frames(), (0, None))
    if frame is None:
        raise KeySyncError(f"{picture.name} holds no frames: give a picture")
    planes = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float() / 255  # h w c -> 1 c h w
    scaled: Frame = as_bytes(F.interpolate(planes, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0))
    return FramesInMemory(picture.name, scaled[None], Fraction(NETWORK_RATE))


def whole_picture(size: tuple[int, int]) -> FaceTrack:
    """The track of a picture (H, W) all of which is the face: its points are spread to the edges."""
    height, width = size
    across = np.linspace(0, 1, 68)
    return from_landmarks([np.stack((across * width, across * height), axis=1)], size)
