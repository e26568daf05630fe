"""FlashLips small: a file like any other, which draws with the VAE and hears with the encoder of KeySync small."""

from __future__ import annotations

from dataclasses import replace

from keysync.systems.flashlips.models import load_flashlips
from keysync.systems.flashlips.small import FLASHLIPS_SMALL, TITLE, built_in_vae
from keysync.systems.keysync.small import BUILT_IN, SMALL
from keysync.weights.files import read_tensors


def test_it_is_built_in_and_says_what_it_is_for() -> None:
    small = load_flashlips(None)
    assert small.origins == {"flashlips": TITLE, "vae": BUILT_IN, "hubert": BUILT_IN}
    assert small.spec.image_size == (128, 128)
    assert small.spec.mask_free
    assert any("trained on rendered faces only" in remark for remark in small.remarks(None))


def test_every_weight_is_a_number() -> None:
    tensors, _ = read_tensors(FLASHLIPS_SMALL)
    assert tensors
    assert all(tensor.float().isfinite().all() for tensor in tensors.values())


def test_only_what_was_trained_with_its_vae_gets_it() -> None:
    spec = load_flashlips(None).spec
    assert built_in_vae(spec) == SMALL["vae"]
    assert built_in_vae(replace(spec, vae="another")) is None
