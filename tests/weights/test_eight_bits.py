"""Weights in 8 bits: close to what they were, and refused where scales and integers do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.weights.eight_bits import from_eight_bits, to_eight_bits


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_each_weight_is_half_a_step_off_at_most() -> None:
    matrix, convolution = random(4, 256), random(6, 50, 3)
    matrix[0, 130] = 100  # in one group of two
    stored = to_eight_bits({"a": matrix, "b": convolution, "bias": random(4).half()})
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in stored.items()} == {
        "a": ((4, 256), torch.int8),
        "a.scale": ((4, 2), torch.float16),
        "b": ((6, 50, 3), torch.int8),
        "b.scale": ((6, 2), torch.float16),
        "bias": ((4,), torch.float16),
    }
    read = from_eight_bits("file", stored)
    assert read.keys() == {"a", "b", "bias"}
    assert torch.equal(read["bias"], stored["bias"])
    for name, tensor, size in (("a", matrix, 128), ("b", convolution, 75)):
        assert read[name].dtype == torch.float32
        groups = tensor.flatten(1).unflatten(1, (-1, size))
        error = (read[name] - tensor).flatten(1).unflatten(1, (-1, size)).abs()
        assert (error <= 0.52 * groups.abs().amax(2, keepdim=True) / 127).all()


def test_zeros_and_numbers_too_small_for_a_scale() -> None:
    stored = to_eight_bits({"a": torch.tensor([[0.0, 0.0], [1e-9, -1e-9]])})
    assert torch.equal(from_eight_bits("file", stored)["a"], torch.zeros(2, 2))


def test_other_tensors_are_left_as_they_are() -> None:
    tensors = {
        "a": random(2, 2).half(),
        "a.scale": torch.ones(2, 1),  # of no integers
        "b": torch.ones(2, 2, dtype=torch.int8),  # without a scale
        "counter": torch.tensor(3),
        "magnitude": random(1, 1, 8),
    }
    assert from_eight_bits("file", tensors) == tensors
    floats = {"bias": random(3), "magnitude": random(1, 1, 8)}
    assert to_eight_bits(floats) == floats


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("a.scale", torch.ones(4)),
        ("a.scale", torch.ones(3, 2)),
        ("a.scale", torch.ones(4, 3)),
        ("a.scale", torch.ones(4, 0)),
        ("a", torch.ones(4, dtype=torch.int8)),
        ("a", torch.ones((), dtype=torch.int8)),
        ("a", torch.ones(0, 256, dtype=torch.int8)),
    ],
)
def test_scales_that_do_not_fit(name: str, tensor: Tensor) -> None:
    stored = to_eight_bits({"a": random(4, 256)}) | {name: tensor}
    with pytest.raises(KeySyncError, match=r"file: a\.scale has shape .*, which does not fit a of shape"):
        from_eight_bits("file", stored)
