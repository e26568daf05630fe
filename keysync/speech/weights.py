"""Loads speech encoders: files in transformers' or Microsoft's layout into transformers' models.

Names are compared one by one, because transformers only reports missing tensors and continues with random ones.
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
from ..imports import import_alone
from ..method import ROWS_PER_SECOND, SAMPLE_RATE
from ..weights.files import SAFETENSORS, read_tensors, shapes_of
from ..weights.identify import KINDS, identify
from ..weights.settings import without_code

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
BODY = ("feature_extractor.", "feature_projection.", "encoder.")
# Used by training only.
TRAINING = "masked_spec_embed"
# Channels per attention head of all published base models; it cannot be derived from HuBERT's tensors.
HEAD_DIM = 64
# Samples per feature row.
STRIDE = SAMPLE_RATE // ROWS_PER_SECOND

# Microsoft's names to transformers', applied in order.
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
# Names of the two halves of a weight-normalised convolution in older files.
WEIGHT_NORM = (
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)


def load_model(name: str, architecture: str, path: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """The model in a folder or file, in evaluation mode.

    `name` is its kind of file (a key of `KINDS`) and the prefix of its tensors in transformers; `architecture` is the
    prefix of its classes in transformers. Raises `KeySyncError` for another kind of file, invalid settings, and missing
    or misshapen tensors.
    """
    file = _weight_file(path) if path.is_dir() else path
    tensors, metadata = read_tensors(file)
    kind, sign = identify(shapes_of(tensors))
    if kind != name:
        raise KeySyncError(f"{file} is {KINDS[kind]} ({sign}): expected {KINDS[name]}", about=name)
    stated = _stated_settings(path, file, metadata)
    if "post_extract_proj.weight" in tensors:
        tensors = _renamed(tensors, MICROSOFT)
        stated = _microsoft_settings(file)
    tensors = _renamed(_without_prefix(name, tensors), WEIGHT_NORM)
    model = _build(architecture, file, {**_settings_of(file, tensors, stated), **stated})
    _compare(file, model.state_dict(), tensors)
    # Copied: a memory-mapped tensor would change with its file.
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
    raise KeySyncError(f"{folder} contains no weights: expected {' or '.join(FOLDER_FILES)}")


def _stated_settings(path: Path, file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the model in the folder's config.json or the file's metadata, by transformers' names."""
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
        raise KeySyncError(f"{place} contains no settings: expected a JSON object")
    return settings


def _microsoft_settings(file: Path) -> dict[str, Any]:
    """The settings in Microsoft's file that cannot be derived from shapes."""
    if file.suffix == SAFETENSORS:
        return {}
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    cfg = content.get("cfg", {})
    if cfg.get("normalize", False):
        raise KeySyncError(
            f"{file} is a WavLM for normalised speech: expected WavLM-Base+, which takes speech as it is"
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
    """The encoder of a model with a head: its tensors, with their prefix removed, without the head."""
    prefix = f"{name}."
    inner = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    return inner or dict(tensors)


def _settings_of(file: Path, tensors: Mapping[str, Tensor], stated: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that can be derived from shapes, by transformers' names."""
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
        raise KeySyncError(f"{file} is not a complete speech encoder ({error}): copy or download it again") from error
    gate = shapes.get("encoder.layers.0.attention.gru_rel_pos_const")
    buckets = shapes.get("encoder.layers.0.attention.rel_attn_embed.weight")
    if gate and buckets:
        return {**settings, "num_attention_heads": gate[1], "num_buckets": buckets[0]}
    if hidden % HEAD_DIM and "num_attention_heads" not in stated:
        raise KeySyncError(
            f"{file} is {hidden} channels wide, not a multiple of the head dim {HEAD_DIM}: load a folder that contains "
            "its config.json"
        )
    return {**settings, "num_attention_heads": hidden // HEAD_DIM}


def _build(architecture: str, file: Path, settings: Mapping[str, Any]) -> Any:
    kind = architecture.lower()
    try:
        modeling = import_alone(f"transformers.models.{kind}.modeling_{kind}")
    except ImportError as error:
        line = install_line("transformers")
        raise KeySyncError(f"speech encoders need transformers, which is not installed: {line}") from error
    try:
        config = getattr(modeling, f"{architecture}Config").from_dict(without_code(settings))
        with torch.device("meta"):
            model = getattr(modeling, f"{architecture}Model")(config)
    except Exception as error:  # transformers raises many kinds of errors for invalid settings
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise KeySyncError(
            f"the settings of {file} are invalid ({reason}): use the config.json that belongs to it"
        ) from error
    stride = torch.Size(config.conv_stride).numel()
    if stride != STRIDE:
        raise KeySyncError(f"{file} has {stride} samples per feature row: expected {STRIDE}")
    return model


def _compare(file: Path, needed: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    missing = sorted(needed.keys() - given.keys() - {TRAINING})
    if missing:
        raise KeySyncError(f"{file} lacks {_first(missing)}: expected a complete encoder")
    unknown = sorted(name for name in given.keys() - needed.keys() if name.startswith(BODY))
    if unknown:
        raise KeySyncError(f"{file} also contains {_first(unknown)}: load a folder that contains its config.json")
    for name, tensor in needed.items():
        if name in given and given[name].shape != tensor.shape:
            raise KeySyncError(
                f"{file}: {name} has shape {tuple(given[name].shape)}: expected {tuple(tensor.shape)}; "
                "use the config.json that belongs to it"
            )


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more tensors" if len(names) > 1 else "")


def _count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """The number of layers whose names start with `prefix`."""
    numbers = (re.match(rf"{re.escape(prefix)}\w*layers\.(\d+)\.", name) for name in shapes)
    return 1 + max((int(number[1]) for number in numbers if number), default=-1)
