"""The features of references depend on neither their order nor their number."""

from __future__ import annotations

import pytest
import torch

from keysync.systems.flashlips.networks import MOST_REFERENCES
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.references import References

CONFIG = PRESETS["tiny"].networks.editor.references


@pytest.fixture
def references() -> References:
    torch.manual_seed(0)
    return References(CONFIG).eval()


@torch.no_grad()
def test_the_order_does_not_matter(references: References) -> None:
    latents = torch.randn(2, MOST_REFERENCES, 4, 8, 8)
    seen = references(latents)
    assert seen.shape == (2, CONFIG.features, 8, 8)
    torch.testing.assert_close(references(latents.flip(1)), seen)


@torch.no_grad()
def test_a_reference_that_comes_twice_counts_once_more_and_changes_nothing(references: References) -> None:
    latents = torch.randn(1, 1, 4, 8, 8)
    torch.testing.assert_close(references(latents.expand(-1, 3, -1, -1, -1)), references(latents))


@torch.no_grad()
def test_each_reference_has_an_effect(references: References) -> None:
    latents = torch.randn(1, 3, 4, 8, 8)
    seen = references(latents)
    for number in range(3):
        others = [other for other in range(3) if other != number]
        assert not torch.allclose(references(latents[:, others]), seen, atol=1e-4)
