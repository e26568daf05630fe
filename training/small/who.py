"""Measures who is found, and what several speakers get:

    python -m training.small.who [--media FOLDER] [--together FOLDER] [--json FILE]

Likeness: a picture of a person against the people of a clip, how often the right one is the most alike. Together: the
same of real people who are seen in one shot. Speaking: the sound of a clip against its own mouth and those of others.
Scene: two rendered people, who cross in front of each other and are seen again after a cut, take turns and interrupt
each other in two new voices; how well each mouth of the result follows its own voice and the other's, beside what the
two voices have in common by chance. The FOLDER of --media holds clips of one person each with sound in sync (*.mpg),
that of --together clips that show several people (*.mp4).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from keysync.dub import Settings
from keysync.errors import KeySyncError
from keysync.face.detectors import make_detector
from keysync.face.face import Frame, Points
from keysync.face.likeness import Look, likeness_reader, mean_look
from keysync.face.mesh import MeshReader
from keysync.face.mouth import measure
from keysync.face.speaking import agreement, opening
from keysync.face.track import FaceChoice, Tracker
from keysync.job import FaceSource, survey
from keysync.media.audio import AudioReader, hear
from keysync.media.reader import open_video
from keysync.method import NETWORK_RATE
from keysync.speakers import Speaker, dub_speakers, heard_parts
from keysync.systems.table import SYSTEMS
from keysync.who import said_in

from ..data.preparation.encode import write_sound
from ..synthetic.render.identity import Identity
from ..synthetic.render.motion import Take
from ..synthetic.render.portrait import Portrait
from ..synthetic.render.scene import Actor, Scene, framed
from ..synthetic.render.world import write_video
from ..synthetic.voice.speech import Utterance, Voice, joined, say, silence
from .likeness import rendered

SIZE = (360, 600)
# Seeds that training does not use; where the two people are, in the first shot and after the cut.
PEOPLE = ((1 << 30) + 16, (1 << 30) + 17)
PLACES = (((0.27, 0.47, 0.9), (0.74, 0.46, 0.75)), ((0.74, 0.48, 0.8), (0.27, 0.46, 0.85)))
CROSSING = 340.0  # mm that each person of the first shot walks: to the place of the other
FIRST, SECOND = 115, 110  # frames of the shots
HER, HIS = (
    Voice("en-gb-x-rp", "f3", pitch=55, pitch_range=60, rate=150, loudness=0.8),
    Voice("en-us", "m3", pitch=35, pitch_range=40, rate=140, loudness=0.8),
)
OLD = "We walked along the river all afternoon, talking about nothing in particular and watching the boats go by."
# What each says, and from which second on. Half of the time of each is in turn, half at once. The times were chosen on
# the voices alone: while either is heard, both have next to nothing in common, so that a mouth that follows one voice
# follows the other by chance only as far as the table says.
HERS = ((0.2, "We open all the windows now, and look around."), (4.6, "Why would he go away so early in the morning?"))
HIS_OWN = ((1.7, "Maybe my father has gone home, but who knows that."), (6.5, "You told me about it."))
PEOPLE_KNOWN, AMONG = 60, 4


def voices() -> tuple[Utterance, Utterance]:
    """The new speech of the two, as long as the scene."""
    return _saying(HERS, HER), _saying(HIS_OWN, HIS)


def _saying(sentences: Sequence[tuple[float, str]], voice: Voice) -> Utterance:
    """Sentences in a voice, each from its second on, as long as the scene."""
    seconds = (FIRST + SECOND) / NETWORK_RATE
    speech = silence(0.0)
    for start, text in sentences:
        speech = joined([speech, silence(start - speech.seconds), say(text, voice)])
    return joined([speech, silence(seconds)]).cut(0.0, seconds)


def scene() -> Iterator[tuple[Frame, tuple[Points, Points]]]:
    """Frames of two people who speak without a pause, with the points of both: they walk to each other's places in the
    first shot, and are seen again after a cut."""
    motion = joined([say(OLD, HER), say(OLD, HIS)])
    mouths = motion.mouth((np.arange(2 * (FIRST + SECOND)) % int(motion.seconds * NETWORK_RATE) + 0.5) / NETWORK_RATE)
    portraits = [Portrait(Identity.sample(np.random.default_rng((seed, 0)))) for seed in PEOPLE]
    at = 0
    for number, (places, frames) in enumerate(zip(PLACES, (FIRST, SECOND), strict=True)):
        rng = np.random.default_rng((PEOPLE[0], number))
        takes = [Take.sample(rng, frames) for _ in PEOPLE]
        if number == 0:
            takes = [_walking(take, side) for take, side in zip(takes, (1, -1), strict=True)]
        actors = tuple(
            Actor(portrait, framed(SIZE, *place), take)
            for portrait, place, take in zip(portraits, places, takes, strict=True)
        )
        shot = Scene(rng, SIZE, actors)
        for frame in range(frames):
            truth = shot.render(frame, (mouths[at], mouths[at + FIRST]))
            yield truth.picture, (truth.landmarks, truth.others[0])
            at += 1


def _walking(take: Take, side: int) -> Take:
    """The take of a person who walks to the other side in its middle half."""
    share = np.clip((np.arange(len(take)) / len(take) - 0.25) * 2, 0, 1)
    walk = side * CROSSING * (3 * share**2 - 2 * share**3)
    return Take(
        tuple(replace(pose, shift=(pose.shift[0] + x, pose.shift[1])) for pose, x in zip(take.poses, walk, strict=True))
    )


def scene_table(folder: Path) -> dict[str, float]:
    """How well each mouth of the dubbed scene follows its own voice and the other's, and what stays of the source."""
    pictures, points = zip(*scene(), strict=True)
    write_video(folder / "scene.mp4", pictures, SIZE)
    for voice, name in zip(voices(), ("a", "b"), strict=True):
        write_sound(torch.from_numpy(voice.waveform), 0, len(pictures), folder, name)
    speakers = [
        Speaker(folder / f"{name}.flac", _reference(folder / f"{name}.png", seed), None, name)
        for name, seed in zip(("a", "b"), PEOPLE, strict=True)
    ]
    system = SYSTEMS["rewrite"]
    models = system.load({}, device=torch.device("cpu"), dtype=None)
    dub_speakers(folder / "scene.mp4", speakers, folder / "out.mkv", models, Settings(), FaceSource(), lossless=True)
    before, after = ([frame for _, frame in open_video(folder / name).frames()] for name in ("scene.mp4", "out.mkv"))
    times = np.arange(len(after)) / NETWORK_RATE
    said = [said_in(AudioReader(folder / f"{name}.flac"), times) for name in ("a", "b")]
    changed = np.array([(one != other).any(-1) for one, other in zip(before, after, strict=True)])
    row = {"both voices with each other": agreement(said[0], said[1], NETWORK_RATE, 0)}
    for number, name in enumerate(("a", "b")):
        mouths = np.stack([one[number] for one in points])
        touched = np.array([_touched(mask, mouth) for mask, mouth in zip(changed, mouths, strict=True)])
        gaps = np.array([_gap(frame, mouth) for frame, mouth in zip(after, mouths, strict=True)])
        dubbed = np.where(touched, gaps, np.nan)
        own, other = said[number], said[1 - number]
        common = agreement(np.where(np.isfinite(dubbed), own, np.nan), other, NETWORK_RATE, 0)
        row[f"{name}: own voice"] = agreement(dubbed, own, NETWORK_RATE, 0)
        row[f"{name}: the other's voice"] = agreement(dubbed, other, NETWORK_RATE, 0)
        row[f"{name}: its own voice with the other's, in the same frames"] = common
        row[f"{name}: the other's voice, beyond the own"] = partial(
            row[f"{name}: the other's voice"], row[f"{name}: own voice"], common
        )
        heard = heard_parts(hear(folder / f"{name}.flac").samples)
        speaks = np.any([(times >= start) & (times < stop) for start, stop in heard], axis=0)
        visible = np.isfinite(mouths).all((1, 2))
        row[f"{name}: frames dubbed while speaking"] = float(touched[speaks & visible].mean())
        row[f"{name}: frames changed while silent"] = float(touched[~speaks].sum())
    return row


def partial(other: float, own: float, common: float) -> float:
    """The correlation of a mouth with the other voice once its own is taken out, from those of the mouth with the
    `other` and with its `own` voice, and that of both voices."""
    return (other - own * common) / float(np.sqrt((1 - own**2) * (1 - common**2)))


def _reference(path: Path, seed: int) -> FaceChoice:
    """A picture of a person in other light, as the reference."""
    rng = np.random.default_rng((seed, 0))
    portrait = Portrait(Identity.sample(rng))
    size = (256, 256)
    truth = Scene(np.random.default_rng((seed, 9)), size, (Actor(portrait, framed(size), Take.sample(rng, 1)),)).render(
        0, ()
    )
    Image.fromarray(truth.picture).save(path)
    return FaceChoice(picture=path)


def _touched(changed: NDArray[np.bool_], mouth: Points) -> bool:
    """Whether a frame is changed at a mouth."""
    if not np.isfinite(mouth).all():
        return False
    x, y = mouth[48:].mean(0).round().astype(int).clip(2, np.array(changed.shape[::-1]) - 3)
    return bool(changed[y - 2 : y + 3, x - 2 : x + 3].mean() > 0.5)


_READER: list[MeshReader] = []


def _gap(frame: Frame, mouth: Points) -> float:
    """The opening of a mouth in a frame, measured on the face mesh; NaN where it is hidden."""
    if not np.isfinite(mouth).all():
        return float("nan")
    if not _READER:
        _READER.append(MeshReader())
    low, high = mouth.min(0), mouth.max(0)
    half = float((high - low).max())
    left, top = (np.maximum((low + high) / 2 - half, 0)).round().astype(int)
    part = frame[top : top + round(2 * half), left : left + round(2 * half)]
    meshes = _READER[0].read(torch.from_numpy(np.ascontiguousarray(part))[None])
    return float(measure(meshes.points)[0, 0]) if meshes.confidence[0] > 0.5 else float("nan")


def likeness_table(people: int = PEOPLE_KNOWN) -> dict[str, float]:
    """How often the most alike of all, and of `AMONG`, rendered people that training did not see is the right one."""
    reader = likeness_reader()
    looks: dict[str, list[Look | None]] = {}
    for one in rendered(people, seed=1, views=3):
        looks.setdefault(one.person, []).append(reader.look(one.frame, one.landmarks))
    return _ranks("rendered people", {k: [v for v in rows if v is not None] for k, rows in looks.items()})


def _ranks(name: str, looks: Mapping[str, Sequence[Look]]) -> dict[str, float]:
    """References are the first looks, asked is the mean of the others."""
    seen = {person: rows for person, rows in looks.items() if len(rows) > 1}
    known = np.stack([rows[0] for rows in seen.values()])
    asked = np.stack([look for rows in seen.values() if (look := mean_look(rows[1:])) is not None])
    alike = known @ asked.T
    own, rng = np.diag(alike), np.random.default_rng(0)
    wins = [
        own[one] >= alike[one, [one, *rng.choice(np.delete(np.arange(len(own)), one), AMONG - 1, replace=False)]].max()
        for one in range(len(own))
        for _ in range(20)
    ]
    count = len(own)
    return {
        f"{name}: the right one of {count}": float((alike.argmax(1) == np.arange(count)).mean()),
        f"{name}: the right one of {AMONG}": float(np.mean(wins)),
        f"{name}: median likeness of one person": float(np.median(own)),
        f"{name}: 95th percentile of others": float(np.quantile(alike[~np.eye(count, dtype=bool)], 0.95)),
    }


def together_table(folder: Path) -> dict[str, float]:
    """How often a face of the later half of a shot is most alike to that person's earlier half, of those who share it.

    Who is who is known by where they are: people who are seen in one frame are different ones.
    """
    reader, right, asked, shots = likeness_reader(), 0, 0, 0
    for path in sorted(folder.glob("*.mp4")):
        tracker = Tracker()
        frames = [frame for _, frame in open_video(path).frames()]
        with closing(make_detector("mediapipe")) as detector:
            for frame in frames:
                tracker.follow(frame, detector)
        for people in tracker.people():
            together = [
                one for one in people if all(one is other or one.faces.keys() & other.faces.keys() for other in people)
            ]
            seen = [[reader.look(frames[n], face.landmarks) for n, face in one.faces.items()] for one in together]
            looks = [rows for row in seen if len(rows := [look for look in row if look is not None]) > 1]
            if len(looks) < 2:
                continue
            shots += 1
            means = np.stack([mean for rows in looks if (mean := mean_look(rows[: len(rows) // 2])) is not None])
            for person, rows in enumerate(looks):
                later = np.stack(rows[len(rows) // 2 :])
                right += int(((later @ means.T).argmax(1) == person).sum())
                asked += len(later)
    if not asked:
        raise KeySyncError(f"{folder} holds no clip (*.mp4) in which two people are seen together")
    return {f"people seen together ({shots} shots, {asked} looks): the right one": right / asked}


def speaking_table(folder: Path) -> dict[str, float]:
    """How often the sound of a clip agrees better with its own mouth than with that of another clip."""
    mouths, sounds = [], []
    for path in sorted(folder.glob("*.mpg")):
        source = open_video(path)
        pts, track = survey(source, FaceSource())
        mouths.append(opening(track.landmarks))
        sounds.append(said_in(AudioReader(path), (pts - pts[0]) * float(source.info.time_base)))
    if len(mouths) < 2:
        raise KeySyncError(f"{folder} holds {len(mouths)} clips (*.mpg): expected two or more")
    scores = np.array(
        [[agreement(mouth[: len(said)], said[: len(mouth)], NETWORK_RATE) for mouth in mouths] for said in sounds]
    )
    own, others = np.diag(scores), ~np.eye(len(scores), dtype=bool)
    return {
        f"clips with sound ({len(own)}): the speaker of two": float((own[:, None] > scores)[others].mean()),
        "clips with sound: agreement of the speaker": float(own.mean()),
        "clips with sound: agreement of another": float(scores[others].mean()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.small.who", description="Measures who is found.")
    parser.add_argument("--media", type=Path, metavar="FOLDER", help="clips of one person each with sound (*.mpg)")
    parser.add_argument("--together", type=Path, metavar="FOLDER", help="clips that show several people (*.mp4)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    options = parser.parse_args(arguments)
    try:
        figures: dict[str, Any] = {}
        with TemporaryDirectory() as folder:
            figures |= scene_table(Path(folder))
        figures |= likeness_table()
        if options.together:
            figures |= together_table(options.together)
        if options.media:
            figures |= speaking_table(options.media)
    except KeySyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for name, value in figures.items():
        print(f"{name:64} {value:.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
