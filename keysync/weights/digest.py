"""The digest of a network's weights as they are in memory, whatever file they were read from."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import nn


def weights_digest(network: nn.Module) -> str:
    """The same for the same numbers under the same names, in the same precision."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
