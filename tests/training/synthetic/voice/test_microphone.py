import numpy as np
import pytest

from training.synthetic.voice.microphone import Microphone, Sound, fast_length

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> Sound:
    wave: Sound = (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)
    return wave


def rms(sound: Sound) -> float:
    return float(np.sqrt(np.mean(sound.astype(np.float64) ** 2)))


def strongest(sound: Sound) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * RATE / len(sound))


def test_a_plain_one_changes_nothing() -> None:
    sound = tone(440)
    assert np.abs(Microphone().hear(sound, len(sound)) - sound).max() < 1e-6


@pytest.mark.parametrize("noise", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("snr", [5.0, 30.0])
def test_noise_has_the_level_that_was_asked_for(noise: float, snr: float) -> None:
    sound = tone(440, 4)
    added = Microphone(noise=noise, snr=snr, seed=3).hear(sound, len(sound)) - sound
    assert 20 * np.log10(rms(sound) / rms(added)) == pytest.approx(snr, abs=0.2)


def test_noise_is_measured_against_what_is_said_not_the_silence_around_it() -> None:
    sound = np.concatenate([np.zeros(9 * RATE, np.float32), tone(440)])
    heard = Microphone(noise=0.0, snr=20).hear(sound, len(sound))
    assert 20 * np.log10(rms(tone(440)) / rms(heard[: 8 * RATE])) == pytest.approx(20, abs=0.3)


def test_babble_is_other_voices() -> None:
    sound = tone(440)
    heard = Microphone(babble=3, snr=10).hear(sound, len(sound), lambda count: np.resize(tone(1000), count))
    assert strongest(heard - sound) == 1000


def test_faster_is_higher() -> None:
    length = fast_length(RATE / 1.1)
    heard = Microphone().hear(tone(1000), length)
    assert len(heard) == length
    assert strongest(heard) == pytest.approx(1000 * RATE / length, abs=2)
    assert rms(heard) == pytest.approx(rms(tone(1000)), rel=0.01)


def test_echo_comes_after() -> None:
    click = np.zeros(RATE, np.float32)
    click[4000] = 0.5
    heard = Microphone(echo=0.3, direct=0).hear(click, RATE)
    assert heard[4000] == pytest.approx(0.5, rel=0.01)
    assert np.abs(heard[:3990]).max() < 1e-6
    assert np.sum(heard[4030:] ** 2) == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(("hertz", "let_through"), [(100, False), (1000, True), (6000, False)])
def test_a_telephone_lets_the_middle_through(hertz: float, let_through: bool) -> None:
    sound = tone(hertz)
    heard = Microphone(low=400, high=3400).hear(sound, len(sound))
    assert (rms(heard) > 0.9 * rms(sound)) is let_through


def test_too_loud_is_cut_off() -> None:
    heard = Microphone(gain=20).hear(tone(440), RATE)
    assert np.abs(heard).max() == 1


def test_silence_without_noise_stays_digital_silence() -> None:
    assert not Microphone(echo=0.3, low=200, gain=-6).hear(np.zeros(RATE, np.float32), RATE).any()


def test_samples_are_all_kinds_and_repeat() -> None:
    drawn = [Microphone.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert drawn == [Microphone.sample(np.random.default_rng(seed)) for seed in range(200)]
    for kind in ("noise", "babble", "echo", "low"):
        share = np.mean([bool(getattr(one, kind)) for one in drawn])
        assert 0.1 < share < 0.7
    assert any(one.high < 8000 for one in drawn)
    assert np.mean([one.noise is None and not one.babble and not one.echo for one in drawn]) > 0.15
    assert all(5 <= one.snr <= 40 and -20 <= one.gain <= 6 for one in drawn)
