"""Sharding within each of two machines, as four processes of this one: where the weights lie, not the training."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed
from torch.multiprocessing.spawn import start_processes

from keysync.errors import KeySyncError
from tests.small_stages import small_stage
from training.loss.loss import LossModule
from training.run.sharding import _mesh, gather, scatter, spread
from training.run.stage_course import StageCourse

from ..small_config import small_config

CONFIG = replace(small_config("keyframe", rgb_weight=0.0, gradient_checkpointing=False), trainable="all")


def module() -> LossModule:
    torch.manual_seed(0)
    return LossModule(small_stage("keyframe"), None, CONFIG)


def course(loss: LossModule) -> StageCourse:
    """A course of a loss, without data."""
    made = StageCourse.__new__(StageCourse)
    made.config, made.network = replace(CONFIG, distributed="hsdp"), loss.stage
    return made


def accelerator(processes: int) -> Any:
    return SimpleNamespace(num_processes=processes, device=torch.device("cpu"))


def work(process: int, port: int) -> None:
    """One of four processes: the weights are in two halves on each machine, and whole where they are gathered."""
    os.environ.update(
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": "2", "RANK": str(process)}
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=process, world_size=4)
    try:
        plain = {name: tensor.clone() for name, tensor in module().state_dict().items()}
        loss = module()
        held = spread(loss, course(loss), accelerator(4))
        weight: Any = next(iter(held.parameters()))
        assert weight.device_mesh.shape == (2, 2)
        assert weight.device_mesh.mesh_dim_names == ("machine", "process")
        assert weight.to_local().shape[0] == (weight.shape[0] + 1 - process % 2) // 2
        whole = gather(held.state_dict(), keep=process == 0)
        assert whole.keys() == (plain.keys() if process == 0 else set())
        assert all(torch.equal(whole[name], plain[name]) for name in whole)
        again: Any = scatter(torch.ones(weight.shape), weight)
        assert again.placements == weight.placements
        assert torch.equal(again.to_local(), torch.ones_like(weight.to_local()))
    finally:
        torch.distributed.destroy_process_group()


def test_within_each_of_two_machines() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    # Forked: four processes that import everything anew would take as long as all other tests of this folder.
    start_processes(work, (port,), nprocs=4, start_method="fork")


def test_machines_of_different_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(KeySyncError, match=r"5 processes, 2 of them on this machine: .* choose fsdp"):
        _mesh(accelerator(5), "hsdp")
