"""Windows: the right frames of the right clip, the same whoever reads them; and data that do not fit."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from keysync.errors import KeySyncError
from keysync.face.masks import MASKS, to_latent
from keysync.network.stage import SCALE_FACTOR
from keysync.systems.keysync.small import BUILT_IN
from training.config.config import TrainConfig, load_config
from training.data.dataset import Batch, Window, Windows, collate, eye_weights, lip_weights
from training.data.draws import generator
from training.data.index import DataInfo, EncoderInfo
from training.data.parts import EMOTION, LANDMARKS, LATENTS
from training.data.preparation.encode import save_array
from training.data.preparation.shards import ClipFiles, write_shards
from training.data.shards import Shards
from training.data.store import Folder
from training.data.table import Clips, Table

from ..small_config import small_config
from ..small_data import small_picture, spoil, write_small_clip, write_small_data

KEYFRAME = small_config("keyframe", rgb_weight=1.0)
INTERPOLATION = small_config("interpolation", rgb_weight=1.0)
SPAN = 170
TALL = (64, 64)


def packed(folder: Path, clips: list[ClipFiles], name: str = "data", spacing: int = 1) -> Path:
    data = folder / name
    data.mkdir()
    encoders = {encoder: EncoderInfo(4, BUILT_IN) for encoder in ("hubert", "wavlm")}
    write_shards(clips, data, DataInfo(TALL, (8, 8), 14, encoders, BUILT_IN, "none", spacing=spacing))
    return data


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clip of 190 frames, whose latents, rows and crops tell their frame; the posterior is exact."""
    folder = tmp_path_factory.mktemp("counted")
    clip = write_small_clip(folder, "clip", 190, (8, 8), 4, seed=0)
    latents = np.zeros((190, 2, 4, 8, 8), np.float16)
    latents[:, 0] = np.arange(190)[:, None, None, None]
    save_array(clip.parts[LATENTS], latents)
    for encoder, sign in (("hubert", 1), ("wavlm", -1)):
        rows = sign * np.arange(380)[:, None].repeat(4, 1)
        save_array(clip.parts[f"{encoder}.npy"], rows.astype(np.float16))
    return packed(folder, [clip])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five clips for training and one for validation."""
    return write_small_data(tmp_path_factory.mktemp("small") / "data", clips=6, frames=180, channels=4)


def test_some_windows_have_the_mouth_mask_and_nothing_else_changes(small: Path) -> None:
    shards = Shards(small)
    plain, mixed, every = (Windows(shards, replace(KEYFRAME, mouth_mask_share=share)) for share in (0.0, 0.4, 1.0))
    other = 0
    for number in range(40):
        window = mixed[number]
        kept = torch.equal(window.mask, plain[number].mask)
        other += not kept
        assert kept or torch.equal(window.mask, every[number].mask)
        assert torch.equal(window.latents, plain[number].latents)
    assert 8 <= other <= 24


def frames_of(window: Window) -> list[int]:
    return (window.latents[:, 0, 0, 0] / SCALE_FACTOR).round().int().tolist()


def same(first: Window | Batch, second: Window | Batch) -> bool:
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a is b for a, b in pairs)


@pytest.mark.parametrize(("config", "step", "sign"), [(KEYFRAME, 13, 1), (INTERPOLATION, 1, -1)])
def test_every_part_is_of_the_window_s_frames(config: TrainConfig, step: int, sign: int, counted: Path) -> None:
    shards = Shards(counted)
    windows = Windows(shards, config)
    (clip,) = shards.clips("train")
    landmarks = torch.from_numpy(np.array(shards.array(clip, LANDMARKS, (190, 68, 2))))
    for number in range(20):
        window = windows[number]
        frames = frames_of(window)
        assert frames == list(range(frames[0], frames[0] + 14 * step, step))
        assert int(window.number) == number
        assert window.latents.shape == (14, 4, 8, 8)
        assert window.features.tolist() == [[[sign * 2 * f] * 4, [sign * (2 * f + 1)] * 4] for f in frames]
        masks = torch.stack([MASKS["box"](landmarks[frame], TALL) for frame in frames])
        assert torch.equal(window.mask, to_latent(masks, (8, 8))[:, None])
        assert window.pixel_frame is not None
        assert window.pixel_mask is not None
        assert window.pixels is not None
        shown = int(window.pixel_frame)
        assert torch.equal(window.pixel_mask[0], masks[shown])
        written = torch.from_numpy(small_picture(frames[shown], TALL)).permute(2, 0, 1) / 127.5 - 1
        assert window.pixels.shape == (3, 64, 64)
        assert (window.pixels - written).abs().mean() < 0.02  # the next frame is 0.03 away or more


def test_starts_and_pixel_frames_are_uniform_and_reach_both_ends(tmp_path: Path) -> None:
    latents = np.zeros((SPAN + 2, 2, 4, 8, 8), np.float16)
    latents[:, 0] = np.arange(SPAN + 2)[:, None, None, None]
    clip = write_small_clip(tmp_path, "clip", SPAN + 2, (8, 8), 4, seed=0)
    save_array(clip.parts[LATENTS], latents)
    windows = Windows(Shards(packed(tmp_path, [clip])), replace(KEYFRAME, rgb_weight=0.0))
    drawn = [windows[number] for number in range(420)]
    starts = Counter(frames_of(window)[0] for window in drawn)
    assert sorted(starts) == [0, 1, 2]
    assert min(starts.values()) > 105  # 140 each, less three and a half standard deviations
    pixel_frames = Counter(int(window.pixel_frame) for window in drawn)
    assert sorted(pixel_frames) == list(range(14))
    assert min(pixel_frames.values()) > 10  # 30 each


def test_a_clip_of_exactly_the_span_is_used(tmp_path: Path) -> None:
    data = packed(tmp_path, [write_small_clip(tmp_path, "clip", SPAN, (8, 8), 4, seed=0)])
    assert Windows(Shards(data), KEYFRAME)[5].latents.shape == (14, 4, 8, 8)


def test_latents_are_a_scaled_sample_of_the_posterior(small: Path) -> None:
    shards = Shards(small)
    window = Windows(shards, replace(INTERPOLATION, window=180), split="validation")[3]
    (clip,) = shards.clips("validation")
    mean, std = torch.from_numpy(np.array(shards.array(clip, LATENTS, (180, 2, 4, 8, 8)))).float().unbind(1)
    noise = torch.randn(180, 4, 8, 8, generator=generator(0, 3, "posterior"))
    assert torch.equal(window.latents, (mean + std * noise) * SCALE_FACTOR)
    assert not torch.equal(window.latents, mean * SCALE_FACTOR)


def test_an_epoch_visits_every_clip_once(small: Path) -> None:
    shards = Shards(small)
    windows = Windows(shards, KEYFRAME)
    assert len(windows) == 5
    epochs = [[windows._order[number].key for number in range(5 * epoch, 5 * epoch + 5)] for epoch in range(4)]
    assert all(sorted(epoch) == sorted(clip.key for clip in shards.clips("train")) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_clip_is_drawn_in_proportion_to_its_length(tmp_path: Path) -> None:
    lengths = {"a": 200, "b": 400, "c": 600, "d": 800, "e": 50}
    made = [write_small_clip(tmp_path, key, 20, (8, 8), 4, seed=0) for key in lengths]
    data = packed(tmp_path, [replace(one, video="one") for one in made], "data")
    shards = Shards(data)
    table = Table.of([replace(clip, frames=lengths[clip.key]) for clip in shards.clips("train")], shards._index.sizes)
    shards._index = replace(shards._index, splits={"train": Clips([table])})
    windows = Windows(shards, KEYFRAME)
    drawn = Counter(windows._order[number].key for number in range(4 * 500))
    assert set(drawn) == set("abcd")
    for key, count in drawn.items():
        assert count == pytest.approx(2000 * lengths[key] / 2000, rel=0.1)
    # No chance within an epoch: as often as its share says, rounded up or down.
    for epoch in range(20):
        visits = Counter(windows._order[number].key for number in range(4 * epoch, 4 * epoch + 4))
        assert all(abs(visits[key] - 4 * lengths[key] / 2000) < 1 for key in "abcd")


def test_samples_depend_on_nothing_but_seed_and_number(small: Path) -> None:
    windows = Windows(Shards(small), KEYFRAME)
    numbers = [0, 7, 3, 12, 4, 5]
    alone = [windows[number] for number in numbers]
    again = pickle.loads(pickle.dumps(windows))
    assert all(same(again[number], window) for number, window in reversed(list(zip(numbers, alone, strict=True))))
    for workers in (0, 1, 2):
        loader = DataLoader(windows, batch_sampler=[numbers[:2], numbers[2:]], num_workers=workers, collate_fn=collate)
        assert all(same(a, b) for a, b in zip(loader, [collate(alone[:2]), collate(alone[2:])], strict=True))
    other = Windows(Shards(small), replace(KEYFRAME, seed=1))[0]
    assert not same(other, alone[0])
    assert not same(windows[5], windows[10])


def test_no_pixels_where_the_loss_looks_at_none(small: Path) -> None:
    config = replace(KEYFRAME, rgb_weight=0.0)
    batch = collate([Windows(Shards(small), config)[number] for number in range(3)])
    assert batch.pixels is None
    assert batch.pixel_mask is None
    moved = batch.to("meta")
    assert moved.pixels is None
    assert moved.latents.is_meta
    assert moved.latents.shape == (3, 14, 4, 8, 8)
    full = collate([Windows(Shards(small), KEYFRAME)[number] for number in range(3)])
    assert same(replace(full, pixels=None, pixel_mask=None), batch)


def test_shapes_and_types_of_a_batch(small: Path) -> None:
    config = replace(KEYFRAME, mouth_weight=2.0, identity="other")
    batch = collate([Windows(Shards(small), config)[number] for number in range(3)])
    assert batch.controls is None
    names = [field.name for field in fields(batch) if field.name not in ("controls", "sync_frame", "sound", "lost")]
    shapes = {name: tuple(getattr(batch, name).shape) for name in names}
    assert shapes == {
        "number": (3,),
        "latents": (3, 14, 4, 8, 8),
        "mask": (3, 14, 1, 8, 8),
        "features": (3, 14, 2, 4),
        "pixel_frame": (3,),
        "pixels": (3, 3, 64, 64),
        "pixel_mask": (3, 1, 64, 64),
        "weight": (3, 14, 1, 8, 8),
        "identity": (3, 4, 8, 8),
    }
    whole = ("number", "pixel_frame")
    for name in shapes:
        assert getattr(batch, name).dtype == (torch.int64 if name in whole else torch.float32), name
    assert batch.pixels is not None
    assert -1 <= batch.pixels.min() < batch.pixels.max() <= 1
    assert set(batch.mask.unique().tolist()) == {0.0, 1.0}


def test_short_clips_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lengths = {"a": 200, "b": SPAN - 1, "c": 180, "d": 14}
    clips = [write_small_clip(tmp_path, key, frames, (8, 8), 4, seed=0) for key, frames in lengths.items()]
    clips = [replace(clip, video="one" if clip.key in "abc" else "two") for clip in clips]
    shards = Shards(packed(tmp_path, clips))
    trained, kept_out = ("train", "validation") if len(shards.clips("train")) == 3 else ("validation", "train")
    with caplog.at_level(logging.WARNING):
        assert len(Windows(shards, KEYFRAME, trained)) == 2
    assert f"1 of 3 {trained} clips are shorter than 170 frames" in caplog.text
    caplog.clear()
    assert len(Windows(shards, INTERPOLATION, trained)) == 3
    assert caplog.text == ""
    with pytest.raises(KeySyncError, match=r"none of the 1 .*clips has the 170 frames .* \(the longest has 14\)"):
        Windows(shards, KEYFRAME, kept_out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 512}, "has crops of 64x64 but resolution is 512: set resolution to 64, or prepare"),
        ({"mask": "beard"}, "beard"),
        ({"window": 15}, r"none of the 5 train clips has the 197 frames"),
    ],
)
def test_settings_that_do_not_fit_the_data(change: dict[str, Any], message: str, small: Path) -> None:
    with pytest.raises(KeySyncError, match=message):
        Windows(Shards(small), replace(KEYFRAME, **change))


def test_a_speech_encoder_that_the_data_lack(tmp_path: Path) -> None:
    clip = write_small_clip(tmp_path, "clip", SPAN, (8, 8), 4, seed=0)
    data = tmp_path / "data"
    data.mkdir()
    write_shards([clip], data, DataInfo(TALL, (8, 8), 14, {"wavlm": EncoderInfo(4, BUILT_IN)}, BUILT_IN, "none"))
    message = "has no speech features of hubert, only of wavlm: set .* prepare the videos again with --hubert"
    with pytest.raises(KeySyncError, match=message):
        Windows(Shards(data), KEYFRAME)
    assert Shards(data).channels("wavlm") == 4


def test_an_error_of_a_worker_is_told_with_the_file(small: Path, tmp_path: Path) -> None:
    windows = Windows(Shards(small), KEYFRAME)
    windows._shards._store = Folder(tmp_path)
    loader = DataLoader(windows, batch_sampler=[[0]], num_workers=1, collate_fn=collate)
    with pytest.raises(KeySyncError, match=r"train-000000.tar: cannot read .*landmarks.npy"):
        next(iter(loader))


def test_the_sound_of_frames_in_a_row(small: Path) -> None:
    shards = Shards(small)
    plain = Windows(shards, INTERPOLATION)
    windows = Windows(shards, replace(INTERPOLATION, sync_loss="a:b", sync_weight=1.0))
    firsts = set()
    for number in range(20):
        window = windows[number]
        assert window.sync_frame is not None
        assert window.sound is not None
        assert torch.equal(window.latents, plain[number].latents)
        (clip,) = [clip for clip in shards.clips("train") if clip == next(windows._order.following(number))]
        start = windows._draw(number, "window start", clip.frames - 13) + int(window.sync_frame)
        assert window.sound.tolist() == shards.sound(clip)[640 * start : 640 * (start + 5)].tolist()
        firsts.add(int(window.sync_frame))
    assert firsts <= set(range(10))
    assert len(firsts) > 5
    assert plain[0].sound is None


def test_the_next_intact_clip_stands_in_for_a_damaged_one(small: Path, tmp_path: Path) -> None:
    """Whatever a reader has met before: what stands in follows from the data alone."""
    data = shutil.copytree(small, tmp_path / "data")
    bad = spoil(data, 2)
    windows, whole = Windows(Shards(data), KEYFRAME), Windows(Shards(small), KEYFRAME)
    lost = [windows[number].lost for number in range(5)]
    (turn,) = [number for number in range(5) if lost[number]]
    assert [clip[:2] for clip in lost[turn]] == [(bad.shard, bad.key)]
    assert "latents.npy has numbers that are not finite" in lost[turn][0].why
    for number in set(range(5)) - {turn}:
        assert torch.equal(windows[number].latents, whole[number].latents)
    again = Windows(Shards(data), KEYFRAME)[turn]
    assert torch.equal(again.latents, windows[turn].latents)
    assert not torch.equal(again.latents, whole[turn].latents)
    assert collate([windows[0], again]).lost == windows[0].lost + again.lost
    with pytest.raises(KeySyncError, match="not finite"):
        Windows(Shards(data), replace(KEYFRAME, max_failures=0))[turn]


def test_data_without_an_intact_clip(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "data", frames=180, channels=4)
    spoil(data, 0)
    with pytest.raises(KeySyncError, match=r"latents.npy has numbers that are not finite"):
        Windows(Shards(data), KEYFRAME)[0]


def test_lips_weigh_more_where_asked(small: Path) -> None:
    assert Windows(Shards(small), KEYFRAME)[0].weight is None
    window = Windows(Shards(small), replace(KEYFRAME, mouth_weight=5.0))[0]
    assert window.weight is not None
    assert window.weight.shape == window.mask.shape
    assert set(window.weight.unique().tolist()) == {1.0, 5.0}


def test_eyes_weigh_more_where_asked(small: Path) -> None:
    window = Windows(Shards(small), replace(KEYFRAME, mouth_weight=3.0, eye_weight=5.0))[0]
    assert window.weight is not None
    assert set(window.weight.unique().tolist()) <= {1.0, 3.0, 5.0}
    assert window.weight.max() == 5


def test_weights_lie_at_eyes_and_brows() -> None:
    landmarks = torch.zeros(1, 68, 2)
    landmarks[0, 17:22] = torch.tensor([9.0, 18.0])
    landmarks[0, 36:42] = torch.tensor([20.0, 30.0])
    landmarks[0, 22:27] = landmarks[0, 42:48] = torch.tensor([50.0, 26.0])
    weights = eye_weights(landmarks, (8, 8), 4.0)
    expected = torch.ones(8, 8)
    expected[2:4, 1:3] = 4  # the first eye and its brow
    expected[3, 6] = 4
    torch.testing.assert_close(weights[0, 0], expected)


def test_weights_lie_around_the_lips() -> None:
    landmarks = torch.zeros(2, 68, 2)
    landmarks[0, 48:68] = torch.tensor([[33.0, 41.0]]) + torch.rand(20, 2) * torch.tensor([14.0, 6.0])
    weights = lip_weights(landmarks, (8, 8), 4.0)
    expected = torch.ones(8, 8)
    expected[4:7, 3:7] = 4  # the lips' latents, 5 and 4 to 5, and one around
    torch.testing.assert_close(weights[0, 0], expected)
    assert weights[1, 0, 1:, 1:].max() == 1, "lips at the corner weigh there alone"


def test_a_window_that_is_the_whole_clip_has_no_other_frame(tmp_path: Path) -> None:
    data = packed(tmp_path, [write_small_clip(tmp_path, "clip", 14, (8, 8), 4, seed=0)], spacing=13)
    config = replace(KEYFRAME, rgb_weight=0.0)
    assert Windows(Shards(data), config)[0].latents.shape[0] == 14
    with pytest.raises(KeySyncError, match="no frame outside the window for the identity: prepare longer videos"):
        Windows(Shards(data), replace(config, identity="other"))[0]


def test_the_identity_may_be_a_frame_outside_the_window(counted: Path) -> None:
    windows = Windows(Shards(counted), replace(KEYFRAME, identity="other"))
    assert Windows(Shards(counted), KEYFRAME)[0].identity is None
    seen = set()
    for number in range(40):
        window = windows[number]
        assert window.identity is not None
        frame = round(float(window.identity[0, 0, 0]) / SCALE_FACTOR)
        assert 0 <= frame < 190
        assert frame not in frames_of(window)
        seen.add(frame)
    assert len(seen) > 20


def keyface(**changes: Any) -> TrainConfig:
    plain = {"resolution": "64", "speech_encoder": "hubert+wavlm", "rgb_weight": "0", "lpips_weight": "0"}
    return load_config("keyface-keyframe", None, plain | changes)


def test_a_window_of_keyface(tmp_path: Path) -> None:
    """The features of two encoders side by side, valence and arousal of each frame, and no mask."""
    shards = Shards(write_small_data(tmp_path / "data", channels=4, emotion=True))
    config, number = keyface(), 3
    window = Windows(shards, config)[number]
    alone = Windows(shards, small_config("keyframe", seed=config.seed, speech_encoder="wavlm"))[number]
    assert window.features.shape == (14, 2, 8)
    assert torch.equal(window.features[..., 4:], alone.features)
    assert bool((window.mask == 1).all())
    assert window.controls is not None
    assert window.controls.shape == (14, 2)
    (clip,) = shards.clips("train")
    start = int(torch.randint(clip.frames - SPAN + 1, (), generator=generator(config.seed, number, "window start")))
    felt = torch.from_numpy(np.array(shards.array(clip, EMOTION, (clip.frames, 2))))
    assert torch.equal(window.controls, felt[start : start + SPAN : 13])
    assert collate([window, window]).to("cpu").controls is not None
    assert alone.controls is None


def test_data_without_emotions(tmp_path: Path) -> None:
    windows = Windows(Shards(write_small_data(tmp_path / "data")), keyface())
    with pytest.raises(KeySyncError, match=r"no valence and arousal, which keyface_keyframe needs: .* --emotion FILE"):
        windows[0]
