"""A compiled network gives the same numbers, is compiled once a size, and says why it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._inductor import config

from keysync.errors import KeySyncError
from keysync.systems.keysync import compiled
from keysync.systems.keysync.generate import sample
from keysync.systems.keysync.sampling import Sampling

from ...small_stages import inputs, small_stage

PLAIN = Sampling(evaluations=10, guidance_interval=(1.0, 2.0), group=1)


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_the_numbers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch captures the network; what a back end makes of it differs by rounding."""
    graphs: list[Any] = []

    def backend(graph: Any, _: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiled, "BACKEND", backend)
    given, stage = inputs("interpolation", 2), small_stage("interpolation")
    expected = sample(stage, given.windows, given.noise, PLAIN)
    for _ in range(2):
        made = sample(stage, given.windows, given.noise, replace(PLAIN, compiled=True))
        torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3)
    assert 1 <= len(graphs) <= 2  # with speech, and without


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # of torch's own code generator
def test_a_missing_compiler_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    given, stage = inputs("keyframe", 1), small_stage("keyframe")
    with pytest.raises(
        KeySyncError, match=r"torch\.compile cannot compile the network .*no-such-compiler.*C\+\+"
    ) as error:
        sample(stage, given.windows, given.noise, replace(PLAIN, compiled=True))
    assert "\n" not in str(error.value)
    assert error.value.about == "compile"
