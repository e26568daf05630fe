"""FlashLips as a renderer: what it needs and refuses, and what a dub with it leaves as it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync import FaceSource, Settings, dub_file
from keysync.errors import KeySyncError
from keysync.report import DUBBED, PASSED_THROUGH, Report
from keysync.systems.flashlips.models import FlashLips, load_flashlips
from keysync.systems.flashlips.presets import PRESETS
from keysync.systems.flashlips.settings import Drawing
from keysync.systems.flashlips.speech_to_lips import windows
from keysync.systems.renderer import Costed, Look, Remarking, Surveyor, UnsuitableError, Weighed
from keysync.vae.vae import load_vae

from ...clips import read_frames
from ...tiny_flashlips import write_tiny_flashlips
from .conftest import FRAMES


def dub(clip: dict[str, Path], output: Path, models: FlashLips, **settings: Any) -> Report:
    source = FaceSource(landmarks=clip["landmarks"])
    chosen = Settings(sync_mode="silence", **settings)
    return dub_file(clip["video"], clip["speech"], output, models, chosen, source, lossless=True)


def test_what_it_needs(models: FlashLips) -> None:
    needs = models.needs
    assert (needs.crop_size, needs.crop_scale, needs.mask) == ((64, 64), 1.4, "mouth")
    assert needs.encoders == tuple(models.encoders) == ("whisper",)
    assert (needs.source, needs.controls) == (True, ())
    for protocol in (Surveyor, Costed, Weighed, Remarking):
        assert isinstance(models, protocol)
    assert models.bytes_to_draw((64, 64), None) > 0
    assert 0 < models.seconds_per_evaluation < 1
    assert models.seconds_per_frame > 0


def test_evaluations(models: FlashLips) -> None:
    """One a frame of the editor, and of the speech transformer one a window and step."""
    assert models.evaluations(40, Drawing(steps=3)) == 40 + 3 * len(windows(40, 12, 4))
    assert models.evaluations(5, None) == 5 + 2


@pytest.mark.parametrize("drawing", [None, Drawing(steps=1, references=1, mask_free=True)])
def test_a_dub_changes_the_mouth_only(
    clip: dict[str, Path], models: FlashLips, tmp_path: Path, drawing: Drawing | None
) -> None:
    """Untrained weights draw something; every pixel outside the mask is the source's own."""
    report = dub(clip, tmp_path / "out.mkv", models, sampling=drawing)
    assert (report.count(DUBBED), report.count(PASSED_THROUGH)) == (FRAMES - 3, 3)
    assert (report.system, report.mask) == ("flashlips", "mouth")
    spans = (8, FRAMES - 11)
    assert report.network_evaluations == sum(models.evaluations(frames, drawing) for frames in spans)
    way = "without a mask; references of the clip, at most: 1; lips made in steps: 1"
    assert any((way if drawing else "into a hidden mouth") in note for note in report.notes)
    assert any("untrained" in note for note in report.notes)
    before, after = read_frames(clip["video"]), read_frames(tmp_path / "out.mkv")
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        changed = (old != new).any(-1)
        assert changed.any() == (number < 8 or number >= 11)
        assert not changed[:30].any()  # above the nose
        assert not changed[:, :20].any()


def test_the_seed_decides_how_the_lips_move(clip: dict[str, Path], models: FlashLips, tmp_path: Path) -> None:
    drawn = []
    for number, seed in enumerate((3, 3, 4)):
        dub(clip, tmp_path / f"{number}.mkv", models, seed=seed)
        drawn.append(np.stack(read_frames(tmp_path / f"{number}.mkv")))
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


def test_a_survey_needs_a_face(models: FlashLips) -> None:
    notes: list[str] = []
    with pytest.raises(UnsuitableError, match="no frame shows the face"):
        models.survey(iter(()), notes.append)


def test_a_survey_meets_the_person_of_each_shot(models: FlashLips) -> None:
    generator = torch.Generator().manual_seed(0)

    def looks() -> Any:
        for number, shot in [*((number, 0) for number in range(7)), (9, 2)]:
            yield Look(number, shot, torch.rand(64, 64, 3, generator=generator), torch.ones(64, 64))

    notes: list[str] = []
    surveyed = models.survey(looks(), notes.append)
    assert isinstance(surveyed, FlashLips)
    assert surveyed.people.keys() == {0, 2}
    first, last = surveyed.people[0], surveyed.people[2]
    assert len(set(first.numbers)) == len(first.latents) == 5
    assert set(first.numbers) < set(range(7))
    assert (first.lips.shape, last.lips.shape) == ((7, 12), (1, 12))
    assert (last.numbers, last.latents.shape) == ([9], (1, 4, 8, 8))
    assert notes == ["1 shots have a single frame with the face, which is its own reference"]


def test_the_reader_reads_crops_in_any_grouping(models: FlashLips) -> None:
    crops = [*torch.randint(0, 256, (11, 64, 64, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)]
    read = models.read(crops)
    torch.testing.assert_close(torch.cat([models.read([crop]) for crop in crops]), read, atol=1e-5, rtol=1e-5)


def test_a_file_without_a_vae_needs_one(tiny: Path, tmp_path: Path) -> None:
    bare = write_tiny_flashlips(tmp_path, vae=False)
    with pytest.raises(KeySyncError, match="has no VAE: load the VAE that it was trained with, Stable Video") as error:
        load_flashlips(bare)
    assert error.value.about == "vae"
    loaded = load_flashlips(bare, tiny.parent / "vae")
    assert loaded.origins["vae"] == str(tiny.parent / "vae")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    tiny = PRESETS["tiny"]
    other = replace(tiny, networks=replace(tiny.networks, speech=replace(tiny.networks.speech, speech=64)))
    with pytest.raises(KeySyncError, match="needs the whisper speech encoder, which is missing") as error:
        load_flashlips(write_tiny_flashlips(tmp_path, other))
    assert error.value.about == "whisper"
    with pytest.raises(KeySyncError, match="needs the sonar speech encoder but this version"):
        load_flashlips(write_tiny_flashlips(tmp_path, replace(tiny, speech_encoder="sonar")))


def test_models_that_do_not_fit_are_refused(models: FlashLips, tiny: Path) -> None:
    class Narrow:
        channels = 16

        def encode(self, waveform: Tensor) -> Any:
            raise NotImplementedError

    with pytest.raises(KeySyncError, match="expects 384 speech channels but whisper provides 16"):
        replace(models, encoders={"whisper": Narrow()})
    with pytest.raises(KeySyncError, match="whisper speech encoder, which is missing"):
        replace(models, encoders={})
    decoder = load_vae(tiny)
    decoder.encoder = None
    with pytest.raises(KeySyncError, match="contains only the decoder of a VAE"):
        replace(models, vae=decoder)
