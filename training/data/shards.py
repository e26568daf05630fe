"""Reads prepared data: any part of any clip, without reading its whole shard. Of data at a URL, a part is read whole.

No file stays open between two reads, so the object can be sent to worker processes. Each process compares a part with
its checksum and looks for numbers that are not finite once, before it first uses it: reading a part whole for every
window would multiply the reads.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import zlib
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError, one_line
from keysync.media.container import LOCAL_ONLY, libav_errors, url
from keysync.method import NETWORK_RATE
from keysync.network.stage import ENCODERS_JOINED
from keysync.speech.features import FRAME

from .damaged import DamagedClip
from .index import DataInfo, read_index
from .parts import CROPS, SOUND
from .store import open_store
from .table import Clip, Clips

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
    with path.open("rb") as file:
        file.seek(offset)
        shape, dtype, start = _header(file, offset + size)
    return np.memmap(path, dtype, "r", start, shape)


def loaded(content: bytes) -> NDArray[Any]:
    """The array in the bytes of a part. Raises `ValueError` if they hold none."""
    shape, dtype, start = _header(BytesIO(content), len(content))
    array: NDArray[Any] = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
    return array


class Shards:
    """The data in a folder or at a URL. Raises `KeySyncError` if there is none, and for a missing or truncated shard.

    A warning is logged for data without checksums.
    """

    def __init__(self, place: str | Path) -> None:
        self._store = open_store(place)
        self.folder = self._store.place
        self._index = read_index(self._store)
        held = self._store.sizes()
        for name, size in self._index.sizes.items():
            self._check_size(name, size, held.get(name))
        self._intact: set[tuple[str, str, str]] = set()  # shard, key, part
        self._finite: set[tuple[str, str, str]] = set()
        tables = [table for clips in self._index.splits.values() for table in clips.tables]
        if without := sum(table.unchecked for table in tables):
            logger.warning(
                "%s: %d of %d clips have no checksums, so damage to them goes unnoticed: prepare the data again to add "
                "them",
                *(self.folder, without, sum(map(len, tables))),
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
        return self._index.digest

    def clips(self, split: str) -> Clips:
        """The clips of "train" or "validation"."""
        return self._index.splits[split]

    def array(self, clip: Clip, part: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """A clip's array, memory-mapped if it is on this machine.

        Raises `DamagedClip` if it is missing, damaged, not finite or has another shape.
        """
        offset, size = self._place(clip, part)
        path = self._store.path(clip.shard)
        if path is None:
            content = self._whole(clip, part)
        else:
            self._check(clip, part)
        try:
            array = loaded(content) if path is None else mapped(path, offset, size)
            if array.shape != shape or array.dtype.kind != "f":
                raise ValueError(f"{array.dtype} {array.shape} instead of {shape}")
        except (OSError, ValueError) as error:
            raise self._unreadable(clip, part, error) from error
        self._check_finite(clip, part, array)
        return array

    def stored(self, clip: Clip, part: str) -> bytes:
        """A part as it is stored. Raises `DamagedClip` if it is missing or damaged."""
        place = self._place(clip, part)
        if self._store.path(clip.shard) is None:
            return self._whole(clip, part)
        self._check(clip, part)
        try:
            return self._store.read(clip.shard, *place)
        except OSError as error:
            raise self._unreadable(clip, part, error) from error

    def sound(self, clip: Clip) -> NDArray[np.float32]:
        """The sound (640 n,) of a clip of n frames in -1..1, 16 kHz. Raises `DamagedClip` if it cannot be read."""
        held = self.stored(clip, SOUND)
        where = self._undecodable(clip, SOUND)
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

    def features(self, clip: Clip, encoders: str, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """The speech features (t, 2, c) of frames (t,) of a clip, those of several encoders, joined by "+", side by
        side. Raises `DamagedClip` as `array` does, and `KeySyncError` as `channels` does."""
        each = [
            self.array(clip, f"{name}.npy", (2 * clip.frames, self._channels(name)))
            for name in encoders.split(ENCODERS_JOINED)
        ]
        rows = np.concatenate([rows.reshape(clip.frames, 2, -1)[frames] for rows in each], axis=-1)
        return rows.astype(np.float32)

    def picture(self, clip: Clip, frame: int) -> NDArray[np.uint8]:
        """The crop (H, W, 3) of one frame, decoded from the keyframe before it.

        Raises `DamagedClip` if the video is missing, damaged or without that frame.
        """
        for number, picture in self._decoded(clip, frame):
            if number == frame:
                return picture
        raise DamagedClip(self._undecodable(clip, CROPS).replace("{}", f"frame {frame} is missing"))

    def pictures(self, clip: Clip) -> NDArray[np.uint8]:
        """The crops (n, H, W, 3) of all frames of a clip. Raises `DamagedClip` as `picture` does."""
        pictures = dict(self._decoded(clip, 0))
        if list(pictures) != list(range(clip.frames)):
            where = self._undecodable(clip, CROPS)
            raise DamagedClip(where.replace("{}", f"{len(pictures)} of {clip.frames} frames"))
        return np.stack(list(pictures.values()))

    def _decoded(self, clip: Clip, first: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The numbers and crops (H, W, 3) of a clip's frames from the keyframe before `first` on."""
        message = self._undecodable(clip, CROPS)
        source, options = self._video(clip)
        try:
            with libav_errors(message), av.open(source, "r", format="mp4", container_options=options) as container:
                stream = container.streams.video[0]
                if stream.codec_context is None:
                    raise KeySyncError(message.replace("{}", "unknown codec"))
                stream.codec_context.thread_count = 1
                ticks = Fraction(1, NETWORK_RATE) / (stream.time_base or Fraction(1, NETWORK_RATE))
                container.seek(round(first * ticks), stream=stream)
                for decoded in container.decode(stream):
                    number = None if decoded.pts is None else decoded.pts / ticks
                    fits = (decoded.height, decoded.width) == self.resolution
                    if number is not None and number.denominator == 1 and fits:
                        yield int(number), cast("NDArray[np.uint8]", decoded.to_ndarray(format="rgb24"))
        except KeySyncError as error:
            raise DamagedClip(str(error)) from error

    def _video(self, clip: Clip) -> tuple[BytesIO | str, dict[str, str]]:
        """What libav opens a clip's video from, and the options for it."""
        offset, size = self._place(clip, CROPS)
        path = self._store.path(clip.shard)
        if path is None:
            return BytesIO(self._whole(clip, CROPS)), LOCAL_ONLY
        self._check(clip, CROPS)
        member = f"subfile,,start,{offset},end,{offset + size},,:{url(path)}"
        return member, {"protocol_whitelist": "file,subfile"}

    def _whole(self, clip: Clip, part: str) -> bytes:
        """All bytes of a part that is not on this machine; compared with their checksum at each read.

        Raises `DamagedClip` if they differ, and `KeySyncError` if they cannot be reached, which says nothing of a clip.
        """
        name = self._store.named(clip.shard)
        try:
            content = self._store.read(clip.shard, *self._place(clip, part))
        except OSError as error:
            why = error.strerror or one_line(error)
            raise KeySyncError(f"{name}: cannot read {clip.key}.{part} ({why}): check the access to it") from error
        if part in clip.checksums and zlib.crc32(content) != clip.checksums[part]:
            raise self._damaged(clip, part)
        return content

    def _place(self, clip: Clip, part: str) -> tuple[int, int]:
        if part not in clip.members:
            raise DamagedClip(f"{self._store.named(clip.shard)} has no {clip.key}.{part}: prepare the data again")
        return clip.members[part]

    def _check(self, clip: Clip, part: str) -> None:
        """Raises `DamagedClip` if a part on this machine is not what its checksum says."""
        name = clip.shard, clip.key, part
        path = self._store.path(clip.shard)
        if path is None or part not in clip.checksums or name in self._intact:
            return
        try:
            intact = checksum(path, *clip.members[part]) == clip.checksums[part]
        except OSError as error:
            raise self._unreadable(clip, part, error) from error
        if not intact:
            raise self._damaged(clip, part)
        self._intact.add(name)

    def _damaged(self, clip: Clip, part: str) -> DamagedClip:
        name = self._store.named(clip.shard)
        return DamagedClip(
            f"{name}: {clip.key}.{part} is damaged, its checksum differs: copy or prepare the data again"
        )

    def _unreadable(self, clip: Clip, part: str, error: Exception) -> DamagedClip:
        name = self._store.named(clip.shard)
        return DamagedClip(f"{name}: cannot read {clip.key}.{part} ({error}): prepare the data again")

    def _undecodable(self, clip: Clip, part: str) -> str:
        return f"{self._store.named(clip.shard)}: cannot decode {clip.key}.{part} ({{}}): prepare the data again"

    def _check_finite(self, clip: Clip, part: str, array: NDArray[Any]) -> None:
        name = clip.shard, clip.key, part
        if name in self._finite:
            return
        if not np.isfinite(array).all():
            where = self._store.named(clip.shard)
            raise DamagedClip(f"{where}: {clip.key}.{part} has numbers that are not finite: prepare the data again")
        self._finite.add(name)

    def _check_size(self, name: str, size: int, held: int | None) -> None:
        path = self._store.named(name)
        if held is None:
            raise KeySyncError(f"cannot read {path} ({os.strerror(errno.ENOENT)}): copy or prepare the data again")
        if held != size:
            raise KeySyncError(
                f"{path} has {held} bytes, expected {size}: it is truncated or from another preparation; copy or "
                "prepare the data again"
            )


def _header(file: BinaryIO, end: int) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Reads the header of an array: its shape and type, and where in the file its numbers begin.

    Raises `ValueError` if these are no numbers in rows, or do not end by `end`.
    """
    npy: Any = np.lib.format
    npy.read_magic(file)
    shape, fortran, dtype = npy.read_array_header_1_0(file)
    if fortran or dtype.kind not in "fiub":
        raise ValueError(f"{dtype} {shape} in {'columns' if fortran else 'rows'}")
    start = file.tell()
    if start + dtype.itemsize * math.prod(shape) > end:
        raise ValueError("it is truncated")
    return shape, dtype, start
