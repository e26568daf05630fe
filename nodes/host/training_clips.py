"""Clips for training, prepared in ComfyUI's process by ComfyUI's models. Imported by `training` only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import Input, InputImpl

from ...keysync.errors import KeySyncError
from ...keysync.method import NETWORK_RATE, PUBLISHED_CROP_SCALE
from ...keysync.systems.keysync.small import CROP_SCALE, RESOLUTION
from ...training.data.index import TRAIN
from ...training.data.preparation import quality as qualities
from ...training.data.preparation import speaker as speakers
from ...training.data.preparation.job import prepare
from ...training.data.preparation.models import Models
from ...training.data.preparation.settings import (
    KEYFRAME_SPAN,
    NONE,
    PUBLISHED_RESOLUTION,
    TRACKER,
    WINDOW,
    ModelFile,
    Settings,
)
from ...training.data.preparation.stages import table
from ...training.data.shards import Shards
from .encoder import CoreSpeechEncoder
from .frames import alive, steps
from .sockets import Clips
from .training_vae import TrainingVAE, bytes_of, digest_of, is_built_in
from .video import trim_window

SHARPNESS, AGREEMENT = "sharpness", "agreement"
HERE = Path("loaded in ComfyUI")


@dataclass(frozen=True)
class Cut:
    """How clips are cut and chosen; a resolution or scale of 0 is that of the models that belong to the VAE."""

    resolution: int = 0
    crop_scale: float = 0.0
    sharp: bool = True
    in_sync: bool = True


class WatchedDetector:
    """A face detector that stops when the user cancels."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def detect(self, *arguments: Any) -> Any:
        alive()
        return self._detector.detect(*arguments)


def prepare_clips(
    videos: Sequence[Path], vae: Any, encoders: Sequence[CoreSpeechEncoder], folder: Path, cut: Cut
) -> tuple[Clips, str]:
    """Prepares the videos into `folder`; what an earlier call has made of them is used again.

    Raises `KeySyncError` where no clip is kept, and for models that do not fit.
    """
    settings = _settings(vae, encoders, folder / "data", cut)
    models = Models(settings)
    models.vae = TrainingVAE(vae)
    models.encoders = {encoder.name: encoder for encoder in encoders}
    models.detector = WatchedDetector(models.detector)
    step = steps(len(videos) * len(table(settings, models)))
    # A cancelled prompt is an error like others in some versions of the core: none may be passed over.
    report = prepare(videos, settings, max_failures=0, models=models, watch=lambda video, stage: step())
    if not report.clips:
        raise KeySyncError(f"no clip can be used: {'; '.join(_lost(report))}")
    shards = Shards(settings.data)
    frames = shards.clips(TRAIN).frames.tolist()
    clips = Clips(
        folder=settings.data,
        clips=report.clips,
        seconds=report.seconds_kept,
        windows=sum(count - WINDOW + 1 for count in frames),
        longest=max(frames),
        resolution=settings.resolution,
        crop_scale=settings.crop_scale,
        vae=digest_of(vae.first_stage_model),
        encoders=tuple(settings.encoders),
    )
    return clips, "\n".join(_summary(report, clips))


def _settings(vae: Any, encoders: Sequence[CoreSpeechEncoder], data: Path, cut: Cut) -> Settings:
    small = is_built_in(vae)
    own = (RESOLUTION, CROP_SCALE) if small else (PUBLISHED_RESOLUTION, PUBLISHED_CROP_SCALE)
    return Settings(
        data=data,
        resolution=cut.resolution or own[0],
        crop_scale=cut.crop_scale or own[1],
        vae=ModelFile.of("vae") if small else ModelFile(HERE, digest_of(vae.first_stage_model)),
        encoders={encoder.name: ModelFile(HERE, digest_of(encoder.patcher.model)) for encoder in encoders},
        quality=SHARPNESS if cut.sharp else NONE,
        least_quality=qualities.LEAST[SHARPNESS] if cut.sharp else 0.0,
        speaker=AGREEMENT if cut.in_sync else NONE,
        least_agreement=speakers.LEAST[AGREEMENT] if cut.in_sync else 0.0,
        cuts=TRACKER,
        segment=inf,  # a single process gains nothing from segments
    )


def _summary(report: Any, clips: Clips) -> list[str]:
    """What happened, in sentences."""
    lines = [
        f"Kept {_count(clips.clips, 'clip')} ({report.seconds_kept:.1f} s) of {_count(report.videos, 'video')} "
        f"({report.seconds:.1f} s).",
        *(f"Dropped: {line}." for line in _lost(report)),
    ]
    if not report.seconds_for_keyframes:
        lines.append(
            f"The keyframe model cannot be trained on them: it needs {KEYFRAME_SPAN} frames "
            f"({KEYFRAME_SPAN / NETWORK_RATE:.1f} s) in one shot, and the longest clip has {clips.longest}."
        )
    else:
        lines.append(f"{report.seconds_for_keyframes:.1f} s are in clips that the keyframe model can be trained on.")
    place = clips.folder.relative_to(folder_paths.get_output_directory()).as_posix()
    lines.append(f"The clips are in ComfyUI's output folder, in {place}.")
    return lines


def _lost(report: Any) -> list[str]:
    lines = []
    for reason, loss in report.discarded.items():
        named = ", ".join(f"{name} ({held['why']})" for name, held in loss.videos.items())
        lines.append(f"{loss.seconds:.1f} s, {reason}: {named}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def video_file(video: Input.Video, folder: Path) -> Path:
    """The file of a VIDEO; one that is in memory, trimmed or scaled is first written to `folder`, once."""
    file = isinstance(video, InputImpl.VideoFromFile)
    source = video.get_stream_source() if file else None
    if isinstance(source, str) and not any(trim_window(video)) and _whole(video, source):
        return Path(source)
    target = folder / f"clip-{_digest(video, source)}.mp4"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}")
        video.save_to(str(temporary))
        temporary.replace(target)
    return target


def _whole(video: Input.Video, source: str) -> bool:
    return video.get_dimensions() == InputImpl.VideoFromFile(source).get_dimensions()


def _digest(video: Input.Video, source: Any) -> str:
    """Of what a VIDEO shows: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    if isinstance(source, str):
        stat = Path(source).stat()
        facts = [source, stat.st_size, stat.st_mtime_ns, trim_window(video), video.get_dimensions()]
        digest.update(json.dumps(facts).encode())
        return digest.hexdigest()
    components = video.get_components()
    digest.update(f"{components.frame_rate} {tuple(components.images.shape)}".encode())
    parts = [components.images]
    sound: Mapping[str, Any] | None = components.audio
    if sound is not None:
        digest.update(str(sound["sample_rate"]).encode())
        parts.append(sound["waveform"])
    for part in parts:
        digest.update(bytes_of(part))
    return digest.hexdigest()
