from __future__ import annotations

import re
from itertools import islice

import pytest

from keysync.errors import KeySyncError
from training.synthetic.voice.sentences import SHARES, TEMPLATES, TEST, TRAIN, VALIDATION, WORDS, sentences, split_of


def test_no_sentence_of_one_split_is_one_of_another_whatever_the_seeds() -> None:
    told = {split: {s for seed in range(8) for s in islice(sentences(seed, split), 250)} for split in SHARES}
    assert all(split_of(sentence) == split for split, some in told.items() for sentence in some)
    assert not told[TRAIN] & told[TEST]
    assert not told[TRAIN] & told[VALIDATION]
    assert not told[VALIDATION] & told[TEST]


def test_split_does_not_hear_capitals_and_punctuation() -> None:
    for sentence in islice(sentences(0), 50):
        assert split_of(re.sub(r"[,.!?]", " ;", sentence.upper())) == TRAIN


def test_a_seed_gives_its_own_sentences_again() -> None:
    first = list(islice(sentences(3, TEST), 40))
    assert first == list(islice(sentences(3, TEST), 40))
    assert first != list(islice(sentences(4, TEST), 40))
    assert len(set(first)) > 30


def test_words_are_many_and_every_slot_has_some() -> None:
    words = {word for kind in WORDS.values() for phrase in kind for word in phrase.split("_")}
    assert len(words) > 400
    assert {slot for template in TEMPLATES for slot in re.findall(r"\{(\w+)\}", template)} <= set(WORDS)
    assert not any("_" in s or "{" in s or re.search(r"\b[aA] [aeio]", s) for s in islice(sentences(1), 500))


def test_unknown_split_is_refused() -> None:
    with pytest.raises(KeySyncError, match="'exam'"):
        next(sentences(0, "exam"))
