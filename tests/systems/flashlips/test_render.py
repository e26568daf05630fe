"""FlashLips at work on a span: crops as they come, frames that are references, shots that no survey saw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.systems.flashlips.models import FlashLips
from keysync.systems.flashlips.person import Person
from keysync.systems.flashlips.render import CPU_FRAMES
from keysync.systems.flashlips.settings import Drawing
from keysync.systems.renderer import Account, Span


def crop(number: int) -> Tensor:
    return torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(number))


def mask() -> Tensor:
    lower = torch.zeros(64, 64)
    lower[32:] = 1
    return lower


def span(frames: int, **changes: Any) -> Span:
    generator = torch.Generator().manual_seed(100)
    crops = ((crop(number), mask()) for number in range(frames))
    speech = {"whisper": torch.randn(frames, 2, 384, generator=generator)}
    return replace(Span(frames, crops, speech, numbers=range(frames)), **changes)


def drawn(models: FlashLips, of: Span, settings: Drawing | None = None, steps: list[int] | None = None) -> list[Tensor]:
    on_step = None if steps is None else steps.append
    rendering = models.begin(settings, 0, lambda stage: nullcontext(), on_step)
    return [picture for picture in rendering(of) if isinstance(picture, Tensor)]


@pytest.fixture(scope="module")
def surveyed(models: FlashLips) -> FlashLips:
    generator = torch.Generator().manual_seed(7)
    latents = torch.randn(5, 4, 8, 8, generator=generator)
    person = Person([20, 21, 22, 23, 24], latents, torch.randn(6, 12, generator=generator))
    return replace(models, people={0: person})


@pytest.mark.parametrize("frames", [1, CPU_FRAMES, CPU_FRAMES + 5])
def test_steps_add_up_to_the_evaluations(surveyed: FlashLips, frames: int) -> None:
    steps: list[int] = []
    pictures = drawn(surveyed, span(frames), steps=steps)
    assert len(pictures) == frames
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    assert sum(steps) == surveyed.evaluations(frames, None)


def test_crops_are_taken_as_they_are_needed(surveyed: FlashLips) -> None:
    """However long a span is, no more crops than are drawn together are held."""
    taken: list[int] = []

    def crops() -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(40):
            taken.append(number)
            yield crop(number), mask()

    rendering = surveyed.begin(None, 0, lambda stage: nullcontext(), None)
    pictures = rendering(span(40, crops=crops()))
    next(pictures)
    assert len(taken) == CPU_FRAMES


def test_a_reference_is_drawn_without_itself(surveyed: FlashLips) -> None:
    """Whether a frame is reference 20 matters for the first of two references only."""
    pictures = drawn(surveyed, span(3, numbers=[20, 7, 24]), Drawing(references=2))
    others = drawn(surveyed, span(3, numbers=[8, 7, 9]), Drawing(references=2))
    assert not torch.equal(pictures[0], others[0])
    for number in (1, 2):
        torch.testing.assert_close(pictures[number], others[number], atol=1e-4, rtol=1e-4)


def test_a_shot_that_was_not_surveyed_lends_its_first_frames(surveyed: FlashLips) -> None:
    pictures = drawn(surveyed, span(12, shot=5))
    assert len(pictures) == 12
    assert 5 not in surveyed.people


def test_the_hidden_mouth_has_no_effect_and_an_open_one_has(surveyed: FlashLips) -> None:
    """Of the source nothing below the mask's edge is seen, unless the mouth is drawn over."""

    def altered() -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(3):
            picture = crop(number)
            picture[40:] = 1 - picture[40:]
            yield picture, mask()

    for mask_free in (False, True):
        settings = Drawing(mask_free=mask_free)
        same = [
            torch.equal(*pair)
            for pair in zip(
                drawn(surveyed, span(3), settings), drawn(surveyed, span(3, crops=altered()), settings), strict=True
            )
        ]
        assert same == [not mask_free] * 3


def test_numbers_that_are_not_finite_are_an_error(surveyed: FlashLips) -> None:
    bad = replace(surveyed, people={0: replace(surveyed.people[0], lips=torch.full((1, 12), torch.nan))})
    account = Account(name="frames {}-{} of the result".format)
    with pytest.raises(KeySyncError, match=r"the speech transformer gives numbers .* for frames 0-2 of the result"):
        drawn(bad, span(3, account=account))
