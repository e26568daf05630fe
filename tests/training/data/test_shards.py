"""Prepared data, read: any part of a clip, the very frame that was written, and what is said of damage."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from training.data.damaged import DamagedClip
from training.data.shards import Shards, checksum
from training.data.table import Clip

from ..older_data import make_older
from ..small_data import small_picture, write_small_data

FRAMES = 100
SIZE = (48, 80)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(
        tmp_path_factory.mktemp("shards") / "a folder, with a name: of its own", frames=FRAMES, latent_size=(6, 10)
    )


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(data, tmp_path / "data"))


def test_what_all_clips_share(data: Path) -> None:
    shards = Shards(str(data))
    assert (shards.resolution, shards.latent_size, shards.info.window) == (SIZE, (6, 10), 14)
    assert shards.channels("hubert") == 32
    assert [clip.frames for split in ("train", "validation") for clip in shards.clips(split)] == [FRAMES, FRAMES]
    with pytest.raises(KeySyncError, match="no speech features of whisper, only of hubert, wavlm: set speech_encoder"):
        shards.channels("whisper")


def test_arrays_are_those_of_the_tar(data: Path) -> None:
    shards = Shards(data)
    (clip,) = shards.clips("train")
    with tarfile.open(data / clip.shard) as tar:
        for part, shape in {"latents.npy": (FRAMES, 2, 4, 6, 10), "wavlm.npy": (2 * FRAMES, 32)}.items():
            array = shards.array(clip, part, shape)
            assert isinstance(array, np.memmap)
            held = tar.extractfile(f"{clip.key}.{part}")
            assert held is not None
            assert np.array_equal(array, np.load(io.BytesIO(held.read())))


def test_every_frame_is_the_one_that_was_written(data: Path) -> None:
    shards = pickle.loads(pickle.dumps(Shards(data)))
    (clip,) = shards.clips("validation")
    written = np.stack([small_picture(frame, SIZE) for frame in range(FRAMES)]).astype(int)
    for frame in np.random.default_rng(0).permutation(FRAMES).tolist():
        picture = shards.picture(clip, frame)
        distances = np.abs(written - picture).mean((1, 2, 3))
        assert distances.argmin() == frame
        assert distances[frame] < 2
        assert np.abs(picture.mean((0, 1)) - written[frame].mean((0, 1))).max() < 0.8  # no colour is shifted
    for beyond in (FRAMES, -1):
        with pytest.raises(KeySyncError, match=rf"cannot decode clip1.mp4 \(frame {beyond} is missing\)"):
            shards.picture(clip, beyond)


def test_a_picture_costs_the_bytes_around_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies before the keyframe is not decoded: without checksums, damage to it changes nothing."""
    data = write_small_data(tmp_path / "data", frames=400)
    make_older(data)
    shards = Shards(data)
    (clip,) = shards.clips("train")
    damaged = bytearray((data / clip.shard).read_bytes())
    offset, size = clip.members["mp4"]
    damaged[offset + size // 4 : offset + size // 2] = bytes(size // 2 - size // 4)
    (data / clip.shard).write_bytes(damaged)
    assert np.abs(shards.picture(clip, 399) - small_picture(399, (64, 64)).astype(int)).mean() < 2
    assert np.abs(shards.picture(clip, 13) - small_picture(13, (64, 64)).astype(int)).mean() < 2


def test_a_shard_that_is_cut_off(copy: Path) -> None:
    path = copy / "train-000000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    with pytest.raises(KeySyncError, match=rf"train-000000.tar has 3000 bytes, expected {len(whole)}: .* copy or"):
        Shards(copy)
    path.unlink()
    with pytest.raises(KeySyncError, match=r"cannot read .*train-000000.tar \(No such file or directory\): copy"):
        Shards(copy)


def test_a_shard_that_is_cut_off_while_it_is_read(copy: Path) -> None:
    make_older(copy)
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    path = copy / clip.shard
    path.write_bytes(path.read_bytes()[: clip.members["latents.npy"][0] + 2000])
    for read in (
        lambda: shards.array(clip, "latents.npy", (FRAMES, 2, 4, 6, 10)),
        lambda: shards.array(clip, "wavlm.npy", (2 * FRAMES, 32)),
        lambda: shards.picture(clip, 0),
    ):
        with pytest.raises(KeySyncError, match=r"train-000000.tar: cannot (read|decode) clip0\.\S+ \(.+\): prepare"):
            read()


@pytest.mark.parametrize("part", ["latents.npy", "mp4"])
def test_a_part_that_is_garbage(part: str, copy: Path) -> None:
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    content = bytearray((copy / clip.shard).read_bytes())
    offset, size = clip.members[part]
    content[offset : offset + size] = np.random.default_rng(0).bytes(size)
    (copy / clip.shard).write_bytes(content)
    with pytest.raises(KeySyncError, match=rf"train-000000.tar: clip0.{part} is damaged, its checksum differs: copy"):
        read(shards, clip, part)
    make_older(copy)
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    with pytest.raises(KeySyncError, match=rf"train-000000.tar: cannot (read|decode) clip0.{part} \(.+\): prepare"):
        read(shards, clip, part)


SHAPES = {
    "latents.npy": (FRAMES, 2, 4, 6, 10),
    "landmarks.npy": (FRAMES, 68, 2),
    "hubert.npy": (2 * FRAMES, 32),
    "wavlm.npy": (2 * FRAMES, 32),
}


def read(shards: Shards, clip: Clip, part: str) -> NDArray[Any]:
    return shards.picture(clip, 5) if part == "mp4" else shards.array(clip, part, SHAPES[part])


@pytest.mark.parametrize("part", [*SHAPES, "mp4"])
def test_one_bit_of_a_part(part: str, copy: Path) -> None:
    """A bit that no decoder could tell of; parts beside it are still read."""
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    before = {name: np.array(read(Shards(copy), clip, name)) for name in (*SHAPES, "mp4")}
    offset, size = clip.members[part]
    content = bytearray((copy / clip.shard).read_bytes())
    content[offset + size - 1] ^= 1
    (copy / clip.shard).write_bytes(content)
    with pytest.raises(KeySyncError) as caught:
        read(shards, clip, part)
    assert str(caught.value) == (
        f"{copy / clip.shard}: clip0.{part} is damaged, its checksum differs: copy or prepare the data again"
    )
    for other in before.keys() - {part}:
        assert np.array_equal(read(shards, clip, other), before[other])


def test_a_part_is_compared_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []

    def counted(*place: Any) -> int:
        compared.append(place)
        return checksum(*place)

    monkeypatch.setattr("training.data.shards.checksum", counted)
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    for _ in range(3):
        read(shards, clip, "latents.npy")
        read(shards, clip, "mp4")
    assert len(compared) == 2


def test_data_without_checksums_is_read_and_it_is_said_once(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = Shards(copy)
    assert not caplog.records
    make_older(copy)
    older = Shards(copy)
    (clip,) = older.clips("train")
    for part in (*SHAPES, "mp4"):
        read(older, clip, part)
    assert [record.getMessage() for record in caplog.records] == [
        f"{copy}: 2 of 2 clips have no checksums, so damage to them goes unnoticed: prepare the data again to add them"
    ]
    assert older.digest == whole.digest


@pytest.mark.parametrize("part", SHAPES)
def test_numbers_that_are_not_finite(part: str, copy: Path) -> None:
    """With a checksum that fits, as a preparation would have written them."""
    make_older(copy)
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    offset, size = clip.members[part]
    content = bytearray((copy / clip.shard).read_bytes())
    content[offset + size - 4 : offset + size] = b"\xff" * 4
    (copy / clip.shard).write_bytes(content)
    message = rf"train-000000.tar: clip0.{part} has numbers that are not finite: prepare the data again"
    for _ in range(2):
        with pytest.raises(DamagedClip, match=message):
            read(shards, clip, part)


def test_the_sound_of_a_clip(copy: Path) -> None:
    shards = Shards(copy)
    (clip,) = shards.clips("train")
    samples = shards.sound(clip)
    assert samples.dtype == np.float32
    assert samples.shape == (FRAMES * 640,)
    assert 0.4 < np.abs(samples).max() <= 0.51
    offset, size = clip.members["flac"]
    make_older(copy)
    content = bytearray((copy / clip.shard).read_bytes())
    content[offset : offset + size] = bytes(size)
    (copy / clip.shard).write_bytes(content)
    with pytest.raises(DamagedClip, match=r"cannot decode clip0.flac \(.+\): prepare the data again"):
        Shards(copy).sound(Shards(copy).clips("train")[0])


def test_arrays_of_another_shape_kind_or_length(data: Path) -> None:
    shards = Shards(data)
    (clip,) = shards.clips("train")
    with pytest.raises(
        KeySyncError, match=r"cannot read clip0.hubert.npy \(float16 \(200, 32\) instead of \(198, 32\)"
    ):
        shards.array(clip, "hubert.npy", (198, 32))
    offset, size = clip.members["hubert.npy"]
    shorter = replace(clip, members={"hubert.npy": (offset, size - 1)})
    with pytest.raises(KeySyncError, match=r"cannot read clip0.hubert.npy \(it is truncated\)"):
        shards.array(shorter, "hubert.npy", (200, 32))
    with pytest.raises(KeySyncError, match=r"train-000000.tar has no clip0.mp4: prepare the data again"):
        shards.picture(shorter, 0)
