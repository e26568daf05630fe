"""Whether the CPU computes in bfloat16. One that does not emulates it, and takes a hundred times as long."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def has_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16, and this PyTorch uses them."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def precision_on_cpu(precision: str) -> str:
    """The precision, "bf16" or "fp32", to compute in on this processor where `precision` is asked for.

    Weights are float32 in both, so that a run goes on with the other one.
    """
    if precision != "bf16" or has_bfloat16():
        return precision
    logger.warning("this processor has no bfloat16: computing in float32")
    return "fp32"
