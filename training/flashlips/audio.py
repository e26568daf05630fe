"""Teaches the speech transformer by flow matching on straight paths: mean squared error, times uniform in 0..1."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError
from keysync.systems.flashlips.lips_vector import LipsVector
from keysync.systems.flashlips.resnet import ResNet
from keysync.systems.flashlips.spec import FlashLipsSpec
from keysync.systems.flashlips.speech_to_lips import Conditions, SpeechToLips, sample, straight_path

from ..data.index import VALIDATION
from ..data.shards import Shards
from ..run.course import Outcome
from .config import FlashLipsConfig
from .course import FlashLipsCourse
from .plot import rows_of
from .spans import Span, SpanDataset, Spans, collate

logger = logging.getLogger(__name__)

VALIDATED = 16
LEAST_SPREAD = 1e-3  # of a number over the data, where it hardly moves


class AudioErrors(NamedTuple):
    """The mean squared error of the velocity."""

    total: Tensor


class AudioLoss(nn.Module):
    """The loss of a speech transformer (`network`)."""

    def __init__(self, network: nn.ModuleDict) -> None:
        super().__init__()
        self.network = network

    @property
    def speech(self) -> SpeechToLips:
        """The speech transformer."""
        part = self.network["speech"]
        assert isinstance(part, SpeechToLips)
        return part

    def forward(self, spans: Spans) -> AudioErrors:
        network = self.speech
        spans = spans.to(network.mean.device)
        z, source = network.normalised(spans.lips), network.normalised(spans.source)
        z_t, target = straight_path(z, spans.noise, spans.time)
        velocity = network(z_t, spans.time, spans.speech, source)
        return AudioErrors((velocity.float() - target).square().mean())

    def sample(self, spans: Spans, steps: int) -> Tensor:
        """The lips vectors (n, w) of the first span, sampled from its noise."""
        first = spans.to(self.speech.mean.device)
        return sample(self.speech, Conditions(first.speech[0], first.source[0]), first.noise[0], steps)


class AudioValidation:
    """The loss on spans that are not trained on."""

    def __init__(self, spans: Spans, steps: int) -> None:
        self._spans, self._steps = spans, steps

    @torch.no_grad()
    def run(self, module: AudioLoss) -> Outcome:
        """The loss, and a picture of the true lips vectors of a span above sampled ones."""
        made = module.sample(self._spans, self._steps)
        return Outcome({"loss": float(module(self._spans).total)}, rows_of(self._spans.lips[0], made.cpu()))


class AudioCourse(FlashLipsCourse):
    """The speech transformer, new or that of a file, for the speech encoder of the settings; without emotions."""

    TRAINED, NEEDED = ("speech",), ("lips", "reader")

    windows: SpanDataset

    def __init__(self, config: FlashLipsConfig, shards: Shards) -> None:
        super().__init__(config, shards)
        self.windows = self._spans()

    def load(self, checkpoint: Path | None) -> None:
        super().load(checkpoint)
        speech = self.network["speech"]
        assert isinstance(speech, SpeechToLips)
        if speech.emotion is not None:  # of a file that was trained elsewhere: it stays as it is
            speech.emotion.requires_grad_(False)
        self._begins = checkpoint is None and (self.start is None or "speech" not in self.start.parts)

    def collate(self, windows: Sequence[Span]) -> Spans:
        return collate(windows)

    def loss(self, device: torch.device) -> AudioLoss:
        self._lips: LipsVector = self.frozen("lips", device)
        self._reader: ResNet = self.frozen("reader", device)
        lips = self.windows.read(self._lips, self._reader, device)
        module = AudioLoss(self.network)
        if self._begins:
            module.speech.mean.copy_(lips.mean(0))
            module.speech.std.copy_(lips.std(0).clamp_min(LEAST_SPREAD))
        return module

    def validation(self) -> AudioValidation:
        try:
            spans = self._spans(VALIDATION)
        except KeySyncError as error:  # only the length can fail: all other checks passed for the training clips
            logger.warning("%s; validating on training clips instead", error)
            spans = self.windows
        else:
            spans.read(self._lips, self._reader, next(self._reader.parameters()).device)
        return AudioValidation(collate([spans[number] for number in range(VALIDATED)]), self.spec.steps)

    def blocks(self) -> Iterable[nn.Module]:
        speech = self.network["speech"]
        assert isinstance(speech, SpeechToLips)
        return tuple(speech.blocks)

    @property
    def methods(self) -> tuple[str, ...]:
        return ("sample",)

    def _spans(self, split: str = "train") -> SpanDataset:
        window = self.spec.networks.speech.window
        return SpanDataset(self.shards, self.config, window, self.spec.sources, split)

    def _spec(self) -> FlashLipsSpec:
        spec, encoder = super()._spec(), self.config.speech_encoder
        assert self.start is not None
        channels, before = self.shards.channels(encoder), spec.networks.speech.speech
        if "speech" not in self.start.parts:
            # Prepared data has no emotion embedding, which the paper takes from a network of its own.
            speech = replace(spec.networks.speech, speech=channels, emotion=0)
            return replace(spec, networks=replace(spec.networks, speech=speech), speech_encoder=encoder)
        if (spec.speech_encoder, before) != (encoder, channels):
            raise KeySyncError(
                f"{self.start.path} hears {spec.speech_encoder} with {before} channels but the data has {encoder} with "
                f"{channels}: set speech_encoder to {spec.speech_encoder}"
            )
        return spec
