"""The rendered person dubbed with its own mouths, by a curve that is given instead of heard."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from keysync import FaceSource, KeySyncError, Report, Settings, dub_file
from keysync.demo import TALK
from keysync.face.crop import crop_boxes
from keysync.face.mesh import MeshReader
from keysync.face.mouth import measure
from keysync.job import survey
from keysync.media.reader import open_video
from keysync.report import DUBBED
from keysync.speech.context import CONTEXT
from keysync.speech.lips_curve import LipsCurve
from keysync.systems.renderer import Span, Unchanged
from keysync.systems.rewrite.bank import Bank, NothingToBorrowError
from keysync.systems.rewrite.rewriter import NEEDS, PORTION, HeardLips, Rewriter, Rewriting
from keysync.systems.rewrite.sightings import Sightings

from ...clips import read_frames, write_speech, write_video

SECONDS = 1.2


class Times:
    """Features that are the times themselves."""

    def encode(self, waveform: Tensor) -> Times:
        return self

    def at(self, times: Any) -> Tensor:
        return torch.as_tensor(times, dtype=torch.float32)[:, None, None].expand(-1, 2, 1)


class Waves:
    """Lips that open twice a second."""

    def read(self, rows: Tensor) -> Tensor:
        lips = torch.zeros(len(rows), 5)
        lips[:, 0] = (0.5 - 0.5 * torch.cos(rows[:, 0, 0] * 2 * torch.pi * 2)) * 0.8
        return lips


def make_rewriter() -> Rewriter:
    return Rewriter({"whisper": HeardLips(Times(), Waves().read)}, torch.device("cpu"), MeshReader())


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """The report, the source's frames and the result's."""
    folder = tmp_path_factory.mktemp("rewrite")
    speech = write_speech(folder / "speech.wav", SECONDS)
    report = dub_file(TALK, speech, folder / "out.mkv", make_rewriter(), Settings(), FaceSource(), lossless=True)
    source = [frame for _, frame in open_video(TALK).frames()]
    return report, source, list(read_frames(folder / "out.mkv"))


def test_the_mouth_follows_the_curve(dubbed: tuple[Report, Any, Any]) -> None:
    report, _, after = dubbed
    assert report.count(DUBBED) == len(after)
    assert report.mask == NEEDS.mask
    openings = measure(MeshReader().read(torch.from_numpy(np.stack(after))).points)[:, 0]
    wanted = np.array(report.curves["opening"], dtype=float)
    assert np.corrcoef(openings, wanted)[0, 1] > 0.9
    assert set(report.curves) == {"opening", "width"}


def test_a_given_curve_replaces_what_is_heard(dubbed: tuple[Report, Any, Any], tmp_path: Path) -> None:
    """The curve of the other tests at another rate, over speech that says nothing."""
    report, _, _ = dubbed
    times = np.arange(48) / 40
    values = np.zeros((48, 5), np.float32)
    values[:, 0] = Waves().read(torch.from_numpy(times)[:, None, None].float())[:, 0]
    silence, output = write_speech(tmp_path / "speech.wav", SECONDS), tmp_path / "out.mkv"
    rewriter = make_rewriter().following(LipsCurve(values, 40.0))
    made = dub_file(TALK, silence, output, rewriter, Settings(), FaceSource(), lossless=True)
    theirs, ours = (np.array(one.curves["opening"], dtype=float) for one in (report, made))
    np.testing.assert_allclose(ours, theirs, atol=0.003)  # interpolated
    assert made.models == {"lips": "a given curve"}


def test_a_curve_that_ends_before_the_speech_is_an_error(tmp_path: Path) -> None:
    speech = write_speech(tmp_path / "speech.wav", SECONDS)
    rewriter = make_rewriter().following(LipsCurve(np.zeros((25, 5), np.float32), 25.0))
    with pytest.raises(KeySyncError, match=r"the lips curve lasts 1\.00 s but the result 1\.20 s"):
        dub_file(TALK, speech, tmp_path / "out.mp4", rewriter, Settings(), FaceSource())
    assert not (tmp_path / "out.mp4").exists()


def test_speech_is_heard_in_portions_as_if_at_once() -> None:
    class Near:
        """Each frame is the mean of those up to `CONTEXT` away, which an end repeats."""

        def read(self, rows: Tensor) -> Tensor:
            padded = F.pad(rows[None, :, 0, 0], (CONTEXT, CONTEXT), mode="replicate")
            return F.avg_pool1d(padded, 2 * CONTEXT + 1, stride=1)[0, :, None].expand(-1, 5)

    times = torch.arange(2 * PORTION + 5) / 25
    heard = HeardLips(Times(), Near().read).encode(torch.zeros(1)).at(times)
    torch.testing.assert_close(heard, Near().read(Times().at(times)))


def test_pixels_outside_the_mask_keep_their_bits(dubbed: tuple[Report, Any, Any]) -> None:
    _, before, after = dubbed
    _, track = survey(open_video(TALK), FaceSource())
    boxes = crop_boxes(track, 0, len(track.found), NEEDS.crop_scale)
    for frame in range(0, len(after), 10):
        x, y, side = boxes[frame].tolist()
        changed = np.argwhere((before[frame] != after[frame]).any(-1))
        assert len(changed)
        low, high = changed.min(0), changed.max(0)
        assert (low >= (y, x)).all()
        assert (high < (y + side, x + side)).all()
        assert low[0] > track.landmarks[frame, 27, 1]  # below the top of the nose's bridge


def test_neither_chance_nor_pieces_change_a_dub(dubbed: tuple[Report, Any, Any], tmp_path: Path) -> None:
    _, _, after = dubbed
    speech = write_speech(tmp_path / "speech.wav", SECONDS)
    settings, output = Settings(seed=5), tmp_path / "out.mkv"
    dub_file(TALK, speech, output, make_rewriter(), settings, FaceSource(), lossless=True)
    assert all((a == b).all() for a, b in zip(read_frames(output), after, strict=True))


def test_a_still_with_a_closed_mouth_speaks(tmp_path: Path) -> None:
    frames = [frame for _, frame in open_video(TALK).frames()]
    openings = measure(MeshReader().read(torch.from_numpy(np.stack(frames))).points)[:, 0]
    still = [frames[int(openings.argmin())]] * 30
    video, speech = write_video(tmp_path / "still.mp4", still), write_speech(tmp_path / "speech.wav", SECONDS)
    report = dub_file(video, speech, tmp_path / "out.mkv", make_rewriter(), Settings(), FaceSource(), lossless=True)
    after = list(read_frames(tmp_path / "out.mkv"))
    made = measure(MeshReader().read(torch.from_numpy(np.stack(after))).points)[:, 0]
    assert np.corrcoef(made, np.array(report.curves["opening"], dtype=float))[0, 1] > 0.9
    assert any("teeth, tongue and dark inside are drawn" in line for line in report.notes)


def test_an_open_and_still_mouth_has_nothing_to_lend_and_leaves_no_file(tmp_path: Path) -> None:
    frames = [frame for _, frame in open_video(TALK).frames()]
    openings = measure(MeshReader().read(torch.from_numpy(np.stack(frames))).points)[:, 0]
    still = [frames[int(openings.argmax())]] * 12
    video, speech = write_video(tmp_path / "still.mp4", still), write_speech(tmp_path / "speech.wav", 0.4)
    with pytest.raises(NothingToBorrowError, match="choose another system"):
        dub_file(video, speech, tmp_path / "out.mp4", make_rewriter(), Settings(), FaceSource())
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), float("inf")])
def test_strength_is_a_number_above_0(strength: float) -> None:
    with pytest.raises(KeySyncError, match="expected a number above 0"):
        Rewriting(strength)


def test_a_shot_without_mouths_stays_unchanged() -> None:
    steps: list[int] = []
    rewriter = replace(make_rewriter(), bank=Bank({}, Sightings()))
    draw = rewriter.begin(None, 0, lambda stage: nullcontext(), steps.append)
    drawn = list(draw(Span(3, iter(()), {}, shot=1, numbers=(7, 8, 9))))
    assert [type(one) for one in drawn] == [Unchanged] * 3
    assert sum(steps) == rewriter.evaluations(3, None)


def test_drawing_needs_a_survey() -> None:
    with pytest.raises(NothingToBorrowError, match="call survey first"):
        make_rewriter().begin(None, 0, lambda stage: nullcontext(), None)
