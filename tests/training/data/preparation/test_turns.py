"""Local workers and GPUs: each worker takes the next one."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

from training.data.preparation import turns


def test_each_worker_takes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(turns, "_number", 0)
    counter = multiprocessing.get_context("spawn").Value("i", 0)
    for _ in range(5):
        turns.begin(counter)
        turns.use_own_gpu("cuda")
    assert taken == [0, 1, 2, 0, 1]
    for device in ("cpu", "cuda:1"):
        turns.use_own_gpu(device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    turns.use_own_gpu("cuda")
    assert len(taken) == 5
