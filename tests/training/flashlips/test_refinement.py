"""Pairs of a frame and an altered one: where they differ, whose lips they have, and which is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from keysync.systems.flashlips.presets import PRESETS
from training.config.config import load_as
from training.flashlips.config import FlashLipsConfig
from training.flashlips.frames import Frames
from training.flashlips.reconstruction import Reconstruction
from training.flashlips.refinement import RefinementLoss

from .samples import frames


class Mean(nn.Module):
    """Lips vectors that say the mean of the picture, twelve times."""

    def forward(self, pictures: Tensor, points: Tensor) -> Tensor:
        return pictures.mean((1, 2, 3))[:, None].expand(-1, 12)


class Painter(nn.Module):
    """An editor that paints every cell with the lips' first number; it notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.given: list[tuple[Tensor, Tensor | None]] = []

    def references(self, latents: Tensor) -> Tensor:
        return latents.mean(1)

    def forward(self, source: Tensor, mask: Tensor | None, features: Tensor, lips: Tensor) -> Tensor:
        self.given.append((source, mask))
        return torch.ones_like(source) * self.weight * lips[:, :1, None, None]


def loss(**changes: str) -> tuple[RefinementLoss, Painter]:
    words = {"start": "file", "lower_weight": "0", "lips_weight": "0", **changes}
    config = load_as(FlashLipsConfig, "lips-refine", None, words)
    student = Painter()
    hide: Any = lambda batch: torch.zeros_like(batch.latent)  # noqa: E731
    teacher: Any = Painter()
    lips: Any = Mean()
    network = nn.ModuleDict({"editor": student})
    return RefinementLoss(network, hide, Reconstruction(config, None, None, None), teacher, lips), student


def test_an_altered_frame_differs_inside_the_mask_alone() -> None:
    batch = frames(2)
    altered, own, others = loss()[0].alter(batch)
    assert torch.equal(altered[:, :, :4], batch.latent[:, :, :4])
    assert torch.allclose(altered[:, :, 4:], others[:, :1, None, None].expand(-1, 4, 4, 8))
    assert torch.allclose(own[:, 0], batch.picture.mean((1, 2, 3)))
    assert torch.allclose(others[:, 0], batch.other_picture.mean((1, 2, 3)))


def test_the_lips_of_another_person_are_the_next_frame_s() -> None:
    batch = frames(3)
    batch.by_another[1] = True
    _, own, others = loss()[0].alter(batch)
    assert torch.equal(others[1], own[0])
    assert torch.allclose(others[0, 0], batch.other_picture[0].mean())


def test_the_frame_is_drawn_from_the_altered_one_without_a_mask() -> None:
    module, student = loss()
    batch = frames(2)
    drawn = module.draw(batch)
    altered, own, _ = module.alter(batch)
    ((source, mask),) = student.given
    assert mask is None
    assert torch.equal(source, altered)
    assert torch.equal(drawn.target, batch.latent)
    assert torch.allclose(drawn.latents, own[:, :1, None, None].expand_as(batch.latent))


def test_a_reversed_pair_is_drawn_the_other_way_round() -> None:
    module, student = loss()
    batch = frames(2)
    batch.reversed[1] = True
    drawn = module.draw(batch)
    altered, own, others = module.alter(batch)
    source = student.given[0][0]
    assert torch.equal(source[0], altered[0])
    assert torch.equal(source[1], batch.latent[1])
    assert torch.equal(drawn.target[1], altered[1])
    assert float(drawn.latents[0].detach().mean()) == pytest.approx(float(own[0, 0]))
    assert float(drawn.latents[1].detach().mean()) == pytest.approx(float(others[1, 0]))


def test_only_the_student_learns() -> None:
    module, student = loss()
    assert dict(module.named_parameters()).keys() == {"network.editor.weight"}
    errors = module(frames(2))
    errors.total.backward()
    assert student.weight.grad is not None
    assert errors.total.ndim == 0


def test_the_presets_networks_take_the_same_calls() -> None:
    from keysync.systems.flashlips.editor import Editor
    from keysync.systems.flashlips.lips_vector import LipsVector

    networks = PRESETS["tiny"].networks
    module, _ = loss()
    editor, lips = Editor(networks.editor, networks.lips.width), LipsVector(networks.lips)
    hide: Any = lambda batch: batch.latent  # noqa: E731
    whole = RefinementLoss(nn.ModuleDict({"editor": editor}), hide, module.reconstruction, editor, lips)
    batch: Frames = frames(2)
    drawn = whole.draw(batch)
    assert torch.allclose(drawn.latents, batch.latent)  # a new editor gives back its source
