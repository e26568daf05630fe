"""Whole dubs through the library: the demo's clip, a synthetic track of its face, models with random weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from keysync.demo import TALK
from keysync.dub import Settings
from keysync.face.track import from_landmarks
from keysync.job import FaceSource, dub_file
from keysync.media.reader import VideoReader
from keysync.method import PIXELS_PER_LATENT
from keysync.report import DUBBED
from keysync.speech.encoder import SpeechEncoder
from keysync.systems.keysync.models import HostVAE, Models
from keysync.systems.keysync.presets import make_sampling
from keysync.vae.vae import VAE

from ...synthetic_face import face_points
from ..dub import write_speech
from .machine import Machine
from .networks import FEWEST
from .sheet import Figures
from .sizes import INTERPOLATION, KEYFRAME, Sizes, make_stage

# Stages of the report that rows give; all are in the JSON.
STAGES = ("speech", "encode", "keyframes", "interpolation", "decode", "paste", "write")


# On a CPU seconds of a clock, on a GPU an event in its queue.
Moment: TypeAlias = "float | torch.cuda.Event"


class StandIn:
    """Takes the place of the VAE where diffusers is missing: pictures are shrunk and grown, which takes next to no
    time."""

    downscale, batch, encoder, source = PIXELS_PER_LATENT, 4, True, "a stand-in for the VAE"

    def encoder_digest(self) -> str:
        return self.source

    def encode(self, images: Tensor, /) -> Tensor:
        small = F.avg_pool2d(images.movedim(-1, 1), self.downscale)  # BHWC -> BCHW
        return torch.cat((small, small.mean(1, keepdim=True)), dim=1)

    def decode(self, latents: Tensor, /) -> Tensor:
        grown = F.interpolate(latents[:, :3], scale_factor=float(self.downscale))
        return grown.clamp(0, 1).movedim(1, -1)  # BCHW -> BHWC


class Busy:
    """The seconds that a device spends in networks, by their calls."""

    def __init__(self, machine: Machine, networks: list[nn.Module]) -> None:
        self._machine, self._marks = machine, list[tuple[Moment, Moment]]()
        self._began: Moment = 0.0
        for network in networks:
            network.register_forward_pre_hook(self._begin)
            network.register_forward_hook(self._end)

    def forget(self) -> None:
        self._marks.clear()

    @property
    def seconds(self) -> float:
        """Between the beginning and the end of each call since `forget`, on the device."""
        self._machine.wait()
        return sum(_between(*mark) for mark in self._marks)

    def _begin(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._began = self._now()

    def _end(self, _: nn.Module, given: tuple[Tensor, ...], __: Tensor) -> None:
        if not given[0].is_meta:  # else memory is estimated, and nothing computed
            self._marks.append((self._began, self._now()))

    def _now(self) -> Moment:
        if self._machine.device != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _between(first: Moment, last: Moment) -> float:
    if isinstance(first, torch.cuda.Event) and isinstance(last, torch.cuda.Event):
        return float(first.elapsed_time(last)) / 1000  # milliseconds
    assert isinstance(first, float)
    assert isinstance(last, float)
    return last - first


class DubBench:
    """Dubs, with models that are loaded once; a short dub is made first, to warm up."""

    def __init__(
        self,
        machine: Machine,
        sizes: Sizes,
        vae: VAE | HostVAE,
        encoders: Mapping[str, SpeechEncoder],
        folder: Path,
    ) -> None:
        self._machine, self._sizes, self._folder = machine, sizes, folder
        stages = {name: make_stage(spec, sizes.usual, machine.device) for name, spec in sizes.specs.items()}
        self._busy = Busy(machine, [stage.unet for stage in stages.values()])
        self._models = Models(stages[KEYFRAME], stages[INTERPOLATION], vae, encoders)
        self._dub(FEWEST, 1, min(1.0, sizes.seconds))

    def measure(self, preset: str, group: int) -> Figures:
        """Figures of one dub by this preset: seconds of each stage of the report, the share of time in networks."""
        return self._dub(preset, group, self._sizes.seconds)

    def _dub(self, preset: str, group: int, seconds: float) -> Figures:
        video = VideoReader(TALK, duration=seconds)
        width, height = video.info.width, video.info.height
        points = face_points((width / 2, height / 2), width / 3)
        track = from_landmarks([points] * len(video.timestamps()), (height, width))
        speech = write_speech(self._folder / "speech.wav", seconds)
        settings = Settings(sampling=make_sampling(preset, group=group))
        self._machine.release()
        self._busy.forget()
        began = time.perf_counter()
        report = dub_file(video, speech, self._folder / "out.mp4", self._models, settings, FaceSource(track=track))
        spent = time.perf_counter() - began
        if report.count(DUBBED) != report.frames or report.notes:
            raise RuntimeError(f"{report.count(DUBBED)} of {report.frames} frames were dubbed: {report.notes}")
        return {
            "group": group,
            "frames": report.frames,
            "seconds": spent,
            "frames_per_second": report.frames / spent,
            "network_evaluations": report.network_evaluations,
            "network_share": self._busy.seconds / spent,
            "peak_bytes": self._machine.peak_bytes(),
            **report.seconds_per_stage,
        }
