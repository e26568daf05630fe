"""KeyFace's models together: what fits, what is missing, how often they are evaluated, what the report says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keysync.errors import KeySyncError
from keysync.systems.keyface.models import KeyFaceModels, load_keyface
from keysync.systems.keyface.sampling import KeyFaceSampling
from keysync.systems.keysync.small import SMALL
from keysync.systems.renderer import Resumable
from keysync.weights.checkpoint import convert, load_stage, save_stage
from training.weights.keysync_stage import as_keyface

from ...tiny_keyface import write_tiny_keyface


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_tiny_keyface(tmp_path_factory.mktemp("keyface"))


@pytest.fixture(scope="module")
def models(files: dict[str, Path]) -> KeyFaceModels:
    given: dict[str, Any] = {**files}
    return load_keyface(**given)


def test_what_it_needs(models: KeyFaceModels) -> None:
    needs = models.needs
    assert needs.encoders == ("wavlm", "beats", "wav2vec2")
    assert needs.controls == ("valence", "arousal")
    assert (needs.source, needs.mask, needs.crop_size, needs.crop_scale) == (False, None, (64, 64), 2.4)
    assert models.system == "keyface"
    assert set(models.origins) == {"keyframe", "interpolation", "weak", "vae", "wavlm", "wav2vec2", "beats"}


def test_evaluations(models: KeyFaceModels) -> None:
    """Three a step for keyframes; two for a window, one where nothing guides."""
    assert models.evaluations(27, None) == 11 * (3 + 2 * 2)
    assert replace(models, weak=None).evaluations(27, None) == 11 * (3 + 2)
    assert models.evaluations(27, KeyFaceSampling(autoguidance=1.0)) == 11 * (3 + 2)


def test_without_the_weaker_copy_the_report_says_so(models: KeyFaceModels) -> None:
    alone = replace(models, weak=None)
    assert list(models.remarks(None)) == []
    assert list(alone.remarks(None)) == ["the interpolation was not guided: no weaker copy of its model was loaded"]
    assert alone.settled(None) == KeyFaceSampling(autoguidance=1.0)
    with pytest.raises(KeySyncError, match="the autoguidance is 3 but there is no weaker copy") as caught:
        alone.evaluations(27, KeyFaceSampling(autoguidance=3.0))
    assert caught.value.about == "weak"


def test_work_can_be_resumed_by_the_same_models_only(models: KeyFaceModels) -> None:
    assert isinstance(models, Resumable)
    causes = models.work_causes(None)
    assert causes is not None
    assert causes != replace(models, weak=None).work_causes(KeyFaceSampling(autoguidance=1.0))
    assert causes == models.work_causes(KeyFaceSampling())


@pytest.mark.parametrize("name", ["keyframe", "interpolation", "vae", "wavlm", "wav2vec2", "beats"])
def test_a_file_that_is_missing_is_named(name: str, files: dict[str, Path]) -> None:
    given: dict[str, Any] = {"keyframe": None, "interpolation": None, "vae": None, **files}
    given[name] = None
    with pytest.raises(KeySyncError, match="is missing") as caught:
        load_keyface(**given)
    assert caught.value.about == name


def test_files_in_each_others_place(files: dict[str, Path], tmp_path: Path) -> None:
    def error(**changes: Path) -> KeySyncError:
        given: dict[str, Any] = {**files, **changes}
        with pytest.raises(KeySyncError) as caught:
            load_keyface(**given)
        return caught.value

    swapped = error(keyframe=files["interpolation"])
    assert "expected a KeyFace keyframe stage" in str(swapped)
    assert swapped.about == "keyframe"
    assert "are one file" in str(error(weak=files["interpolation"]))
    assert "expected a wav2vec 2.0 speech encoder" in str(error(wav2vec2=files["wavlm"]))
    assert "expected a BEATs sound encoder" in str(error(beats=files["wavlm"] / "model.safetensors"))
    convert(files["weak"], tmp_path / "weak.safetensors", weak=True)
    assert "is the weaker copy that guides a better one" in str(error(interpolation=tmp_path / "weak.safetensors"))


def test_a_stage_that_hears_something_else_is_an_error(files: dict[str, Path], tmp_path: Path) -> None:
    """All encoders are as wide as one another: only the metadata tells them apart."""
    stage = load_stage(files["interpolation"], expect="keyface_interpolation")
    stage.spec = replace(stage.spec, speech_encoder="hubert+beats")
    save_stage(stage, tmp_path / "other.safetensors")
    given: dict[str, Any] = {**files, "interpolation": tmp_path / "other.safetensors", "weak": None}
    with pytest.raises(KeySyncError, match="needs the hubert speech encoder, which is missing: load hubert"):
        load_keyface(**given)
    stage.spec = replace(stage.spec, speech_encoder="wav2vec2")
    save_stage(stage, tmp_path / "alone.safetensors")
    given["interpolation"] = tmp_path / "alone.safetensors"
    with pytest.raises(
        KeySyncError, match="expects 64 speech channels but wav2vec2 provides 32: use the wav2vec2 that"
    ):
        load_keyface(**given)


def test_stages_that_hear_as_keysync_small_does(tmp_path: Path) -> None:
    """They need neither a VAE nor an encoder, and use those that are given."""
    names = ("keyframe", "interpolation")
    files = [tmp_path / f"{name}.safetensors" for name in names]
    for name, file in zip(names, files, strict=True):
        save_stage(as_keyface(SMALL[name], f"keyface_{name}"), file)
    models = load_keyface(files[0], files[1], None)
    assert models.encoders.keys() == {"hubert"}
    assert models.files["vae"] == SMALL["vae"]
    said = "vae and hubert: KeySync small, built in; a model that was trained with others needs those"
    assert said in list(models.remarks(None))
    assert models.needs.crop_size == (128, 128)
    vae, hubert = (Path(shutil.copytree(SMALL[name], tmp_path / name)) for name in ("vae", "hubert"))
    models = load_keyface(files[0], files[1], vae, hubert=hubert)
    assert (models.files["vae"], models.files["hubert"]) == (vae, hubert)
    beside = load_keyface(files[0], files[1], None)
    assert beside.files["vae"] == vae, "the VAE beside the keyframe model is its own"
    assert "hubert: KeySync small, built in" in " ".join(beside.remarks(None))
