"""The parts of a clip: the crops that a dub would see, their sound and features to the sample, no file half-written."""

from __future__ import annotations

import io
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.face.crop import crop, to_crop
from keysync.media.audio import read_speech
from keysync.media.reader import VideoReader
from keysync.systems.keysync.models import Models
from keysync.vae.vae import VAE
from tests.clips import picture, read_frames, write_video
from tests.synthetic_face import face_points
from training.data.dataset import Windows
from training.data.index import DataInfo, EncoderInfo
from training.data.preparation import encode
from training.data.preparation.faces import Faces
from training.data.preparation.shards import ClipFiles, write_shards
from training.data.shards import Shards

from ..test_dataset import INTERPOLATION

SIZE = (64, 64)
SOURCE = (120, 160)
FRAMES = 60


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> VideoReader:
    """Sixty frames, lossless."""
    path = tmp_path_factory.mktemp("source") / "source.mkv"
    frames = (picture(number, width=SOURCE[1], height=SOURCE[0]) for number in range(FRAMES))
    return VideoReader(write_video(path, frames, lossless=True))


@pytest.fixture(scope="module")
def faces(reader: VideoReader) -> Faces:
    """A face that wanders; two grid frames show one source frame, as in a slower video."""
    centres = np.stack((70 + 0.4 * np.arange(FRAMES), 60 + np.sin(np.arange(FRAMES))), 1)
    points = np.stack([face_points((x, y), 40) for x, y in centres])
    source = np.sort(np.r_[np.arange(FRAMES - 1), 30])
    return Faces(source, reader.timestamps(), points[source], np.zeros(FRAMES, np.int64), SOURCE)


@pytest.fixture(scope="module")
def waveform() -> Tensor:
    time = torch.arange(FRAMES * 640) / 16_000
    return 0.4 * torch.sin(2 * torch.pi * 220 * time) * torch.sin(2 * torch.pi * 3 * time)


def test_crops_are_those_of_a_dub(reader: VideoReader, faces: Faces) -> None:
    assert reader.path is not None
    source, boxes = read_frames(reader.path), faces.boxes(20, 50)
    made = list(encode.crops(reader, faces, 20, 50, SIZE))
    expected = [crop(source[faces.source[20 + number]], box, SIZE) for number, box in enumerate(boxes)]
    assert torch.equal(torch.stack(made), torch.stack(expected))


def faces_of(faces: Faces, start: int, stop: int) -> Tensor:
    boxes = faces.boxes(start, stop)
    return torch.stack([to_crop(face, box, SIZE) for face, box in zip(faces.landmarks[start:stop], boxes, strict=True)])


def test_crops_are_written_near_lossless_at_25_frames_a_second(
    reader: VideoReader, faces: Faces, tmp_path: Path
) -> None:
    encode.write_crops(reader, faces, 10, 55, SIZE, tmp_path, "key")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.landmarks.npy", "key.mp4"]
    path = tmp_path / "key.mp4"
    written = VideoReader(path)
    assert (written.info.width, written.info.height, written.info.has_audio) == (64, 64, False)
    assert written.info.rate == 25
    times = written.timestamps() * float(written.info.time_base)
    assert times == pytest.approx(np.arange(45) / 25)
    exact = torch.stack(list(encode.crops(reader, faces, 10, 55, SIZE))).numpy() * 255
    difference = np.stack(read_frames(path)) - exact
    assert np.abs(difference).mean() < 2
    assert np.abs(difference.mean((0, 1, 2))).max() < 0.5
    landmarks = np.load(tmp_path / "key.landmarks.npy")
    assert landmarks.dtype == np.float32
    assert np.array_equal(landmarks, faces_of(faces, 10, 55).numpy())
    with av.open(str(written.path)) as container:
        keyframes = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
    assert np.diff([*keyframes, 45]).max() <= 12


def test_the_same_crops_are_the_same_bytes(reader: VideoReader, faces: Faces, tmp_path: Path) -> None:
    for key in ("a", "b"):
        encode.write_crops(reader, faces, 0, 40, SIZE, tmp_path, key)
    for part in ("mp4", "landmarks.npy"):
        assert (tmp_path / f"a.{part}").read_bytes() == (tmp_path / f"b.{part}").read_bytes()


def test_sound_is_the_clip_s_to_the_sample(waveform: Tensor, tmp_path: Path) -> None:
    encode.write_sound(waveform, 7, 31, tmp_path, "key")
    sound, seconds = read_speech(tmp_path / "key.flac")
    assert seconds == 24 / 25
    assert torch.equal(sound, (waveform[7 * 640 : 31 * 640] * 2**15).round() / 2**15)
    with av.open(str(tmp_path / "key.flac")) as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.name, stream.rate, stream.channels) == ("flac", 16_000, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["key.flac"]


def test_sound_that_ends_early_or_is_too_loud(tmp_path: Path) -> None:
    encode.write_sound(torch.tensor([1.5, -1.5] * 400), 0, 3, tmp_path, "key")
    sound, _ = read_speech(tmp_path / "key.flac")
    assert sound[:800].tolist() == [1 - 2**-15, -1.0] * 400
    assert sound[800:].tolist() == [0.0] * (3 * 640 - 800)


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_rows_are_those_of_the_whole_sound(name: str, models: Models, waveform: Tensor, tmp_path: Path) -> None:
    encoder = models.encoders[name]
    rows = encode.speech_rows(waveform, encoder)
    assert rows.dtype == np.float16
    assert torch.equal(torch.from_numpy(rows), encoder.encode(waveform).rows.half())
    encode.write_rows(rows, range(11, 20), tmp_path, "key", name)
    assert np.array_equal(np.load(tmp_path / f"key.{name}.npy"), rows[22:40])
    encode.write_rows(rows, range(FRAMES - 2, FRAMES + 1), tmp_path, "end", name)
    assert np.array_equal(np.load(tmp_path / f"end.{name}.npy"), np.concatenate((rows[-4:], rows[-1:], rows[-1:])))


@pytest.fixture
def vae(models: Models) -> VAE:
    assert isinstance(models.vae, VAE)
    return models.vae


def test_latents_are_the_posterior_of_the_uncoded_crops(
    vae: VAE, reader: VideoReader, faces: Faces, tmp_path: Path
) -> None:
    encode.write_latents(vae, encode.crops(reader, faces, 3, 14, SIZE), tmp_path, "key")
    latents = np.load(tmp_path / "key.latents.npy")
    assert (latents.shape, latents.dtype) == ((11, 2, 4, 8, 8), np.float16)
    mean, std = vae.posterior(torch.stack(list(encode.crops(reader, faces, 3, 14, SIZE))))
    assert torch.allclose(torch.from_numpy(latents).float(), torch.stack((mean, std), 1), rtol=1e-3, atol=1e-4)
    assert (latents[:, 1] > 0).all()


class CountingVAE(VAE):
    """Keeps nothing, and sees how many of the crops are alive."""

    batch, source = 4, "counting"

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0

    def crops(self, count: int) -> Iterator[Tensor]:
        for _ in range(count):
            made = torch.rand(64, 64, 3)
            self.alive.add(made)
            yield made

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.most = max(self.most, len(self.alive))
        return images[:, ::8, ::8, :1].movedim(-1, 1), images[:, ::8, ::8, :1].movedim(-1, 1)


def test_memory_holds_a_few_crops_whatever_the_length(tmp_path: Path) -> None:
    vae = CountingVAE()
    encode.write_latents(vae, vae.crops(101), tmp_path, "key")
    assert len(np.load(tmp_path / "key.latents.npy")) == 101
    assert 4 <= vae.most <= 9  # the batch, the one before, and what the source still holds


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_numbers_that_are_no_latents(value: float, tmp_path: Path) -> None:
    vae = CountingVAE()
    with pytest.raises(KeySyncError, match="counting returns values that are not finite"):
        encode.write_latents(vae, [torch.full((64, 64, 3), value)], tmp_path, "key")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_file(
    reader: VideoReader, faces: Faces, waveform: Tensor, vae: VAE, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    pictures = [torch.rand(64, 64, 3)] * 8
    writes: dict[str, Callable[[], None]] = {
        "mp4": lambda: encode.write_crops(reader, faces, 0, 60, SIZE, tmp_path, "key"),
        "flac": lambda: encode.write_sound(waveform, 0, 60, tmp_path, "key"),
        "latents.npy": lambda: encode.write_latents(vae, pictures, tmp_path, "key"),
        "hubert.npy": lambda: encode.write_rows(np.ones((200, 32), np.float16), range(60), tmp_path, "key", "hubert"),
    }
    try:
        for part, write in writes.items():
            with pytest.raises(KeySyncError, match=rf"key.{part}.* \(File too large\)"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_is_encoded_is_what_is_trained_on(
    reader: VideoReader, faces: Faces, waveform: Tensor, models: Models, vae: VAE, tmp_path: Path
) -> None:
    start, stop, key = 5, 50, "key"
    encode.write_crops(reader, faces, start, stop, SIZE, tmp_path, key)
    encode.write_sound(waveform, start, stop, tmp_path, key)
    encode.write_latents(vae, encode.crops(reader, faces, start, stop, SIZE), tmp_path, key)
    rows = encode.speech_rows(waveform, models.encoders["wavlm"])
    encode.write_rows(rows, range(start, stop), tmp_path, key, "wavlm")
    parts = {path.name[len(key) + 1 :]: path for path in tmp_path.iterdir()}
    data = tmp_path / "data"
    data.mkdir()
    info = DataInfo(SIZE, (8, 8), 14, {"wavlm": EncoderInfo(32, "stand-in")}, "stand-in", "none")
    write_shards([ClipFiles(key, "source.mkv", stop - start, parts)], data, info)
    window = Windows(Shards(data), INTERPOLATION)[0]
    pairs = torch.from_numpy(rows).float().reshape(-1, 2, 32)[start:stop]
    first = next(first for first in range(len(pairs) - 13) if torch.equal(window.features, pairs[first : first + 14]))
    assert window.pixel_frame is not None
    assert window.pixels is not None
    exact = list(encode.crops(reader, faces, start, stop, SIZE))[first + int(window.pixel_frame)]
    assert (window.pixels.permute(1, 2, 0) / 2 + 0.5 - exact).abs().mean() < 0.01
    stored = io.BytesIO((tmp_path / f"{key}.latents.npy").read_bytes())
    mean, std = torch.from_numpy(np.load(stored)[first : first + 14]).float().unbind(1)
    assert ((window.latents / 0.18215 - mean) / std).std() == pytest.approx(1, abs=0.1)
