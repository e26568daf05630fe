"""Samples of frames: what belongs together, how far references are, and that numbers decide everything."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.errors import KeySyncError
from keysync.network.stage import SCALE_FACTOR
from training.config.config import load_as
from training.data.index import SPLITS, TRAIN, VALIDATION
from training.data.parts import LANDMARKS, LATENTS
from training.data.shards import Shards
from training.data.table import Clips
from training.flashlips.config import FlashLipsConfig
from training.flashlips.frames import Frame, FrameDataset, collate, validation_frames

from ..small_data import write_small_data

FRAMES, GAP = 14, 5


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return Shards(write_small_data(tmp_path_factory.mktemp("data") / "small", clips=3, frames=FRAMES))


def config(stage: str = "lips-editor", **changes: str) -> FlashLipsConfig:
    start = {} if stage == "lips-editor" else {"start": "file.safetensors"}
    return load_as(FlashLipsConfig, stage, None, {"reference_gap": str(GAP), **start, **changes})


def means(shards: Shards, place: int) -> torch.Tensor:
    """The latents (n, 4, h, w) of a training clip."""
    clip = shards.clips("train")[place]
    stored = shards.array(clip, LATENTS, (clip.frames, 2, 4, 8, 8))[:, 0]
    return torch.from_numpy(stored.astype(np.float32)) * SCALE_FACTOR


def place_of(latent: torch.Tensor, among: torch.Tensor) -> int:
    return int((among - latent).abs().flatten(1).sum(1).argmin())


@pytest.mark.parametrize("number", range(8))
def test_a_sample_is_of_one_frame_and_its_references_are_away(shards: Shards, number: int) -> None:
    sample = FrameDataset(shards, config())[number]
    _, place, frame = sample.key.tolist()
    clip, known = shards.clips("train")[place], means(shards, place)
    assert torch.equal(sample.latent, known[frame])
    points = shards.array(clip, LANDMARKS, (clip.frames, 68, 2))
    assert torch.equal(sample.points, torch.from_numpy(points[frame].copy()))
    assert np.array_equal((sample.picture * 255).round().byte().permute(1, 2, 0).numpy(), shards.picture(clip, frame))
    assert sample.mask.shape == (64, 64)
    assert len(sample.references) == 4
    found = [place_of(reference, known) for reference in sample.references]
    assert all(abs(other - frame) >= GAP for other in found)
    counts = np.unique(found, return_counts=True)[1]
    assert set(counts.tolist()) == {4 // len(counts)}  # each as often as the others


def test_references_have_every_number_that_divides_the_most(shards: Shards) -> None:
    samples = FrameDataset(shards, config())
    different = {len(samples[number].references.flatten(1).unique(dim=0)) for number in range(40)}
    assert different == {1, 2, 4}


def test_the_number_decides_the_sample(shards: Shards) -> None:
    first, again = (FrameDataset(shards, config("lips-refine"))[5] for _ in range(2))
    other = FrameDataset(shards, config("lips-refine"))[6]
    for field in fields(Frame):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert not torch.equal(first.latent, other.latent)


def test_only_the_refinement_has_another_frame(shards: Shards) -> None:
    assert FrameDataset(shards, config())[0].other_picture.numel() == 0
    for number in range(6):
        sample = FrameDataset(shards, config("lips-refine"))[number]
        assert sample.other_picture.shape == sample.picture.shape
        assert not torch.equal(sample.other_picture, sample.picture)


def test_shares_of_the_refinement(shards: Shards) -> None:
    always = FrameDataset(shards, config("lips-refine", other_people="1", reversed_share="0"))
    never = FrameDataset(shards, config("lips-refine", other_people="0", reversed_share="1"))
    for number in range(4):
        assert (bool(always[number].by_another), bool(always[number].reversed)) == (True, False)
        assert (bool(never[number].by_another), bool(never[number].reversed)) == (False, True)


def test_data_of_one_frame_in_several_need_fewer_of_them(tmp_path: Path) -> None:
    shards = Shards(write_small_data(tmp_path / "data", frames=FRAMES))
    with pytest.raises(KeySyncError, match=r"has two frames 14 apart \(the longest has 14\): prepare longer videos"):
        FrameDataset(shards, config(reference_gap="14"))
    spaced = FrameDataset(shards, config(reference_gap="13"))
    assert spaced[0].key[2] in (0, 13)


def test_a_batch_keeps_the_order(shards: Shards) -> None:
    samples = FrameDataset(shards, config())
    batch = collate([samples[number] for number in range(3)])
    assert batch.latent.shape == (3, 4, 8, 8)
    assert torch.equal(batch.key[2], samples[2].key)
    moved = batch.to("cpu")
    assert type(moved) is type(batch)


def test_validation_has_clips_of_its_own(shards: Shards) -> None:
    held = validation_frames(shards, config(), FrameDataset(shards, config()), 2)
    assert held.key[:, 0].tolist() == [SPLITS.index(VALIDATION)] * 2


def test_validation_on_training_clips_is_said(
    shards: Shards, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clips = {TRAIN: shards.clips(TRAIN), VALIDATION: Clips([])}
    monkeypatch.setattr(shards, "clips", clips.__getitem__)
    held = validation_frames(shards, config(), FrameDataset(shards, config()), 2)
    assert held.key[:, 0].tolist() == [SPLITS.index(TRAIN)] * 2
    assert "validating on training clips instead" in caplog.text
