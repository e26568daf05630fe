"""Speech: its parts, and samples that were let go and are read again."""

from __future__ import annotations

import torch

from keysync.media.samples import Samples
from keysync.media.speech import Speech
from keysync.method import SAMPLE_RATE


def spoken(read: list[str]) -> Speech:
    """A tenth of a second; each time that it is read is noted."""
    read.append("read")
    samples = Samples()
    samples.add(torch.arange(SAMPLE_RATE // 10, dtype=torch.float32))
    return Speech(samples, 0.1, ("a note",), lambda: spoken(read))


def test_a_part_is_cut_or_followed_by_silence() -> None:
    speech = spoken([])
    assert torch.equal(speech.lasting(0.05).read(), speech.samples[:800])
    longer = speech.lasting(0.2)
    assert longer.samples == 3200
    assert torch.equal(longer.read()[:1600], speech.samples)
    assert not longer.read()[1600:].any()


def test_what_was_let_go_is_read_again_once() -> None:
    read: list[str] = []
    speech = spoken(read)
    part, before = speech.lasting(0.1), speech.samples.clone()
    speech.let_go()
    assert len(read) == 1
    assert torch.equal(part.read(), before)
    assert torch.equal(speech.samples, before)
    assert len(read) == 2
