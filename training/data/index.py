"""The index of prepared data: its shards, their clips, and the position of each part in its shard.

A shard is an uncompressed WebDataset tar. A clip's parts are its members `KEY.PART`; the index stores the offset and
size of each part, so that a window is read without reading the whole shard, and the CRC-32 of its bytes, which
older data lacks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keysync.errors import KeySyncError, one_line
from keysync.method import NETWORK_RATE, PUBLISHED_CROP_SCALE
from keysync.strict_json import quoted, strict_json

FORMAT = 1
# Characters of an index: a clip takes 400.
MOST_CHARACTERS = 2**30
FILE = "index.json"
TRAIN, VALIDATION = SPLITS = ("train", "validation")
SHARD_NAME = re.compile(r"[\w-][\w.-]*\.tar")


@dataclass(frozen=True)
class EncoderInfo:
    """A speech encoder of the data: the width of its feature rows, and its file or folder."""

    channels: int
    origin: str


@dataclass(frozen=True)
class DataInfo:
    """What all clips share: size (H, W) of the crops and (h, w) of the latents, least number of frames `window`, models
    and detector, `crop_scale` of a crop over the face's points, and `spacing` of a clip's frames in the 25 fps grid: 1,
    or more in data for keyframes only."""

    resolution: tuple[int, int]
    latent_size: tuple[int, int]
    window: int
    encoders: Mapping[str, EncoderInfo]
    vae: str
    detector: str
    crop_scale: float = PUBLISHED_CROP_SCALE
    spacing: int = 1


@dataclass(frozen=True)
class Clip:
    """A clip of `frames` frames in the file `shard`; `members`: offset and size in bytes of each part; `checksums`: the
    CRC-32 of each part, empty if they are unknown."""

    shard: str
    key: str
    frames: int
    members: Mapping[str, tuple[int, int]]
    checksums: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """The sizes of the shards in bytes, and the clips of each split."""

    info: DataInfo
    sizes: Mapping[str, int]
    splits: Mapping[str, tuple[Clip, ...]]

    def to_json(self, *, checksums: bool = True) -> str:
        """The content of index.json, which `read_index` reads."""
        info = self.info
        content = {
            "format": FORMAT,
            "fps": NETWORK_RATE,
            "resolution": info.resolution,
            "latent_size": info.latent_size,
            "window": info.window,
            "encoders": {
                name: {"channels": made.channels, "origin": made.origin} for name, made in info.encoders.items()
            },
            "vae": {"origin": info.vae},
            "detector": info.detector,
            "crop_scale": info.crop_scale,
            "spacing": info.spacing,
            "splits": {split: self._shards(clips, checksums) for split, clips in self.splits.items()},
        }
        return json.dumps(content) + "\n"

    def _shards(self, clips: tuple[Clip, ...], checksums: bool) -> list[dict[str, Any]]:
        samples: dict[str, list[dict[str, Any]]] = {}
        for clip in clips:
            sample: dict[str, Any] = {"key": clip.key, "frames": clip.frames, "members": dict(clip.members)}
            if checksums and clip.checksums:
                sample["crc32"] = dict(clip.checksums)
            samples.setdefault(clip.shard, []).append(sample)
        return [{"shard": name, "bytes": self.sizes[name], "samples": held} for name, held in samples.items()]


def read_index(folder: Path) -> Index:
    """The index of the data in `folder`. Raises `KeySyncError` if there is none, or if it is invalid."""
    path = folder / FILE
    try:
        content = strict_json(path.read_bytes(), most=MOST_CHARACTERS)
        version = content["format"]
        if version == FORMAT:
            return _index(content)
    except OSError as error:
        raise KeySyncError(
            f"{folder} has no prepared data ({path.name}: {error.strerror}): "
            f"run python -m training.prepare VIDEOS -o {folder}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        why = f"{one_line(error)} is missing" if isinstance(error, KeyError) else one_line(error)
        raise KeySyncError(f"{path} is not an index of prepared data ({why}): prepare the data again") from error
    raise KeySyncError(f"{path} has format {quoted(version)}: expected {FORMAT}; prepare the data again")


def _index(content: dict[str, Any]) -> Index:
    """Raises built-in exceptions for content that is not an index."""
    if content["fps"] != NETWORK_RATE:
        raise ValueError(f"{quoted(content['fps'])} frames a second, expected {NETWORK_RATE}")
    encoders = {
        str(name): EncoderInfo(_whole(made["channels"], 1), str(made["origin"]))
        for name, made in content["encoders"].items()
    }
    info = DataInfo(
        resolution=_pair(content["resolution"], 1),
        latent_size=_pair(content["latent_size"], 1),
        window=_whole(content["window"], 1),
        encoders=encoders,
        vae=str(content["vae"]["origin"]),
        detector=str(content["detector"]),
        crop_scale=float(content.get("crop_scale", PUBLISHED_CROP_SCALE)),
        spacing=_whole(content.get("spacing", 1), 1),
    )
    sizes: dict[str, int] = {}
    splits = {split: _clips(content["splits"][split], sizes) for split in SPLITS}
    return Index(info, sizes, splits)


def _clips(shards: list[dict[str, Any]], sizes: dict[str, int]) -> tuple[Clip, ...]:
    """The clips of one split; the sizes of its shards are added to `sizes`."""
    clips = []
    for shard in shards:
        name, size = shard["shard"], _whole(shard["bytes"], 1)
        if not SHARD_NAME.fullmatch(name):  # never open a file outside the data's folder
            raise ValueError(f"{quoted(name)} is not the name of a shard")
        sizes[name] = size
        for sample in shard["samples"]:
            members = {str(part): _pair(place, 0) for part, place in sample["members"].items()}
            if any(offset + length > size for offset, length in members.values()):
                raise ValueError(f"clip {quoted(sample['key'])} is outside its shard {name}")
            checksums = {str(part): _whole(crc, 0) for part, crc in sample.get("crc32", {}).items()}
            if checksums and checksums.keys() != members.keys():
                raise ValueError(f"the checksums of clip {quoted(sample['key'])} are not those of its parts")
            clips.append(Clip(name, str(sample["key"]), _whole(sample["frames"], 1), members, checksums))
    return tuple(clips)


def _whole(value: object, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{quoted(value)} is not an integer of at least {least}")
    return value


def _pair(value: list[object], least: int) -> tuple[int, int]:
    first, second = value
    return _whole(first, least), _whole(second, least)
