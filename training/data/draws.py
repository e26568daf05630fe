"""Every random draw of training, as a function of the run's seed, the sample's number and what is drawn.

Samples are counted over the whole run and all processes, so that resuming, the number of processes and the number of
workers change nothing.
"""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def generator(seed: int, number: int, purpose: str) -> torch.Generator:
    """A CPU generator for the draw called `purpose` of training sample `number`; any whole numbers will do."""
    # Hashed, for torch's generator looks at 32 bits of its seed alone: packed numbers would meet.
    digest = sha256(f"{seed} {number} {purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def permutation(seed: int, epoch: int, n: int) -> Tensor:
    """The order (n,) int64 in which epoch `epoch` visits n clips."""
    return torch.randperm(n, generator=generator(seed, epoch, "order of clips"))
