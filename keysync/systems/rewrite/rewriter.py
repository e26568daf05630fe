"""The renderer: loads what hears speech, collects a clip's mouths, draws spans with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import KeySyncError
from ...face.mesh import MeshReader, as_bytes
from ..renderer import Clock, Hearing, Look, Needs, OnStep, Renderer, Rendering, Span, Unchanged
from .bank import Bank, Collector, NothingToBorrowError, Watcher
from .curve import WANTED
from .draw import Drawn, Tools, draw_span

NAME = "rewrite"
# Faces larger than this are drawn smaller.
LARGEST = 512
NEEDS = Needs((LARGEST, LARGEST), 1.5, "box", ("whisper",), native=True)
UNMOVED = Unchanged("the mouth does not move in this shot: it has no mouths to lend")


class LipsReader(Protocol):
    """Reads lips from speech: rows (frames, 2, channels) to (frames, 5) of `speech.lips.LIPS`."""

    def read(self, rows: Tensor, /) -> Tensor | NDArray[np.float32]: ...


@dataclass(frozen=True)
class Rewriting:
    """`strength`: how much of ordinary speech's amplitude the mouth moves by."""

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength > 0):
            raise KeySyncError(
                f"the strength is {self.strength}: expected a number above 0, such as 1", about="strength"
            )


@dataclass(frozen=True, eq=False)
class Rewriter:
    """A `Renderer` that draws with the clip's own mouths, once it has made a survey of the clip."""

    lips: LipsReader
    encoders: Mapping[str, Hearing]
    device: torch.device
    reader: MeshReader
    origins: Mapping[str, str] = field(default_factory=dict)
    bank: Bank | None = None
    system: str = NAME
    needs: Needs = NEEDS

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Renderer:
        """This renderer with the mouths of a clip. Raises `NothingToBorrowError` where it has none to lend."""
        collector, watchers = Collector(), dict[int, Watcher]()
        for look in looks:
            watcher = watchers.setdefault(look.shot, Watcher(self.reader))
            crop = as_bytes(look.crop)
            collector.add(look.number, look.shot, crop, watcher.look(crop, look.mask))
        return replace(self, bank=collector.finish())

    def evaluations(self, frames: int, settings: Rewriting | None) -> int:
        """A step for each frame."""
        return frames

    def begin(self, settings: Rewriting | None, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        """See `Renderer`; there is no chance in it. Raises `NothingToBorrowError` without a survey."""
        if self.bank is None:
            raise NothingToBorrowError("no clip was surveyed: its mouths are unknown; call survey first")
        tools = Tools(self.reader, self.device, clock, on_step)
        return partial(self._draw, self.bank, settings or Rewriting(), tools)

    def _draw(self, bank: Bank, settings: Rewriting, tools: Tools, span: Span) -> Iterator[Drawn]:
        person = bank.people.get(span.shot)
        if person is None:
            for _ in range(span.frames):
                if tools.on_step is not None:
                    tools.on_step(1)
                yield UNMOVED
            return
        read = np.asarray(self.lips.read(span.speech[self.needs.encoders[0]]), np.float32)
        wanted = person.amplitude.wanted(read[:, 0], read[:, 1], settings.strength)
        for name, values in zip(WANTED, wanted.T.tolist(), strict=True):
            span.account.curve(name, 0, values)
        yield from draw_span(tools, bank, span, wanted)
