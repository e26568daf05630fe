"""A processor without bfloat16 computes in float32, and says so."""

from __future__ import annotations

import logging

import pytest
import torch

from training.run import precision
from training.run.precision import has_bfloat16, precision_on_cpu


@pytest.mark.parametrize(
    ("asked", "has", "given"), [("bf16", True, "bf16"), ("bf16", False, "fp32"), ("fp32", False, "fp32")]
)
def test_precision(
    asked: str, has: bool, given: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda: has)
    with caplog.at_level(logging.WARNING):
        assert precision_on_cpu(asked) == given
    said = [record.getMessage() for record in caplog.records]
    assert said == (["this processor has no bfloat16: computing in float32"] if asked != given else [])


def test_without_the_library_that_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_bfloat16()


def test_this_processor() -> None:
    assert isinstance(has_bfloat16(), bool)
