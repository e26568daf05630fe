"""Damaged files of every kind are read or refused with a line: no traceback, no hang, no memory, nothing in silence.

`make fuzz` runs more cases.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from keysync.errors import KeySyncError

from . import tells
from .kinds import FEW_PICTURES, KINDS, Kind, Read, same
from .mutations import damaged_json
from .runner import Tally, run, table
from .worker import ACCEPTED, REFUSED, _alarm, outcome

# Of all kinds together 2 000 or more; another seed is tried by `make fuzz SEED=...`.
CASES = -(-2000 // len(KINDS))
SEED = "suite"


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files(name: str) -> None:
    tally = run([name], CASES, SEED)[name]
    assert sum(tally.counts.values()) == CASES
    assert not tally.faults, table({name: tally})


def test_a_fault_is_told() -> None:
    tally = Tally()
    for case, what in enumerate((ACCEPTED, REFUSED, "silent", "crash")):
        tally.add(case, what, f"words {case}")
    assert tally.faults == [(2, "silent", "words 2"), (3, "crash", "words 3")]
    text = table({"kind": tally})
    assert "kind, case 2: silent: words 2" in text
    assert [line.split()[1:5] for line in text.splitlines()[1:3]] == [["1", "1", "0", "0"]] * 2


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda _: [][1], "traceback"),
        (lambda _: bytearray(2**36), "memory"),
        (lambda _: _raise("two\nlines"), "not one line"),
        (lambda _: _raise(""), "not one line"),
        (lambda _: _raise("a line"), REFUSED),
        (lambda _: {"a": torch.zeros(2)}, ACCEPTED),
        (lambda _: {"a": torch.ones(2)}, "silent"),
        (lambda _: time.sleep(60), "hang"),
    ],
)
def test_what_counts_as_a_fault(
    read: Callable[[Path], Any], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.worker.SECONDS", 1)
    before = signal.signal(signal.SIGALRM, _alarm)
    try:
        kind = Kind(lambda folder: folder, lambda content, _: content, read, untold=tells.anything)
        assert outcome(kind, tmp_path, {"a": torch.zeros(2)}, b"")[0] == fault
    finally:
        signal.signal(signal.SIGALRM, before)


def _raise(message: str) -> None:
    raise KeySyncError(message)


def test_damage_depends_on_its_seed_alone(tmp_path: Path) -> None:
    content = KINDS["landmarks"].write(tmp_path).read_bytes()
    made = [[damaged_json(content, Random(seed)) for seed in range(50)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 40


def test_notes_of_damage_excuse_what_differs() -> None:
    valid, other = Read({"a": torch.zeros(2)}, ("silent",), 10), {"a": torch.ones(2)}
    assert same(Read({"a": torch.zeros(2)}, (), 10 - FEW_PICTURES), valid)
    assert not same(Read({"a": torch.zeros(2)}, (), 9 - FEW_PICTURES), valid)
    assert not same(Read(other, ("silent",), 10), valid)
    assert same(Read(other, ("silent", "damaged"), 1), valid)


@pytest.mark.parametrize(
    ("tell", "name"),
    [
        (tells.safetensors, "hubert, model.safetensors"),
        (tells.archive, "VAE, pickle"),
        (tells.landmarks, "landmarks"),
        (tells.wave, "sound, wav"),
    ],
)
def test_what_a_format_tells(tell: Callable[[bytes], bool], name: str, tmp_path: Path) -> None:
    content = KINDS[name].write(tmp_path).read_bytes()
    assert tell(content)
    for damaged in (content[: len(content) // 2], content[:3], b""):
        assert not tell(damaged)


def test_what_no_format_tells(tmp_path: Path) -> None:
    """Numbers of tensors, samples and coordinates."""
    for tell, name, place in ((tells.safetensors, "hubert, model.safetensors", -3), (tells.wave, "sound, wav", -3)):
        folder = tmp_path / name
        folder.mkdir()
        content = bytearray(KINDS[name].write(folder).read_bytes())
        content[place] ^= 1
        assert tell(bytes(content))
    assert tells.landmarks(KINDS["landmarks"].write(tmp_path).read_bytes().replace(b"320, 240", b"640, 480"))
