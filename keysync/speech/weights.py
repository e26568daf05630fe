"""Weights of the speech encoders: files of transformers or of Microsoft in, a model of transformers out.

Names are compared one by one: transformers itself only reports missing tensors and goes on with random ones.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import KeySyncError, install_line
from ..method import ROWS_PER_SECOND, SAMPLE_RATE
from ..weights.files import SAFETENSORS, read_tensors, shapes_of
from ..weights.identify import KINDS, recognise
from ..weights.settings import without_code

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
BODY = ("feature_extractor.", "feature_projection.", "encoder.")
# Only training reads it.
TRAINING = "masked_spec_embed"
# Channels of an attention head of every published base model; no HuBERT tensor tells it.
HEAD_DIM = 64
# Samples from one feature row to the next.
STRIDE = SAMPLE_RATE // ROWS_PER_SECOND

# Microsoft's names to transformers', in the order they are tried.
MICROSOFT = (
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^(feature_extractor\.conv_layers\.\d+)\.0\.", r"\1.conv."),
    (r"^(feature_extractor\.conv_layers\.\d+)\.2\.", r"\1.layer_norm."),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.self_attn\.grep_a$", ".attention.gru_rel_pos_const"),
    (r"\.self_attn\.grep_linear\.", ".attention.gru_rel_pos_linear."),
    (r"\.self_attn\.relative_attention_bias\.", ".attention.rel_attn_embed."),
    (r"\.self_attn\.", ".attention."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)
# Older files name the two halves of a weight-normalised convolution otherwise.
WEIGHT_NORM = (
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)


def load_model(name: str, architecture: str, path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The model of a folder or file, in evaluation mode.

    `name` is its kind of file (a key of `KINDS`) and transformers' prefix of its tensors, `architecture` the beginning
    of transformers' names of its classes. Raises `KeySyncError`.
    """
    file = _weight_file(path) if path.is_dir() else path
    tensors, metadata = read_tensors(file)
    kind, sign = recognise(shapes_of(tensors))
    if kind != name:
        raise KeySyncError(f"{file} is {KINDS[kind]} ({sign}): {KINDS[name]} was wanted")
    stated = _stated_settings(path, file, metadata)
    if "post_extract_proj.weight" in tensors:
        tensors = _renamed(tensors, MICROSOFT)
        stated = _microsoft_settings(file)
    tensors = _renamed(_without_prefix(name, tensors), WEIGHT_NORM)
    model = _build(architecture, file, {**_settings_of(file, tensors, stated), **stated})
    _compare(file, model.state_dict(), tensors)
    # Copied: a mapped tensor would change or vanish with its file.
    weights = {
        key: tensors[key].to(device=device, dtype=dtype, copy=True)
        if key in tensors
        else torch.zeros(value.shape, device=device, dtype=dtype)
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _weight_file(folder: Path) -> Path:
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise KeySyncError(f"{folder} holds no weights: {' or '.join(FOLDER_FILES)} was wanted")


def _stated_settings(path: Path, file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """What the folder's config.json or the file's own metadata says of the model, in transformers' words."""
    beside = path / "config.json"
    if path.is_dir() and beside.is_file():
        place, text = str(beside), beside.read_text(encoding="utf-8", errors="replace")
    else:
        place, text = f"the metadata of {file}", metadata.get("config", "{}")
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise KeySyncError(f"{place} is not JSON ({error}): copy or download it again") from error
    if not isinstance(settings, dict):
        raise KeySyncError(f"{place} holds no settings: a JSON object was wanted")
    return settings


def _microsoft_settings(file: Path) -> dict[str, Any]:
    """What Microsoft's file says beside the weights and no shape tells."""
    if file.suffix == SAFETENSORS:
        return {}
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    cfg = content.get("cfg", {})
    if cfg.get("normalize", False):
        raise KeySyncError(
            f"{file} is a WavLM that wants normalised speech: WavLM-Base+ was wanted, which hears it as it is"
        )
    return {"max_bucket_distance": cfg["max_distance"]} if "max_distance" in cfg else {}


def _renamed(tensors: Mapping[str, Tensor], rules: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def _without_prefix(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder inside a model with a head: its names without the prefix, the head left out."""
    prefix = f"{name}."
    inner = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    return inner or dict(tensors)


def _settings_of(file: Path, tensors: Mapping[str, Tensor], stated: Mapping[str, Any]) -> dict[str, Any]:
    """What the shapes say of the model, in transformers' words."""
    shapes = shapes_of(tensors)
    try:
        convs = [
            shapes[f"feature_extractor.conv_layers.{layer}.conv.weight"] for layer in range(_count(shapes, BODY[0]))
        ]
        hidden, per_group, kernel = shapes["encoder.pos_conv_embed.conv.parametrizations.weight.original1"]
        settings = {
            "hidden_size": hidden,
            "num_hidden_layers": _count(shapes, "encoder."),
            "intermediate_size": shapes["encoder.layers.0.feed_forward.intermediate_dense.weight"][0],
            "conv_dim": [conv[0] for conv in convs],
            "conv_kernel": [conv[2] for conv in convs],
            "num_conv_pos_embeddings": kernel,
            "num_conv_pos_embedding_groups": hidden // per_group,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise KeySyncError(
            f"{file} lacks what every speech encoder has ({error}): copy or download it again"
        ) from error
    gate = shapes.get("encoder.layers.0.attention.gru_rel_pos_const")
    buckets = shapes.get("encoder.layers.0.attention.rel_attn_embed.weight")
    if gate and buckets:
        return {**settings, "num_attention_heads": gate[1], "num_buckets": buckets[0]}
    if hidden % HEAD_DIM and "num_attention_heads" not in stated:
        raise KeySyncError(
            f"{file} is {hidden} wide, which heads of {HEAD_DIM} do not divide: give a folder with its config.json"
        )
    return {**settings, "num_attention_heads": hidden // HEAD_DIM}


def _build(architecture: str, file: Path, settings: Mapping[str, Any]) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise KeySyncError(f"speech encoders need transformers: {install_line('transformers')}") from error
    try:
        config = getattr(transformers, f"{architecture}Config").from_dict(without_code(settings))
        with torch.device("meta"):
            model = getattr(transformers, f"{architecture}Model")(config)
    except Exception as error:  # transformers answers a wrong setting in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KeySyncError(
            f"the settings of {file} make no model ({reason}): give the config.json it came with"
        ) from error
    stride = torch.Size(config.conv_stride).numel()
    if stride != STRIDE:
        raise KeySyncError(f"{file} makes a feature row of {stride} samples: {STRIDE} was wanted")
    return model


def _compare(file: Path, needed: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    missing = sorted(needed.keys() - given.keys() - {TRAINING})
    if missing:
        raise KeySyncError(f"{file} lacks {_first(missing)}: the whole encoder was wanted")
    unknown = sorted(name for name in given.keys() - needed.keys() if name.startswith(BODY))
    if unknown:
        raise KeySyncError(f"{file} also holds {_first(unknown)}: give a folder with the config.json it came with")
    for name, tensor in needed.items():
        if name in given and given[name].shape != tensor.shape:
            raise KeySyncError(
                f"{file}: {name} is {tuple(given[name].shape)}, {tuple(tensor.shape)} was wanted: "
                "give the config.json it came with"
            )


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more tensors" if len(names) > 1 else "")


def _count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """Layers whose names start with `prefix`."""
    numbers = (re.match(rf"{re.escape(prefix)}\w*layers\.(\d+)\.", name) for name in shapes)
    return 1 + max((int(number[1]) for number in numbers if number), default=-1)
