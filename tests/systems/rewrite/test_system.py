from __future__ import annotations

import argparse

import torch

from keysync.systems.renderer import Surveyor
from keysync.systems.rewrite.rewriter import Rewriting
from keysync.systems.table import SYSTEMS


def test_the_row_loads_what_it_needs_without_files() -> None:
    system = SYSTEMS["rewrite"]
    renderer = system.load({}, device=torch.device("cpu"), dtype=None)
    assert isinstance(renderer, Surveyor)
    assert renderer.system == system.name
    assert set(renderer.encoders) == set(renderer.needs.encoders)
    assert set(renderer.origins) == {"whisper", "lips"}


def test_the_option_is_the_strength() -> None:
    system = SYSTEMS["rewrite"]
    parser = argparse.ArgumentParser()
    for option in system.options:
        option.add(parser)
    assert system.settings(parser.parse_args([])) == Rewriting()
    assert system.settings(parser.parse_args(["--strength", "0.5"])) == Rewriting(0.5)
