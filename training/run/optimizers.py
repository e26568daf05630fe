"""The optimizers of a run: AdamW, with its state in float32 or in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from keysync.errors import KeySyncError, install_line

from ..config.run_config import ADAMW, ADAMW_BITSANDBYTES, ADAMW_TORCHAO

if TYPE_CHECKING:
    from ..config.run_config import RunConfig


def adamw(parameters: Sequence[nn.Parameter], config: RunConfig) -> torch.optim.Optimizer:
    """PyTorch's own."""
    return torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)


def adamw_of_bitsandbytes(parameters: Sequence[nn.Parameter], config: RunConfig) -> torch.optim.Optimizer:
    """With its state in 8 bits. Raises `KeySyncError` if bitsandbytes is not installed."""
    optimizer: torch.optim.Optimizer = bitsandbytes().optim.AdamW8bit(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    return optimizer


def adamw_of_torchao(parameters: Sequence[nn.Parameter], config: RunConfig) -> torch.optim.Optimizer:
    """With its state in 8 bits. Raises `KeySyncError` if torchao is not installed."""
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise KeySyncError(f"{ADAMW_TORCHAO} needs torchao: {install_line('torchao')}, or choose {ADAMW}") from error
    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    return optimizer


def bitsandbytes() -> Any:
    """The package. Raises `KeySyncError` if it is not installed."""
    try:
        import bitsandbytes
    except ImportError as error:
        raise KeySyncError(
            f"AdamW in 8 bits needs bitsandbytes: {install_line('bitsandbytes')}, or choose AdamW"
        ) from error
    return bitsandbytes


MAKERS = {ADAMW: adamw, ADAMW_BITSANDBYTES: adamw_of_bitsandbytes, ADAMW_TORCHAO: adamw_of_torchao}
