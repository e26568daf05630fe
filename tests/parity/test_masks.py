"""Masks equal the reference implementation's, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from keysync.face.masks import MASKS, subtract, to_latent

from .conftest import Golden

NOT_OURS = {"heart": "broken in the reference implementation: its polarity is inverted and loading it raises"}
OF_THE_REFERENCE = ("box", "full", "mouth", "face")


def cases(golden: Golden, name: str) -> list[tuple[str, tuple[int, int], dict[str, torch.Tensor]]]:
    """(key, image size, tensors) of each set of landmarks drawn with a mask of that name."""
    tensors = golden.tensors("masks")
    sizes = golden.facts("masks")["sizes"]
    keys = [key.removesuffix(".packed") for key in tensors if key.endswith(f".{name}.packed")]
    return [(key, tuple(sizes[int(key.split(".")[0])]), tensors) for key in sorted(keys)]


@pytest.mark.parametrize("name", OF_THE_REFERENCE)
def test_masks_are_the_reference_s(golden: Golden, name: str) -> None:
    drawn = 0
    for key, (h, w), tensors in cases(golden, name):
        landmarks = tensors[f"{key.removesuffix(name)}landmarks"]
        packed = tensors[f"{key}.packed"].numpy()
        for case, points in enumerate(landmarks):
            expected = np.unpackbits(packed[case])[: h * w].reshape(h, w)
            mask = MASKS[name](points, (h, w))
            assert mask.dtype == torch.float32
            assert np.array_equal(mask.numpy(), expected), f"{key} case {case}"
            drawn += 1
    assert drawn


@pytest.mark.parametrize("name", OF_THE_REFERENCE)
def test_latent_masks_are_the_reference_s(golden: Golden, name: str) -> None:
    compared = 0
    for key, size, tensors in cases(golden, name):
        landmarks = tensors[f"{key.removesuffix(name)}landmarks"]
        for latent in (other for other in tensors if other.startswith(f"{key}.latent")):
            for points, expected in zip(landmarks, tensors[latent], strict=True):
                ours = to_latent(MASKS[name](points, size)[None], tuple(expected.shape[-2:]))
                assert torch.equal(ours, expected.float()), latent
                compared += 1
    assert compared


def test_occluders_are_cut_out(golden: Golden) -> None:
    tensors = golden.tensors("masks")
    result = subtract(tensors["occl.mask"], tensors["occl.arms"][:, None])
    assert torch.equal(result, tensors["occl.result"].float())


def test_every_mask_of_the_set_is_known(golden: Golden) -> None:
    names = {key.split(".")[2] for key in golden.tensors("masks") if key.endswith(".packed")}
    assert names - set(NOT_OURS) <= set(MASKS)
