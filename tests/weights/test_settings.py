"""A config.json says how a model is built, within bounds, and names no code to run."""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from keysync.errors import KeySyncError
from keysync.face.sam2_weights import SETTINGS as SAM2
from keysync.face.sam2_weights import load_sam2
from keysync.speech.encoders import load_encoder
from keysync.speech.weights import SETTINGS as SPEECH
from keysync.strict_json import MOST_CHARACTERS
from keysync.weights.settings import FLAG, Rule, Table, allowed, number, one_of, read_settings, some, whole

from ..tiny_sam2 import write_tiny_sam2

TABLE: Table = {"width": whole(1, 8), "part": {"depths": some(whole(1, 4), 2)}, "kind": one_of("a", "b"), "on": FLAG}


def test_only_what_the_table_has_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    settings = {
        "width": 8,
        "part": {"depths": [1, 4], "auto_map": {"Model": "somebody/code"}},
        "kind": None,
        "attn_implementation": "somebody/kernel",
        "torch_dtype": "float16",
        "architectures": ["Model"],
    }
    with caplog.at_level(logging.WARNING):
        assert allowed(settings, TABLE, "config.json") == {"width": 8, "part": {"depths": [1, 4]}}
    assert caplog.messages == [
        "config.json: auto_map ignored, as settings choose no code",
        "config.json: attn_implementation ignored, as settings choose no code",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 9}, "width is 9, expected an integer from 1 to 8"),
        ({"width": True}, "width is True, expected an integer from 1 to 8"),
        ({"width": 8.0}, "width is 8.0, expected an integer"),
        ({"part": {"depths": [1, 2, 3]}}, "depths is .*, expected 1 to 2 times an integer from 1 to 4"),
        ({"part": {"depths": []}}, "depths is .*, expected 1 to 2 times"),
        ({"part": 3}, "part is 3, expected a JSON object"),
        ({"kind": "c" * 1000}, "kind is 'ccc.{1,110}, expected one of a, b"),
        ({"on": 1}, "on is 1, expected true or false"),
    ],
)
def test_values_out_of_bounds(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        allowed(settings, TABLE, "config.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 3, "1", None, [1]])
def test_a_number_in_a_range(value: Any) -> None:
    assert not number(0, 2).holds(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested deeper than 32 levels"),
        ('{"a":' * 33 + "1" + "}" * 33, "nested deeper than 32 levels"),
        (f'{{"a": {"9" * 5000}}}', "an integer of 5000 digits"),
        ('{"a": NaN}', "NaN is not a number"),
        ('{"a": -Infinity}', "-Infinity is not a number"),
        ('{"a": 1e999}', "'1e999' is beyond every number"),
        ('{"a": 1, "a": 2}', "key 'a' occurs twice"),
        (" " * MOST_CHARACTERS + "{}", "characters, expected at most"),
        ("", "Expecting value"),
    ],
)
@pytest.mark.parametrize("as_file", [True, False])
def test_json_from_an_attacker(text: str, message: str, as_file: bool, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    began = time.perf_counter()
    with pytest.raises(KeySyncError, match=f"^config is not JSON .*{message}.*: copy or download it again$"):
        read_settings(file if as_file else text, "config")
    assert time.perf_counter() - began < 1


def test_json_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(KeySyncError, match=r"is not JSON .*invalid start byte"):
        read_settings(tmp_path / "config.json", "config")


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
def test_every_key_reaches_transformers(tiny_files: dict[str, Path], name: str) -> None:
    """A key that no configuration has would be a slip of the pen in the table."""
    import transformers

    known = transformers.WavLMConfig().to_dict().keys() | transformers.HubertConfig().to_dict().keys()
    assert SPEECH.keys() <= known
    written = json.loads((tiny_files[name] / "config.json").read_text())
    assert allowed(written, SPEECH, "config.json")["conv_dim"] == [16] * 7


def test_every_key_reaches_sam2() -> None:
    import transformers

    def check(table: Table, known: dict[str, Any]) -> None:
        assert table.keys() <= known.keys() | {"memory_attention_rope_theta"}  # of transformers 4
        for key, rule in table.items():
            if not isinstance(rule, Rule):
                check(rule, known[key])
            elif known.get(key) is not None:
                assert rule.holds(known[key]), key

    check(SAM2, json.loads(json.dumps(transformers.Sam2VideoConfig().to_dict(), default=str)))


ATTACKS: dict[str, tuple[dict[str, Any], str | None]] = {
    "kernel": ({"attn_implementation": "kernels-community/flash-attn2"}, None),
    "private kernel": ({"_attn_implementation": "kernels-community/flash-attn2"}, None),
    "code": ({"auto_map": {"AutoModel": "somebody/code--model.Model"}}, None),
    "quantised": ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, None),
    "dtype": ({"torch_dtype": "__import__('os')", "dtype": "nonsense"}, None),
    "outputs": ({"return_dict": False, "output_hidden_states": True}, None),
    "layers": ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected"),
    "wide": ({"hidden_size": 10**9}, "hidden_size is 1000000000, expected"),
    "list": ({"conv_dim": [16] * 100_000}, "conv_dim is .*, expected 1 to 16 times"),
    "kind": ({"conv_dim": 16}, "conv_dim is 16, expected"),
    "adapter": ({"add_adapter": True}, "add_adapter is True, expected false"),
    "activation": ({"hidden_act": "eval"}, "hidden_act is 'eval', expected one of gelu"),
    "zero": ({"num_attention_heads": 0}, "num_attention_heads is 0, expected"),
}


@pytest.mark.parametrize("name", ["hubert", "wavlm"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_encoders_config_is_data(tiny_files: dict[str, Path], tmp_path: Path, name: str, attack: str) -> None:
    changes, message = ATTACKS[attack]
    folder = shutil.copytree(tiny_files[name], tmp_path / name)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    began = time.perf_counter()
    if message is None:
        encoder = load_encoder(name, folder)
        config = encoder.model.config
        assert config._attn_implementation in ("sdpa", "eager")
        assert not hasattr(config, "quantization_config")
        assert getattr(config, "auto_map", None) is None
        assert config.return_dict
    else:
        with pytest.raises(KeySyncError, match=rf"are invalid \({message}.*\): use the config.json that belongs to it"):
            load_encoder(name, folder)
    assert time.perf_counter() - began < 5


@pytest.fixture(scope="module")
def sam2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sam2(tmp_path_factory.mktemp("sam2") / "sam2.safetensors")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ((), {"attn_implementation": "somebody/kernel", "auto_map": {"AutoConfig": "somebody/code--a.B"}}, None),
        (("vision_config",), {"_attn_implementation": "somebody/kernel"}, None),
        (("vision_config", "backbone_config"), {"model_type": "timm_backbone"}, "model_type is 'timm_backbone'"),
        ((), {"memory_attention_num_layers": 10**8}, "memory_attention_num_layers is 100000000, expected"),
        ((), {"memory_attention_rope_feat_sizes": [10**6, 10**6]}, "memory_attention_rope_feat_sizes is"),
        ((), {"image_size": 10**9}, "image_size is 1000000000, expected"),
        (("vision_config", "backbone_config"), {"blocks_per_stage": [10**6] * 4}, "blocks_per_stage is"),
        (("mask_decoder_config",), {"num_hidden_layers": 10**9}, "num_hidden_layers is"),
    ],
)
def test_sam2s_config_is_data(
    sam2_file: Path, tmp_path: Path, path: tuple[str, ...], value: dict[str, Any], message: str | None
) -> None:
    from safetensors import safe_open

    with safe_open(sam2_file, "pt") as file:
        config = json.loads(file.metadata()["config"])
    part = config
    for key in path:
        part = part[key]
    part.update(value)
    target = tmp_path / "sam2.safetensors"
    save_file(load_file(sam2_file), target, {"config": json.dumps(config)})
    if message is None:
        assert load_sam2(target).config._attn_implementation == "sdpa"
    else:
        with pytest.raises(KeySyncError, match=rf"are invalid \({message}"):
            load_sam2(target)


def test_a_memory_that_the_file_does_not_hold_is_not_built(sam2_file: Path, tmp_path: Path) -> None:
    """Within the bounds, yet 64 layers of 8192 channels would take 100 GB."""
    from safetensors import safe_open

    with safe_open(sam2_file, "pt") as file:
        config = json.loads(file.metadata()["config"])
    config |= {"memory_attention_hidden_size": 8192, "memory_attention_num_layers": 64}
    target = tmp_path / "sam2.safetensors"
    save_file(load_file(sam2_file), target, {"config": json.dumps(config)})
    with pytest.raises(KeySyncError, match=r"lacks memory_attention\.layers\.1"):
        load_sam2(target)
