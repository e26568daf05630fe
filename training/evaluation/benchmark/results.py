"""The folder of a benchmark: the list of pairs with their speech, and the results of each system.

pairs.csv, speech/PROTOCOL/NAME.wav          what is dubbed with what
results/SYSTEM/PROTOCOL/NAME.mp4             a result; those of other systems are put there by hand
votes.csv                                    votes on pairs of results
benchmark.md, benchmark.csv, benchmark.json  the table
"""

from __future__ import annotations

import csv
import io
import wave
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from keysync.dub import Settings
from keysync.job import FaceSource, dub_file
from keysync.media.source import SoundInMemory
from keysync.method import SAMPLE_RATE
from keysync.systems.renderer import Renderer, Surveyor

from ...data.disk import disk, written
from ..real.dubs import SurveyedOnce
from .pairs import SILENCE, Pair, path_of

RESULTS, SPEECH, PAIRS = "results", "speech", "pairs.csv"
# Endings of results, the first for those made here.
ENDINGS = (".mp4", ".mkv", ".mov", ".webm", ".avi")


def result_of(folder: Path, system: str, protocol: str, name: str) -> Path | None:
    """The result of a system under a protocol by the name of its pair; None where there is none."""
    stem = folder / RESULTS / system / protocol / name
    return next((file for ending in ENDINGS if (file := stem.with_name(stem.name + ending)).is_file()), None)


def systems_of(folder: Path) -> list[str]:
    """The systems that have a folder of results, by name."""
    place = folder / RESULTS
    return sorted(entry.name for entry in place.iterdir() if _is_named(entry)) if place.is_dir() else []


def _is_named(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def write_pairs(folder: Path, pairs: Iterable[Pair]) -> None:
    """Writes the list of pairs and the speech of each, for systems that are run elsewhere.

    Raises `KeySyncError` where the folder cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("protocol", "name", "video", "speech"))
    for pair in pairs:
        speech = folder / SPEECH / pair.protocol / f"{pair.name}.wav"
        with disk(speech):
            speech.parent.mkdir(parents=True, exist_ok=True)
        with written(speech) as file:
            _write_wave(file, pair.speech)
        rows.writerow((pair.protocol, pair.name, path_of(pair.clip), speech.relative_to(folder)))
    with written(folder / PAIRS) as file:
        file.write_text(text.getvalue(), encoding="utf-8")


def _write_wave(path: Path, speech: Tensor) -> None:
    samples = (speech * 2**15).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes(samples.numpy().astype("<i2").tobytes())


def make(folder: Path, system: str, renderer: Renderer, pairs: Iterable[Pair], seed: int) -> Iterator[Pair]:
    """Dubs the pairs of one clip that have no result yet; yields each. Raises `KeySyncError` as `dub_file` does."""
    if isinstance(renderer, Surveyor):
        renderer = SurveyedOnce.of(renderer)
    for pair in pairs:
        if result_of(folder, system, pair.protocol, pair.name) is not None:
            continue
        output = folder / RESULTS / system / pair.protocol / f"{pair.name}{ENDINGS[0]}"
        with disk(output):
            output.parent.mkdir(parents=True, exist_ok=True)
        sound = SoundInMemory("silence" if pair.protocol == SILENCE else "speech", pair.speech[None], SAMPLE_RATE)
        face = FaceSource(track=pair.clip.track)
        dub_file(pair.clip.source, sound, output, renderer, Settings(seed=seed), face)
        yield pair
