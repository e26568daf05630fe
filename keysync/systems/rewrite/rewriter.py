"""The renderer: loads what hears speech, collects a clip's mouths, draws spans with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache import Entry
from ...errors import KeySyncError
from ...face.mesh import MeshReader, as_bytes
from ...speech.context import CONTEXT
from ...speech.lips_curve import LIPS, LipsCurve, Values
from ..given import GivenCurve
from ..renderer import Clock, Hearing, Look, Needs, OnStep, Renderer, Rendering, Span, SpeechRows, Unchanged
from .bank import Bank, Collector, NothingToBorrowError, Person, Watcher
from .bank_file import pack, unpack
from .curve import WANTED
from .draw import Drawn, Tools, draw_span

NAME = "rewrite"
# Faces larger than this are drawn smaller.
LARGEST = 512
NEEDS = Needs((LARGEST, LARGEST), 1.5, "box", ("whisper",), native=True)
# Frames of speech that are read at once.
PORTION = 1024
# A frame's mouth, in seconds on one core of a CPU: it is warped.
WARP = 0.006
# Bytes that it takes to draw: at any size, and for each pixel of a crop, by crops that wait and are warped; measured.
HELD, HELD_A_PIXEL = 29 * 2**20, 465
# Reads lips from speech: rows (frames, 2, channels) to (frames, 5) of `speech.lips.LIPS`; `CONTEXT` frames on both
# sides have an effect on each.
ReadLips = Callable[[Tensor], Tensor]
UNMOVED = Unchanged("the mouth is hidden, small, or open and still in most of this shot: it has no mouths to lend")


@dataclass(frozen=True, eq=False)
class HeardLips:
    """A speech encoder whose rows are read at once: a long film keeps its lips (n, 5) and not the rows."""

    encoder: Hearing
    read: ReadLips

    def encode(self, waveform: Tensor) -> HeardRows:
        return HeardRows(self.encoder.encode(waveform), self.read)


@dataclass(frozen=True, eq=False)
class HeardRows:
    """Rows of speech that are read as lips."""

    rows: SpeechRows
    read: ReadLips

    def at(self, times: Tensor | NDArray[np.float64]) -> Tensor:
        """The lips (n, 5) at consecutive frames' times (n,); those before and after are part of what is read."""
        count = len(times)
        portions = []
        for start in range(0, count, PORTION):
            stop = min(start + PORTION, count)
            first = max(start - CONTEXT, 0)
            read = self.read(self.rows.at(times[first : min(stop + CONTEXT, count)]))
            portions.append(read[start - first : stop - first])
        return torch.cat(portions)


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
    """A `Renderer` that draws with the clip's own mouths, once it has made a survey of the clip.

    Its encoder gives lips (frames, 5), not rows.
    """

    encoders: Mapping[str, Hearing]
    device: torch.device
    reader: MeshReader
    origins: Mapping[str, str] = field(default_factory=dict)
    bank: Bank | None = None
    system: str = NAME
    needs: Needs = NEEDS
    seconds_per_evaluation: float = WARP
    seconds_per_frame: float = 0.0

    def following(self, curve: LipsCurve) -> Rewriter:
        """This renderer with lips that follow a curve instead of the speech."""
        given = GivenCurve(curve)
        return replace(self, encoders={self.needs.encoders[0]: given}, origins={"lips": "a given curve"})

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Renderer:
        """This renderer with the mouths of a clip. Raises `NothingToBorrowError` where it has none to lend."""
        bank = collect(self.reader, looks)
        for line in notes_of(bank):
            note(line)
        return replace(self, bank=bank)

    def keep(self, surveyed: Renderer) -> Entry:
        """See `Remembering`: the bank."""
        assert isinstance(surveyed, Rewriter)
        assert surveyed.bank is not None
        return Entry(pack(surveyed.bank))

    def recall(self, entry: Entry) -> Renderer:
        """See `Remembering`."""
        return replace(self, bank=unpack(entry.arrays))

    def evaluations(self, frames: int, settings: Rewriting | None) -> int:
        """A step for each frame."""
        return frames

    def bytes_to_draw(self, crop: tuple[int, int], settings: Rewriting | None) -> int:
        """See `Weighed`."""
        height, width = crop
        return HELD + HELD_A_PIXEL * height * width

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
        lips = span.speech[self.needs.encoders[0]][:].numpy()
        wanted = wanted_of(person, lips, settings)
        for name, values in zip(WANTED, wanted.T.tolist(), strict=True):
            span.account.curve(name, 0, values)
        yield from draw_span(tools, bank, span, wanted)


def collect(reader: MeshReader, looks: Iterable[Look]) -> Bank:
    """The mouths of a clip. Raises `NothingToBorrowError` where it has none to lend."""
    collector, watchers = Collector(), dict[int, Watcher]()
    for look in looks:
        watcher = watchers.setdefault(look.shot, Watcher(reader))
        crop = as_bytes(look.crop)
        collector.add(look.number, look.shot, crop, watcher.look(crop, look.mask))
    return collector.finish()


def notes_of(bank: Bank) -> Iterator[str]:
    """What a person should know about the mouths of a clip."""
    made = sum(person.made for person in bank.people.values())
    if made:
        where = "the clip" if made == len(bank.people) else f"{made} of {len(bank.people)} shots"
        yield f"the mouth stays closed in {where}: it is opened, and teeth, tongue and dark inside are drawn"


def wanted_of(person: Person, lips: Values, settings: Rewriting) -> NDArray[np.float64]:
    """The opening and width (n, 2) in eye distances that lips (n, 5) ask of a person."""
    opening, width = (lips[:, LIPS.index(name)] for name in ("opening", "width"))
    return person.amplitude.wanted(opening, width, settings.strength)
