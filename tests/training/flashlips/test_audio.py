"""Flow matching: the loss by hand, what a span holds, and the spread of the lips that the network is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.speech_to_lips import SpeechToLips
from training.config.config import load_as
from training.data.shards import Shards
from training.flashlips.audio import AudioLoss
from training.flashlips.config import FlashLipsConfig
from training.flashlips.spans import SpanDataset, Spans, collate

from ..small_data import write_small_data

FRAMES, SOURCES = 6, 3


class Red(nn.Module):
    """The red of a picture, and its double."""

    def forward(self, pictures: Tensor, points: Tensor) -> Tensor:
        assert points.shape == (len(pictures), 68, 2)
        red = pictures[:, 0].mean((1, 2))
        return torch.stack([red, 2 * red], 1)


class Faint(nn.Module):
    """Reads half of the red of a picture, and all of it."""

    def forward(self, pictures: Tensor) -> Tensor:
        red = pictures[:, 0].mean((1, 2))
        return torch.stack([red / 2, red], 1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return Shards(write_small_data(tmp_path_factory.mktemp("data") / "small", frames=14))


@pytest.fixture(scope="module")
def spans(shards: Shards) -> SpanDataset:
    made = SpanDataset(shards, config(), FRAMES, SOURCES)
    made.read(Red(), Faint(), torch.device("cpu"))
    return made


def config(**changes: str) -> FlashLipsConfig:
    return load_as(FlashLipsConfig, "lips-audio", None, {"start": "file", "speech_encoder": "hubert", **changes})


def test_a_span_hears_what_its_lips_say(shards: Shards, spans: SpanDataset) -> None:
    clips = shards.clips("train")
    for number in range(4):
        span = spans[number]
        matches = []
        for clip in clips:
            red = torch.from_numpy(shards.pictures(clip)[..., 0]).float().mean((1, 2)) / 255
            rows = torch.from_numpy(shards.features(clip, "hubert", np.arange(clip.frames)))
            for start in range(clip.frames - FRAMES + 1):
                part = slice(start, start + FRAMES)
                if torch.equal(span.speech, rows[part]):
                    matches.append(torch.allclose(span.lips[:, 0], red[part], atol=1e-5))
                    assert all((red / 2 - value).abs().min() < 1e-5 for value in span.source[:, 0])
        assert matches == [True]
        assert span.noise.shape == span.lips.shape
        assert 0 <= float(span.time) < 1


def test_all_lips_are_read_once(shards: Shards) -> None:
    made = SpanDataset(shards, config(), FRAMES, SOURCES)
    lips = made.read(Red(), Faint(), torch.device("cpu"))
    assert len(lips) == sum(clip.frames for clip in shards.clips("train"))
    assert torch.equal(lips[:, 1], 2 * lips[:, 0])


def test_data_that_do_not_fit(shards: Shards) -> None:
    with pytest.raises(KeySyncError, match=r"none of the . train clips has the 15 frames of a span"):
        SpanDataset(shards, config(), 15, SOURCES)
    with pytest.raises(KeySyncError, match="has no speech features of whisper"):
        SpanDataset(shards, config(speech_encoder="whisper"), FRAMES, SOURCES)


class Velocity(nn.Module):
    """A transformer that knows what to predict: z - eps of the spans."""

    def __init__(self, spans: Spans, off: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([1.0, 2.0]))
        self.spans, self.off = spans, off

    def normalised(self, lips: Tensor) -> Tensor:
        return (lips - self.get_buffer("mean")) / 2

    def forward(self, z_t: Tensor, t: Tensor, speech: Tensor, source: Tensor) -> Tensor:
        z = self.normalised(self.spans.lips)
        share = self.spans.time[:, None, None]
        assert torch.allclose(z_t, (1 - share) * self.spans.noise + share * z)
        assert torch.equal(source, self.normalised(self.spans.source))
        return z - self.spans.noise + self.off


@pytest.mark.parametrize("off", [0.0, 0.5])
def test_the_loss_is_the_squared_error_of_the_velocity(
    spans: SpanDataset, off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = collate([spans[number] for number in range(2)])
    fake: Any = Velocity(batch, off)
    monkeypatch.setattr(AudioLoss, "speech", property(lambda self: fake))
    assert float(AudioLoss(nn.ModuleDict()).forward(batch).total) == pytest.approx(off**2, abs=1e-6)


def test_every_number_of_the_network_learns() -> None:
    torch.manual_seed(0)
    networks = PRESETS["tiny"].networks
    speech = SpeechToLips(networks.speech, 2)
    batch = Spans(
        speech=torch.randn(2, FRAMES, 2, networks.speech.speech),
        lips=torch.randn(2, FRAMES, 2),
        source=torch.randn(2, SOURCES, 2),
        noise=torch.randn(2, FRAMES, 2),
        time=torch.rand(2),
    )
    AudioLoss(nn.ModuleDict({"speech": speech}))(batch).total.backward()
    still = [name for name, value in speech.named_parameters() if value.grad is None and "emotion" not in name]
    assert not still
