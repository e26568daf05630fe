"""Any number of frames comes out, shared frames are the mean of two windows, and what each stage is given."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from keysync.network.guidance import guide
from keysync.network.noise import Noise
from keysync.network.stage import ALL_STAGES, StageSpec, Windows
from keysync.systems.keyface.generate import Head, generate, hear
from keysync.systems.keyface.guided import Guided
from keysync.systems.keyface.sampling import KeyFaceSampling
from keysync.systems.keysync.plan import Plan
from keysync.systems.keysync.sampling import Sampling
from keysync.systems.keysync.windows import Run

from ...tiny_keyface import tiny_stage

LATENT = (8, 8)


class Recorder:
    """A stage that keeps what it is given and counts its windows: each latent is the number of its window."""

    def __init__(self, name: str) -> None:
        self.spec = StageSpec(name, ALL_STAGES[name].unet, latent_size=LATENT)
        self.given: list[Windows] = []

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: object) -> Tensor:
        self.given.append(windows)
        return torch.full_like(noise, float(len(self.given)))


def drawn(frames: int) -> tuple[list[Tensor], Recorder, Recorder]:
    """All frames of a head, the value of each the number of its window, and both stages."""
    keyframe, between = Recorder("keyface_keyframe"), Recorder("keyface_interpolation")
    models: Any = SimpleNamespace(
        keyframe=keyframe,
        vae=SimpleNamespace(decode=lambda latents: latents[:, 0, :1, :1, None].expand(-1, 1, 1, 3).clone()),
        stores=[],
        memo=None,
        place=lambda stage: None,
    )
    run = Run(models, KeyFaceSampling(), Noise.from_seed(0), lambda name: nullcontext())
    numbers = torch.arange(frames, dtype=torch.float32)
    heard = numbers.reshape(-1, 1, 1).expand(-1, 2, 4)
    head = Head(torch.zeros(4, *LATENT), heard, heard, torch.stack((numbers, -numbers), 1) / frames)
    given: Any = between
    return list(generate(run, given, head)), keyframe, between


def test_exactly_as_many_frames_as_there_is_sound() -> None:
    for frames in range(1, 401):
        pictures, _, between = drawn(frames)
        assert len(pictures) == frames
        assert sum(map(len, between.given)) == len(Plan(frames).windows)


def test_a_shared_frame_is_the_mean_of_both_windows() -> None:
    pictures, _, _ = drawn(40)
    values = [float(picture.mean()) for picture in pictures]
    assert values == [1.0] * 13 + [1.5] + [2.0] * 12 + [2.5] + [3.0] * 13


@pytest.mark.parametrize("frames", [5, 27, 200])
def test_every_frame_hears_and_feels_its_own_time(frames: int) -> None:
    _, keyframe, between = drawn(frames)
    plan = Plan(frames)
    for batch, given in zip(plan.batches, keyframe.given, strict=True):
        shown = torch.tensor([plan.index(frame) for frame in batch]).float()
        assert torch.equal(given.features[0, :, 0, 0], shown)
        assert given.controls is not None
        torch.testing.assert_close(given.controls[0], torch.stack((shown, -shown), 1) / frames)
    windows = [given.features[number] for given in between.given for number in range(len(given))]
    for (first, last), features in zip(plan.windows, windows, strict=True):
        assert features[:, 0, 0].tolist() == [plan.index(frame) for frame in range(first, last + 1)]
    assert all(given.controls is None for given in between.given)


def test_features_stand_side_by_side_as_long_as_the_shortest() -> None:
    speech = {"wavlm": torch.zeros(6, 2, 3), "beats": torch.ones(5, 2, 4), "wav2vec2": torch.full((6, 2, 3), 2.0)}
    heard = hear(speech, ALL_STAGES["keyface_interpolation"])
    assert len(heard) == 5
    assert heard[:].shape == (5, 2, 7)
    assert heard[torch.tensor([[4, 0]])].shape == (1, 2, 2, 7)
    assert heard[:][4, 0].tolist() == [2, 2, 2, 1, 1, 1, 1]


def test_the_weaker_copy_guides() -> None:
    """At a scale of 1 it has no part; both work in float32 where halves overflow."""
    stage, weak = tiny_stage("keyface_interpolation"), tiny_stage("keyface_interpolation", seed=1)
    weak.audio_projection = stage.audio_projection
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 14, 2, stage.spec.audio_channels, generator=generator)
    ends, noise = (torch.randn(1, t, 4, *LATENT, generator=generator) for t in (2, 14))
    windows = Windows.unmasked(features, ends)
    levels = (700.0, 3.0)

    def sampled(scale: float, other: Any) -> Tensor:
        with torch.no_grad():
            result: Tensor = Guided(stage, other).sample(
                windows, noise, KeyFaceSampling(levels=levels, autoguidance=scale), None
            )
        return result

    assert torch.equal(sampled(1, weak), sampled(1, stage))
    assert not torch.equal(sampled(2, weak), sampled(1, weak))
    torch.testing.assert_close(sampled(2, stage), sampled(1, stage), rtol=1e-3, atol=1e-3)
    stage.half(), weak.half()
    guided = Guided(stage, weak)
    assert guided.is_half
    with guided.in_float32():
        assert [stage.is_half, weak.is_half] == [False, False]
    assert [stage.is_half, weak.is_half] == [True, True]


def test_predictions_that_share_a_call_keep_their_emotion() -> None:
    stage = tiny_stage("keyface_keyframe")
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 14, 2, stage.spec.audio_channels, generator=generator)
    noise = torch.randn(1, 14, 4, *LATENT, generator=generator)
    windows = Windows.unmasked(features, torch.randn(1, 4, *LATENT), torch.rand(1, 14, 2, generator=generator))
    with torch.no_grad():
        alone, together = (guide(stage, windows, most=most)(noise, torch.tensor(2.0)) for most in (1, 3))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
