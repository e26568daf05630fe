"""Samples in one piece: the blocks in order, silence behind them."""

from __future__ import annotations

import pytest
import torch

from keysync.media import samples as module
from keysync.media.samples import Samples


@pytest.mark.parametrize("room", [4, 100])
def test_blocks_in_order_with_silence_behind(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", room)
    samples = Samples()
    for start, stop in ((0, 3), (3, 3), (3, 17), (17, 18)):
        samples.add(torch.arange(start, stop, dtype=torch.float32) + 1)
    assert len(samples) == 18
    assert samples.first(18).tolist() == list(range(1, 19))
    assert samples.first(5).tolist() == [1, 2, 3, 4, 5]
    assert samples.first(0).tolist() == []
    assert samples.first(40).tolist() == [*range(1, 19), *[0] * 22]
    samples.add(torch.ones(1))
    assert samples.first(20).tolist() == [*range(1, 19), 1, 0]


def test_silence_is_not_copied_behind_the_samples() -> None:
    samples = Samples()
    samples.add(torch.ones(10))
    assert samples.first(20).data_ptr() == samples.first(10).data_ptr()


def test_a_waveform_in_memory_is_shared() -> None:
    waveform = torch.arange(5, dtype=torch.float32)
    samples = Samples.sharing(waveform)
    assert samples.first(5).data_ptr() == waveform.data_ptr()
    assert samples.first(7).tolist() == [0, 1, 2, 3, 4, 0, 0]
    samples.add(torch.ones(1))
    assert samples.first(6).tolist() == [0, 1, 2, 3, 4, 1]
    assert waveform.tolist() == [0, 1, 2, 3, 4]
