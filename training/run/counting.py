"""Counts what one training step costs, on fake tensors, which have shapes but no data.

Floating-point operations are counted operator by operator, memory tensor by tensor.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

GIB = 2**30
# Peak dense operations per second of an NVIDIA A100, the paper's GPU (fp32 runs as TF32), and the usual utilisation in
# training.
GPU, SHARE = "A100", 0.4
PEAKS = {"fp32": 156e12, "bf16": 312e12, "fp16": 312e12}
# The paper's batch size (table 7), in clips.
BATCH = 32
GPUS = (1, 8)


@dataclass(frozen=True)
class Cost:
    """One step of one process: floating-point operations per clip and their precision, peak memory in bytes by part
    (weights, gradients, AdamW, activations, and of distillation the teacher), and the number of parameters, in all and
    trained; `teacher` is how often a teacher is evaluated per clip, on average, which the operations include."""

    flops: float
    precision: str
    memory: dict[str, int]
    parameters: int
    trained: int
    teacher: float = 0.0

    @property
    def peak(self) -> int:
        """Peak memory in bytes."""
        return sum(self.memory.values())

    def hours(self, steps: int, gpus: int) -> float:
        """Hours for `steps` steps of `BATCH` clips on `gpus` GPUs of type `GPU`."""
        return self.flops * BATCH * steps / (PEAKS[self.precision] * SHARE * gpus) / 3600


def counted(work: Callable[[], Any]) -> float:
    """The floating-point operations of some work."""
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        work()
    return float(counter.get_total_flops())


def step_memory(step: Callable[[], Any], held: Sequence[Tensor], trained: int) -> dict[str, int]:
    """The peak memory in bytes of a step by part, but a teacher's; `held` are the weights, `trained` numbers of them
    have gradients afterwards."""
    # Not while operations are counted: the counter keeps tensors alive that gradient checkpointing computes twice.
    with Memory(held) as memory:
        step()
    lasting = {"weights": sum(tensor.nbytes for tensor in held), "gradients": 4 * trained, "AdamW": 8 * trained}
    return {**lasting, "activations": memory.peak - lasting["weights"] - lasting["gradients"]}


class Memory(TorchDispatchMode):
    """Tracks the bytes of all live tensors; `peak` is their maximum."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()
        for tensor in held:
            self._add(tensor)

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        out = function(*arguments, **(named or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return out

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def full_encoder() -> nn.Module:
    """The encoder of Stable Video Diffusion's VAE at full size."""
    encoder: nn.Module = _full_vae().encoder
    return encoder


def full_decoder() -> nn.Module:
    """The decoder of Stable Video Diffusion's VAE at full size."""
    decoder: nn.Module = _full_vae().decoder
    return decoder


def _full_vae() -> Any:
    from diffusers import AutoencoderKLTemporalDecoder

    return AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(128, 256, 512, 512), layers_per_block=2
    )


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    grad: Sequence[int], query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


# PyTorch's counter knows these operators only for GPUs.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
