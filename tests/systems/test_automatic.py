"""What suits a clip: faces of a camera get their own mouths, rendered ones and refused clips the built-in model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from keysync.dub import Settings
from keysync.errors import KeySyncError
from keysync.systems import automatic
from keysync.systems.automatic import BEGINNING, JUDGED, Automatic
from keysync.systems.renderer import Look, Needs, Renderer, Surveyor, UnsuitableError
from keysync.systems.rewrite import rewriter
from keysync.systems.table import SYSTEMS

NEEDS = Needs((8, 8), 1.5, "box", ("whisper",))


class Rewriter:
    """Counts the looks of its survey; refuses a clip where it is told to."""

    system, needs = "rewrite", NEEDS

    def __init__(self, refuses: bool = False) -> None:
        self.refuses, self.looks = refuses, 0
        self.encoders: dict[str, Any] = {}

    def survey(self, looks: Iterator[Look], note: Callable[[str], None]) -> Rewriter:
        self.looks = len(list(looks))
        if self.refuses:
            raise UnsuitableError("the mouth never opens")
        return self


class Judge:
    """In place of the face mesh's network."""

    def __init__(self, rendered: bool) -> None:
        self.rendered, self.seen = rendered, 0

    def __call__(self) -> Judge:
        return self

    def are_rendered(self, crops: torch.Tensor) -> bool:
        self.seen = len(crops)
        return self.rendered


SMALL = cast("Renderer", SimpleNamespace(system="keysync"))


def looks(count: int) -> Iterator[Look]:
    for number in range(count):
        yield Look(number, 0, torch.zeros(8, 8, 3), torch.ones(8, 8))


def choose(monkeypatch: pytest.MonkeyPatch, judge: Judge, rewriter: Rewriter, count: int) -> tuple[Any, list[str]]:
    monkeypatch.setattr(automatic, "RenderedFaces", judge)
    notes: list[str] = []
    chosen = Automatic(cast("Surveyor", rewriter), lambda: SMALL).survey(looks(count), notes.append)
    return chosen, notes


@pytest.mark.parametrize("count", [1, 5, BEGINNING, 500])
def test_a_camera_s_face_gets_its_own_mouths_from_every_frame(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rewriter, judge = Rewriter(), Judge(rendered=False)
    chosen, notes = choose(monkeypatch, judge, rewriter, count)
    assert (chosen, rewriter.looks) == (rewriter, count)
    assert judge.seen == min(count, JUDGED)
    assert notes == ["drawn by rewrite: with the clip's own mouths"]


def test_a_rendered_face_gets_the_built_in_model(monkeypatch: pytest.MonkeyPatch) -> None:
    rewriter = Rewriter()
    chosen, (note,) = choose(monkeypatch, Judge(rendered=True), rewriter, 100)
    assert (chosen, rewriter.looks) == (SMALL, 0)
    assert "looks rendered" in note


def test_what_has_no_mouths_to_lend_gets_the_built_in_model_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, (note,) = choose(monkeypatch, Judge(rendered=False), Rewriter(refuses=True), 100)
    assert chosen is SMALL
    assert note.endswith("cannot draw this clip: the mouth never opens")


def test_it_needs_what_the_rewriter_needs_and_draws_nothing_itself() -> None:
    system = Automatic(cast("Surveyor", Rewriter()), lambda: SMALL)
    assert system.needs is NEEDS
    assert isinstance(system, Surveyor)
    assert system.evaluations(10, None) == 0
    with pytest.raises(KeySyncError, match="survey the clip first"):
        system.begin(None, 0, cast("Any", None), None)


def test_the_chosen_system_gets_its_own_settings() -> None:
    parser = argparse.ArgumentParser()
    for option in (*SYSTEMS["rewrite"].options, *SYSTEMS["keysync"].options):
        option.add(parser)
    chosen = SYSTEMS["auto"].settings(parser.parse_args(["--steps", "20", "--strength", "1.5"]))
    settings = Settings(sampling=chosen)
    none = {option.name: None for option in SYSTEMS["keysync"].files}
    small = SYSTEMS["keysync"].load(none, device=torch.device("cpu"), dtype=None)
    assert settings.sampling_of(small.system).evaluations == 20
    assert settings.sampling_of(rewriter.NAME) == rewriter.Rewriting(1.5)
