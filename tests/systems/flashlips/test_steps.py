"""FlashLips in steps on crops: lips vectors from speech and from pictures, and frames edited by them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from keysync.errors import KeySyncError
from keysync.face.track import FaceTrack
from keysync.systems.flashlips.editor import hidden
from keysync.systems.flashlips.models import FlashLips
from keysync.systems.flashlips.render import CPU_FRAMES, Drawn, speech_evaluations
from keysync.systems.flashlips.settings import Drawing
from keysync.systems.flashlips.steps import edit_crops, edit_latents, vectors_of_crops, vectors_of_speech
from keysync.systems.flashlips.vectors import LipsVectors
from keysync.systems.renderer import Unchanged

FRAMES = CPU_FRAMES + 3
MASK_FREE = Drawing(mask_free=True)


@pytest.fixture(scope="module")
def crops() -> Tensor:
    return torch.rand(FRAMES, 64, 64, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def masks() -> Tensor:
    lower = torch.zeros(FRAMES, 64, 64)
    lower[:, 32:] = 1
    return lower


@pytest.fixture(scope="module")
def vectors(models: FlashLips, crops: Tensor) -> LipsVectors:
    return vectors_of_crops(models, crops, 25.0)


def edited(*given: Any, **more: Any) -> list[Tensor]:
    return [torch.zeros(0) if isinstance(one, Unchanged) else one.picture for one in edit_crops(*given, **more)]


def test_vectors_of_crops_are_what_the_reader_reads(models: FlashLips, crops: Tensor, vectors: LipsVectors) -> None:
    assert vectors.values.shape == (FRAMES, 12)
    assert vectors.model == models.key
    assert (vectors.values[0] != vectors.values[1]).any()


def test_vectors_of_speech_follow_seed_and_speech(models: FlashLips, crops: Tensor) -> None:
    rows = torch.randn(30, 2, 384, generator=torch.Generator().manual_seed(1))
    counted: list[int] = []
    said = vectors_of_speech(models, rows, 25.0, crops, 3, on_step=counted.append)
    assert said.values.shape == (30, 12)
    assert sum(counted) == speech_evaluations(models.spec.steps, 30, models)
    again = vectors_of_speech(models, rows, 25.0, crops, 3)
    assert (said.values == again.values).all()
    for other in (vectors_of_speech(models, rows, 25.0, crops, 4), vectors_of_speech(models, -rows, 25.0, crops, 3)):
        assert (said.values != other.values).any()


def test_edited_crops_follow_their_vectors(
    models: FlashLips, crops: Tensor, masks: Tensor, vectors: LipsVectors
) -> None:
    counted: list[int] = []
    before = edited(models, crops, masks, vectors, Drawing(), on_step=counted.append)
    assert sum(counted) == len(before) == FRAMES
    moved = replace(vectors, values=vectors.values + np.eye(FRAMES, 12, dtype=np.float32)[:1] * 3)
    after = edited(models, crops, masks, moved, Drawing())
    assert all(not torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_references_may_be_given(models: FlashLips, crops: Tensor, vectors: LipsVectors) -> None:
    own = edited(models, crops, None, vectors, MASK_FREE)
    others = edited(models, crops, None, vectors, MASK_FREE, references=1 - crops[:2])
    assert all(not torch.equal(*pair) for pair in zip(own, others, strict=True))


def test_frames_without_a_face_stay_unchanged(models: FlashLips, crops: Tensor, vectors: LipsVectors) -> None:
    """And shots have references of their own."""
    found = np.array([True] * 3 + [False] + [True] * (FRAMES - 4))
    shot = np.array([0] * 3 + [1] * (FRAMES - 3))
    none = np.zeros(FRAMES, np.int64)
    track = FaceTrack(
        landmarks=np.zeros((FRAMES, 68, 2), np.float32),
        confidence=found.astype(np.float32),
        person=np.where(found, 0, -1),
        shot=shot,
        size=(64, 64),
        filled=none.astype(bool),
        faces=none,
        turned=none.astype(bool),
    )
    made = [*edit_crops(models, crops, None, vectors, MASK_FREE, track)]
    assert [isinstance(one, Unchanged) for one in made] == [not one for one in found]


@pytest.mark.parametrize("mask_free", [False, True])
def test_latents_are_edited_as_their_crops_are(
    models: FlashLips, crops: Tensor, masks: Tensor, vectors: LipsVectors, mask_free: bool
) -> None:
    """And both come out: the picture is that of the latent."""
    settings = Drawing(mask_free=mask_free)
    references = 1 - crops[:3]
    seen = crops if mask_free else hidden(crops, masks)
    latents = torch.cat([models.vae.encode(part) for part in seen.split(CPU_FRAMES)])
    made = [*edit_latents(models, latents, masks, vectors, settings, references)]
    told = [*edit_crops(models, crops, masks, vectors, settings, references=references)]
    for one, other in zip(made, told, strict=True):
        assert isinstance(one, Drawn)
        assert isinstance(other, Drawn)
        torch.testing.assert_close(one.latent, other.latent)
        torch.testing.assert_close(one.picture, other.picture)
        torch.testing.assert_close(one.picture, models.vae.decode(one.latent[None])[0], atol=1e-4, rtol=0)
    with pytest.raises(KeySyncError, match="expected one or more of 4x8x8, of crops of 64x64 pixels"):
        next(edit_latents(models, latents[..., :4], masks, vectors, settings, references))


def test_what_does_not_fit_is_refused(models: FlashLips, crops: Tensor, vectors: LipsVectors) -> None:
    with pytest.raises(KeySyncError, match=r"have shape \[11, 32, 64, 3\]: expected one or more RGB crops of 64x64"):
        vectors_of_crops(models, crops[:, :32], 25.0)
    with pytest.raises(KeySyncError, match="hides the mouth but there is no mask"):
        edited(models, crops, None, vectors, Drawing())
    with pytest.raises(KeySyncError, match="covers 5 frames but there are 11"):
        edited(models, crops, None, replace(vectors, values=vectors.values[:5]), MASK_FREE)
    with pytest.raises(KeySyncError, match="of another FlashLips file"):
        edited(models, crops, None, replace(vectors, model="other"), MASK_FREE)
