"""What known cards can do at most: dense operations per second, by their makers' data sheets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Card:
    """TFLOP/s of matrices in float16 or bfloat16 summed in float32 (`half`), and of float32 without TF32 (`single`)."""

    name: str
    half: float
    single: float
    bfloat16: bool = True


# The first whose words are all in the device's name.
CARDS = (
    Card("H200 NVL", 835, 60),
    Card("H200", 989, 67),
    Card("H100 NVL", 835, 60),
    Card("H100 PCIe", 756, 51),
    Card("H100", 989, 67),
    Card("A100", 312, 19.5),
    Card("L40S", 362, 91.6),
    Card("L4", 121, 30.3),
    Card("A10", 125, 31.2),
    Card("T4", 65, 8.1, bfloat16=False),
    Card("V100", 125, 15.7, bfloat16=False),
    Card("RTX 5090", 209.5, 104.8),
    Card("RTX 4090", 165.2, 82.6),
    Card("RTX 3090", 71, 35.6),
)
# Words of names that share a number with another card: a slice of one, or one for laptops.
OTHERS = {"MIG", "Laptop", "Max-Q", "Ti", "D"}


def peak(device_name: str, dtype: torch.dtype) -> float | None:
    """The most operations per second of a device in this precision, None where it is unknown."""
    words = set(re.split(r"[\s-]+", device_name)) | set(device_name.split())
    if words & OTHERS:
        return None
    card = next((card for card in CARDS if set(card.name.split()) <= words), None)
    if card is None or (dtype == torch.bfloat16 and not card.bfloat16):
        return None
    return 1e12 * (card.single if dtype == torch.float32 else card.half)
