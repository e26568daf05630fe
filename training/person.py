"""Measures what a LoRA of one person gains on seconds of a clip that it was not trained on:

    python -m training.person VIDEO -o FOLDER

The beginning of the clip is prepared and trained on, starting from the built-in keyframe model or another; the rest is
dubbed with its own sound, without and with the LoRA. Both are compared with the clip itself in the region of the mouth
(PSNR). The LoRA is FOLDER/person.safetensors, which `keysync dub --lora` takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch

from keysync.dub import Settings as DubSettings
from keysync.errors import KeySyncError
from keysync.face.masks import MASKS
from keysync.face.track import FaceTrack
from keysync.job import FaceSource, dub_file, survey
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.media.source import FrameSource, SoundInMemory
from keysync.method import SAMPLE_RATE
from keysync.systems.keysync.models import load_models
from keysync.systems.keysync.small import SMALL
from keysync.weights.checkpoint import open_stage

from .config.config import TrainConfig, load_config, overrides_of
from .data.preparation.job import prepare
from .data.preparation.settings import NONE, TRACKER, ModelFile, Settings
from .export import export
from .train import train

SECONDS, STEPS = 7.0, 600
REGION = "mouth"
# What suits one person: a higher rate, no loss on pixels, no copies on the way.
CHOICES = {
    "trainable": "lora",
    "learning_rate": "1e-3",
    "warmup_steps": "20",
    "rgb_weight": "0",
    "workers": "0",
    "checkpoint_every": "100000",
    "gradient_checkpointing": "false",
}


class Gain(NamedTuple):
    """PSNR in dB in the region of the mouth over the frames of the rest, and what training took."""

    frames: int
    before: float
    after: float
    steps: int
    cpu_seconds: float


def measure(video: Path, folder: Path, seconds: float, overrides: dict[str, str]) -> Gain:
    """Prepares, trains and dubs in `folder`. Raises `KeySyncError` for a clip that is too short."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = first_seconds(video, seconds, folder / f"begin{video.suffix}")
    config = config_of(overrides)
    began = time.process_time()
    prepare([begin], settings_of(config, folder / "data"), validation=0.5)
    train(config, folder / "data", folder / "run", "cpu")
    spent = time.process_time() - began
    lora = folder / "person.safetensors"
    export(folder / "run", lora)
    rest = VideoReader(video, seconds)
    speech, _ = read_speech(video)
    sound = SoundInMemory(f"the rest of {video.name}", speech[None, round(seconds * SAMPLE_RATE) :], SAMPLE_RATE)
    _, track = survey(rest, FaceSource())
    found = []
    for name, file in (("without", None), ("with", lora)):
        result = folder / f"rest-{name}.mkv"
        models = load_models(lora=file)
        dub_file(rest, sound, result, models, DubSettings(mask="box"), FaceSource(track=track), lossless=True)
        found.append(psnr(rest, VideoReader(result), track))
    return Gain(len(track.landmarks), found[0], found[1], config.steps, spent)


def config_of(overrides: dict[str, str]) -> TrainConfig:
    """The settings: those of the model to start from, `CHOICES`, and those of the command line."""
    spec = open_stage(overrides.get("start", str(SMALL["keyframe"]))).spec
    own = {"window": spec.window, "resolution": spec.image_size[0], "speech_encoder": spec.speech_encoder}
    words = {"start": str(SMALL["keyframe"]), "mask": spec.mask, **{key: str(value) for key, value in own.items()}}
    return load_config(spec.name, None, {**words, **CHOICES, "steps": str(STEPS), **overrides})


def settings_of(config: TrainConfig, data: Path) -> Settings:
    """How the beginning is prepared: nothing is left out."""
    spec = open_stage(config.start).spec
    return Settings(
        data=data,
        resolution=config.resolution,
        vae=ModelFile.of("vae"),
        encoders={config.speech_encoder: ModelFile.of(config.speech_encoder)},
        quality=NONE,
        speaker=NONE,
        crop_scale=spec.crop_scale,
        cuts=TRACKER,
    )


def first_seconds(video: Path, seconds: float, target: Path) -> Path:
    """The beginning of a video as a file, its streams copied. Raises `KeySyncError` if there is nothing after it."""
    reader = VideoReader(video)
    whole = reader.info.duration_seconds or reader.seconds()
    if whole <= seconds + 1:
        raise KeySyncError(f"{video} has {whole:.1f} s: expected more than {seconds + 1:g}, or choose fewer --seconds")
    with av.open(str(video)) as source, av.open(str(target), "w") as copy:
        held = (source.streams.video[0], source.streams.audio[0])
        streams = {stream.index: copy.add_stream_from_template(stream) for stream in held}
        for packet in source.demux(held):
            if packet.pts is not None and packet.pts * (packet.time_base or Fraction(1)) < Fraction(str(seconds)):
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    return target


def psnr(truth: FrameSource, result: FrameSource, track: FaceTrack) -> float:
    """The peak signal-to-noise ratio in dB in the mouth's region of the frames with a face."""
    error = count = np.float64(0)
    for (_, true), (_, ours), points in zip(truth.frames(), result.frames(), track.landmarks, strict=True):
        if np.isnan(points).any():
            continue
        region = MASKS[REGION](torch.as_tensor(points), (true.shape[0], true.shape[1])).numpy().astype(bool)
        difference = true[region].astype(np.float64) - ours[region]
        error, count = error + (difference**2).sum(), count + difference.size
    return float(10 * np.log10(255**2 * count / error))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.person", description=__doc__)
    parser.add_argument("video", type=Path, metavar="VIDEO", help="one person, with sound")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="data, run, LoRA and dubs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the beginning to train on (%(default)g)")
    options, rest = parser.parse_known_args(arguments)
    try:
        gain = measure(options.video, options.output, options.seconds, overrides_of(rest))
    except KeySyncError as error:
        print(f"person: error: {error}", file=sys.stderr)
        return 1
    print(
        f"{gain.frames} frames that it was not trained on, PSNR in the mouth's region: {gain.before:.2f} dB without, "
        f"{gain.after:.2f} dB with the LoRA; {gain.steps} steps, {gain.cpu_seconds / 60:.1f} minutes of one core"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
