"""The random draws of training, as functions of the run's seed, the sample's number and the purpose.

Samples are numbered over the whole run and all processes, so resuming, the number of processes and the number of
workers change nothing.
"""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def generator(seed: int, number: int, purpose: str) -> torch.Generator:
    """A CPU generator for the draw `purpose` of training sample `number`; accepts any integers."""
    # Hashed, because torch's generator uses only 32 bits of its seed: packed numbers would collide.
    digest = sha256(f"{seed} {number} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order (n,) int64 in which epoch `epoch` visits n clips."""
    return torch.randperm(n, generator=generator(seed, epoch, "order of clips"))
