"""The optimizers: each by its name, and the line that installs one that is missing."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from keysync.errors import KeySyncError, install_line
from training.config.run_config import OPTIMIZERS
from training.run.optimizers import MAKERS

from ..small_config import small_config


def test_each_choice_has_one() -> None:
    assert tuple(MAKERS) == OPTIMIZERS


def test_the_default_is_pytorch_s() -> None:
    config = small_config("keyframe", weight_decay=0.25)
    optimizer = MAKERS[config.optimizer]([nn.Parameter(torch.zeros(3))], config)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.defaults["lr"] == config.learning_rate
    assert optimizer.defaults["weight_decay"] == 0.25


@pytest.mark.parametrize(
    ("name", "package", "place"), [("adamw8bit", "bitsandbytes", "optim"), ("adamw8bit-torchao", "torchao", "optim")]
)
def test_those_in_8_bits_are_the_packages(name: str, package: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class AdamW8bit(torch.optim.AdamW):
        def __init__(self, *arguments: object, **named: object) -> None:
            made.append(named)
            super().__init__(*arguments, **named)  # type: ignore[arg-type]

    config = small_config("keyframe")
    parameters = [nn.Parameter(torch.zeros(3))]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.{place}", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line(package))):
        MAKERS[name](parameters, config)
    module, inner = ModuleType(package), ModuleType(f"{package}.{place}")
    inner.AdamW8bit = AdamW8bit  # type: ignore[attr-defined]
    module.optim = inner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package, module)
    monkeypatch.setitem(sys.modules, f"{package}.{place}", inner)
    assert type(MAKERS[name](parameters, config)) is AdamW8bit
    assert made == [{"lr": config.learning_rate, "weight_decay": config.weight_decay}]
