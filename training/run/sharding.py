"""Distributes a module over processes, replicated (DDP), sharded (FSDP2), or sharded within each machine and replicated
across them (HSDP), and gathers its state on one.

PyTorch's `fully_shard` is called directly and not through accelerate, which shards on GPUs only: the tests exercise the
same code on CPUs.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from keysync.errors import KeySyncError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.distributed.device_mesh import DeviceMesh

    from .course import Course


def spread(module: nn.Module, course: Course[Any], accelerator: Accelerator) -> nn.Module:
    """The loss of a course for training in all processes; a single process only moves it to its device."""
    module, distributed = module.to(accelerator.device), course.config.distributed
    if accelerator.num_processes == 1 or distributed == "ddp":
        prepared: nn.Module = accelerator.prepare(module)
        return prepared
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    # A block may return a view; nothing modifies it in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = _mesh(accelerator, distributed)
    for block in course.blocks():
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh)
    for method in course.methods:
        register_fsdp_forward_method(module, method)
    return module


def _mesh(accelerator: Accelerator, distributed: str) -> DeviceMesh:
    """The processes, in a row for each machine if weights are sharded only within one."""
    from torch.distributed.device_mesh import init_device_mesh

    processes, device = accelerator.num_processes, accelerator.device.type
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    if distributed == "hsdp" and processes % here:
        raise KeySyncError(
            f"{processes} processes, {here} of them on this machine: distributed hsdp needs as many on each machine; "
            "choose fsdp"
        )
    if distributed == "hsdp" and here < processes:
        return init_device_mesh(device, (processes // here, here), mesh_dim_names=("machine", "process"))
    return init_device_mesh(device, (processes,))


def gather(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Unsharded copies of tensors on the CPU, for the process that keeps them. Every process must call it; it holds one
    tensor at a time."""
    kept = {}
    for name, tensor in tensors.items():
        unsharded = whole(tensor.detach())
        if keep:
            kept[name] = unsharded.cpu()
    return kept


def scatter(unsharded: Tensor, like: Tensor) -> Tensor:
    """A tensor, sharded like `like`; every process must call it."""
    if not isinstance(like, DTensor):
        return unsharded
    return distribute_tensor(unsharded.to(like.device), like.device_mesh, like.placements)


def optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer, keep: bool) -> dict[str, Any]:
    """The optimizer's state by parameter name, unsharded, on the CPU, for the process that keeps it; every process must
    call it."""
    sharded = any(isinstance(parameter, DTensor) for parameter in module.parameters())
    if not keep and not sharded:
        return {}
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_optimizer_state_dict(module, optimizer, options=options))


def load_optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads a result of `optimizer_state`, which may come from another number of processes."""
    set_optimizer_state_dict(module, optimizer, state, options=StateDictOptions(full_state_dict=True))


def whole(tensor: Tensor) -> Tensor:
    """The unsharded tensor; every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
