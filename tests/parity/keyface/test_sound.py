"""BEATs, wav2vec 2.0 and WavLM: waveforms in, rows of two a frame out; and what the stages hear of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from keysync.media.resample import resample
from keysync.method import SAMPLE_RATE
from keysync.network.stage import KEYFACE_STAGES
from keysync.speech import beats
from keysync.speech.beats import MEAN, SPREAD, Beats
from keysync.speech.beats_network import buckets_of
from keysync.speech.encoder import SpeechEncoder
from keysync.speech.encoders import load_encoder
from keysync.speech.fbank import fbank
from keysync.speech.features import FRAME
from keysync.systems.keyface.generate import hear
from keysync.weights.describe import describe

from ..conftest import Golden, relative_error

EXACT, TOLERANCE, ROWS = 1e-6, 1e-4, 2e-4


@pytest.fixture(scope="module")
def encoders(keyface: Golden, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpeechEncoder]:
    """wav2vec 2.0 as transformers keeps it, WavLM and BEATs as Microsoft does."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    save_file(load_file(keyface.path("wav2vec2_tiny.safetensors")), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(keyface.facts("wav2vec2_tiny")["config"]))
    wavlm = folder / "WavLM.pt"
    content = {"cfg": keyface.facts("wavlm_tiny")["cfg"], "model": load_file(keyface.path("wavlm_tiny.safetensors"))}
    torch.save(content, wavlm)
    files = {"wav2vec2": folder, "wavlm": wavlm, "beats": keyface.path("beats_tiny.pt")}
    return {name: load_encoder(name, path) for name, path in files.items()}


def test_kinds(keyface: Golden) -> None:
    for file, kind in (("beats_tiny.pt", "beats"), ("wav2vec2_tiny.safetensors", "wav2vec2")):
        assert describe(keyface.path(file)).kind == kind


def numbers(vectors: dict[str, Tensor], last: str) -> Iterator[str]:
    found = [match[1] for name in vectors if (match := re.fullmatch(rf"(\d+)\.{last}", name))]
    assert found
    yield from found


def test_filter_bank(keyface: Golden) -> None:
    vectors = keyface.tensors("beats_tiny")
    for case in numbers(vectors, "waveform"):
        ours = (fbank(vectors[f"{case}.waveform"]) - MEAN) / SPREAD
        assert relative_error(ours, vectors[f"{case}.fbank"]) < TOLERANCE, case
    silent = vectors["silence.fbank"]
    ours = (fbank(torch.zeros(400 + 160 * (len(silent) - 1))) - MEAN) / SPREAD
    assert relative_error(ours, silent) < TOLERANCE


def test_buckets(keyface: Golden) -> None:
    vectors, cfg = keyface.tensors("beats_tiny"), keyface.facts("beats_tiny")["cfg"]
    ours = buckets_of(vectors["bucket.distances"], cfg["num_buckets"], cfg["max_distance"])
    assert torch.equal(ours, vectors["bucket.values"])


def test_beats(keyface: Golden, encoders: dict[str, SpeechEncoder], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens and rows, whichever way the queries of attention are grouped."""
    vectors = keyface.tensors("beats_tiny")
    encoder = encoders["beats"]
    assert isinstance(encoder, Beats)
    for case in numbers(vectors, "waveform"):
        waveform = vectors[f"{case}.waveform"]
        for queries in (512, 7):
            monkeypatch.setattr("keysync.speech.attention.QUERIES", queries)
            with torch.no_grad():
                tokens = encoder._tokens(waveform, len(waveform))
            assert relative_error(tokens, vectors[f"{case}.tokens"]) < TOLERANCE, case
        stretched = vectors[f"{case}.tokens"]
        rows = vectors[f"{case}.rows"].flatten(0, 1)
        places = torch.arange(len(rows)) * len(stretched) // len(rows)
        assert relative_error(stretched[places], rows) < EXACT, case
        assert relative_error(encoder.encode(waveform).rows, rows) < ROWS, case


def test_sound_that_is_too_short_for_the_reference(keyface: Golden, encoders: dict[str, SpeechEncoder]) -> None:
    for case in keyface.facts("beats_tiny")["too_short"]:
        features = encoders["beats"].encode(torch.randn(case["frames"] * FRAME) / 10)
        assert len(features.frames) == case["frames"]
        assert features.rows.isfinite().all()


def waveform(tensors: dict[str, Tensor], case: dict[str, Any]) -> Tensor:
    """What the reference's encoders hear: the first channel of a file that is resampled, else the mean."""
    pcm = tensors[f"{case['i']}.pcm_int16"].float() / 32768
    if case["sample_rate"] == SAMPLE_RATE:
        return pcm.mean(0)
    return resample(pcm[:1], case["sample_rate"], SAMPLE_RATE)[0]


def cases(keyface: Golden) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    tensors = keyface.tensors("audio")
    found = [case for case in keyface.facts("audio")["cases"] if f"{case['i']}.pcm_int16" in tensors]
    assert found
    yield from ((case, tensors) for case in found)


def test_raw_frames(keyface: Golden) -> None:
    """The sound of the video, and ours everywhere: the mean of the channels."""
    for case, tensors in cases(keyface):
        if f"{case['i']}.frames" not in tensors:
            continue
        pcm = tensors[f"{case['i']}.pcm_int16"].float() / 32768
        ours = resample(pcm.mean(0, keepdim=True), case["sample_rate"], SAMPLE_RATE)[0]
        ours = F.pad(ours, (0, -len(ours) % FRAME)).unflatten(0, (-1, FRAME))
        assert relative_error(ours, tensors[f"{case['i']}.frames"]) < ROWS, case


@pytest.mark.parametrize("name", ["wavlm", "wav2vec2", "beats"])
def test_rows(name: str, keyface: Golden, encoders: dict[str, SpeechEncoder]) -> None:
    for case, tensors in cases(keyface):
        ours = encoders[name].encode(waveform(tensors, case)).frames
        assert relative_error(ours, tensors[f"{case['i']}.{name}"]) < ROWS, case


def test_what_the_stages_hear(keyface: Golden, encoders: dict[str, SpeechEncoder]) -> None:
    met = 0
    for case, tensors in cases(keyface):
        heard = {name: encoder.encode(waveform(tensors, case)).frames for name, encoder in encoders.items()}
        for theirs, ours in (("key", "keyface_keyframe"), ("interp", "keyface_interpolation")):
            wanted = tensors.get(f"{case['i']}.{theirs}")
            if wanted is not None:
                joined = hear(heard, KEYFACE_STAGES[ours])[: len(wanted)]
                assert relative_error(joined, wanted) < ROWS, case
                met += 1
    assert met


def test_long_sound_is_heard_in_windows(encoders: dict[str, SpeechEncoder], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token stands where it stands in one pass."""
    monkeypatch.setattr(beats, "WINDOW", 100 * beats.BLOCK)
    monkeypatch.setattr(beats, "CONTEXT", 20 * beats.BLOCK)
    sound = torch.randn(333 * beats.BLOCK + 777, generator=torch.Generator().manual_seed(1)) / 10
    whole, parts = (encoders["beats"].encode(sound, one_pass=most).rows for most in (len(sound) + FRAME, 0))
    assert whole.shape == parts.shape
    moved = {
        shift: float((whole[100:-100] - parts[100 + shift : len(parts) - 100 + shift]).norm()) for shift in (-8, 0, 8)
    }
    assert 2 * moved[0] < min(moved[-8], moved[8]), moved
