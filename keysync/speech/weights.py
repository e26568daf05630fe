"""Loads speech encoders: files in transformers' or Microsoft's layout into transformers' models.

Names are compared one by one, because transformers only reports missing tensors and continues with random ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import KeySyncError, install_line, one_line
from ..imports import import_alone
from ..method import ROWS_PER_SECOND, SAMPLE_RATE
from ..weights.files import SAFETENSORS, read_pickle, read_tensors, shapes_of
from ..weights.finite import check_weights
from ..weights.identify import KINDS, identify
from ..weights.settings import ACTIVATION, EPSILON, FLAG, Table, allowed, one_of, only, read_settings, some, whole

FOLDER_FILES = ("model.safetensors", "pytorch_model.bin")
BODY = ("feature_extractor.", "feature_projection.", "encoder.")
# Used by training only.
TRAINING = "masked_spec_embed"
# Channels per attention head of all published base models; it cannot be derived from HuBERT's tensors.
HEAD_DIM = 64
# Samples per feature row.
STRIDE = SAMPLE_RATE // ROWS_PER_SECOND

# What transformers' HuBERT and WavLM take from settings, within bounds that hold the largest published ones (48 layers,
# 1280 or 1920 wide) several times over. Dropouts, heads for other tasks and all the rest have no effect on features.
SETTINGS: Table = {
    "hidden_size": whole(1, 8192),
    "num_hidden_layers": whole(1, 128),
    "num_attention_heads": whole(1, 256),
    "intermediate_size": whole(1, 65536),
    "hidden_act": ACTIVATION,
    "layer_norm_eps": EPSILON,
    "do_stable_layer_norm": FLAG,
    "feat_extract_norm": one_of("group", "layer"),
    "feat_extract_activation": ACTIVATION,
    "feat_proj_layer_norm": FLAG,
    "conv_bias": FLAG,
    "conv_dim": some(whole(1, 8192), 16),
    "conv_kernel": some(whole(1, 256), 16),
    "conv_stride": some(whole(1, STRIDE), 16),
    "conv_pos_batch_norm": FLAG,
    "num_feat_extract_layers": whole(1, 16),
    "num_conv_pos_embeddings": whole(1, 4096),
    "num_conv_pos_embedding_groups": whole(1, 8192),
    "add_adapter": only(False),  # an adapter would halve the rows per second
    # WavLM's alone.
    "num_buckets": whole(2, 65536),
    "max_bucket_distance": whole(1, 65536),
}
# What is taken from the settings in Microsoft's file.
MICROSOFT_SETTINGS: Table = {"normalize": FLAG, "max_distance": whole(1, 65536)}

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
    file = weight_file(path) if path.is_dir() else path
    tensors, metadata = read_tensors(file)
    kind, sign = identify(shapes_of(tensors))
    if kind != name:
        raise KeySyncError(f"{file} is {KINDS[kind]} ({sign}): expected {KINDS[name]}", about=name)
    stated = _stated_settings(path, file, metadata)
    if "post_extract_proj.weight" in tensors:
        tensors = _renamed(tensors, MICROSOFT)
        stated = _microsoft_settings(file)
    tensors = _renamed(_without_prefix(name, tensors), WEIGHT_NORM)
    model = _build(architecture, file, _allowed({**_settings_of(file, tensors, stated), **stated}, SETTINGS, file))
    _compare(file, model.state_dict(), tensors)
    check_weights(file, {key: tensors[key] for key in model.state_dict() if key in tensors})
    # Copied: a memory-mapped tensor would change with its file.
    weights = {
        key: tensors[key].to(device=device, dtype=dtype, copy=True)
        if key in tensors
        else torch.zeros(value.shape, device=device, dtype=dtype)
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(weights, assign=True)
    return model.eval()


def weight_file(folder: Path) -> Path:
    """The weights in a folder of transformers; raises `KeySyncError` if there are none."""
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    raise KeySyncError(f"{folder} contains no weights: expected {' or '.join(FOLDER_FILES)}")


def _stated_settings(path: Path, file: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The settings of the model in the folder's config.json or the file's metadata, by transformers' names."""
    beside = path / "config.json"
    if path.is_dir() and beside.is_file():
        return read_settings(beside, str(beside))
    return read_settings(metadata.get("config", "{}"), f"the metadata of {file}")


def _microsoft_settings(file: Path) -> dict[str, Any]:
    """The settings in Microsoft's file that cannot be derived from shapes."""
    if file.suffix.lower() == SAFETENSORS:
        return {}
    stated = read_pickle(file).get("cfg")
    cfg = _allowed(stated if isinstance(stated, Mapping) else {}, MICROSOFT_SETTINGS, file)
    if cfg.get("normalize", False):
        raise KeySyncError(
            f"{file} is a WavLM for normalised speech: expected WavLM-Base+, which takes speech as it is"
        )
    return {"max_bucket_distance": cfg["max_distance"]} if "max_distance" in cfg else {}


def _allowed(settings: Mapping[str, Any], table: Table, file: Path) -> dict[str, Any]:
    try:
        return allowed(settings, table, str(file))
    except ValueError as error:
        raise _invalid(file, error) from error


def _invalid(file: Path, error: Exception) -> KeySyncError:
    return KeySyncError(
        f"the settings of {file} are invalid ({one_line(error)}): use the config.json that belongs to it"
    )


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
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise KeySyncError(f"{file} is not a complete speech encoder ({error}): copy or download it again") from error
    gate = shapes.get("encoder.layers.0.attention.gru_rel_pos_const")
    buckets = shapes.get("encoder.layers.0.attention.rel_attn_embed.weight")
    if gate is not None and buckets is not None and len(gate) == 4 and len(buckets) == 2:
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
        config = getattr(modeling, f"{architecture}Config").from_dict(dict(settings))
        network = getattr(modeling, f"{architecture}Model")
        config._attn_implementation = "sdpa" if network._supports_sdpa else "eager"  # no file chooses it
        with torch.device("meta"):
            model = network(config)
    except Exception as error:  # transformers raises many kinds of errors for invalid settings
        raise _invalid(file, error) from error
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
