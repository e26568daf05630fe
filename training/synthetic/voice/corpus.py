"""A corpus of sentences by many voices, stored in a folder so that none is synthesised twice.

FOLDER/sound.npy holds all samples, concatenated, int16; FOLDER/sayings.json, written last, the position, voice and
phonemes of each sentence. The mouth is not stored: it is computed from the phonemes.
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

# Voices of espeak-ng besides those of the synthetic world, and the held-out ones of both kinds.
_OTHERS = """Alex Alicia Andrea Andy Annie Diogo Gene Henrique Lee Marco Michael Mike Storm adam anika antonio belinda
    benjamin boris caleb david ed edward gustave john klatt klatt2 klatt3 klatt4 linda marcelo max miguel pablo paul
    pedro quincy rob robert sandro shelby steph travis victor whisper whisperf zac"""
OTHERS = tuple(_OTHERS.split())
HELD_OUT = ("m8", "f4", "Andrea", "klatt3", "max", "shelby", "victor")
SENTENCES = 4  # of each voice
OWN_THROATS = 0.75  # share of the training voices with a random timbre
FULL_SCALE = np.float32(32767)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Samples (n,) int16 at 16 kHz; for each sentence its range of samples, the number of its voice, its phonemes."""

    sound: NDArray[np.int16]
    sayings: Sequence[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.sayings)

    @property
    def seconds(self) -> float:
        return len(self.sound) / SAMPLE_RATE

    def utterance(self, number: int) -> Utterance:
        """Sentence `number`."""
        saying = self.sayings[number]
        samples = self.sound[saying["start"] : saying["stop"]].astype(np.float32) / FULL_SCALE
        return Utterance(saying["text"], samples, tuple(Phoneme(*phoneme) for phoneme in saying["phonemes"]))

    def of_voice(self, number: int) -> range:
        """All sentences of the voice of sentence `number`."""
        voice, first, last = self.sayings[number]["voice"], number, number
        while first > 0 and self.sayings[first - 1]["voice"] == voice:
            first -= 1
        while last + 1 < len(self) and self.sayings[last + 1]["voice"] == voice:
            last += 1
        return range(first, last + 1)


def load_corpus(folder: Path, hours: float, split: str = TRAIN, seed: int = 0, workers: int = 1) -> Corpus:
    """The corpus in a folder, synthesised by `workers` processes if it is missing or incomplete.

    The voices of the split "train" are not in the other splits. The same arguments give the same samples.
    Raises `KeySyncError` for a folder with another corpus.
    """
    made_of = {"hours": hours, "split": split, "seed": seed, "sentences": SENTENCES, "own_throats": OWN_THROATS}
    index = folder / "sayings.json"
    if not index.is_file():
        _write(folder, made_of, workers)
    known = json.loads(index.read_text())
    if known["made"] != made_of:
        raise KeySyncError(f"{folder} has a corpus of {known['made']}: expected {made_of}; name another folder")
    return Corpus(np.load(folder / "sound.npy", mmap_mode="r"), known["sayings"])


def speaker(split: str, seed: int, number: int) -> Voice:
    """A voice of a split, with a wider range of pitch and rate than `Voice.sample`.

    Most training voices have a random timbre; held-out voices are espeak-ng's own.
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
    """The sentences of one voice."""
    voice = speaker(split, seed, number)
    texts = sentences(seed * 1_000_003 + number, split)
    return [say(next(texts), voice) for _ in range(SENTENCES)]


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
    """The sentences voice by voice, endlessly; `ahead` voices are synthesised at a time."""
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
