"""Reads prepared data: any part of any clip, without reading its whole shard.

No file stays open between two reads, so the object can be sent to worker processes. Each process compares a part with
its checksum and looks for numbers that are not finite once, before it first uses it: reading a part whole for every
window would multiply the reads.
"""

from __future__ import annotations

import logging
import zlib
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.media.container import libav_errors, url
from keysync.method import NETWORK_RATE
from keysync.network.stage import ENCODERS_JOINED
from keysync.speech.features import FRAME

from . import digest
from .index import Clip, DataInfo, read_index

LATENTS, LANDMARKS, EMOTION, CROPS, SOUND = "latents.npy", "landmarks.npy", "emotion.npy", "mp4", "flac"
CHUNK = 4 * 2**20

logger = logging.getLogger(__name__)


def checksum(path: Path, offset: int, size: int) -> int:
    """CRC-32 of `size` bytes of a file; of fewer if the file ends before. Raises `OSError` if it cannot be read."""
    crc = 0
    with path.open("rb") as file:
        file.seek(offset)
        while size and (chunk := file.read(min(size, CHUNK))):
            crc, size = zlib.crc32(chunk, crc), size - len(chunk)
    return crc


def mapped(path: Path, offset: int, size: int) -> NDArray[Any]:
    """The array of a part, memory-mapped. Raises `OSError` and `ValueError` if it cannot be read."""
    npy: Any = np.lib.format
    with path.open("rb") as file:
        file.seek(offset)
        npy.read_magic(file)
        shape, fortran, dtype = npy.read_array_header_1_0(file)
        start = file.tell()
    if fortran or dtype.kind not in "fiub":
        raise ValueError(f"{dtype} {shape} in {'columns' if fortran else 'rows'}")
    if start + dtype.itemsize * int(np.prod(shape)) > offset + size:
        raise ValueError("it is truncated")
    return np.memmap(path, dtype, "r", start, shape)


class DamagedClip(KeySyncError):
    """Raised for a part of a clip that is missing, damaged or not finite; other clips may be intact."""


class Shards:
    """The data in a folder. Raises `KeySyncError` if there is none, and for a missing or truncated shard.

    A warning is logged for data without checksums.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._index = read_index(self.folder)
        for name, size in self._index.sizes.items():
            self._check_size(self.folder / name, size)
        self._intact: set[tuple[str, str, str]] = set()  # shard, key, part
        self._finite: set[tuple[str, str, str]] = set()
        held = {(clip.shard, clip.key): clip for clips in self._index.splits.values() for clip in clips}.values()
        if without := sum(not clip.checksums for clip in held):
            logger.warning(
                "%s: %d of %d clips have no checksums, so damage to them goes unnoticed: prepare the data again to add "
                "them",
                *(self.folder, without, len(held)),
            )

    @property
    def info(self) -> DataInfo:
        """What all clips share."""
        return self._index.info

    @property
    def resolution(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self.info.resolution

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.info.latent_size

    def channels(self, encoders: str) -> int:
        """Width of a speech encoder's feature rows; of several, joined by "+", side by side.

        Raises `KeySyncError` if the data lacks one of them.
        """
        return sum(self._channels(name) for name in encoders.split(ENCODERS_JOINED))

    def _channels(self, encoder: str) -> int:
        if encoder not in self.info.encoders:
            raise KeySyncError(
                f"{self.folder} has no speech features of {encoder}, only of "
                f"{', '.join(self.info.encoders) or 'no encoder'}: set speech_encoder to one of these, "
                f"or prepare the videos again with --{encoder} PATH"
            )
        return self.info.encoders[encoder].channels

    @property
    def digest(self) -> str:
        """A digest of the index: other clips, or the same clips prepared differently, have another.

        Checksums are left out, so that a run goes on after its data was prepared again to add them.
        """
        return digest.of_json(self._index.to_json(checksums=False))

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of "train" or "validation"."""
        return self._index.splits[split]

    def array(self, clip: Clip, part: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """A clip's array, memory-mapped. Raises `DamagedClip` if it is missing, damaged, not finite or has another
        shape."""
        path = self.folder / clip.shard
        place = self._place(clip, part)
        self._check(clip, part)
        try:
            held = mapped(path, *place)
            if held.shape != shape or held.dtype.kind != "f":
                raise ValueError(f"{held.dtype} {held.shape} instead of {shape}")
        except (OSError, ValueError) as error:
            raise DamagedClip(f"{path}: cannot read {clip.key}.{part} ({error}): prepare the data again") from error
        self._check_finite(clip, part, held)
        return held

    def stored(self, clip: Clip, part: str) -> bytes:
        """A part as it is stored. Raises `DamagedClip` if it is missing or damaged."""
        offset, size = self._place(clip, part)
        self._check(clip, part)
        path = self.folder / clip.shard
        try:
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise DamagedClip(f"{path}: cannot read {clip.key}.{part} ({error}): prepare the data again") from error

    def sound(self, clip: Clip) -> NDArray[np.float32]:
        """The sound (640 n,) of a clip of n frames in -1..1, 16 kHz. Raises `DamagedClip` if it cannot be read."""
        held = self.stored(clip, SOUND)
        where = f"{self.folder / clip.shard}: cannot decode {clip.key}.{SOUND} ({{}}): prepare the data again"
        try:
            with libav_errors(where), av.open(BytesIO(held), "r", format=SOUND) as container:
                parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        except KeySyncError as error:
            raise DamagedClip(str(error)) from error
        samples = np.concatenate([np.zeros(0, np.int16), *parts])
        if samples.dtype != np.int16 or len(samples) != clip.frames * FRAME:
            raise DamagedClip(where.replace("{}", f"{len(samples)} samples of {samples.dtype}"))
        scaled: NDArray[np.float32] = samples.astype(np.float32) / np.float32(2**15)
        return scaled

    def picture(self, clip: Clip, frame: int) -> NDArray[np.uint8]:
        """The crop (H, W, 3) of one frame, decoded from the keyframe before it.

        Raises `DamagedClip` if the video is missing, damaged or without that frame.
        """
        try:
            return self._picture(clip, frame)
        except DamagedClip:
            raise
        except KeySyncError as error:
            raise DamagedClip(str(error)) from error

    def _picture(self, clip: Clip, frame: int) -> NDArray[np.uint8]:
        path = self.folder / clip.shard
        offset, size = self._place(clip, CROPS)
        self._check(clip, CROPS)
        message = f"{path}: cannot decode {clip.key}.{CROPS} ({{}}): prepare the data again"
        options = {"protocol_whitelist": "file,subfile"}
        with libav_errors(message):
            member = f"subfile,,start,{offset},end,{offset + size},,:{url(path)}"
            with av.open(member, format="mp4", container_options=options) as container:
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise KeySyncError(message.replace("{}", "unknown codec"))
                stream.codec_context.thread_count = 1
                pts = round(Fraction(frame, NETWORK_RATE) / (stream.time_base or Fraction(1, NETWORK_RATE)))
                container.seek(pts, stream=stream)
                for decoded in container.decode(stream):
                    if decoded.pts == pts and (decoded.height, decoded.width) == self.resolution:
                        return cast("NDArray[np.uint8]", decoded.to_ndarray(format="rgb24"))
        raise KeySyncError(message.replace("{}", f"frame {frame} is missing"))

    def _place(self, clip: Clip, part: str) -> tuple[int, int]:
        if part not in clip.members:
            raise DamagedClip(f"{self.folder / clip.shard} has no {clip.key}.{part}: prepare the data again")
        return clip.members[part]

    def _check(self, clip: Clip, part: str) -> None:
        """Raises `DamagedClip` if a part is not what its checksum says."""
        name = clip.shard, clip.key, part
        if part not in clip.checksums or name in self._intact:
            return
        path = self.folder / clip.shard
        try:
            intact = checksum(path, *clip.members[part]) == clip.checksums[part]
        except OSError as error:
            raise DamagedClip(f"{path}: cannot read {clip.key}.{part} ({error}): prepare the data again") from error
        if not intact:
            raise DamagedClip(
                f"{path}: {clip.key}.{part} is damaged, its checksum differs: copy or prepare the data again"
            )
        self._intact.add(name)

    def _check_finite(self, clip: Clip, part: str, held: NDArray[Any]) -> None:
        name = clip.shard, clip.key, part
        if name in self._finite:
            return
        if not np.isfinite(held).all():
            raise DamagedClip(
                f"{self.folder / clip.shard}: {clip.key}.{part} has numbers that are not finite: prepare the data again"
            )
        self._finite.add(name)

    @staticmethod
    def _check_size(path: Path, size: int) -> None:
        try:
            held = path.stat().st_size
        except OSError as error:
            raise KeySyncError(f"cannot read {path} ({error.strerror}): copy or prepare the data again") from error
        if held != size:
            raise KeySyncError(
                f"{path} has {held} bytes, expected {size}: it is truncated or from another preparation; copy or "
                "prepare the data again"
            )
