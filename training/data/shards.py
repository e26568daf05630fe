"""Reads prepared data: any part of any clip, without reading its whole shard. Of data at a URL, a part is read whole.

No file stays open between two reads, so the object can be sent to worker processes. Each process compares a part with
its checksum once, before it first uses it: reading a part whole for every window would multiply the reads.
"""

from __future__ import annotations

import errno
import logging
import os
import zlib
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from keysync.errors import KeySyncError, one_line
from keysync.media.container import LOCAL_ONLY, libav_errors, url
from keysync.method import NETWORK_RATE
from keysync.network.stage import ENCODERS_JOINED

from .index import DataInfo, read_index
from .parts import CROPS
from .store import Store, open_store
from .table import Clip, Clips

CHUNK = 4 * 2**20

logger = logging.getLogger(__name__)


def checksum(store: Store, name: str, offset: int, size: int) -> int:
    """CRC-32 of `size` bytes of a file; of fewer if the file ends before. Raises `OSError` if it cannot be read."""
    crc = 0
    path = store.path(name)
    if path is None:
        return zlib.crc32(store.read(name, offset, size))
    with path.open("rb") as file:
        file.seek(offset)
        while size and (chunk := file.read(min(size, CHUNK))):
            crc, size = zlib.crc32(chunk, crc), size - len(chunk)
    return crc


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

        Raises `KeySyncError` if it is missing, damaged or has another shape.
        """
        offset, size = self._place(clip, part)
        path = self._store.path(clip.shard)
        if path is not None:
            self._check(clip, part)
        try:
            with BytesIO(self._whole(clip, part)) if path is None else path.open("rb") as file:
                first = 0 if path is None else offset
                file.seek(first)
                dtype, length = _header(file, shape)
                start = file.tell()
                if start - first + length > size:
                    raise ValueError("it is truncated")
                if path is None:
                    array: NDArray[Any] = np.frombuffer(file.read(length), dtype).reshape(shape)
                    return array
            return np.memmap(path, dtype, "r", start, shape)
        except (OSError, ValueError) as error:
            name = self._store.named(clip.shard)
            raise KeySyncError(f"{name}: cannot read {clip.key}.{part} ({error}): prepare the data again") from error

    def features(self, clip: Clip, encoders: str, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """The speech features (t, 2, c) of frames (t,) of a clip, those of several encoders, joined by "+", side by
        side. Raises `KeySyncError` as `array` does."""
        each = [
            self.array(clip, f"{name}.npy", (2 * clip.frames, self._channels(name)))
            for name in encoders.split(ENCODERS_JOINED)
        ]
        rows = np.concatenate([rows.reshape(clip.frames, 2, -1)[frames] for rows in each], axis=-1)
        return rows.astype(np.float32)

    def picture(self, clip: Clip, frame: int) -> NDArray[np.uint8]:
        """The crop (H, W, 3) of one frame, decoded from the keyframe before it.

        Raises `KeySyncError` if the video is missing, damaged or without that frame.
        """
        for number, picture in self._decoded(clip, frame):
            if number == frame:
                return picture
        raise KeySyncError(self._undecodable(clip).replace("{}", f"frame {frame} is missing"))

    def pictures(self, clip: Clip) -> NDArray[np.uint8]:
        """The crops (n, H, W, 3) of all frames of a clip. Raises `KeySyncError` as `picture` does."""
        pictures = dict(self._decoded(clip, 0))
        if list(pictures) != list(range(clip.frames)):
            raise KeySyncError(self._undecodable(clip).replace("{}", f"{len(pictures)} of {clip.frames} frames"))
        return np.stack(list(pictures.values()))

    def _decoded(self, clip: Clip, first: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The numbers and crops (H, W, 3) of a clip's frames from the keyframe before `first` on."""
        message = self._undecodable(clip)
        with libav_errors(message), self._video(clip) as container:
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

    def _undecodable(self, clip: Clip) -> str:
        return f"{self._store.named(clip.shard)}: cannot decode {clip.key}.{CROPS} ({{}}): prepare the data again"

    def _video(self, clip: Clip) -> InputContainer:
        """The video of a clip, opened."""
        offset, size = self._place(clip, CROPS)
        path = self._store.path(clip.shard)
        if path is None:
            return av.open(BytesIO(self._whole(clip, CROPS)), "r", format="mp4", container_options=LOCAL_ONLY)
        self._check(clip, CROPS)
        member = f"subfile,,start,{offset},end,{offset + size},,:{url(path)}"
        return av.open(member, "r", format="mp4", container_options={"protocol_whitelist": "file,subfile"})

    def _whole(self, clip: Clip, part: str) -> bytes:
        """All bytes of a part that is not on this machine; compared with their checksum at each read."""
        name = self._store.named(clip.shard)
        try:
            content = self._store.read(clip.shard, *self._place(clip, part))
        except OSError as error:
            why = error.strerror or one_line(error)
            raise KeySyncError(f"{name}: cannot read {clip.key}.{part} ({why}): check the access to it") from error
        if part in clip.checksums and zlib.crc32(content) != clip.checksums[part]:
            raise KeySyncError(self._damaged(clip, part))
        return content

    def _place(self, clip: Clip, part: str) -> tuple[int, int]:
        if part not in clip.members:
            raise KeySyncError(f"{self._store.named(clip.shard)} has no {clip.key}.{part}: prepare the data again")
        return clip.members[part]

    def _check(self, clip: Clip, part: str) -> None:
        """Raises `KeySyncError` if a part is not what its checksum says."""
        name = clip.shard, clip.key, part
        if part not in clip.checksums or name in self._intact:
            return
        try:
            intact = checksum(self._store, clip.shard, *clip.members[part]) == clip.checksums[part]
        except OSError as error:
            path = self._store.named(clip.shard)
            raise KeySyncError(f"{path}: cannot read {clip.key}.{part} ({error}): prepare the data again") from error
        if not intact:
            raise KeySyncError(self._damaged(clip, part))
        self._intact.add(name)

    def _damaged(self, clip: Clip, part: str) -> str:
        path = self._store.named(clip.shard)
        return f"{path}: {clip.key}.{part} is damaged, its checksum differs: copy or prepare the data again"

    def _check_size(self, name: str, size: int, held: int | None) -> None:
        path = self._store.named(name)
        if held is None:
            raise KeySyncError(f"cannot read {path} ({os.strerror(errno.ENOENT)}): copy or prepare the data again")
        if held != size:
            raise KeySyncError(
                f"{path} has {held} bytes, expected {size}: it is truncated or from another preparation; copy or "
                "prepare the data again"
            )


def _header(file: BinaryIO, shape: tuple[int, ...]) -> tuple[np.dtype[Any], int]:
    """Reads the header of an array: its type and its bytes. Raises `ValueError` for another shape or kind."""
    npy: Any = np.lib.format
    npy.read_magic(file)
    held, fortran, dtype = npy.read_array_header_1_0(file)
    if held != shape or fortran or dtype.kind != "f":
        raise ValueError(f"{dtype} {held} instead of {shape}")
    return dtype, dtype.itemsize * int(np.prod(shape))
