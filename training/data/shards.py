"""Prepared data, opened for reading: any part of any clip, without reading the shard that it lies in.

Nothing is kept open between two reads, so that an object goes into worker processes of any kind.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.media.container import libav_errors, url
from keysync.method import NETWORK_RATE

from . import digest
from .index import Clip, DataInfo, read_index

LATENTS, LANDMARKS, CROPS = "latents.npy", "landmarks.npy", "mp4"


class Shards:
    """The data in a folder. Raises `KeySyncError` where it holds none, and for a shard that is missing or cut off."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._index = read_index(self.folder)
        for name, size in self._index.sizes.items():
            self._check_size(self.folder / name, size)

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

    def channels(self, encoder: str) -> int:
        """Width of a speech encoder's feature rows. Raises `KeySyncError` where the data was made without it."""
        if encoder not in self.info.encoders:
            raise KeySyncError(
                f"{self.folder} holds no speech features of {encoder} but of "
                f"{', '.join(self.info.encoders) or 'no encoder'}: choose one of these as speech_encoder, "
                f"or prepare the videos again with --{encoder} PATH"
            )
        return self.info.encoders[encoder].channels

    @property
    def digest(self) -> str:
        """Of all that the index says: other clips, or the same prepared in another way, have another."""
        return digest.of_json(self._index.to_json())

    def clips(self, split: str) -> tuple[Clip, ...]:
        """The clips of "train" or "validation"."""
        return self._index.splits[split]

    def array(self, clip: Clip, part: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """A clip's array, mapped and not read. Raises `KeySyncError` unless it is there and of this shape."""
        path = self.folder / clip.shard
        offset, size = self._place(clip, part)
        npy: Any = np.lib.format
        try:
            with path.open("rb") as file:
                file.seek(offset)
                npy.read_magic(file)
                held, fortran, dtype = npy.read_array_header_1_0(file)
                start = file.tell()
            if held != shape or fortran or dtype.kind != "f":
                raise ValueError(f"{dtype} {held} instead of {shape}")
            if start + dtype.itemsize * int(np.prod(shape)) > offset + size:
                raise ValueError("it is cut off")
            return np.memmap(path, dtype, "r", start, shape)
        except (OSError, ValueError) as error:
            raise KeySyncError(f"{path}: {clip.key}.{part} cannot be read ({error}): prepare the data again") from error

    def picture(self, clip: Clip, frame: int) -> NDArray[np.uint8]:
        """The crop (H, W, 3) of one frame, decoded from the keyframe before it on."""
        path = self.folder / clip.shard
        offset, size = self._place(clip, CROPS)
        message = f"{path}: {clip.key}.{CROPS} cannot be decoded ({{}}): prepare the data again"
        options = {"protocol_whitelist": "file,subfile"}
        with libav_errors(message):
            member = f"subfile,,start,{offset},end,{offset + size},,:{url(path)}"
            with av.open(member, format="mp4", container_options=options) as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = 1
                wanted = round(Fraction(frame, NETWORK_RATE) / (stream.time_base or Fraction(1, NETWORK_RATE)))
                container.seek(wanted, stream=stream)
                for decoded in container.decode(stream):
                    if decoded.pts == wanted and (decoded.height, decoded.width) == self.resolution:
                        return cast("NDArray[np.uint8]", decoded.to_ndarray(format="rgb24"))
        raise KeySyncError(message.replace("{}", f"frame {frame} is not in it"))

    def _place(self, clip: Clip, part: str) -> tuple[int, int]:
        if part not in clip.members:
            raise KeySyncError(f"{self.folder / clip.shard} holds no {clip.key}.{part}: prepare the data again")
        return clip.members[part]

    @staticmethod
    def _check_size(path: Path, size: int) -> None:
        try:
            held = path.stat().st_size
        except OSError as error:
            raise KeySyncError(
                f"{path} cannot be read ({error.strerror}): copy the data again, or prepare it again"
            ) from error
        if held != size:
            raise KeySyncError(
                f"{path} has {held} bytes instead of {size}: it is cut off or from another preparation; "
                "copy the data again, or prepare it again"
            )
