"""The channels of a sound by the places of their speakers: which layout a result has, and what of them is speech.

Places have libav's names, FL, FR, FC, LFE and so on, in libav's order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from av.audio.layout import AudioLayout
from numpy.typing import NDArray

Places = tuple[str, ...]
Block = NDArray[np.float32]

# The layout of channels without places, by their number; more than these are mixed to one.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
# What decoders of AAC know by its places; of other layouts they know the number of channels alone.
AAC_LAYOUTS = ("mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "5.0", "5.1", "6.1", "7.1")
# Surround speakers that stand at the side in one layout and at the back in another.
TWINS = {"SL": "BL", "SR": "BR", "BL": "SL", "BR": "SR"}
# Where a channel plays if the result has no speaker for it.
NEAREST = {
    place: near
    for near, places in {
        "FL": ("FLC", "WL", "DL", "BFL", "TFL"),
        "FR": ("FRC", "WR", "DR", "BFR", "TFR"),
        "FC": ("BFC", "TFC", "TC"),
        "LFE": ("LFE2",),
        "SL": ("SDL", "TSL", "SSL"),
        "SR": ("SDR", "TSR", "SSR"),
        "BL": ("TBL",),
        "BC": ("TBC",),
        "BR": ("TBR",),
    }.items()
    for place in places
}
BASS = {"LFE", "LFE2"}
# Films keep dialogue in the centre; a centre so far below the loudest channel is a spare one.
SPARE_CENTRE_DB = 15.0
# A mean of two channels loses 6 dB where one is silent, 3 dB where they differ; more where they cancel each other.
CANCELLED_DB = 9.0
# Windows below this mean square (-60 dB), or so far below the loudest one, are too quiet to compare channels by.
QUIET = 1e-6
QUIET_DB = 40.0


@dataclass(frozen=True)
class Fold:
    """How the channels of a sound go into a `layout`: `seats` (channels,) are their numbers there, None: their mean."""

    layout: str
    seats: tuple[int, ...] | None = None

    @property
    def channels(self) -> int:
        """The number of channels of the layout."""
        return len(places_of(self.layout))

    def __call__(self, block: Block) -> Block:
        """A block (channels, n) in the layout."""
        if self.seats is None:
            return mean(block)[None]
        if self.seats == tuple(range(self.channels)):
            return block
        seated = np.zeros((self.channels, block.shape[1]), np.float32)
        for seat, channel in zip(self.seats, block, strict=True):
            seated[seat] += channel
        return seated


@dataclass(frozen=True)
class Voice:
    """What speech is heard of a sound: the mean of these `channels`, and a note on why."""

    channels: tuple[int, ...]
    note: str | None = None

    def __call__(self, block: Block) -> Block:
        """A block (channels, n) as (n,)."""
        return mean(block if len(self.channels) == len(block) else block[list(self.channels)])


def mean(block: Block) -> Block:
    """The mean (n,) of channels (channels, n)."""
    middle: Block = block.mean(axis=0, dtype=np.float32)
    return middle


def places_of(layout: str) -> Places:
    """The places of a layout of libav."""
    return tuple(channel.name for channel in AudioLayout(layout).channels)


def assumed_places(channels: int) -> Places:
    """The places of channels that come without; `?` for those of more than 8."""
    return places_of(LAYOUTS[channels]) if channels in LAYOUTS else ("?",) * channels


def known_places(layout: AudioLayout) -> Places:
    """The places of a decoded sound; the assumed ones where it names none, or more than 8."""
    named = tuple(channel.name for channel in layout.channels)
    nameless = set(named) & {"NONE", "UNKNOWN", "UNSD"}
    return assumed_places(len(named)) if nameless or len(named) > max(LAYOUTS) else named


def describe(places: Places) -> str:
    """The name of these places' layout, as `5.1`; `unknown` where they have none, or one twice."""
    placed = not any(place == "?" or place.startswith("AMBI") for place in places) and len({*places}) == len(places)
    return AudioLayout("+".join(places)).name if placed else "unknown"


def folded(places: Places, *, aac: bool) -> Fold:
    """How a result carries a sound with channels at these `places`, as AAC or lossless.

    Every channel keeps its place where the format can tell it. Else side and back speakers stand for each other; a
    layout with silent channels is taken that has all places; channels without a speaker play at the nearest. More than
    8 channels, and those of which nothing is known, become one: their mean.
    """
    if describe(places) == "unknown" or len(places) > max(LAYOUTS):
        return Fold("mono", (0,) if len(places) == 1 else None)
    if not aac:
        return Fold(describe(places), tuple(range(len(places))))
    for wanted in (places, tuple(NEAREST.get(place, place) for place in places)):
        for layout in AAC_LAYOUTS:
            seats = _seats(wanted, places_of(layout))
            if seats is not None:
                return Fold(layout, seats)
    return Fold("mono")


def _seats(places: Places, there: Places) -> tuple[int, ...] | None:
    """The number of the speaker for each place; None where `there` lacks one."""
    seats: dict[str, str] = {}
    for place in dict.fromkeys(places):
        seat = place if place in there else TWINS.get(place, place)
        if seat not in there or seat in seats.values():
            return None
        seats[place] = seat
    return tuple(there.index(seats[place]) for place in places)


class Levels:
    """Mean squares of each channel, and of the mean that would be heard, in windows of a quarter of a second."""

    def __init__(self, places: Places, rate: int) -> None:
        self._places = places
        voices = [index for index, place in enumerate(places) if place not in BASS]
        self._voices = voices or [*range(len(places))]
        pair = tuple(places.index(place) for place in ("FL", "FR") if place in places)
        self._mix = pair if len(pair) == 2 else tuple(self._voices)
        self._window = max(1, rate // 4)
        self._filled = 0
        self._sums: list[NDArray[np.float64]] = []

    def add(self, block: Block) -> None:
        """Counts the next samples (channels, n)."""
        mixed = Voice(self._mix)(block)
        squares = np.vstack((block, mixed)).astype(np.float64) ** 2
        while squares.shape[1]:
            if self._filled == 0:
                self._sums.append(np.zeros(len(squares)))
            part = squares[:, : self._window - self._filled]
            self._sums[-1] += part.sum(axis=1)
            self._filled = (self._filled + part.shape[1]) % self._window
            squares = squares[:, part.shape[1] :]

    def voice(self) -> Voice:
        """What is heard of the channels: the centre; else the mean; where it cancels itself out, one channel."""
        windows = np.array(self._sums).reshape(-1, len(self._places) + 1) / self._window
        total = windows.sum(axis=0)
        loudest = total[self._voices].max()
        centre = self._places.index("FC") if "FC" in self._places else None
        if centre is not None and len(self._voices) > 1 and total[centre] > loudest * _power(-SPARE_CENTRE_DB):
            where = f"the speech has the channel layout {describe(self._places)}"
            return Voice((centre,), f"{where}: the network hears its centre channel")
        peaks = windows[:, self._voices].max(axis=1)
        audible = peaks > max(QUIET, peaks.max() * _power(-QUIET_DB))
        lost = (windows[audible] < peaks[audible, None] * _power(-CANCELLED_DB)).sum(axis=0)
        if lost[-1] == 0:
            return Voice(self._mix)
        best = min(self._voices, key=lambda index: (lost[index], -total[index]))
        if lost[best] >= lost[-1]:
            return Voice(self._mix, f"{self._where(lost[-1])}: the network hears little there")
        name = "one channel" if self._places[best] == "?" else f"the {self._places[best]} channel alone"
        return Voice((best,), f"{self._where(lost[-1])}: the network hears {name}")

    def _where(self, windows: int) -> str:
        few = f"more than {CANCELLED_DB:g} dB below the loudest of them for {windows / 4:g} s"
        return f"the mean of the speech's channels is {few}, as when they cancel each other"


def _power(decibels: float) -> float:
    return float(10 ** (decibels / 10))
