"""A folder of prepared data with random numbers in it, as good as any to read from, made in a moment."""

from __future__ import annotations

import json
import tempfile
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from keysync.media.info import BT709, PictureFormat
from keysync.systems.keysync.small import BUILT_IN
from tests.synthetic_face import face_points
from training.data.index import FILE, TRAIN, DataInfo, EncoderInfo, Listed, read_index, to_json
from training.data.parts import LATENTS
from training.data.preparation.encode import CropWriter, save_array, write_sound
from training.data.preparation.shards import ClipFiles, write_shards
from training.data.store import Folder
from training.data.table import Clip, Table


def write_small_data(
    folder: Path,
    *,
    clips: int = 2,
    frames: int = 200,
    latent_size: tuple[int, int] = (8, 8),
    channels: int = 32,
    seed: int = 0,
    shard_bytes: int = 10**9,
    vae: str = BUILT_IN,
    emotion: bool = False,
) -> Path:
    """Writes `clips` clips, each of its own video, into `folder`, which it makes and returns; `vae` is said to have
    made the latents. With `emotion` they have valence and arousal."""
    folder.mkdir(parents=True, exist_ok=True)
    size = 8 * latent_size[0], 8 * latent_size[1]
    with tempfile.TemporaryDirectory() as held:
        made = [
            write_small_clip(Path(held), f"clip{number}", frames, latent_size, channels, seed + number, emotion)
            for number in range(clips)
        ]
        encoders = {name: EncoderInfo(channels, "random") for name in ("hubert", "wavlm")}
        info = DataInfo(size, latent_size, 14, encoders, vae, "mediapipe")
        write_shards(made, folder, info, shard_bytes=shard_bytes)
    return folder


def write_small_clip(
    folder: Path, key: str, frames: int, latent_size: tuple[int, int], channels: int, seed: int, emotion: bool = False
) -> ClipFiles:
    """The files of one clip; `small_picture` is what its crops show."""
    rng = np.random.default_rng(seed)
    size = 8 * latent_size[0], 8 * latent_size[1]
    latents = np.stack((rng.normal(0, 4, (frames, 4, *latent_size)), rng.uniform(0, 0.2, (frames, 4, *latent_size))), 1)
    save_array(folder / f"{key}.latents.npy", latents.astype(np.float16))
    centre = np.array([size[1] / 2, size[0] * 0.55]) + rng.normal(0, 0.01 * size[0], (frames, 2))
    points = np.stack([face_points((x, y), 0.5 * size[1]) for x, y in centre])
    save_array(folder / f"{key}.landmarks.npy", points.astype(np.float32))
    for encoder in ("hubert", "wavlm"):
        save_array(folder / f"{key}.{encoder}.npy", rng.normal(0, 1, (2 * frames, channels)).astype(np.float16))
    if emotion:
        save_array(folder / f"{key}.emotion.npy", rng.uniform(-1, 1, (frames, 2)).astype(np.float32))
    like = PictureFormat(size[1], size[0], Fraction(1, 25), Fraction(25), colours=BT709)
    with CropWriter(folder / f"{key}.mp4", like) as writer:
        for frame in range(frames):
            writer.write(small_picture(frame, size), frame)
    waveform = torch.from_numpy(rng.uniform(-0.5, 0.5, frames * 640)).float()
    write_sound(waveform, 0, frames, folder, key)
    said = {"video": f"{key}.mp4", "start": 0.0, "frames": frames, "seconds": frames / 25}
    (folder / f"{key}.json").write_text(json.dumps(said | {"sharpness": 1.0, "speaker_score": 1.0}))
    parts = {path.name[len(key) + 1 :]: path for path in folder.glob(f"{key}.*")}
    return ClipFiles(key, f"{key}.mp4", frames, parts)


def spoil(data: Path, number: int) -> Clip:
    """Makes the last latents of a clip of the training not finite, as a preparation would have written them, with a
    checksum that fits."""
    index = read_index(Folder(data))
    assert index.listed is not None
    clips = list(index.splits[TRAIN])
    clip = clips[number]
    path, (offset, size) = data / clip.shard, clip.members[LATENTS]
    content = bytearray(path.read_bytes())
    content[offset + size - 2 : offset + size] = np.float16("nan").tobytes()
    path.write_bytes(content)
    checksums = {**clip.checksums, LATENTS: zlib.crc32(content[offset : offset + size])}
    clips[number] = replace(clip, checksums=checksums)
    table, name = Table.of(clips, index.sizes), index.listed[TRAIN][0].table
    table.save(data / name)
    listed = {**index.listed, TRAIN: (Listed.of(name, data / name, table),)}
    (data / FILE).write_text(to_json(index.info, listed))
    return clips[number]


def small_picture(frame: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A smooth picture (H, W, 3) that no other frame of the first 500 resembles: its red tells the frame."""
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, None, None]
    planes = [np.full(size, 20.0 + frame % 16 * 14), 20 + frame // 16 * 6 + 20 * x, 60 + 120 * y]
    return np.stack(planes, -1).round().astype(np.uint8)
