from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import keysync.systems.rewrite.bank
from keysync.demo import TALK
from keysync.face.mesh import MeshReader
from keysync.face.mouth import measure
from keysync.media.reader import open_video
from keysync.systems.rewrite.bank import PATCH, Bank, Collector, NothingToBorrowError, Watcher
from keysync.systems.rewrite.curve import WIDER
from keysync.systems.rewrite.made import GAPS, MADE
from keysync.systems.rewrite.points import SEEN
from keysync.systems.rewrite.sightings import Seen

from .faces import opened, real_mesh

CROP = 512
SIDE = round(PATCH * CROP)
TEXTURE = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (CROP, CROP, 3), dtype=np.uint8))


def seen(gap: float, hidden: int = 0, confidence: float = 1.0, whole: bool = True) -> Seen:
    """A face in the middle of the crop; `hidden` of the points around its mouth are behind something black."""
    mesh = opened(gap) - real_mesh()[[13, 14]].mean(0)
    mesh = mesh / np.linalg.norm(mesh[33] - mesh[263]) * 200 + (CROP / 2, CROP * 0.6, 0)
    colours = np.full((len(SEEN), 3), 0.5, np.float32)
    colours[:hidden] = 0
    return Seen(mesh.astype(np.float32), confidence, measure(mesh[None])[0], colours, whole)


def collect(faces: Sequence[Seen], shots: Sequence[int] | None = None) -> Bank:
    collector = Collector()
    for number, (face, shot) in enumerate(zip(faces, shots or [0] * len(faces), strict=True)):
        collector.add(number, shot, TEXTURE, face)
    return collector.finish()


def gaps(count: int) -> NDArray[np.float64]:
    return 0.1 + 0.1 * np.sin(np.arange(count))


def test_a_short_clip_lends_all_its_mouths() -> None:
    bank = collect([seen(gap) for gap in gaps(20)])
    person = bank.people[0]
    assert person.mouths.number.tolist() == list(range(20))
    assert person.patches.shape == (20, SIDE, SIDE, 3)
    assert [bank.seen.get(number) is not None for number in range(21)] == [True] * 20 + [False]
    inside = (person.points > 0) & (person.points < SIDE)
    assert inside[:, :40].all()  # the lips


def test_patches_are_the_pixels_around_the_points() -> None:
    face = seen(0.1)
    person = collect([seen(gap) for gap in gaps(9)] + [face]).people[0]
    x, y = (face.mesh[78, :2] - person.points[-1, 0]).round().astype(int)
    assert (person.patches[-1] == TEXTURE[y : y + SIDE, x : x + SIDE]).all()


def test_a_long_clip_lends_mouths_of_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keysync.systems.rewrite.bank, "MOST", 20)
    person = collect([seen(gap) for gap in [*gaps(60), 0.4]]).people[0]
    assert len(person.mouths.number) == 20
    assert person.mouths.number[-1] == 60  # the only one of its kind
    openings = np.sort(person.mouths.measures[:, 0])
    assert np.diff(openings[:-1]).max() < 0.05


@pytest.mark.parametrize("bad", [seen(0.15, hidden=6), seen(0.15, confidence=0.3), seen(0.15, whole=False)])
def test_hidden_mouths_are_not_lent(bad: Seen) -> None:
    faces = [seen(gap) for gap in gaps(20)]
    faces[7] = bad
    assert 7 not in collect(faces).people[0].mouths.number


def test_a_face_is_hidden_by_what_has_other_colours_but_not_by_shade() -> None:
    person = collect([seen(gap) for gap in gaps(20)]).people[0]
    face = seen(0.1)
    shaded = Seen(face.mesh, 1.0, face.measures, face.colours * 0.6, True)
    assert not person.hides(face)
    assert not person.hides(shaded)
    assert person.hides(seen(0.1, hidden=6))
    assert person.hides(seen(0.1, confidence=0.2))


def test_each_shot_lends_to_itself() -> None:
    faces = [seen(gap) for gap in gaps(40)]
    bank = collect(faces, [0] * 15 + [1] * 20 + [2] * 5)
    assert bank.people[0].mouths.number.max() == 14
    assert bank.people[1].mouths.number.min() == 15
    assert 2 not in bank.people  # too few to choose from


@pytest.mark.parametrize("faces", [[], [seen(0.1)] * 30, [seen(0.0)] * 7, [seen(0.1), seen(0.2)] * 3])
def test_an_open_and_still_or_unseen_mouth_has_nothing_to_lend(faces: list[Seen]) -> None:
    with pytest.raises(NothingToBorrowError, match="no mouths to lend"):
        collect(faces)


def test_mouths_are_made_where_the_mouth_stays_closed() -> None:
    faces = [seen(0.02 * (number == 9)) for number in range(30)]
    person = collect(faces).people[0]
    assert person.made
    assert len(person.patches) == MADE
    assert person.amplitude.opening[1] - person.amplitude.opening[0] == pytest.approx(GAPS[-1], abs=1e-6)
    assert person.amplitude.width[1] - person.amplitude.width[0] == pytest.approx(2 * WIDER, abs=1e-6)
    assert not collect([seen(gap) for gap in gaps(20)]).people[0].made


def test_small_turned_and_often_hidden_faces_are_not_opened() -> None:
    closed = seen(0.0)
    small = replace(closed, mesh=closed.mesh * np.float32(0.25))
    turned = replace(closed, mesh=closed.mesh.copy())
    turned.mesh[263, 2] += 150
    for faces in ([small] * 20, [turned] * 20, [closed] * 16 + [seen(0.0, hidden=6)] * 4):
        with pytest.raises(NothingToBorrowError, match="small, or open and still"):
            collect(faces)
    assert collect([closed] * 20).people[0].made


def test_a_watched_face_is_found_where_it_was() -> None:
    frames = [frame for _, frame in open_video(TALK).frames()][:3]
    crops = [
        torch.nn.functional.interpolate(torch.from_numpy(frame).permute(2, 0, 1)[None].float(), (CROP, CROP))[0]
        for frame in frames
    ]
    watcher, reader = Watcher(MeshReader()), MeshReader()
    for crop in crops:
        pixels = crop.permute(1, 2, 0).to(torch.uint8)
        found = watcher.look(pixels, torch.ones(CROP, CROP))
        assert found.whole
        assert found.confidence > 0.9
        assert np.abs(found.mesh - reader.read(pixels[None]).points[0])[:, :2].mean() < 2
    assert not watcher.look(pixels, torch.zeros(CROP, CROP)).whole


def test_a_shot_whose_mouth_is_mostly_hidden_has_nothing_to_lend() -> None:
    faces = [seen(gap, hidden=6 if number % 2 else 0) for number, gap in enumerate(gaps(40))]
    with pytest.raises(NothingToBorrowError, match="no mouths to lend"):
        collect(faces)
    assert collect([*faces, *(seen(gap) for gap in gaps(20))]).people[0].mouths.number.size == 40
