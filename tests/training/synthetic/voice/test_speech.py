# ruff: noqa: RUF001 - phonemes are written in IPA
from __future__ import annotations

import _ctypes
import ctypes
import re
import sys
import time
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest

from keysync.errors import KeySyncError, install_line
from training.synthetic.voice import espeak, timbre
from training.synthetic.voice.sentences import TEST, TRAIN, WORDS, split_of
from training.synthetic.voice.speech import LANGUAGES, VARIANTS, Utterance, Voice, joined, say, silence, talk
from training.synthetic.voice.visemes import PAUSE, symbols


def test_text_in_the_same_voice_is_the_same_samples_whatever_was_said_before() -> None:
    voice = Voice("en-us", "f3")
    first = say("The wolf found my puppet.", voice)
    say("Something else, by somebody else.", Voice("en", "m1", 30))
    again = say("The wolf found my puppet.", voice)
    assert np.array_equal(first.waveform, again.waveform)
    assert first.phonemes == again.phonemes
    assert first.waveform.dtype == np.float32
    assert np.abs(first.waveform).max() == pytest.approx(voice.loudness, abs=1e-4)


def test_breath_is_the_same_at_another_second() -> None:
    """espeak-ng itself seeds its breath with the clock."""
    first = espeak.speak("Shells shine on the shore.", "en-us+whisper").samples
    time.sleep(1.1)
    assert np.array_equal(espeak.speak("Shells shine on the shore.", "en-us+whisper").samples, first)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sound_of_every_language_has_a_viseme(language: str) -> None:
    text = " ".join(phrase.replace("_", " ") for kind in WORDS.values() for phrase in kind)
    names = {name for name, _ in espeak.speak(text, f"{language}+m1").phonemes}
    assert len(names) > 30
    assert all(symbols(name) for name in names - {PAUSE})


def test_every_variant_sounds_different() -> None:
    sounds = [espeak.speak("hello", f"en-us+{variant}").samples for variant in VARIANTS]
    assert all(np.abs(sound).max() > 0.1 for sound in sounds)
    assert len({sound.tobytes() for sound in sounds}) == len(VARIANTS)


def test_a_throat_of_one_s_own_says_the_same_phonemes_with_another_sound() -> None:
    text = "The wolf found my puppet."
    plain = say(text, Voice("en-us", "f3"))
    throats = [timbre.draw(np.random.default_rng(seed)) for seed in range(6)]
    said = [say(text, Voice("en-us", "f3", timbre=throat)) for throat in throats]
    assert len({utterance.waveform.tobytes() for utterance in (plain, *said)}) == 7
    for utterance in said:
        assert [p.name for p in utterance.phonemes] == [p.name for p in plain.phonemes]
        assert np.abs(utterance.waveform).max() == pytest.approx(0.7, abs=1e-4)
    again = say(text, Voice("en-us", "f3", timbre=throats[0]))
    assert np.array_equal(again.waveform, said[0].waveform)
    assert np.array_equal(say(text, Voice("en-us", "f3")).waveform, plain.waveform)


def test_phonemes_lie_where_they_are_heard() -> None:
    spoken = say("Papa may appear. See a bee, a pea.", Voice("en-us", "m3", rate=130))
    edges = [(p.start, p.stop) for p in spoken.phonemes]
    assert edges[0][0] == 0.0
    assert edges[-1][1] == pytest.approx(spoken.seconds)
    assert [start for start, _ in edges[1:]] == [stop for _, stop in edges[:-1]]

    def loud(start: float, stop: float) -> float:
        part = spoken.waveform[round(start * 16000) : round(stop * 16000)].astype(np.float64)
        return float(np.sqrt((part**2).mean()))

    vowels = [loud(p.start, p.stop) for p in spoken.phonemes if symbols(p.name)[:1] in (["ɑ"], ["æ"], ["i"], ["e"])]
    closures = [loud(p.start, p.start + 0.02) for p in spoken.phonemes if p.name == "p"]
    pauses = [loud(start + 0.03, stop - 0.03) for start, stop in spoken.pauses(0.1)]
    assert len(closures) == 4
    assert max(closures) < 0.02 < 0.1 < min(vowels)
    assert max(pauses) < 0.005


def test_mouth_shuts_in_the_silence_between_two_talks() -> None:
    clip = joined([talk(1, 2.0, TEST), silence(1.5), talk(2, 2.0, TEST)])
    assert clip.seconds == pytest.approx(5.5)
    assert len(clip.waveform) == 88000
    times = (np.arange(137) + 0.5) / 25
    opening = clip.mouth(times).open
    quiet = (times > 2.15) & (times < 3.4)
    assert opening[quiet].max() < 1e-3
    assert opening[~quiet].max() > 0.5
    assert np.abs(clip.waveform[32000:56000]).max() == 0.0
    assert any(start <= 2.01 and stop >= 3.49 for start, stop in clip.pauses(1.0))


def test_talk_is_its_seeds_and_its_splits_own() -> None:
    first = talk(5, 6.0, TEST)
    assert first.seconds == pytest.approx(6.0)
    assert np.array_equal(first.waveform, talk(5, 6.0, TEST).waveform)
    others = [talk(6, 6.0, TEST), talk(5, 6.0, TRAIN)]
    assert all(not np.array_equal(first.waveform, other.waveform) for other in others)
    assert first.text != others[0].text
    for sentence in first.text.replace("?", ".").replace("!", ".").split(". "):
        assert split_of(sentence) == TEST


def test_talking_mouth_is_open_enough_to_be_seen_and_shut_at_times() -> None:
    opening = np.concatenate([talk(seed, 5.0).mouth((np.arange(125) + 0.5) / 25).open for seed in range(4)])
    assert 0.3 < (opening > 0.4).mean() < 0.6
    assert 0.1 < (opening < 0.05).mean() < 0.5
    assert opening.max() > 0.85


def test_cut_keeps_sound_and_phonemes_together() -> None:
    whole = talk(3, 4.0)
    part = whole.cut(1.0, 3.0)
    assert np.array_equal(part.waveform, whole.waveform[16000:48000])
    assert part.phonemes[0].start == 0.0
    assert part.phonemes[-1].stop == pytest.approx(2.0)
    times = np.linspace(0.2, 1.4, 50)
    assert part.mouth(times).open == pytest.approx(whole.mouth(times + 1.0).open, abs=2e-2)


def test_unknown_voice_is_refused() -> None:
    with pytest.raises(KeySyncError, match="no voice 'xx-none"):
        espeak.speak("hello", "xx-none+m1")


def test_library_that_somebody_else_holds_is_left_alone() -> None:
    path, _ = espeak._find()
    library = ctypes.CDLL(path)
    try:
        with pytest.raises(KeySyncError, match="another part of this process"):
            espeak.speak("hello", "en-us")
    finally:
        _ctypes.dlclose(library._handle)
    assert len(espeak.speak("hello", "en-us").samples) > 1000


def test_missing_package_is_answered_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(KeySyncError, match=re.escape(install_line("espeakng-loader"))):
        espeak.speak("hello", "en-us")


def test_library_and_voices_are_the_packages_own_whatever_the_system_has() -> None:
    library, data = espeak._find()
    assert Path(library).parent == data.parent == Path(espeakng_loader.__file__).parent


def test_data_without_voices_is_answered_with_what_installs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    library, _ = espeak._find()
    monkeypatch.setattr(espeak, "_find", lambda: (library, tmp_path))
    with pytest.raises(KeySyncError, match=rf"finds no voices in {re.escape(str(tmp_path))}: .*espeakng-loader"):
        espeak.speak("hello", "en-us")


def test_silence_has_a_closed_mouth() -> None:
    still = silence(1.0)
    assert isinstance(still, Utterance)
    assert len(still.waveform) == 16000
    assert not still.mouth(np.linspace(0, 1, 20)).open.any()
