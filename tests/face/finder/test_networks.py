"""The three networks: shapes, and no face depends on who else is in the batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from keysync.face.finder.finder import FaceFinder
from keysync.face.finder.networks import ConvSame, FaceMesh, FullRange, Pointwise, Residual, ShortRange


@pytest.mark.parametrize(("network", "boxes"), [(ShortRange, 896), (FullRange, 2304)])
def test_a_detector_gives_a_box_and_a_score_for_each_anchor(network: type[ShortRange | FullRange], boxes: int) -> None:
    found, scores = network()(torch.zeros(2, 3, network.size, network.size))
    assert found.shape == (2, boxes, 16)
    assert scores.shape == (2, boxes)


def test_the_mesh_gives_468_points_and_whether_there_is_a_face() -> None:
    points, presence = FaceMesh()(torch.zeros(2, 3, FaceMesh.size, FaceMesh.size))
    assert points.shape == (2, 468, 3)
    assert presence.shape == (2,)


def test_a_batch_is_as_good_as_one_by_one() -> None:
    finder, torch_random = FaceFinder(), torch.Generator().manual_seed(0)
    for network in (finder._full_range, finder._short_range, finder._mesh):
        pictures = torch.rand(3, 3, network.size, network.size, generator=torch_random)
        with torch.inference_mode():
            together = network(pictures)
            for number, picture in enumerate(pictures):
                for one, other in zip(network(picture[None]), together, strict=True):
                    torch.testing.assert_close(one[0], other[number], rtol=1e-4, atol=2e-3)


def test_what_is_missing_is_added_right_and_below() -> None:
    layer = ConvSame(1, 1, 3, 2)
    with torch.no_grad():
        assert layer.bias is not None
        layer.weight.fill_(1)
        layer.bias.zero_()
    # 3x3 sums of ones at every other pixel: only the right and the lower edge stick out.
    assert layer(torch.ones(1, 1, 4, 4)).tolist() == [[[[9, 6], [6, 4]]]]


def test_a_pointwise_product_is_the_convolution() -> None:
    layer, x = Pointwise(4, 6), torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, layer.weight, layer.bias))


def test_a_residual_pools_and_fills_up_its_skip() -> None:
    block = Residual(2, 3, 2, lambda _: nn.ReLU())
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert block(x).flatten().tolist() == [3, 7, 0]
