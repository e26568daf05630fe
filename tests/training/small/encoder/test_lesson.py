# ruff: noqa: RUF001 - phonemes are written in IPA
from pathlib import Path

import numpy as np
import pytest
import torch

from keysync.speech.hubert import Hubert
from training.small.encoder.lesson import (
    MOUTH,
    SOUNDS,
    lesson,
    normalised,
    row_times,
    sounds_at,
    stacked,
)
from training.synthetic.voice.corpus import Corpus, load_corpus
from training.synthetic.voice.speech import talk
from training.synthetic.voice.visemes import Phoneme


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(tmp_path_factory.mktemp("corpus"), 0.005)


def test_it_is_fed_as_the_encoder_is(tmp_path: Path) -> None:
    heard = []

    class Listener(Hubert):
        def __init__(self) -> None:
            pass

        def _run(self, waveform: torch.Tensor) -> torch.Tensor:
            heard.append(waveform)
            return torch.zeros(2 * (len(waveform) // 640) - 1, 4)

    waveform = torch.randn(6400) * 0.1 + 0.02
    rows = Listener().encode(waveform).rows
    assert torch.equal(normalised(waveform), heard[0])
    assert len(row_times(6400)) == len(rows) - 1


def test_rows_of_a_frame_tell_of_its_middle() -> None:
    times = row_times(640 * 10)
    assert np.allclose((times[0:18:2] + times[1:19:2]) / 2, (np.arange(9) + 0.5) / 25)


def test_mouths_are_those_of_the_speech() -> None:
    said = talk(0, 2.0)
    times = row_times(len(said.waveform))
    taught = stacked([(said.waveform, said, times)])
    assert taught.waveforms.shape == (1, 32000)
    assert taught.mouths.shape == (1, 99, 5)
    assert np.array_equal(taught.mouths[0, :, MOUTH.index("round")].numpy(), said.mouth(times).round)


def test_sounds_of_a_name_come_one_after_the_other() -> None:
    phonemes = (Phoneme("", 0, 0.1), Phoneme("tʃ", 0.1, 0.2), Phoneme("aɪ", 0.2, 0.4), Phoneme("?", 0.4, 0.5))
    found = sounds_at(phonemes, np.array([-1, 0.05, 0.12, 0.18, 0.25, 0.35, 0.45, 0.6]))
    assert [SOUNDS[number] for number in found] == ["", "", "t", "ʃ", "a", "ɪ", "ə", ""]


def test_the_same_lesson_again_is_the_same(corpus: Corpus) -> None:
    first, again, other = lesson(corpus, 0, 5, 8), lesson(corpus, 0, 5, 8), lesson(corpus, 0, 6, 8)
    assert torch.equal(first.waveforms, again.waveforms)
    assert torch.equal(first.mouths, again.mouths)
    assert not torch.equal(first.waveforms.flatten()[:32000], other.waveforms.flatten()[:32000])


def test_lessons_are_aligned_whatever_the_pace(corpus: Corpus) -> None:
    """Where the mouth is open it is louder, and nowhere else so much."""
    loud, opened = [], []
    for number in range(12):
        taught = lesson(corpus, 1, number, 8)
        rows = taught.mouths.shape[1]
        power = taught.waveforms[:, : rows * 320].unflatten(1, (rows, 320)).square().mean(-1)
        loud.append((power + 1e-3).log().flatten())
        opened.append(taught.mouths[..., 0].flatten())
    x, y = torch.cat(loud), torch.cat(opened)
    lags = range(-8, 9)
    correlations = [torch.corrcoef(torch.stack((x.roll(lag), y)))[0, 1].item() for lag in lags]
    assert abs(lags[int(np.argmax(correlations))]) <= 2
    assert max(correlations) > 0.4


def test_some_lessons_hold_no_speech_and_are_shut(corpus: Corpus) -> None:
    silent = [
        mouths
        for number in range(40)
        for mouths, sounds in zip(*(lambda t: (t.mouths, t.sounds))(lesson(corpus, 2, number, 4)), strict=True)
        if not sounds.any()
    ]
    assert 0 < len(silent) < 12
    assert all(float(mouths[:, 0].max()) == 0 for mouths in silent)
