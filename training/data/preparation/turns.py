"""Which of the local workers this process is: each works on the next of the machine's GPUs, in turn."""

from __future__ import annotations

from typing import Any

import torch

_number = 0


def begin(turns: Any) -> None:
    """Takes the next number of a counter that the workers share, a `multiprocessing.Value`."""
    global _number
    with turns.get_lock():
        _number, turns.value = turns.value, turns.value + 1


def use_own_gpu(device: str) -> None:
    """Makes "cuda" this worker's GPU; a device that is named with a number stays as it is."""
    if device == "cuda" and torch.cuda.device_count() > 1:
        torch.cuda.set_device(_number % torch.cuda.device_count())
