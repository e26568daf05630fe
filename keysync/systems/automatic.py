"""What suits a clip when no system is chosen: its own mouths, or the built-in model for the faces that it can draw."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..cache import Entry
from ..errors import KeySyncError
from ..face.crop import resize
from ..face.rendered import RenderedFaces
from .renderer import (
    Clock,
    Costed,
    Hearing,
    Look,
    Needs,
    OnStep,
    Remembering,
    Renderer,
    Rendering,
    Surveyor,
    System,
    UnsuitableError,
)

# A clip is judged by so many frames of its beginning.
JUDGED, BEGINNING = 9, 72


@dataclass(frozen=True, eq=False)
class Automatic:
    """A `Renderer` that becomes another one when it has seen the clip.

    Rendered faces are drawn by `small()`, the built-in model that was trained on such; others by `rewriter`, and by
    `small()` where that finds them unsuitable.
    """

    rewriter: Surveyor
    small: Callable[[], Renderer]
    system: str = "auto"
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> Needs:
        return self.rewriter.needs

    @property
    def encoders(self) -> Mapping[str, Hearing]:
        """Those of the rewriter, which draws most clips."""
        return self.rewriter.encoders

    @property
    def seconds_per_evaluation(self) -> float:
        return self._costs[0]

    @property
    def seconds_per_frame(self) -> float:
        return self._costs[1]

    @property
    def _costs(self) -> tuple[float, float]:
        """Those of the rewriter, which draws most clips."""
        one = self.rewriter
        return (one.seconds_per_evaluation, one.seconds_per_frame) if isinstance(one, Costed) else (0.0, 0.0)

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Renderer:
        """The renderer of this clip; `note` hears which, and why."""
        beginning = list(islice(looks, BEGINNING))
        judged = beginning[:: -(-len(beginning) // JUDGED) or 1]
        if judged and RenderedFaces().are_rendered(torch.stack([self._judged(look) for look in judged])):
            note("drawn by keysync, the built-in model: the face looks rendered, which it is trained for")
            return self.small()
        try:
            renderer = self.rewriter.survey(chain(beginning, looks), note)
        except UnsuitableError as reason:
            note(
                f"drawn by keysync, the built-in model, which is trained on rendered faces only, since "
                f"{self.rewriter.system} cannot draw this clip: {reason}"
            )
            return self.small()
        note(f"drawn by {self.rewriter.system}: with the clip's own mouths")
        return renderer

    def keep(self, surveyed: Renderer) -> Entry:
        """See `Remembering`: which system draws, and what it keeps."""
        rewriter = self.rewriter
        if surveyed.system != rewriter.system or not isinstance(rewriter, Remembering):
            return Entry(facts={"system": surveyed.system})
        kept = rewriter.keep(surveyed)
        return Entry(kept.arrays, {**kept.facts, "system": surveyed.system})

    def recall(self, entry: Entry) -> Renderer:
        """See `Remembering`."""
        rewriter = self.rewriter
        if entry.facts["system"] != rewriter.system:
            return self.small()
        if not isinstance(rewriter, Remembering):
            raise TypeError(f"{rewriter.system} keeps nothing")
        return rewriter.recall(entry)

    def _judged(self, look: Look) -> Tensor:
        """A crop at the size that faces are judged at."""
        return resize(look.crop.permute(2, 0, 1)[None], self.needs.crop_size, "bicubic")[0].permute(1, 2, 0)

    def evaluations(self, frames: int, settings: Any) -> int:
        """None: nothing is drawn before the survey."""
        return 0

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        """Raises `KeySyncError`: only what `survey` returns draws."""
        raise KeySyncError("no system is chosen yet: survey the clip first")


@dataclass(frozen=True, eq=False)
class Chosen:
    """A `Surveyor` that was chosen before the clip was seen; the report says `why`."""

    chosen: Surveyor
    why: str
    system: str = "auto"
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def needs(self) -> Needs:
        return self.chosen.needs

    @property
    def encoders(self) -> Mapping[str, Hearing]:
        return self.chosen.encoders

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Renderer:
        """What the chosen one returns."""
        note(self.why)
        return self.chosen.survey(looks, note)

    def evaluations(self, frames: int, settings: Any) -> int:
        """None: nothing is drawn before the survey."""
        return 0

    def begin(self, settings: Any, seed: int, clock: Clock, on_step: OnStep | None) -> Rendering:
        """Raises `KeySyncError`: only what `survey` returns draws."""
        raise KeySyncError("the clip was not seen yet: survey it first")


def automatic(rewrite: System, keysync: System, named: System | None = None) -> System:
    """The row that chooses among what needs no files; the built-in model is loaded when it is chosen.

    `named` draws where its file is given: no table has it ahead of `rewrite` on real faces, so nothing else chooses it.
    """

    def settings(options: argparse.Namespace) -> dict[str, Any]:
        given = [named] if named is not None and getattr(options, named.name, None) is not None else []
        return {system.name: system.settings(options) for system in (rewrite, keysync, *given)}

    def load(files: Mapping[str, Path | None], *, device: torch.device, dtype: torch.dtype | None) -> Renderer:
        if named is not None and files.get(named.name) is not None:
            why = f"drawn by {named.name}: its file is given; without it, {rewrite.name} or {keysync.name} is chosen"
            loaded = named.load(files, device=device, dtype=dtype)
            assert isinstance(loaded, Surveyor)
            return Chosen(loaded, why)
        unused = sorted(name for name, file in files.items() if file is not None)
        if unused:
            raise KeySyncError(
                f"auto uses {unused[0]} with the file of another system only: leave it out, or choose the system"
            )
        rewriter = rewrite.load({}, device=device, dtype=dtype)
        assert isinstance(rewriter, Surveyor)
        none = {option.name: None for option in keysync.files}
        return Automatic(rewriter, lambda: keysync.load(none, device=device, dtype=dtype))

    files = () if named is None else named.files
    return System(name="auto", files=files, options=(), settings=settings, load=load)
