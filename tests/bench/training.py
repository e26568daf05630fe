"""Training, measured in the process that runs it: steps, samples and prepared video per second, peak memory."""

from __future__ import annotations

import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from keysync.media.info import PictureFormat
from keysync.media.writer import VideoWriter
from keysync.systems.keysync.small import RESOLUTION
from training.config.config import load_config
from training.data.dataset import Windows, collate
from training.data.index import DataInfo, EncoderInfo, Listed, to_json
from training.data.preparation.job import prepare
from training.data.preparation.settings import ModelFile, Settings
from training.data.shards import Shards
from training.data.table import Table
from training.train import train

from ..portrait import portrait_frames
from ..training.small_config import small_config
from ..training.small_data import write_small_data
from .dub import peak_mib, write_speech

STEPS = 12
SAMPLES = 64
# As many clips as the largest sets of videos give, and their shards of 1 GB.
CLIPS, SHARDS = 3_000_000, 20_000
SECONDS = 20


def steps(checkpointing: bool) -> dict[str, Any]:
    """Steps per second and peak memory of the keyframe stage on 16 x 16 latents, with or without checkpointing."""
    torch.set_num_threads(1)
    changes = {
        "steps": str(STEPS),
        "gradient_checkpointing": str(checkpointing).lower(),
        "sample_every": "0",
        "rgb_weight": "0",
        "checkpoint_every": str(STEPS + 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        data = write_small_data(Path(folder) / "data", latent_size=(16, 16))
        began = time.perf_counter()
        train(load_config("tiny-keyframe", None, {**changes, "steps": "2"}), data, Path(folder) / "warm", "cpu")
        warm = time.perf_counter()
        train(load_config("tiny-keyframe", None, changes), data, Path(folder) / "run", "cpu")
        ended = time.perf_counter()
    # Both runs load and save the same, so their difference is steps alone.
    return {"steps_a_second": (STEPS - 2) / ((ended - warm) - (warm - began)), "peak_mib": peak_mib()}


def index(folder: Path) -> dict[str, Any]:
    """Seconds and memory that opening what `write_index` writes takes, and drawing the first clip."""
    config = small_config("keyframe", window=14)
    before, began = peak_mib(), time.perf_counter()
    shards = Shards(folder)
    opened, memory = time.perf_counter(), peak_mib()
    Windows(shards, config)._order[0]
    return {
        "seconds": opened - began,
        "mib": memory - before,
        "seconds_to_draw": time.perf_counter() - opened,
        "mib_to_draw": peak_mib() - before,
    }


def write_index(folder: Path, clips: int = CLIPS, shards: int = SHARDS) -> dict[str, Any]:
    """An index of so many clips of 20 to 400 frames, and their shards, files of the right size without content."""
    rng = np.random.default_rng(0)
    parts = ("flac", "hubert.npy", "json", "landmarks.npy", "latents.npy", "mp4", "wavlm.npy")
    shape = clips, len(parts)
    keys = [b"%040x-%012x-000000" % (number * 2**40, number) for number in range(clips)]
    columns = {
        "frames": rng.integers(20, 400, clips).astype("<i4"),
        "shard": (np.arange(clips) * shards // clips).astype("<i4"),
        "key_ends": np.cumsum([len(key) for key in keys]),
        "offsets": rng.integers(0, 5 * 10**8, shape),
        "sizes": rng.integers(0, 10**7, shape),
        "crc32": rng.integers(0, 2**32, shape),
        "keys": np.frombuffer(b"".join(keys), np.uint8),
    }
    sizes = {f"train-{number:06}.tar": 10**9 for number in range(shards)}
    for name, size in sizes.items():
        with (folder / name).open("wb") as file:
            file.truncate(size)
    table = Table(sizes, parts, columns)
    path = folder / "train-000000.safetensors"
    table.save(path)
    encoders = {name: EncoderInfo(32, "none") for name in ("hubert", "wavlm")}
    info = DataInfo((64, 64), (8, 8), 14, encoders, "none", "none")
    listed = {"train": (Listed.of(path.name, path, table),), "validation": ()}
    (folder / "index.json").write_text(to_json(info, listed))
    return {"bytes": path.stat().st_size}


def samples(pixels: bool) -> dict[str, Any]:
    """Training samples read per second at 512 x 512 pixels, with or without the pixels that the RGB loss wants."""
    torch.set_num_threads(1)
    weight = "1" if pixels else "0"
    with tempfile.TemporaryDirectory() as folder:
        data = write_small_data(Path(folder) / "data", latent_size=(64, 64), channels=768)
        config = load_config("keyframe", None, {"rgb_weight": weight, "resolution": "512"})
        windows = Windows(Shards(data), config)
        numbers = [[number] for number in range(SAMPLES)]
        began = time.perf_counter()
        for _ in DataLoader(windows, batch_sampler=numbers, collate_fn=collate):
            pass
        return {"samples_a_second": SAMPLES / (time.perf_counter() - began), "peak_mib": peak_mib()}


def preparation() -> dict[str, Any]:
    """Seconds that a minute of video takes, with the built-in models, and the peak memory."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "talk.mp4"
        speech = write_speech(Path(folder) / "speech.wav", SECONDS)
        like = PictureFormat(384, 384, Fraction(1, 25), Fraction(25))
        with VideoWriter(video, like, audio=speech) as writer:
            for pts, frame in enumerate(portrait_frames(25 * SECONDS)):
                writer.write(frame, pts)
        settings = Settings(
            Path(folder) / "data",
            RESOLUTION,
            vae=ModelFile.of("vae"),
            encoders={"hubert": ModelFile.of("hubert")},
            least_quality=0.0,
            least_agreement=-1.0,
        )
        began = time.perf_counter()
        prepare([video], settings, validation=0.5)
        spent = time.perf_counter() - began
    return {"seconds_a_minute": 60 * spent / SECONDS, "peak_mib": peak_mib()}
