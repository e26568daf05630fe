"""The decoder that goes into a stage's checkpoint is the file's whole decoder."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from keysync.systems.keysync.small import SMALL
from keysync.vae.vae import load_vae, read_vae
from training.weights.embedded_vae import decoder_tensors


def test_temporal_layers_that_are_zero_are_written_too(tmp_path: Path) -> None:
    """The built-in VAE has such layers; `load_vae` leaves them out of its network."""
    held = read_vae(SMALL["vae"]).decoder
    tensors = decoder_tensors(SMALL["vae"])
    assert len(tensors) == len(held) > len(load_vae(SMALL["vae"]).decoder.state_dict())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "decoder.safetensors")
    again = read_vae(tmp_path / "decoder.safetensors").decoder
    for name, tensor in held.items():
        torch.testing.assert_close(again[name], tensor.float(), rtol=0, atol=0)
