"""The seam between a dub and the systems that draw faces: what a renderer needs, and how it is asked for crops.

A dub knows track, crop, mask, speech and paste; windows, plans, VAEs, guidance and schedules are a renderer's own
business. A system is a row of `table.SYSTEMS`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..cache import Entry
from ..errors import KeySyncError

# Times a stage of the work for the report, by the stage's name.
Clock = Callable[[str], AbstractContextManager[None]]
# Called after each step with the number of network evaluations it took; over a span they add up to `evaluations`.
OnStep = Callable[[int], None]


@dataclass(frozen=True)
class Needs:
    """What a renderer needs of a dub.

    `crop_size` (H, W) pixels of a crop, `crop_scale` its width over that of the face's points; `mask` the kind that it
    was made for (a key of `MASKS`), None if it ignores masks: its crops are then pasted with `dub.DEFAULT_MASK` unless
    the user chooses a mask; `encoders` the speech encoders that it hears (keys
    of `ENCODERS`); `controls` the per-frame numbers that it takes, such as valence and arousal; `source` whether it
    looks at the source's frames: one that does not gets the identity for every frame, and nothing is pasted; `native`
    whether crops keep the frame's own pixels: they are then of one size in a shot, `crop_size` at most.
    """

    crop_size: tuple[int, int]
    crop_scale: float
    mask: str | None
    encoders: tuple[str, ...]
    controls: tuple[str, ...] = ()
    source: bool = True
    native: bool = False


@dataclass(frozen=True)
class Account:
    """What a renderer says of a span besides its crops.

    `name(first, last)` is how messages call the frames of the result that show these frames of the span (inclusive).
    `repaired(what, first, last)` is called for what was computed again in float32 because half precision overflowed.
    `smaller(what, count)` is called where a GPU's memory ran out, and groups of `count` windows or frames were computed
    instead.
    `curve(name, first, values)` tells the report what the renderer aims at: `values` (m,), finite, are those of the
    span's frames from `first` on; a name of `mouth.MEASURED` means that measure, in its unit.
    """

    name: Callable[[int, int], str] = "frames {}-{}".format
    repaired: Callable[[str, int, int], None] = lambda what, first, last: None
    smaller: Callable[[str, int], None] = lambda what, count: None
    curve: Callable[[str, int, Sequence[float]], None] = lambda name, first, values: None


NO_ACCOUNT = Account()


class FrameRows(Protocol):
    """The rows of an encoder for each of some frames (frames, 2, channels): a tensor, or read from a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: Any, /) -> Tensor:
        """The rows of a slice of the frames, or of numbers (...) as (..., 2, channels)."""


@dataclass(frozen=True, eq=False)
class Span:
    """Consecutive frames of one face in one shot, at the network's times.

    `crops` yields a crop (H, W, 3), 0..1, and its mask (H, W), 0 or 1 and without the occluder, for each of `frames`,
    as they are asked for; `speech` holds two feature rows a frame (frames, 2, channels) by encoder; `controls`
    (frames,) by name; `shot` is the shot's number in the source, `numbers` (frames,) are those of the frames there.
    `ahead(items, count)` yields the same items, made in a thread before they are asked for: all must be taken.
    """

    frames: int
    crops: Iterator[tuple[Tensor, Tensor]]
    speech: Mapping[str, FrameRows]
    controls: Mapping[str, Tensor] = field(default_factory=dict)
    account: Account = NO_ACCOUNT
    shot: int = 0
    numbers: Sequence[int] = ()
    ahead: Callable[[Iterator[Any], int], Iterator[Any]] = lambda items, count: items


@dataclass(frozen=True)
class Unchanged:
    """In place of a crop: the frame stays as it is, for this reason."""

    reason: str


@dataclass(frozen=True, eq=False)
class Later:
    """In place of a crop: what makes it, in another thread while the next ones are drawn; it holds about so many
    `bytes`."""

    make: Callable[[], Tensor]
    bytes: int


# Draws a span: yields a crop (H, W, 3) float32, 0..1, on the CPU, for each of its frames in order, or that the frame
# stays unchanged. A fourth channel, 0..1, says how much of the crop to show.
Rendering = Callable[[Span], Iterator[Tensor | Unchanged | Later]]


@dataclass(frozen=True, eq=False)
class Look:
    """A frame of the source that shows the chosen face: its `number` there, its `shot`, crop and mask as in `Span`."""

    number: int
    shot: int
    crop: Tensor
    mask: Tensor


class SpeechRows(Protocol):
    """What an encoder gives for a whole speech."""

    def at(self, times: Any, /) -> Tensor: ...


class Hearing(Protocol):
    """A speech encoder, as a dub uses it."""

    def encode(self, waveform: Tensor, /) -> SpeechRows: ...


@runtime_checkable
class Given(Hearing, Protocol):
    """An encoder that returns what it was given, whatever the speech."""

    given: bool


class Renderer(Protocol):
    """A loaded system, which `job.dub_file` takes as its models.

    `encoders` are loaded speech encoders by name, one for each that it `needs`; `origins` says for the report where
    each of its models came from; `system` is the name that the mark of a result gives.
    """

    @property
    def system(self) -> str: ...

    @property
    def needs(self) -> Needs: ...

    @property
    def encoders(self) -> Mapping[str, Hearing]: ...

    @property
    def origins(self) -> Mapping[str, str]: ...

    def evaluations(self, frames: int, settings: Any) -> int:
        """How often its network is evaluated for a span of so many frames."""

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        """Starts a run; its spans are drawn in order, and the same seed gives the same frames.

        `settings`: what `System.settings` or the caller put into `Settings.sampling`, None for its defaults.
        """


@runtime_checkable
class Foresighted(Renderer, Protocol):
    """A renderer with `beside` may be given a span before it has drawn the one before, to make its items ahead, and
    may draw before all of the clip is known."""

    @property
    def beside(self) -> bool: ...

    @property
    def remembers(self) -> bool:
        """Whether it remembers what it made early."""

    def steady(self, frames: int, /) -> int:
        """How many of the first frames of a clip, so many of which are known, the others leave as they are drawn."""

    def remembering(self) -> Foresighted:
        """This renderer, which remembers what it made `early`: the same inputs need no network then."""

    def early(self, enough: Callable[[], bool], /) -> AbstractContextManager[None]:
        """Inside, what is drawn is remembered; the block is left where `enough`, or where too much was made."""


class UnsuitableError(KeySyncError):
    """A system cannot draw this source; another one may."""


@runtime_checkable
class Surveyor(Renderer, Protocol):
    """A renderer that looks at the source before it draws it."""

    def survey(self, looks: Iterator[Look], note: Callable[[str], None], /) -> Renderer:
        """The renderer of this source; `looks` are the frames that show the chosen face, in order.

        `note` takes lines for the report. Raises `UnsuitableError` for a source that it cannot draw.
        """


@runtime_checkable
class Remembering(Surveyor, Protocol):
    """A surveyor whose survey can be kept, for the next dub of the same clip."""

    def keep(self, surveyed: Renderer, /) -> Entry:
        """What `recall` needs of a renderer that `survey` has returned."""

    def recall(self, entry: Entry, /) -> Renderer:
        """The renderer that was kept. Raises `KeyError`, `TypeError` or `ValueError` for what is none."""


class Stream(Protocol):
    """What draws frames of one face as they come."""

    @property
    def ahead(self) -> int:
        """How many frames' speech it hears ahead of the frame that it draws."""

    def draw(
        self, frames: range, speech: Mapping[str, Tensor], looks: Mapping[int, tuple[Tensor, Tensor]], /
    ) -> Mapping[int, Tensor]:
        """The crops (H, W, 3) float32, 0..1, on the CPU, of those of the next `frames` that are in `looks`, by number.

        `speech` are rows as in `Span`, of all these frames and of up to `ahead` more; `looks` are crop and mask by the
        frame's number.
        """

    def skip(self) -> None:
        """The next frames do not go on from those before."""


@runtime_checkable
class Streaming(Renderer, Protocol):
    """A renderer that can draw before the rest of the clip is known."""

    def stream(self, settings: Any, seed: int, /) -> Stream:
        """Starts a stream; the same seed gives the same frames."""


class Encodings(Protocol):
    """Encodings of crops by their frames' numbers in the source; those encoded together are found together."""

    def find(self, numbers: Sequence[int], shape: tuple[int, ...], /) -> Tensor | None:
        """The encodings (n, *shape) of the crops of these frames, on the CPU; None where they are not kept."""

    def keep(self, numbers: Sequence[int], encodings: Tensor, /) -> None:
        """Takes the encodings (n, ...) of the crops of these frames."""


@runtime_checkable
class Encoding(Renderer, Protocol):
    """A renderer that encodes each crop by itself, which can be spared in the next dub of the same clip."""

    def encoder_digest(self) -> str:
        """The same for the encoder that gives the same encodings."""

    def keeping(self, encodings: Encodings, /) -> Renderer:
        """This renderer, which encodes what it does not find there."""


class Results(Protocol):
    """What networks have made, by the digest of what they were given; used in several threads."""

    def find(self, key: bytes, /) -> Tensor | None:
        """The result of this key, on the CPU; None where it is not kept."""

    def keep(self, key: bytes, result: Tensor, /) -> None:
        """Takes the result of this key."""


@runtime_checkable
class Resumable(Renderer, Protocol):
    """A renderer whose results can be kept, so that a dub that was killed goes on."""

    def work_causes(self, settings: Any, /) -> list[Any] | None:
        """What its results follow from besides the key: the same for models and settings that give the same numbers;
        None where that cannot be known."""

    def bytes_to_keep(self, frames: int, /) -> int:
        """Bytes of the results of a span of so many frames."""

    def continuing(self, work: Results, /) -> Renderer:
        """This renderer, which computes what it does not find there, and keeps it there."""


@runtime_checkable
class Costed(Protocol):
    """A renderer that says about how long it takes, in seconds on one core of a CPU: progress begins with that."""

    @property
    def seconds_per_evaluation(self) -> float:
        """A network evaluation."""

    @property
    def seconds_per_frame(self) -> float:
        """What else a frame takes: its crop is encoded and decoded, say."""


@runtime_checkable
class Weighed(Protocol):
    """A renderer that says how much memory it takes."""

    def bytes_to_draw(self, crop: tuple[int, int], settings: Any, /) -> int:
        """Bytes of main memory that drawing crops of up to this size (H, W) takes at most, besides the models."""


@runtime_checkable
class Remarking(Protocol):
    """A renderer with lines for the report about how it draws with these settings."""

    def remarks(self, settings: Any, /) -> Iterator[str]: ...


@runtime_checkable
class FromFiles(Protocol):
    """A renderer with the file or folder of each of its models, whose digest the mark of a result gives."""

    @property
    def files(self) -> Mapping[str, Path]: ...


@dataclass(frozen=True)
class Option:
    """An option of the command line: its flag, and the arguments for argparse.

    Systems may share an option; it is then the same in each, since the command line has it once.
    """

    flag: str
    words: Mapping[str, Any]

    @classmethod
    def file(cls, flag: str, help: str, metavar: str = "PATH") -> Option:
        """The option that names a file or folder."""
        return cls(flag, {"type": Path, "metavar": metavar, "help": help})

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")

    def add(self, parser: argparse.ArgumentParser) -> None:
        """Adds it to a parser that does not have it yet."""
        parser.add_argument(self.flag, **self.words)


class Load(Protocol):
    """Loads a system from its files by `Option.name`, None for those that are not given.

    Raises `KeySyncError`, with the option's name (without `_model`) as `about` for a missing file that is not built in.
    """

    def __call__(
        self, files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None
    ) -> Renderer: ...


@dataclass(frozen=True)
class System:
    """One row of the table of systems.

    `files` are the options that name its files, `options` those that `settings` makes its settings of: what it returns
    is `Settings.sampling`.
    """

    name: str
    files: tuple[Option, ...]
    options: tuple[Option, ...]
    settings: Callable[[argparse.Namespace], Any]
    load: Load
