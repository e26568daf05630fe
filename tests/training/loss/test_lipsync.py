"""A lip-sync loss by a function of the user's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from training.config.config import SYNC_FRAMES
from training.loss.lipsync import load_sync
from training.loss.loss import LossModule

from ...small_stages import FRAMES, small_stage
from .test_loss import Decoder, batch_of, draws_of, settings

NAME = f"{__name__}:openings_and_loudness"


def openings_and_loudness(device: torch.device) -> Any:
    """A stand-in for SyncNet: the brightness of frames should be the loudness of their sound."""

    def distance(pictures: Tensor, sound: Tensor) -> Tensor:
        bright = pictures.square().mean((2, 3, 4))
        loud = sound.to(pictures.dtype).unflatten(1, (SYNC_FRAMES, -1)).square().mean(2)
        apart: Tensor = (bright - loud).square().sum(1)
        return apart

    return distance


def sync_batch(dtype: torch.dtype = torch.float32) -> Any:
    batch = batch_of()
    source = torch.Generator().manual_seed(8)
    last = FRAMES - SYNC_FRAMES
    sound = torch.rand(2, 640 * SYNC_FRAMES, generator=source, dtype=dtype)
    return replace(batch, sync_frame=torch.tensor([0, last]), sound=sound)


def test_frames_in_a_row_meet_their_sound() -> None:
    config = settings("interpolation", sync_loss=NAME, sync_weight=0.5)
    distance = load_sync(NAME, torch.device("cpu"))
    module = LossModule(small_stage("interpolation"), Decoder(), config, sync=distance)
    batch = sync_batch()
    draws = draws_of(batch)
    with torch.no_grad():
        losses, denoised = module(batch, draws), module.denoise(batch, draws)
        rows = [module.decode(clip[first : first + 5]) for clip, first in zip(denoised, batch.sync_frame, strict=True)]
        wanted = distance(torch.stack(rows), batch.sound).mean()
    torch.testing.assert_close(losses.sync, wanted)
    torch.testing.assert_close(losses.total, losses.latent + 0.5 * wanted)
    assert losses.pixel == 0


def test_its_gradient_in_double_precision() -> None:
    config = settings("interpolation", sync_loss=NAME, sync_weight=1.0)
    distance = load_sync(NAME, torch.device("cpu"))
    module = LossModule(small_stage("interpolation"), Decoder().double(), config, sync=distance)
    batch = sync_batch(torch.float64)
    latents = batch.latents.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module.sync_loss(x, batch), (latents,), fast_mode=True)


def test_what_is_missing() -> None:
    config = settings("interpolation", sync_loss=NAME, sync_weight=1.0)
    stage, distance = small_stage("interpolation"), load_sync(NAME, torch.device("cpu"))
    with pytest.raises(KeySyncError, match="sync_weight is 1 but there is no VAE decoder"):
        LossModule(stage, None, config, sync=distance)
    with pytest.raises(KeySyncError, match="sync_weight is 1 but there is no lip-sync loss"):
        LossModule(stage, Decoder(), config)
    module = LossModule(stage, Decoder(), config, sync=distance)
    batch = batch_of()
    with pytest.raises(KeySyncError, match="the batch has no sound"):
        module(batch, draws_of(batch))
    with pytest.raises(KeySyncError, match=r"cannot load the lip-sync loss nowhere:it \(ModuleNotFoundError"):
        load_sync("nowhere:it", torch.device("cpu"))
    with pytest.raises(KeySyncError, match="has no function it: name one that takes a device and returns a distance"):
        load_sync(f"{__name__}:it", torch.device("cpu"))
