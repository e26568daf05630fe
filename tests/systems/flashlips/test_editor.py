"""The editor adds to its source what lips, references and mask ask for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.systems.flashlips.editor import HIDDEN, Editor, hidden
from keysync.systems.flashlips.presets import PRESETS

LIPS = 12
BACKBONES = ["tiny", "tiny-transformer"]


def made(preset: str, *, trained: bool = True) -> Editor:
    """An editor with random weights; a new one gives back its source."""
    torch.manual_seed(0)
    editor = Editor(PRESETS[preset].networks.editor, LIPS).eval()
    if trained:
        with torch.no_grad():
            for parameter in editor.backbone.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.1)
    return editor


def given(count: int = 3, size: tuple[int, int] = (8, 12)) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sources, masks, reference latents and lips."""
    generator = torch.Generator().manual_seed(1)
    source, references = (
        torch.randn(*shape, generator=generator) for shape in ((count, 4, *size), (count, 2, 4, *size))
    )
    mask = torch.zeros(count, 1, *size)
    mask[..., size[0] // 2 :, :] = 1
    return source, mask, references, torch.randn(count, LIPS, generator=generator)


@pytest.mark.parametrize("preset", BACKBONES)
def test_a_new_editor_gives_back_its_source(preset: str) -> None:
    editor = made(preset, trained=False)
    source, mask, references, lips = given()
    assert torch.equal(editor(source, mask, editor.references(references), lips), source)


@torch.no_grad()
@pytest.mark.parametrize("preset", BACKBONES)
def test_every_input_has_an_effect(preset: str) -> None:
    editor = made(preset)
    source, mask, references, lips = given()
    features = editor.references(references)
    before = editor(source, mask, features, lips)
    for changed in (
        editor(source + 0.1, mask, features, lips) - 0.1,
        editor(source, mask.flip(2), features, lips),
        editor(source, mask, editor.references(references.flip(0)), lips),
        editor(source, mask, features, lips + 0.1),
    ):
        assert not torch.allclose(before, changed, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("preset", BACKBONES)
def test_without_a_mask_nothing_is_hidden(preset: str) -> None:
    editor = made(preset)
    source, mask, references, lips = given()
    features = editor.references(references)
    assert torch.equal(editor(source, None, features, lips), editor(source, torch.zeros_like(mask), features, lips))


@torch.no_grad()
@pytest.mark.parametrize("preset", BACKBONES)
def test_frames_do_not_see_each_other(preset: str) -> None:
    editor = made(preset)
    source, mask, references, lips = given()
    features = editor.references(references[:1])
    together = editor(source, mask, features, lips)
    alone = [
        editor(*(part[None] for part in parts[:2]), features, parts[2][None])
        for parts in zip(source, mask, lips, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("preset", BACKBONES)
def test_one_network_draws_latents_of_other_sizes(preset: str) -> None:
    editor = made(preset)
    for size in ((8, 8), (16, 12)):
        source, mask, references, lips = given(1, size)
        assert editor(source, mask, editor.references(references), lips).shape == source.shape


def test_the_editor_learns() -> None:
    editor = made("tiny", trained=False)
    source, mask, references, lips = given()
    goal = torch.randn(source.shape, generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam(editor.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = (editor(source, mask, editor.references(references), lips) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    # So that the first step reaches all weights but those behind the zeros.
    assert all(parameter.grad is not None for parameter in editor.parameters())


def test_what_is_hidden_does_not_show() -> None:
    pictures = torch.rand(2, 6, 6, 3)
    masks = torch.zeros(2, 6, 6)
    masks[:, 3:] = 1
    out = hidden(pictures, masks)
    assert torch.equal(out[:, :3], pictures[:, :3])
    assert bool((out[:, 3:] == HIDDEN).all())


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(KeySyncError, match=r"the masks have shape \[2, 5, 6\] but the pictures \[2, 6, 6, 3\]"):
        hidden(torch.rand(2, 6, 6, 3), torch.zeros(2, 5, 6))
