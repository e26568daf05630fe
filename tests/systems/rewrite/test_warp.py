from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keysync.systems.rewrite.warp import NODES, Picks, _step, draw, region, thin_plates

R, P, N = 160, 128, 40


def smooth_picture(size: int, seed: int) -> Tensor:
    """(1, 3, size, size) of waves."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    waves = [torch.sin(x * a + y * b) for a, b in (0.1 + 0.1 * torch.rand(3, 2, generator=random)).tolist()]
    return 0.5 + 0.3 * torch.stack(waves)[None]


def matte() -> Tensor:
    """A disc in the middle that is replaced, all of it skin."""
    line = torch.linspace(-1, 1, 64)
    disc = ((line[:, None] ** 2 + line**2) < 0.3).float()
    return torch.stack((disc, disc))[None]


@pytest.fixture
def points() -> Tensor:
    return 30 + 100 * torch.rand(1, N, 2, generator=torch.Generator().manual_seed(0))


def test_thin_plates_meet_their_points() -> None:
    random = torch.Generator().manual_seed(1)
    points, values = torch.rand(2, 30, 2, generator=random) * 2 - 1, torch.rand(2, 30, 3, generator=random)
    found = thin_plates(points[:1], values[:1], points[0])
    assert (found - values[:1]).abs().max() < 0.1
    affine = points @ torch.tensor([[1.0, 2.0], [0.5, -1.0]]) + 3
    places = torch.rand(50, 2, generator=random)
    expected = places @ torch.tensor([[1.0, 2.0], [0.5, -1.0]]) + 3
    torch.testing.assert_close(thin_plates(points, affine, places), expected.expand(2, -1, -1), atol=1e-3, rtol=0)


def test_a_frames_own_mouth_in_its_own_place_changes_nothing(points: Tensor) -> None:
    crop = smooth_picture(R, 0)
    picks = Picks(torch.tensor([0]), torch.ones(1), crop[..., 16 : 16 + P, 16 : 16 + P], points - 16)
    drawn, show = draw(crop, points, points, picks, points[0] * 2 / R - 1, matte(), torch.ones(1))
    assert (drawn - crop).abs().max() < 0.01
    assert show[0].max() == 0
    assert show[R // 2, R // 2] == 1


def test_a_mouth_from_elsewhere_lands_on_its_points_in_the_crops_colours(points: Tensor) -> None:
    crop = smooth_picture(R, 0)
    moved = torch.roll(crop, (5, -9), (2, 3)) - 0.05  # darker, and elsewhere
    patch = moved[..., 16 : 16 + P, 16 : 16 + P]
    picks = Picks(torch.tensor([0]), torch.ones(1), patch, points - 16 + torch.tensor([-9.0, 5.0]))
    drawn, _ = draw(crop, points, points, picks, points[0] * 2 / R - 1, matte(), torch.ones(1))
    middle = slice(R // 2 - 20, R // 2 + 20)
    assert (drawn - crop)[..., middle, middle].abs().mean() < 0.01


def test_the_chin_moves_with_the_goal(points: Tensor) -> None:
    crop = smooth_picture(R, 0)
    picks = Picks(torch.tensor([0]), torch.ones(1), crop[..., :P, :P], points)
    drawn, _ = draw(
        crop,
        points + torch.tensor([0.0, 3.0]),
        points,
        picks,
        points[0] * 2 / R - 1,
        torch.zeros(1, 2, 8, 8),
        torch.ones(1),
    )
    middle = slice(R // 2 - 20, R // 2 + 20)
    assert (drawn - torch.roll(crop, 3, 2))[..., middle, middle].abs().max() < 0.02
    assert (drawn - crop)[..., :8, :].abs().max() < 1e-3


def test_two_mouths_dissolve_by_their_weights(points: Tensor) -> None:
    crops = smooth_picture(R, 0).expand(2, -1, -1, -1)
    dark, bright = torch.full((1, 3, P, P), 0.4), torch.full((1, 3, P, P), 0.6)
    skinless = matte() * torch.tensor([1.0, 0.0])[:, None, None]
    picks = Picks(
        torch.tensor([0, 1, 1]),
        torch.tensor([1.0, 0.25, 0.75]),
        torch.cat((bright, dark, bright)),
        (points - 16).expand(3, -1, -1),
    )
    drawn, _ = draw(
        crops, points.expand(2, -1, -1), points.expand(2, -1, -1), picks, points[0] * 2 / R - 1, skinless, torch.ones(2)
    )
    assert drawn[0, :, R // 2, R // 2].tolist() == pytest.approx([0.6] * 3, abs=0.01)
    assert drawn[1, :, R // 2, R // 2].tolist() == pytest.approx([0.55] * 3, abs=0.01)


def test_a_crop_takes_its_share_of_the_mouth(points: Tensor) -> None:
    crops = smooth_picture(R, 0).expand(3, -1, -1, -1)
    goals, skinless = points.expand(3, -1, -1), matte() * torch.tensor([1.0, 0.0])[:, None, None]
    picks = Picks(torch.arange(3), torch.ones(3), torch.full((3, 3, P, P), 0.4), (points - 16).expand(3, -1, -1))
    drawn, _ = draw(crops, goals, goals, picks, points[0] * 2 / R - 1, skinless, torch.tensor([0.0, 0.5, 1.0]))
    assert (drawn[0] - crops[0]).abs().max() < 0.01
    torch.testing.assert_close(drawn[1], (drawn[0] + drawn[2]) / 2, atol=1e-4, rtol=0)


def test_regions_of_all_sides_have_whole_nodes() -> None:
    for side in range(48, 513):
        r = region(side)
        assert r == pytest.approx(0.625 * side, abs=0.02 * side + 1)
        assert r % _step(r) == 0
        assert NODES * 0.7 <= r / _step(r) <= NODES * 1.5 or _step(r) == 1
