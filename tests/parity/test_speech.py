"""Resampling and speech features against the reference: waveform in, two rows a frame out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from keysync.media.resample import resample
from keysync.method import SAMPLE_RATE
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.speech.features import FRAME

from .conftest import Golden, relative_error


def waveform(tensors: dict[str, Tensor], case: dict[str, Any]) -> Tensor:
    """The 16 kHz mono waveform of a case."""
    pcm = tensors[f"{case['i']}.pcm_int16"].float() / 32768
    return resample(pcm.mean(0, keepdim=True), case["sample_rate"], SAMPLE_RATE)[0]


def cases(golden: Golden) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    tensors = golden.tensors("audio")
    for case in golden.facts("audio")["cases"]:
        if f"{case['i']}.pcm_int16" in tensors:
            yield case, tensors


@pytest.fixture(scope="module")
def encoders(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpeechEncoder]:
    """HuBERT as transformers keeps it, WavLM as Microsoft does."""
    folder = tmp_path_factory.mktemp("hubert")
    save_file(load_file(golden.path("hubert_tiny.safetensors")), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(golden.facts("hubert_tiny")["config"]))
    file = folder / "WavLM.pt"
    content = {"cfg": golden.facts("wavlm_tiny")["cfg"], "model": load_file(golden.path("wavlm_tiny.safetensors"))}
    torch.save(content, file)
    return {"hubert": load_encoder("hubert", folder), "wavlm": load_encoder("wavlm", file)}


def test_resampled_waveform(golden: Golden) -> None:
    met = set()
    for case, tensors in cases(golden):
        ours = waveform(tensors, case)
        ours = F.pad(ours, (0, -len(ours) % FRAME)).unflatten(0, (-1, FRAME))
        assert len(ours) == case["frames"]
        theirs = tensors[f"{case['i']}.frames"]
        # "all" or "every 25th"
        every = int("".join(filter(str.isdigit, case["frames_stored"])) or 1)
        assert relative_error(ours[::every], theirs) < 1e-4, case
        met.add(case["sample_rate"])
    assert len(met) > 1


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_features_of_speech_that_the_reference_does_not_split(
    golden: Golden, encoders: dict[str, SpeechEncoder], name: str
) -> None:
    met = 0
    for case, tensors in cases(golden):
        if is_split(case, name):
            continue
        ours = encoders[name].encode(waveform(tensors, case))
        assert relative_error(ours.frames, tensors[f"{case['i']}.{name}"]) < 1e-4, case
        met += 1
    assert met


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_split_speech_keeps_every_frame_at_its_place(
    golden: Golden, encoders: dict[str, SpeechEncoder], name: str
) -> None:
    """The reference splits long speech and loses rows at the splits: before the first, rows stand where ours do."""
    met = 0
    for case, tensors in cases(golden):
        theirs = tensors[f"{case['i']}.{name}"].flatten(0, 1)
        if not is_split(case, name):
            continue
        ours = encoders[name].encode(waveform(tensors, case))
        assert len(ours.frames) == case["frames"] + (case["frames"] % 2 if name == "wavlm" else 0)
        whole = case["hubert_split_samples"][0] // 320 if name == "hubert" else 2 * case["wavlm_split_frames"][0]
        middle = ours.rows[20 : whole - 20]
        distance = {shift: float((theirs[20 + shift : whole - 20 + shift] - middle).norm()) for shift in (-1, 0, 1)}
        assert 2 * distance[0] < min(distance[-1], distance[1]), (case, distance)
        met += 1
    if not met:
        pytest.skip(golden.lacks("speech long enough to be split"))


def test_microsoft_weights_without_settings(golden: Golden, encoders: dict[str, SpeechEncoder]) -> None:
    """The shapes of Microsoft's tensors tell every width and the count of heads."""
    other = load_encoder("wavlm", Path(golden.path("wavlm_tiny.safetensors")))
    sound = torch.randn(5 * FRAME, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.encode(sound).rows, encoders["wavlm"].encode(sound).rows)


def is_split(case: dict[str, Any], name: str) -> bool:
    return len(case["hubert_split_samples" if name == "hubert" else "wavlm_split_frames"]) > 1
