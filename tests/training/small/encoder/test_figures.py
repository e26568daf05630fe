import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from keysync.speech.features import SpeechFeatures
from keysync.speech.hubert import Hubert
from training.small.encoder.figures import CONDITIONS, LAGS, Probe, _heard, compared, figures, frame_times, mouths
from training.synthetic.voice.microphone import Microphone
from training.synthetic.voice.speech import Utterance, talk


class Knowing(Hubert):
    """An encoder that knows what is said: its rows are the mouth itself, `late` by so many seconds, and some noise."""

    def __init__(self, talks: list[Utterance], late: float = 0.0, noise: float = 0.0) -> None:
        self.talks, self.late, self.noise = talks, late, noise

    def encode(self, waveform: torch.Tensor, *, one_pass: int = 0) -> SpeechFeatures:
        said = next(one for one in self.talks if np.abs(one.waveform - waveform.numpy()).max() < 1e-5)
        times = (np.arange(2 * len(waveform) // 640) + 0.5) / 50
        table = mouths(said, times - self.late)
        rows = table + np.random.default_rng(0).normal(0, self.noise, table.shape)
        return SpeechFeatures(torch.from_numpy(rows).float(), "hubert")


@pytest.fixture(scope="module")
def talks() -> list[Utterance]:
    return [talk(seed, 8.0) for seed in range(3)]


def probe(weights: NDArray[np.float64] | None = None, **kind: float) -> tuple[list[Utterance], Probe]:
    said = [talk(seed, 8.0) for seed in range(3)]
    encoder = Knowing(said, **kind)
    return said, Probe.fit(encoder, said, 1e-6) if weights is None else Probe(encoder, weights)


def mean_of_rows() -> NDArray[np.float64]:
    return np.concatenate([np.eye(5) / 2, np.eye(5) / 2, np.zeros((1, 5))])


def test_an_encoder_that_knows_is_told_so() -> None:
    said, knowing = probe()
    found = figures(knowing, said, CONDITIONS["clean"])
    assert found["open"] > 0.995
    assert found["tongue"] > 0.98
    assert found["slope"] == pytest.approx(1, abs=0.02)
    assert found["lag_ms"] == 0
    assert found["in_pauses"] == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("late", [-0.04, 0.02])
def test_an_encoder_that_is_late_is_found_late(late: float) -> None:
    said, knowing = probe(mean_of_rows(), late=late)
    assert figures(knowing, said, Microphone())["lag_ms"] == pytest.approx(1000 * late, abs=1)


def test_an_encoder_that_guesses_is_found_out() -> None:
    said, knowing = probe(mean_of_rows(), noise=0.6)
    found = figures(knowing, said, Microphone())
    assert found["open"] < 0.7
    assert found["in_pauses"] > 0.3


@pytest.mark.parametrize("count", [1, 2])
def test_babble_is_another_talk_if_there_is_one(talks: list[Utterance], count: int) -> None:
    babble = Microphone(babble=1, snr=0.0)
    heard = _heard(talks[:count], 0, babble) - talks[0].waveform
    other = talks[count - 1].waveform
    assert np.corrcoef(heard, other)[0, 1] > 0.9


def test_what_needs_no_encoder_knows_something_but_not_all(talks: list[Utterance]) -> None:
    found = compared(talks)
    assert 0.4 < found["loudness"] < 0.9
    assert 0.4 < found["formants"] < 0.9


def test_frames_are_judged_in_their_middles(talks: list[Utterance]) -> None:
    times = frame_times(talks[0])
    assert len(times) == 199
    assert times[0] == 0.02
    assert 0 in LAGS
