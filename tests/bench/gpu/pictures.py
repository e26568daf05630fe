"""What works on pictures: the VAE, and the built-in face finder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from keysync.demo import TALK
from keysync.face.face import Frame
from keysync.face.finder.finder import FaceFinder
from keysync.media.reader import VideoReader
from keysync.method import LATENT_CHANNELS
from keysync.vae.vae import VAE

from ..faces import find, follow
from .cards import peak
from .counts import TERA, operations
from .machine import Machine
from .networks import relative_error
from .sheet import Figures
from .sizes import Sizes

# Batches of frames that the VAE takes at once.
BATCHES = 2
ENCODE, DECODE = "encode", "decode"
# How faces are found, by name.
WAYS: Mapping[str, Callable[[FaceFinder, list[Frame]], object]] = {
    "each frame by itself": find,
    "followed": follow,
    "all frames in one batch": FaceFinder.detect_all,
}


class VAEBench:
    """The VAE at work on random pictures; what it gives in float32 is what the halves are compared with."""

    def __init__(self, machine: Machine, vae: VAE, sizes: Sizes) -> None:
        self._machine, self.vae, self._seconds = machine, vae, sizes.measured
        generator = torch.Generator().manual_seed(0)
        self._count = BATCHES * vae.batch
        height, width = (side // vae.downscale for side in sizes.picture)
        pictures = torch.rand(self._count, *sizes.picture, 3, generator=generator)
        latents = torch.randn(self._count, LATENT_CHANNELS, height, width, generator=generator)
        self._inputs = {name: part.to(machine.device) for name, part in ((ENCODE, pictures), (DECODE, latents))}
        self._operations = {way: self._count_operations(way) for way in self._inputs}
        self._references: dict[str, Tensor] = {}

    def measure(self, way: str, dtype: torch.dtype) -> Figures:
        """Figures of encoding or decoding in this precision."""
        vae, given, machine = copy.deepcopy(self.vae).to(dtype), self._inputs[way], self._machine
        work = partial(vae.encode if way == ENCODE else vae.decode, given)
        machine.release()
        output, reference = work().float().cpu(), self._references.get(way)
        if dtype == torch.float32:
            self._references[way] = output
        seconds = machine.median(work, self._seconds) / self._count
        speed, most = self._operations[way] / seconds, peak(machine.card, dtype)
        return {
            "seconds": seconds,
            "frames_per_second": 1 / seconds,
            "tflops": speed / TERA,
            "share_of_peak": None if most is None else speed / most,
            "peak_bytes": machine.peak_bytes(),
            "error": None if reference is None else relative_error(output, reference),
        }

    def _count_operations(self, way: str) -> int:
        """Floating-point operations for one frame."""
        one = self._inputs[way][:1]
        if way == DECODE:
            return operations(self.vae.decoder, one, image_only_indicator=torch.zeros(1, 1), num_frames=1)
        assert self.vae.encoder is not None
        return operations(self.vae.encoder, one.movedim(-1, 1))  # BHWC -> BCHW


def frames_of_demo(count: int) -> list[Frame]:
    """The first frames of the demo's clip."""
    return [frame for _, (_, frame) in zip(range(count), VideoReader(TALK).frames(), strict=False)]


def measure_faces(machine: Machine, sizes: Sizes, way: str, frames: list[Frame]) -> Figures:
    """Figures of finding the faces in frames that are decoded already."""
    finder = FaceFinder(device=machine.device)
    seconds = machine.median(partial(WAYS[way], finder, frames), sizes.measured)
    return {
        "seconds": seconds / len(frames),
        "frames_per_second": len(frames) / seconds,
        "peak_bytes": machine.peak_bytes(),
    }
