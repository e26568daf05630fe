"""A clip to dub: a talking person and new speech, with a person, a voice and sentences held out from training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from keysync.face.face import Points
from keysync.measure.leak import OPEN
from keysync.method import NETWORK_RATE, SAMPLE_RATE

from ..synthetic.measure.metrics import mouth_aspect_ratio
from ..synthetic.render.mouth import MouthShape
from ..synthetic.render.shot import Pictures, Shot
from ..synthetic.voice.corpus import speaker
from ..synthetic.voice.sentences import TEST, sentences
from ..synthetic.voice.speech import Utterance, joined, say, silence
from ..synthetic.voice.visemes import PAUSE

SILENT = 0.45  # share of a clip in which the new speech is silent
SETTLED = 0.16  # seconds at both ends of a silence in which the mouth closes or opens
GAP = 0.12  # seconds between sentences
MOST_OPEN = 6  # number of frames of a film in which its person is compared with others
STRANGERS = 4  # number of others: a chance resemblance of one of them should not matter
LONGER = 5  # length of the speech that a talking source is cut from, in lengths of the clip


@dataclass(frozen=True, eq=False)
class Film:
    """A clip: `shot`, whose person says `spoken`, to dub with `said`; `quiet` (start, stop): the silence in `said`.

    Both utterances are as long as the shot.
    """

    shot: Shot
    spoken: Utterance
    said: Utterance
    quiet: tuple[float, float] | None = None

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """The middle of each frame, in seconds."""
        middles: NDArray[np.float64] = (np.arange(self.shot.frames) + 0.5) / NETWORK_RATE
        return middles

    @cached_property
    def source(self) -> Pictures:
        """The pictures to dub."""
        return self.shot.draw(self._mouths(self.spoken))

    @cached_property
    def real(self) -> Pictures:
        """Ground truth: the person saying the new speech, without an occluder."""
        return self.shot.bare().draw(self._mouths(self.said))

    @cached_property
    def real_landmarks(self) -> Points:
        """The landmarks (n, 68, 2) of `real`, computed without drawing it."""
        return self.shot.landmarks(self._mouths(self.said))

    @cached_property
    def open_frames(self) -> list[int]:
        """Evenly spaced frames in which the new speech opens the mouth, or else the frame with the widest opening."""
        ratios = mouth_aspect_ratio(self.real_landmarks)
        found = np.flatnonzero(ratios > OPEN)
        if not len(found):
            return [int(ratios.argmax())]
        return sorted(set(found[np.linspace(0, len(found) - 1, MOST_OPEN).round().astype(int)].tolist()))

    @cached_property
    def strangers(self) -> list[Pictures]:
        """The `open_frames` of other people, each saying the new speech in the same place."""
        shots = [self.shot.bare().of_stranger(number) for number in range(1, STRANGERS + 1)]
        return [shot.draw(self._mouths(self.said), self.open_frames) for shot in shots]

    @property
    def silent(self) -> NDArray[np.bool_]:
        """(n,) whether the new speech is silent and the mouth at rest."""
        start, stop = self.quiet or (0.0, 0.0)
        return np.asarray((self.times > start + SETTLED) & (self.times < stop - SETTLED))

    @property
    def talking(self) -> NDArray[np.bool_]:
        """(n,) whether the frame is outside the silence."""
        start, stop = self.quiet or (0.0, 0.0)
        return np.asarray((self.times < start) | (self.times >= stop))

    def _mouths(self, utterance: Utterance) -> list[MouthShape]:
        motion = utterance.mouth(self.times)
        return [motion[number] for number in range(len(motion))]


def talk_film(seed: int, number: int, frames: int, side: int, occluder: str = "none") -> Film:
    """A talking person to dub with other speech."""
    seconds = frames / NETWORK_RATE
    shot = Shot(seeds_of(seed, number, occluder), frames, side, occluder)
    return Film(shot, chatter(seed, number, "source", seconds), chatter(seed, number, "talk", seconds))


def quiet_film(seed: int, number: int, frames: int, side: int) -> Film:
    """A person who talks throughout, to dub with speech, silence, and speech again."""
    seconds = frames / NETWORK_RATE
    silent = SILENT * seconds
    before = (seconds - silent) / 2
    said = chatter(seed, number, "before and after", seconds - silent)
    parts = [said.cut(0, before), silence(silent), said.cut(before, said.seconds)]
    shot = Shot(seeds_of(seed, number, "quiet"), frames, side)
    spoken = _most_open(chatter(seed, number, "throughout", LONGER * seconds), seconds, before, before + silent)
    return Film(shot, spoken, _fitted(joined(parts), seconds), (before, before + silent))


def _most_open(said: Utterance, seconds: float, start: float, stop: float) -> Utterance:
    """The part of an utterance, `seconds` long, with the widest mean opening from `start` to `stop`."""
    opening = said.mouth((np.arange(round(said.seconds * NETWORK_RATE)) + 0.5) / NETWORK_RATE).open
    first, last = round(start * NETWORK_RATE), round(stop * NETWORK_RATE)
    shifts = range(len(opening) - round(seconds * NETWORK_RATE) + 1)
    best = max(shifts, key=lambda shift: float(opening[shift + first : shift + last].mean()))
    return _fitted(said.cut(best / NETWORK_RATE, best / NETWORK_RATE + seconds), seconds)


def chatter(seed: int, number: int, purpose: str, seconds: float) -> Utterance:
    """Sentences and a voice of the test split, with short gaps between the sentences."""
    draw = seeds_of(seed, number, purpose)[1]
    voice = speaker(TEST, draw, 0)
    texts = sentences(draw, TEST)
    parts = [silence(GAP)]
    while sum(part.seconds for part in parts) < seconds:
        parts += [_trimmed(say(next(texts), voice)), silence(GAP)]
    return _fitted(joined(parts), seconds)


def _trimmed(said: Utterance) -> Utterance:
    """The utterance without the silence at both ends."""
    heard = [phoneme for phoneme in said.phonemes if phoneme.name != PAUSE]
    return said.cut(heard[0].start, heard[-1].stop) if heard else said


def _fitted(said: Utterance, seconds: float) -> Utterance:
    """The utterance cut or padded with silence to `seconds`."""
    samples = round(seconds * SAMPLE_RATE)
    short = samples - len(said.waveform)
    return said.cut(0, seconds) if short <= 0 else joined([said, silence(short / SAMPLE_RATE)])


def seeds_of(seed: int, number: int, purpose: str) -> tuple[int, int]:
    """Seeds that training does not use."""
    digest = sha256(f"evaluate {purpose} {seed} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:12], "little")
