"""Sentences said by many voices, kept in a folder so that none is synthesised twice.

FOLDER/sound.npy holds all samples one after the other, int16; FOLDER/sayings.json, written last, where each lies, who
says it and its phonemes. The mouth is not kept: it is computed from the phonemes.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keysync.errors import KeySyncError
from keysync.method import SAMPLE_RATE
from keysync.whole import whole_file

from . import timbre
from .sentences import TRAIN, sentences
from .speech import LANGUAGES, VARIANTS, Utterance, Voice, say
from .visemes import Phoneme

log = logging.getLogger(__name__)

# Voices of espeak-ng beside those that talk in the synthetic world, and those of both kinds that are kept for tests.
_OTHERS = """Alex Alicia Andrea Andy Annie Diogo Gene Henrique Lee Marco Michael Mike Storm adam anika antonio belinda
    benjamin boris caleb david ed edward gustave john klatt klatt2 klatt3 klatt4 linda marcelo max miguel pablo paul
    pedro quincy rob robert sandro shelby steph travis victor whisper whisperf zac"""
OTHERS = tuple(_OTHERS.split())
HELD_OUT = ("m8", "f4", "Andrea", "klatt3", "max", "shelby", "victor")
SENTENCES = 4  # of each voice
OWN_THROATS = 0.75  # the share of voices to train on that are none of espeak-ng's
FULL_SCALE = np.float32(32767)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Samples (n,) int16 at 16 kHz, and of each saying its first and last sample, its voice's number and phonemes."""

    sound: NDArray[np.int16]
    sayings: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.sayings)

    @property
    def seconds(self) -> float:
        return len(self.sound) / SAMPLE_RATE

    def utterance(self, number: int) -> Utterance:
        """One of the sayings."""
        saying = self.sayings[number]
        samples = self.sound[saying["start"] : saying["stop"]].astype(np.float32) / FULL_SCALE
        return Utterance(saying["text"], samples, tuple(Phoneme(*phoneme) for phoneme in saying["phonemes"]))

    def of_voice(self, number: int) -> range:
        """The sayings of the one who says this one."""
        voice, first, last = self.sayings[number]["voice"], number, number
        while first > 0 and self.sayings[first - 1]["voice"] == voice:
            first -= 1
        while last + 1 < len(self) and self.sayings[last + 1]["voice"] == voice:
            last += 1
        return range(first, last + 1)


def load_corpus(folder: Path, hours: float, split: str = TRAIN, seed: int = 0, workers: int = 1) -> Corpus:
    """The corpus in a folder, synthesised first where it is not there whole; `workers` processes do that.

    Voices of the split "train" are never those of the other splits. The same arguments give the same samples.
    Raises `KeySyncError` for a folder that holds another corpus.
    """
    wanted = {"hours": hours, "split": split, "seed": seed, "sentences": SENTENCES, "own_throats": OWN_THROATS}
    index = folder / "sayings.json"
    if not index.is_file():
        _write(folder, wanted, workers)
    known = json.loads(index.read_text())
    if known["made"] != wanted:
        raise KeySyncError(f"{folder} holds a corpus of {known['made']}, {wanted} was wanted: give another folder")
    return Corpus(np.load(folder / "sound.npy", mmap_mode="r"), known["sayings"])


def speaker(split: str, seed: int, number: int) -> Voice:
    """A voice of a split: slower, faster, lower and higher than those of the synthetic world are.

    Most of those that are trained on speak with a throat of their own; those kept for tests are espeak-ng's.
    """
    rng = _rng(f"speaker {split} {seed} {number}")
    own = [variant for variant in VARIANTS if (variant in HELD_OUT) != (split == TRAIN)]
    others = [variant for variant in OTHERS if (variant in HELD_OUT) != (split == TRAIN)]
    return Voice(
        language=str(rng.choice(LANGUAGES)),
        variant=str(rng.choice(own if rng.random() < 0.6 else others)),
        pitch=int(rng.integers(10, 91)),
        pitch_range=int(rng.integers(15, 90)),
        rate=int(rng.integers(110, 231)),
        loudness=float(rng.uniform(0.35, 0.9)),
        timbre=timbre.draw(rng) if split == TRAIN and rng.random() < OWN_THROATS else None,
    )


def _said(split: str, seed: int, number: int) -> list[Utterance]:
    """What one voice says."""
    voice = speaker(split, seed, number)
    told = sentences(seed * 1_000_003 + number, split)
    return [say(next(told), voice) for _ in range(SENTENCES)]


def _write(folder: Path, made: dict[str, Any], workers: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    samples: list[NDArray[np.int16]] = []
    sayings: list[dict[str, Any]] = []
    place, enough = 0, made["hours"] * 3600 * SAMPLE_RATE
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) if workers > 1 else nullcontext() as pool:
        for voice, utterance in _all_said(pool, made["split"], made["seed"], 4 * workers):
            sound = np.round(utterance.waveform * FULL_SCALE).astype(np.int16)
            phonemes = [(p.name, round(p.start, 5), round(p.stop, 5)) for p in utterance.phonemes]
            samples.append(sound)
            saying = {"voice": voice, "start": place, "stop": place + len(sound)}
            sayings.append({**saying, "text": utterance.text, "phonemes": phonemes})
            place += len(sound)
            if len(sayings) % 400 == 0:
                log.info("%d sentences, %.2f hours", len(sayings), place / 3600 / SAMPLE_RATE)
            if place >= enough:
                break
    np.save(folder / "sound.npy", np.concatenate(samples))
    with whole_file(folder / "sayings.json") as temporary:
        temporary.write_text(json.dumps({"made": made, "sayings": sayings}))


def _all_said(pool: Executor | None, split: str, seed: int, ahead: int) -> Iterator[tuple[int, Utterance]]:
    """Voice by voice without end, so many voices at a time."""
    first = 0
    while True:
        numbers = range(first, first + ahead)
        work = ([split] * ahead, [seed] * ahead, numbers)
        for voice, said in zip(numbers, (pool.map if pool else map)(_said, *work), strict=True):
            for utterance in said:
                yield voice, utterance
        first += ahead


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(sha256(name.encode()).digest()[:8], "little"))
