from pathlib import Path

import numpy as np
import pytest

from keysync.errors import KeySyncError
from training.synthetic.voice.corpus import HELD_OUT, OTHERS, Corpus, load_corpus, speaker
from training.synthetic.voice.sentences import TEST, TRAIN, VALIDATION, split_of
from training.synthetic.voice.speech import say

HOURS = 0.003


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(tmp_path_factory.mktemp("corpus"), HOURS)


def test_each_saying_is_what_its_voice_says(corpus: Corpus) -> None:
    assert corpus.seconds >= HOURS * 3600
    said = corpus.utterance(1)
    again = say(said.text, speaker(TRAIN, 0, 0))
    assert np.abs(said.waveform - again.waveform).max() < 2e-5
    assert [p.name for p in said.phonemes] == [p.name for p in again.phonemes]
    assert np.allclose([p.start for p in said.phonemes], [p.start for p in again.phonemes], atol=1e-5)


def test_no_sentence_of_another_split(corpus: Corpus) -> None:
    assert {split_of(saying["text"]) for saying in corpus.sayings} == {TRAIN}


def test_sayings_of_one_voice_belong_together() -> None:
    corpus = Corpus(np.zeros(0, np.int16), [{"voice": voice} for voice in (0, 0, 1, 1, 1, 2)])
    assert [corpus.of_voice(number) for number in (0, 1, 3, 5)] == [range(2), range(2), range(2, 5), range(5, 6)]


def test_held_out_voices_are_in_no_training() -> None:
    drawn = {split: {speaker(split, 0, number).variant for number in range(400)} for split in (TRAIN, VALIDATION, TEST)}
    assert not drawn[TRAIN] & set(HELD_OUT)
    assert drawn[VALIDATION] | drawn[TEST] == set(HELD_OUT)
    assert drawn[TRAIN] & set(OTHERS)


def test_most_training_voices_have_a_throat_of_their_own_and_no_test_voice_has() -> None:
    own = {split: [speaker(split, 0, number).timbre for number in range(200)] for split in (TRAIN, VALIDATION, TEST)}
    found = [throat for throat in own[TRAIN] if throat is not None]
    assert 0.65 < len(found) / 200 < 0.85
    assert len(set(found)) == len(found)
    assert not any("klatt 3" in throat for throat in found)
    assert not any(own[VALIDATION] + own[TEST])


def test_processes_make_the_same_corpus(corpus: Corpus, tmp_path: Path) -> None:
    other = load_corpus(tmp_path, HOURS, workers=2)
    assert other.sayings == corpus.sayings
    assert np.array_equal(other.sound, corpus.sound)


def test_it_is_not_made_twice_nor_taken_for_another(corpus: Corpus, tmp_path: Path) -> None:
    load_corpus(tmp_path, 0.0001)
    written = (tmp_path / "sound.npy").stat().st_mtime_ns
    load_corpus(tmp_path, 0.0001)
    assert (tmp_path / "sound.npy").stat().st_mtime_ns == written
    with pytest.raises(KeySyncError, match="name another folder"):
        load_corpus(tmp_path, 0.0001, seed=1)
