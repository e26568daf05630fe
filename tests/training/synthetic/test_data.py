from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from keysync.errors import KeySyncError
from keysync.speech.encoders import load_encoder
from keysync.vae.vae import load_vae
from tests.tiny_models import write_tiny_models
from training.config.config import load_config
from training.data.dataset import Windows, collate
from training.data.preparation.encode import speech_rows
from training.data.shards import Shards
from training.synthetic import data
from training.synthetic.data import Settings, film, speech, write_data
from training.synthetic.measure.meter import truth
from training.synthetic.voice.speech import joined, silence

FRAMES = 16


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def settings(models: dict[str, Path]) -> Settings:
    return Settings(models["vae"], {"hubert": models["hubert"]}, seconds=FRAMES / 25, resolution=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, 3, settings)
    return folder


def test_training_reads_it(folder: Path) -> None:
    shards = Shards(folder)
    assert shards.resolution == (64, 64)
    assert shards.channels("hubert") == 32
    assert len(shards.clips("train")) == 2
    config = load_config(
        "tiny-interpolation", None, {"speech_encoder": "hubert", "resolution": "64", "rgb_weight": "1"}
    )
    windows = Windows(shards, config, "train")
    batch = collate([windows[0], windows[1]])
    assert batch.latents.shape == (2, 14, 4, 8, 8)
    assert batch.features.shape == (2, 14, 2, 32)
    assert batch.pixels is not None
    assert batch.latents.isfinite().all()
    assert 0 < batch.mask.mean() < 1


def test_latents_are_those_of_the_crops(folder: Path, settings: Settings) -> None:
    shards = Shards(folder)
    clip = shards.clips("train")[0]
    latents = np.array(shards.array(clip, "latents.npy", (FRAMES, 2, 4, 8, 8)))
    picture = torch.from_numpy(shards.picture(clip, 5).copy()).float() / 255
    mean, _ = load_vae(settings.vae).posterior(picture[None])
    error = (torch.from_numpy(latents[5, 0]).float() - mean[0]).abs().mean()
    assert error < 0.2 * np.abs(latents[5, 0] - latents[12, 0]).mean() + 0.05


def test_points_are_those_of_the_pictures(folder: Path, settings: Settings) -> None:
    shards = Shards(folder)
    for clip in shards.clips("train"):
        points = np.array(shards.array(clip, "landmarks.npy", (FRAMES, 68, 2)))
        said = speech(settings.seed, int(clip.key[-5:]), settings.seconds)
        shown, _ = film(int(clip.key[-5:]), said, settings)
        np.testing.assert_allclose(truth(points).opening, truth(shown.landmarks).opening, atol=2e-3)
        spread = points.max(1) - points.min(1)
        assert 0.62 * 64 < spread.max(1).mean() < 0.8 * 64


def test_crops_do_not_depend_on_the_mouth_they_show(models: dict[str, Path]) -> None:
    settings = Settings(models["vae"], {"hubert": models["hubert"]}, seconds=4.0, resolution=64, spacing=7)
    said, half = speech(0, 3, 4.0), settings.count // 2
    mute = joined([silence(1.5), said.cut(1.5, 4.0)])  # a mouth knows a little of what it will say
    (talking, boxes), (silent, same_boxes) = (film(0, heard, settings) for heard in (said, mute))
    assert truth(silent.landmarks[:4]).opening.max() < 0.02 < truth(talking.landmarks[:4]).opening.max()
    assert np.array_equal(boxes[:half], same_boxes[:half])
    assert not np.array_equal(boxes[half:], same_boxes[half:])


def test_without_latents_the_rest_is_the_same(tmp_path: Path, folder: Path, settings: Settings) -> None:
    write_data(tmp_path, 3, replace(settings, latents=False))
    whole, fewer = Shards(folder), Shards(tmp_path)
    assert fewer.info == whole.info
    for one, other in zip(whole.clips("train"), fewer.clips("train"), strict=True):
        assert one.members.keys() - other.members.keys() == {"latents.npy"}
        assert np.array_equal(whole.pictures(one), fewer.pictures(other))
        shape = (2 * FRAMES, 32)
        assert np.array_equal(whole.array(one, "hubert.npy", shape), fewer.array(other, "hubert.npy", shape))


def test_keyframes_alone(tmp_path: Path, models: dict[str, Path]) -> None:
    sparse = Settings(models["vae"], {"hubert": models["hubert"]}, seconds=188 / 25, resolution=64, spacing=13)
    write_data(tmp_path, 1, sparse)
    shards = Shards(tmp_path)
    clip = shards.clips("train")[0]
    assert (shards.info.spacing, clip.frames) == (13, 15)
    said = speech(0, 0, sparse.seconds)
    whole = speech_rows(torch.from_numpy(said.waveform), load_encoder("hubert", models["hubert"]))
    rows = np.array(shards.array(clip, "hubert.npy", (30, 32)))
    np.testing.assert_array_equal(rows[[2, 3, 28, 29]], whole[[26, 27, 364, 365]])
    points = np.array(shards.array(clip, "landmarks.npy", (15, 68, 2)))
    mouth = said.mouth((np.array([26, 182]) + 0.5) / 25).open
    assert (truth(points).opening[[2, 14]] > 0.05).tolist() == (mouth > 0.1).tolist()
    config = load_config("tiny-keyframe", None, {"speech_encoder": "hubert", "resolution": "64", "identity": "other"})
    batch = collate([Windows(shards, config)[number] for number in range(2)])
    assert batch.latents.shape == (2, 14, 4, 8, 8)
    with pytest.raises(KeySyncError, match="one frame in 13 of its videos but interpolation windows"):
        Windows(shards, load_config("tiny-interpolation", None, {"speech_encoder": "hubert", "resolution": "64"}))


def test_excerpt(tmp_path: Path, models: dict[str, Path]) -> None:
    short = Settings(models["vae"], {"hubert": models["hubert"]}, seconds=4.0, resolution=64, excerpt=16)
    write_data(tmp_path, 2, short)
    clips = {clip.key: clip for split in ("train", "validation") for clip in Shards(tmp_path).clips(split)}
    assert {clip.frames for clip in clips.values()} == {16}
    assert len({short.drawn(number).start for number in range(20)}) > 10
    drawn, said = short.drawn(1), speech(0, 1, 4.0)
    whole = speech_rows(torch.from_numpy(said.waveform), load_encoder("hubert", models["hubert"]))
    shards = Shards(tmp_path)
    about = json.loads(next(tmp_path.glob("work/*/clip-00001.json")).read_text())
    assert (about["start"], about["seconds"]) == (drawn.start / 25, 16 / 25)
    rows = np.array(shards.array(clips["clip-00001"], "hubert.npy", (32, 32)))
    np.testing.assert_array_equal(rows, whole[2 * drawn.start : 2 * drawn.stop])
    points = np.array(shards.array(clips["clip-00001"], "landmarks.npy", (16, 68, 2)))
    shown, _ = film(1, said, replace(short, excerpt=None))
    opening = truth(shown.landmarks).opening
    np.testing.assert_allclose(truth(points).opening, opening[drawn.start : drawn.stop], atol=2e-3)


def test_processes_make_the_same(tmp_path: Path, folder: Path, settings: Settings) -> None:
    write_data(tmp_path, 3, settings, workers=2)
    for name in ("train-000000.tar", "validation-000000.tar", "index.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_clips_that_are_there_are_kept(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path, 1, settings)
    made: list[int] = []
    write = data.write_clip

    def watched(work: Path, number: int, held: Any) -> Any:
        made.append(number)
        return write(work, number, held)

    monkeypatch.setattr(data, "write_clip", watched)
    write_data(tmp_path, 2, settings)
    assert made == [1]
    assert len(Shards(tmp_path).clips("train")) == len(Shards(tmp_path).clips("validation")) == 1


def test_mouths_move_with_the_sound(settings: Settings) -> None:
    kinds = [speech(0, number, 8.0) for number in range(40)]
    assert {len(said.waveform) for said in kinds} == {8 * 16_000}
    quiet = [max((stop - start for start, stop in said.pauses()), default=0.0) for said in kinds]
    assert 0.05 < np.mean(np.array(quiet) > 1.7) < 0.5
    held = next(said for said, pause in zip(kinds, quiet, strict=True) if 1.7 < pause < 7)
    start, stop = max(held.pauses(), key=lambda pause: pause[1] - pause[0])
    mouth = held.mouth((np.arange(200) + 0.5) / 25)
    inside = slice(int((start + 0.2) * 25), int((stop - 0.2) * 25))
    assert mouth.open[inside].max() < 0.02 < mouth.open.max()


def test_each_clip_is_another_person(settings: Settings) -> None:
    said = speech(0, 1, settings.seconds)
    first, second, again = (film(number, said, settings)[0].frames for number in (1, 2, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_settings_that_make_no_sense(models: dict[str, Path]) -> None:
    with pytest.raises(KeySyncError, match="expected at least 14"):
        Settings(models["vae"], {"hubert": models["hubert"]}, seconds=0.2)
    with pytest.raises(KeySyncError, match="a clip of 10 s has 13 frames to draw: expected at least 14"):
        Settings(models["vae"], {"hubert": models["hubert"]}, excerpt=13)
    with pytest.raises(KeySyncError, match="an excerpt of 21 frames: clips of 10 s have only 20"):
        Settings(models["vae"], {"hubert": models["hubert"]}, spacing=13, excerpt=21)
    with pytest.raises(KeySyncError, match="expected 1 or more"):
        Settings(models["vae"], {"hubert": models["hubert"]}, spacing=0)
    with pytest.raises(KeySyncError, match="expected a multiple of 8"):
        Settings(models["vae"], {"hubert": models["hubert"]}, resolution=100)
    with pytest.raises(KeySyncError, match="--hubert"):
        Settings(models["vae"], {})


def test_command_line(
    tmp_path: Path, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = f"x -o {tmp_path} --vae {models['vae']} --hubert {models['hubert']} --clips 1 --resolution 64"
    monkeypatch.setattr(sys, "argv", [*given.split(), "--seconds", "0.6"])
    assert data.main() == 0
    assert json.loads((tmp_path / "index.json").read_text())["detector"] == "rendered truth"
    monkeypatch.setattr(sys, "argv", [*given.split(), "--vae", str(tmp_path / "missing")])
    assert data.main() == 1
    assert "missing" in capsys.readouterr().err
